"""The rules on what is inside: each finds its fault in a real small training in PyTorch, and none in a good one."""

import numpy as np
import pytest
from diagnosis_support import blobs, chain, severe, symptoms, trained

from monitor_core import Diagnosis, Inside, Loop, diagnose, open_run
from monitor_core.diagnosis.examination import Examination
from monitor_core.diagnosis.seen import Seen
from monitor_core.model.probe import Probe, WeightProbe

torch = pytest.importorskip("torch")

from monitor_core.adapters.torch import TorchModel  # noqa: E402 (not without torch)

nn = torch.nn
X, Y = (torch.as_tensor(each) for each in blobs(400))
TARGETS = X.sum(1, keepdim=True)


def dense(*widths, activation=nn.ReLU):
    """Return layers of these widths from two inputs, an activation after each but the last."""
    torch.manual_seed(1)
    layers = []
    for before, after in zip((2, *widths), widths, strict=False):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1])


def classes(module, rate=0.01, **options):
    """Train a classifier on clouds of points."""
    optimizer = torch.optim.Adam((each for each in module.parameters() if each.requires_grad), rate)
    return trained(module, optimizer, nn.CrossEntropyLoss(), X, Y, **options)


HEALTHY = {
    "relu": lambda: dense(16, 16, 3),
    "tanh": lambda: dense(16, 16, 3, activation=nn.Tanh),
    "deep tanh": lambda: dense(*[16] * 8, 3, activation=nn.Tanh),
    "batch normalization": lambda: nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3)),
    "dropout": lambda: nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 3)),
    "leaky": lambda: dense(16, 16, 3, activation=nn.LeakyReLU),
    "one layer from zeros": lambda: zeros(dense(3)),
}


def zeros(module):
    """Set all weights to 0."""
    for each in module.parameters():
        nn.init.zeros_(each)
    return module


@pytest.mark.parametrize("name", HEALTHY)
def test_a_good_training_gives_nothing(name):
    """No problem and no warning, though its insides were looked at."""
    diagnosis = classes(HEALTHY[name](), epochs=12)
    assert severe(diagnosis.findings) == []
    assert len(diagnosis._examination.seen.probes) > 2


def test_frozen_layers_give_nothing():
    """A frozen first layer has no gradient, and needs none."""
    module = dense(16, 16, 3)
    module[0].requires_grad_(False)
    assert severe(classes(module).findings) == []


def test_dead_units_by_layer():
    """With the share, since when, and what to try."""
    module = dense(16, 16, 3)
    with torch.no_grad():
        module[2].bias.fill_(-20.0)
    found = classes(module).findings
    assert [(each.symptom, each.layer, each.severity) for each in found if each.severity != "note"] == [
        ("dead_units", "3", "problem")
    ]
    assert found[0].message == (
        "All of 3's 16 units have been 0 for every sample from the beginning. All samples look the same to the layers "
        "after it."
    )


def test_a_high_rate_is_named_with_the_dead_units():
    """The advice then has the rate and a better one."""
    module = dense(16, 16, 3)
    with torch.no_grad():
        module[2].bias.fill_(-2000.0)
    found = [each for each in classes(module, 0.2).findings if each.symptom == "dead_units"]
    assert found[0].advice == "A rate of 0.2 is high for Adam: try 0.002, or LeakyReLU."


def test_some_dead_units_are_no_finding():
    """An eighth of a layer's, killed, besides those that this data leaves at 0."""
    module = dense(16, 16, 3)
    with torch.no_grad():
        module[2].bias[:2] = -50.0
    assert severe(classes(module).findings) == []


def test_saturated_units():
    """Of a hidden tanh layer whose inputs are far from unit scale; the cause is found with it."""
    module = dense(16, 16, 3, activation=nn.Tanh)
    with torch.no_grad():
        module[0].weight.mul_(100)
        module[2].weight.mul_(100)
    assert "saturated" in severe(classes(module, 0.0001).findings)


def test_vanishing_gradients_by_the_profile():
    """Ten sigmoid layers: the profile is the evidence, and it is found before the first step."""
    found = classes(dense(*[8] * 10, 3, activation=nn.Sigmoid), 0.001).findings
    assert symptoms(found, "problem") == ["vanishing_gradient"]
    assert (found[0].epoch, found[0].layer) == (-1, "0.weight")
    assert len(found[0].evidence["profile"]) == 11


def test_zero_weights_everywhere():
    """Nothing can be learned, which one finding says."""
    found = classes(zeros(dense(16, 16, 3))).findings
    assert symptoms(found, "problem") == ["symmetric_units"]
    assert found[0].message == "The weights of all 3 layers begin with 0, so no gradient passes through them."


def test_constant_weights():
    """Units that begin alike stay alike."""
    module = dense(16, 16, 3)
    nn.init.constant_(module[2].weight, 0.1)
    nn.init.constant_(module[2].bias, 0.0)
    found = classes(module).findings
    assert symptoms(found, "problem") == ["symmetric_units"]
    assert found[0].layer == "2"


def test_weights_that_do_not_move():
    """An optimizer of another model's parameters."""
    module, other = dense(16, 3), dense(16, 3)
    optimizer = torch.optim.Adam(other.parameters(), 0.01)
    found = trained(module, optimizer, nn.CrossEntropyLoss(), X, Y, epochs=15).findings
    assert symptoms(found, "problem") == ["untrained"]
    assert "though their gradients are not 0" in found[0].message


def test_weights_that_move_too_much():
    """By a large share of their size in each step."""
    assert "lr_too_high" in severe(classes(dense(16, 3), 3.0).findings)


def test_outputs_that_grow_from_layer_to_layer():
    """Exponential activations overflow."""

    class Exponential(nn.Module):
        def forward(self, x):
            return torch.exp(x)

    found = classes(dense(*[8] * 6, 3, activation=Exponential)).findings
    assert severe(found)[0] in {"exploding", "non_finite"}


def test_a_first_loss_far_above_that_of_knowing_nothing():
    """Weights that are too wide."""
    module = dense(16, 16, 1)
    with torch.no_grad():
        for each in module.parameters():
            each.mul_(20)
    optimizer = torch.optim.Adam(module.parameters(), 0.001)
    found = trained(module, optimizer, nn.MSELoss(), X, TARGETS, epochs=4).findings
    assert "bad_init" in severe(found)


def test_a_rule_that_raises_fails_alone(caplog):
    """It is listed as not looked at; the others continue."""
    from monitor_core.diagnosis.rule import Rule
    from monitor_core.diagnosis.rules.all import RULES

    class Broken(Rule):
        symptom = "spike"

        def check(self, seen):
            raise RuntimeError("boom")

    diagnosis = classes(zeros(dense(16, 16, 3)), rules=(Broken(), *RULES))
    assert symptoms(diagnosis.findings, "problem") == ["symmetric_units"]
    assert [str(each) for each in diagnosis.not_looked_at if each.rule == "Broken"] == [
        "spike (Broken): the rule failed: RuntimeError: boom"
    ]
    assert sum("Broken failed" in each.message for each in caplog.records) == 1


def test_a_model_whose_activations_cannot_be_read():
    """The rules that need them are listed with the reason; the training and the other rules continue."""

    class Shy(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 3)

        def forward(self, x):
            if not self.training:
                raise RuntimeError("out of memory")
            return self.layer(x)

    diagnosis = classes(Shy(), epochs=4)
    reasons = {each.reason for each in diagnosis.not_looked_at if each.symptom == "dead_units"}
    assert reasons == {"RuntimeError: out of memory"}
    assert severe(diagnosis.findings) == []


def test_without_gradients_the_other_probes_work():
    """A handle without a loss has activations and weights."""
    diagnosis = trained(module := dense(16, 16, 3), torch.optim.Adam(module.parameters(), 0.01), _cross_entropy, X, Y)
    assert {weight.gradient is None for weight in diagnosis._examination.seen.probes[-1].weights} == {False}
    assert severe(diagnosis.findings) == []


def _cross_entropy(output, y):
    return nn.functional.cross_entropy(output, y)


def test_probing_leaves_the_training_as_it_is():
    """The weights after a training are the same with and without probes."""

    def weights(**options):
        torch.manual_seed(0)
        module = dense(16, 16, 3)
        torch.manual_seed(0)
        classes(module, epochs=4, **options)
        return [each.detach().numpy() for each in module.parameters()]

    for one, other in zip(weights(), weights(probes=False), strict=True):
        assert np.array_equal(one, other)


def normalized(momentum, **options):
    """Train with batch normalization whose moving statistics have this momentum, on inputs of another scale."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16, momentum=momentum), nn.ReLU(), nn.Linear(16, 3))
    x, y = 5 * X, Y
    return trained(
        module, torch.optim.Adam(module.parameters(), 0.01), _cross_entropy, x, y, validation=(x, y), **options
    )


@pytest.fixture
def many_looks(monkeypatch):
    """Look into the model at the end of every epoch, however long that takes."""
    monkeypatch.setattr("monitor_core.diagnosis.observer.SHARE", 100.0)


@pytest.mark.usefixtures("many_looks")
def test_moving_statistics_that_do_not_fit():
    """Evaluation normalizes with the initial ones, which training never uses."""
    (found,) = [each for each in normalized(0.0, epochs=40).findings if each.symptom == "train_eval_mismatch"]
    assert (found.severity, found.layer) == ("warning", "1")
    assert found.evidence["drift"] > found.evidence["threshold"]


@pytest.mark.usefixtures("many_looks")
def test_moving_statistics_that_fit():
    """With the usual momentum, and with a slow one in early epochs."""
    assert "train_eval_mismatch" not in severe(normalized(0.1, epochs=40).findings)
    assert "train_eval_mismatch" not in severe(normalized(0.01, epochs=3).findings)


def test_what_was_seen_inside_is_judged_again_after_a_kill(tmp_path):
    """A run that continues has the looks of its first part, and reports nothing twice."""

    def part(epochs):
        torch.manual_seed(0)
        module = dense(16, 16, 3)
        with torch.no_grad():
            module[0].bias.fill_(-100.0)
        optimizer = torch.optim.SGD(module.parameters(), 0.01)
        diagnosis = Diagnosis(sample=(X.numpy(), Y.numpy()))
        with Loop(diagnosis, model=TorchModel(module, optimizer, loss=_cross_entropy), resume=tmp_path) as loop:
            for _ in loop.epochs(epochs):
                for rows in loop.batches(torch.randperm(len(X)).split(32)):
                    optimizer.zero_grad()
                    loss = _cross_entropy(module(X[rows]), Y[rows])
                    loss.backward()
                    optimizer.step()
                    loop.log(loss=loss)
        return diagnosis, [each.symptom for each in loop.run.findings]

    first, reported = part(4)
    assert "dead_units" in reported
    again, reported = part(8)
    assert "dead_units" not in reported
    assert again.findings[: len(first.findings)] == first.findings
    assert again._examination.seen.probes[0].step == 0
    assert open_run(tmp_path).layers["dead"][:, 0].max() == 1.0


def test_units_that_die_by_steps_that_are_too_large():
    """All give outputs before the first step, and none after the first epoch: the steps did it."""
    torch.manual_seed(0)
    module = dense(16, 16, 3)
    found = trained(module, torch.optim.SGD(module.parameters(), 0.5), _cross_entropy, 30 * X, Y, epochs=3).findings
    (died,) = [each for each in found if each.symptom == "lr_too_high" and each.layer is not None]
    assert (died.severity, died.evidence["now"]) == ("warning", 1.0)
    assert "gave outputs before the first step" in died.message


def test_a_loss_that_refuses_the_outputs_hides_no_activations():
    """Gradients cannot be computed, and the rules that need them say why; the others see the outputs."""
    module = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 1))
    with torch.no_grad():
        module[0].weight.fill_(1e38)
        module[1].weight.fill_(1e38)

    def refusing(output, y):
        if not torch.isfinite(output).all():
            raise RuntimeError("all elements of input should be between 0 and 1")
        return output.mean()

    diagnosis = Diagnosis(sample=(X.numpy(), Y.numpy()))
    handle = TorchModel(module, torch.optim.SGD(module.parameters(), 0.1), loss=refusing)
    with Loop(diagnosis, model=handle) as loop:
        for _ in loop.epochs(1):
            loop.log(loss=1.0)
    assert "exploding" in symptoms(diagnosis.findings, "problem")
    reasons = {each.rule: each.reason for each in diagnosis.not_looked_at}
    assert reasons["ZeroGradient"] == "RuntimeError: all elements of input should be between 0 and 1"


def gradients(*decades):
    """Return what is found in a chain of layers whose gradients have these decimal logarithms."""
    model = chain(*[(16, "tanh")] * (len(decades) - 1), (3, "softmax"))
    weights = [
        WeightProbe(name=layer.weights[0], size=100, axes=2, norm=1.0, std=0.1, gradient=10.0**each)
        for layer, each in zip(model.layers, decades, strict=True)
    ]
    examination = Examination(seen=Seen(model=model))
    examination.add_probe(Probe(epoch=0, step=10, samples=8, weights=tuple(weights)))
    return [each for each in examination.findings if "gradients grow" in each.message]


def test_gradients_that_grow_from_layer_to_layer():
    """By the whole profile, from the output back to the input."""
    (found,) = gradients(3, 2, 1, 0, -1, -2)
    assert (found.symptom, found.severity, found.layer) == ("exploding", "warning", "dense_1/kernel")
    assert found.message.startswith(
        "The gradients grow from layer to layer: over 6 layers, from dense_6/kernel back to "
    )
    assert found.evidence["decades"] == pytest.approx(4)


def test_gradients_that_hardly_grow():
    """Or whose first layer alone has a large one, or of few layers."""
    assert gradients(2, 1.5, 1, 0.5, 0, -0.5) == []
    assert gradients(5, 0, 0.1, 0, 0.1, 0) == []
    assert gradients(4, 2, -2) == []


def test_a_gradient_that_is_not_finite():
    """Though the weight and the outputs are: a root at 0 has an infinite slope."""
    module = zeros(dense(3))
    handle = TorchModel(
        module, torch.optim.SGD(module.parameters(), 0.1), loss=lambda output, y: output.abs().sqrt().sum()
    )
    diagnosis = Diagnosis(sample=(X.numpy(), Y.numpy()))
    with Loop(diagnosis, model=handle) as loop:
        for _ in loop.epochs(1):
            loop.log(loss=1.0)
    (found,) = [each for each in diagnosis.findings if "though the weight is finite" in each.message]
    assert (found.symptom, found.severity, found.epoch) == ("exploding", "problem", -1)


def test_looks_on_record_are_judged_without_a_diagnosis(tmp_path):
    """Those of Inside, by the rules that need no more than what was seen."""
    module = dense(16, 3)
    with torch.no_grad():
        module[-1].weight.zero_()
    handle = TorchModel(module, torch.optim.SGD(module.parameters(), 0.0), loss=_cross_entropy)
    with Loop(Inside(data=(X.numpy(), Y.numpy())), model=handle, record=tmp_path) as loop:
        for _ in loop.epochs(3):
            loop.log(loss=1.0)
    found = diagnose(tmp_path)
    assert "constant_output" in symptoms(found, "problem")
    assert {each.reason for each in found.not_looked_at if each.rule == "DeadUnits"} == {
        "the model's handle does not say what it consists of: pass model=..."
    }
