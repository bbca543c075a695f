"""What the tests of the diagnosis share: curves, and small trainings in PyTorch."""

import numpy as np

from monitor_core import Diagnosis, Loop, diagnose
from monitor_core.diagnosis.data import summarize
from monitor_core.diagnosis.examination import Examination
from monitor_core.diagnosis.seen import Seen
from monitor_core.model.summary import LayerSummary, ModelSummary


def symptoms(findings, *severities):
    """Return the symptoms that were found, of some severities or of all."""
    return [finding.symptom for finding in findings if not severities or finding.severity in severities]


def severe(findings):
    """Return the symptoms of problems and warnings."""
    return symptoms(findings, "problem", "warning")


def of_curves(**curves):
    """Return what the curves alone show."""
    return diagnose(curves)


def examined(curves, *, model=None, data=None, planned=None, steps=50):
    """Return what curves show with what is known of the model and the data.

    Args:
        curves: Metrics, with a value for each epoch.
        model: The model's summary.
        data: The data's summary.
        planned: How many epochs are planned; by default as many as there are.
        steps: How many steps an epoch has.
    """
    length = len(next(iter(curves.values())))
    examination = Examination(seen=Seen(epochs_planned=planned or length, model=model, data=data))
    examination.begin()
    for epoch in range(length):
        logs = {name: float(values[epoch]) for name, values in curves.items()}
        examination.end_epoch(epoch, steps * (epoch + 1), logs)
    examination.end()
    return examination.findings


def chain(*layers, **training):
    """Return the summary of a chain of dense layers, each its units and activation; the last one is the output."""
    made = tuple(
        LayerSummary(
            name=f"dense_{number}",
            kind="Dense",
            role="linear",
            activation=activation,
            units=units,
            weights=(f"dense_{number}/kernel", f"dense_{number}/bias"),
        )
        for number, (units, activation) in enumerate(layers, 1)
    )
    known = {"is_chain": True, "trainable": 100, "optimizer": "adam", "learning_rate": 0.001}
    if made:
        last = made[-1]
        known |= {"output_layer": last.name, "output_activation": last.activation, "output_units": last.units}
    return ModelSummary(layers=made, **{**known, **training})


def blobs(rows=400, classes=3, seed=0):
    """Return clouds of points near unit scale, and their classes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, rows)
    centers = rng.normal(0, 1.5, (classes, 2))
    return (centers[y] + rng.normal(0, 0.4, (rows, 2))).astype(np.float32), y


def begun(model, x, y, **more):
    """Return what is found before the first step."""
    examination = Examination(seen=Seen(model=model, data=summarize(x, y), **more))
    return examination.begin()


def trained(module, optimizer, loss, x, y, *, epochs=15, batch=32, sample=True, validation=None, **options):
    """Train a PyTorch module with a `Diagnosis`, as a tutorial does; return the diagnosis.

    Args:
        module: The module.
        optimizer: Its optimizer.
        loss: The loss, a function of PyTorch's.
        x: The inputs, as a tensor.
        y: The targets.
        epochs: How many epochs.
        batch: How many samples a batch has.
        sample: Whether the diagnosis gets the data as its sample.
        validation: Validation data, or None.
        **options: Of `Diagnosis`.
    """
    import torch

    from monitor_core.adapters.torch import TorchModel

    diagnosis = Diagnosis(sample=(x.numpy(), y.numpy()) if sample else None, **options)
    data = None if validation is None else tuple(each.numpy() for each in validation)
    with Loop(diagnosis, model=TorchModel(module, optimizer, loss=loss), validation_data=data) as loop:
        for _ in loop.epochs(epochs):
            module.train()
            order = torch.randperm(len(x))
            for rows in loop.batches(order.split(batch)):
                optimizer.zero_grad()
                value = loss(module(x[rows]), y[rows])
                value.backward()
                optimizer.step()
                loop.log(loss=value)
            if validation is not None:
                module.eval()
                with loop.evaluation(), torch.no_grad():
                    loop.log(loss=loss(module(validation[0]), validation[1]))
    return diagnosis
