"""Model: the sinks in a PyTorch loop."""

import gc
import weakref

import pytest

from monitor_core import History, Loop, SetupError, Sink
from monitor_core.schedules import CosineDecay, LinearWarmup
from monitor_core.sinks.learning_rate_scheduler import LearningRateScheduler
from monitor_core.sinks.model_checkpoint import ModelCheckpoint
from monitor_core.sinks.reduce_lr_on_plateau import ReduceLROnPlateau
from torch_model_support import (
    TorchModel,
    X,
    Y,
    module,  # noqa: F401 (fixtures)
    network,
    nn,
    torch,
)


def fit(sinks, epochs=12, scheduler=None, each_batch=False):
    """Train a small module on two groups, in a Loop or with PyTorch's scheduler; return rates and losses per epoch."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1))
    groups = [{"params": module[0].parameters(), "lr": 0.4}, {"params": module[2].parameters(), "lr": 0.2}]
    optimizer = torch.optim.SGD(groups)
    scheduler = scheduler and scheduler(optimizer)
    rates, losses = [], []
    with Loop(*sinks, model=TorchModel(module, optimizer)) as loop:
        for _ in loop.epochs(epochs):
            total = 0.0
            for first in loop.batches(range(0, 8, 4)):
                rates.append([group["lr"] for group in optimizer.param_groups])
                loss = nn.functional.mse_loss(
                    module(torch.tensor(X[first : first + 4])), torch.tensor(Y[first : first + 4])
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                loop.log(loss=loss)
                total += float(loss.detach()) / 2
                if each_batch:
                    scheduler.step()
            losses.append(total)
            if scheduler and not each_batch:
                scheduler.step(total)
    return rates, losses


@pytest.mark.parametrize("threshold", [1e-4, 0.3])
def test_reduce_lr_on_plateau_trains_as_pytorchs_scheduler(threshold):
    """In a loop, every batch's rates and every loss are those with PyTorch's own scheduler."""
    options = {"patience": 1, "factor": 0.5, "cooldown": 1}
    theirs = fit(
        [],
        scheduler=lambda optimizer: torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, threshold=threshold, **options
        ),
    )
    ours = fit([ReduceLROnPlateau("loss", rule="pytorch", min_delta=threshold, **options)])
    assert ours == theirs


def test_learning_rate_scheduler_trains_as_pytorchs_scheduler():
    """In a loop, every batch's rates and every loss are those with LambdaLR, of a warm-up and a cosine decay."""
    schedule = LinearWarmup(0.25, 1.0, 5, then=CosineDecay(1.0, 15))
    theirs = fit(
        [], scheduler=lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, schedule), each_batch=True
    )
    base = [0.4, 0.2]

    class Scaled(Sink):
        """Give the second group half of the first one's rate."""

        def on_batch_begin(self, run, step):
            run.model.learning_rates = [rate * schedule(step - 1) for rate in base]

    ours = fit([LearningRateScheduler(schedule, unit="step"), Scaled()])
    assert ours == theirs


def test_the_rate_of_each_epoch_is_in_the_history():
    """The first group's rate that was in force is in every epoch's logs, in a PyTorch loop as on Keras."""
    fit([history := History(), LearningRateScheduler(lambda epoch: 0.5**epoch)], epochs=3)
    assert history["learning_rate"].tolist() == [1.0, 0.5, 0.25]


def test_no_module_is_kept_alive_after_a_run():
    """Once a loop is left, it and its sinks keep neither module nor optimizer, and know them while they live."""
    module = network()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.25)
    with Loop(history := History(per_batch=True), model=TorchModel(module, optimizer)) as loop:
        for _ in loop.epochs(2):
            for x in loop.batches(torch.tensor(X).split(4)):
                loss = module(x).square().mean()
                loss.backward()
                optimizer.step()
                loop.log(loss=loss)
    assert loop.run.learning_rate == 0.25
    assert loop.run.model.module is module
    references = weakref.ref(module), weakref.ref(optimizer), weakref.ref(loss)
    del module, optimizer, loss
    gc.collect()
    assert [reference() for reference in references] == [None] * 3
    assert (loop.run.model, len(history.batches)) == (None, 4)


def test_a_loop_takes_a_module_and_its_optimizer_as_they_are(module):
    """The handle is made by the loop; the optimizer goes into it."""
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    loop = Loop(ReduceLROnPlateau("loss"), model=module, optimizer=optimizer)
    handle = loop.run.model
    assert (type(handle), handle.module, handle.learning_rates) == (TorchModel, module, [0.5])


def test_a_loop_of_a_module_without_its_optimizer_says_what_to_give(module):
    """The message of a sink that needs the rate names the loop's argument."""
    loop = Loop(ReduceLROnPlateau("loss"), model=module)
    with pytest.raises(SetupError, match=r"pass the optimizer, Loop\(model=module, optimizer=\.\.\.\) or TorchModel"):
        loop.__enter__()


def test_a_checkpoint_is_loaded_into_a_module_as_it_is(module, tmp_path):
    """`load_best` and `load_latest` take a module too."""
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.pt", save_weights_only=True)
    with Loop(checkpoint, model=module) as loop:
        for _ in loop.epochs(1):
            loop.log(val_loss=1.0)
    other = network()
    nn.init.zeros_(other[0].weight)
    assert checkpoint.load_best(other) == tmp_path / "1.pt"
    assert torch.equal(other[0].weight, module[0].weight)
