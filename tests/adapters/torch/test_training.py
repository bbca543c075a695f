"""Several modules, optimizers and schedulers in one handle, by name, and schedules that continue where they were."""

import functools
import gc
import importlib
import json

import numpy as np
import pytest

from monitor_core import History, Loop, ModelCheckpoint, ReduceLROnPlateau

torch = pytest.importorskip("torch")
TorchModel = importlib.import_module("monitor_core.adapters.torch").TorchModel  # not without torch
nn = torch.nn
schedules = torch.optim.lr_scheduler

X = np.random.default_rng(0).normal(size=(8, 2)).astype("float32")


# --- schedulers ----------------------------------------------------------------------------------------------------


class Halving:
    """A schedule with a state of its own, which LambdaLR saves."""

    def __init__(self):
        self.calls = 0

    def __call__(self, epoch):
        self.calls += 1
        return 0.5**self.calls


def sequential(optimizer):
    parts = [schedules.ConstantLR(optimizer, 0.5, 2), schedules.ExponentialLR(optimizer, 0.9)]
    return schedules.SequentialLR(optimizer, parts, milestones=[2])


SCHEDULERS = {
    "StepLR": lambda optimizer: schedules.StepLR(optimizer, 2),
    "MultiStepLR": lambda optimizer: schedules.MultiStepLR(optimizer, [2, 3, 3, 5]),
    "LambdaLR": lambda optimizer: schedules.LambdaLR(optimizer, Halving()),
    "MultiplicativeLR": lambda optimizer: schedules.MultiplicativeLR(optimizer, lambda epoch: 0.9),
    "LinearLR": lambda optimizer: schedules.LinearLR(optimizer, total_iters=5),
    "PolynomialLR": lambda optimizer: schedules.PolynomialLR(optimizer, total_iters=7),
    "CosineAnnealingLR": lambda optimizer: schedules.CosineAnnealingLR(optimizer, 6),
    "CosineAnnealingWarmRestarts": lambda optimizer: schedules.CosineAnnealingWarmRestarts(optimizer, 2, 2),
    "OneCycleLR": lambda optimizer: schedules.OneCycleLR(optimizer, 1.0, total_steps=12),
    "CyclicLR": lambda optimizer: schedules.CyclicLR(optimizer, 0.1, 1.0, 2, 3),
    "SequentialLR": sequential,
    "ChainedScheduler": lambda optimizer: schedules.ChainedScheduler(
        [schedules.ConstantLR(optimizer), schedules.StepLR(optimizer, 3)]
    ),
    "SWALR": lambda optimizer: torch.optim.swa_utils.SWALR(optimizer, 0.05, 4),
    "ReduceLROnPlateau": lambda optimizer: schedules.ReduceLROnPlateau(optimizer, patience=1),
}


def scheduled(make, rate=1.0):
    """Return a handle of a new module with an optimizer and its scheduler."""
    module = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(module.parameters(), lr=rate, momentum=0.9)
    return TorchModel(module, optimizer, make(optimizer))


def rates(handle, epochs):
    """Let the schedule run for some epochs and return their rates, and the last one's after it."""
    found = []
    for _ in range(epochs):
        handle.optimizer.step()
        scheduler = handle.schedulers["scheduler"]
        scheduler.step(*[1.0] * isinstance(scheduler, schedules.ReduceLROnPlateau))
        found += handle.learning_rates
    return found


def through_json(value):
    """Return a state after its JSON values went through JSON."""
    if isinstance(value, dict):
        return {name: through_json(each) for name, each in value.items()}
    if isinstance(value, list):
        return [through_json(each) for each in value]
    return value.copy() if isinstance(value, np.ndarray) else json.loads(json.dumps(value, allow_nan=False))


def by_state(old, new, folder):
    new.load_training_state(through_json(old.training_state()))


def by_file(old, new, folder):
    old.save(folder / "model.pt")
    new.load(folder / "model.pt")


@pytest.mark.parametrize("transfer", [by_state, by_file])
@pytest.mark.parametrize("rate", [1.0, torch.tensor(1.0)], ids=["float", "tensor"])
@pytest.mark.parametrize("make", SCHEDULERS.values(), ids=SCHEDULERS)
def test_each_of_pytorchs_schedulers_continues_where_it_was(make, rate, transfer, tmp_path):
    """The rates after the state went to new objects are those without."""
    new_rate = functools.partial(getattr(rate, "clone", lambda: rate))
    expected = rates(scheduled(make, new_rate()), 9)
    old, new = scheduled(make, new_rate()), scheduled(make, new_rate())
    before = rates(old, 4)
    transfer(old, new, tmp_path)
    assert before + rates(new, 5) == expected


def test_milestones_that_come_twice_still_do():
    """A counter within a state, whose keys are numbers, comes back as one."""
    old, new = scheduled(SCHEDULERS["MultiStepLR"]), scheduled(SCHEDULERS["StepLR"])
    new.load_training_state(through_json(old.training_state()))
    assert repr(new.schedulers["scheduler"].milestones) == "Counter({3: 2, 2: 1, 5: 1})"


def train_step_lr(folder, epochs):
    """Train with StepLR(2) in a run that is resumed; return each epoch's rate."""
    handle, found = scheduled(SCHEDULERS["StepLR"]), []
    with Loop(model=handle, resume=folder) as loop:
        for _ in loop.epochs(epochs):
            found += handle.learning_rates
            handle.optimizer.step()
            handle.schedulers["scheduler"].step()
            loop.log(loss=1.0)
    return found


def test_a_resumed_run_continues_its_schedule(tmp_path):
    """The rates of a run in two parts are those of one that was not interrupted."""
    expected = [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
    assert train_step_lr(tmp_path / "whole", 6) == pytest.approx(expected)
    assert train_step_lr(tmp_path / "parts", 3) + train_step_lr(tmp_path / "parts", 6) == pytest.approx(expected)


def test_a_scheduler_that_was_not_given_is_warned_about_once(warned):
    """Its state would be missing when the run is resumed; PyTorch marks the optimizers that have one."""
    module = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    handle = TorchModel(module, optimizer)
    handle.training_state()
    scheduler = schedules.StepLR(optimizer, 2)
    handle.training_state()
    handle.training_state()
    TorchModel(module, optimizer, scheduler).training_state()
    (message,) = warned()
    assert message == (
        "the optimizer has a learning rate scheduler that was not passed, so its state is not saved, and a resumed "
        "run begins its schedule again: write TorchModel(modules, optimizers, schedulers)"
    )


# --- several of each -----------------------------------------------------------------------------------------------


class Gan:
    """A generator and a critic, each with an optimizer, the generator's with a schedule."""

    def __init__(self):
        torch.manual_seed(1)
        self.generator = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))
        self.critic = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.2), nn.ReLU(), nn.Linear(3, 1))
        groups = [{"params": self.critic[0].parameters()}, {"params": self.critic[3].parameters(), "lr": 0.02}]
        self.optimizers = {
            "generator": torch.optim.Adam(self.generator.parameters(), lr=0.05, betas=(0.5, 0.9)),
            "critic": torch.optim.RMSprop(groups, lr=0.01),
        }
        self.scheduler = schedules.ExponentialLR(self.optimizers["generator"], 0.9)
        modules = {"generator": self.generator, "critic": self.critic}
        self.handle = TorchModel(modules, self.optimizers, {"generator": self.scheduler}, loss=self.loss)

    @staticmethod
    def loss(outputs, targets):
        return sum((each - targets).square().mean() for each in outputs.values())

    def step(self, real):
        """Train both one step; return their losses."""
        fake = self.generator(torch.randn(len(real), 2))
        critic_loss = self.critic(fake.detach()).mean() - self.critic(real).mean()
        self.update("critic", critic_loss)
        generator_loss = -self.critic(fake).mean()
        self.update("generator", generator_loss)
        return generator_loss, critic_loss

    def update(self, name, loss):
        self.optimizers[name].zero_grad()
        loss.backward()
        self.optimizers[name].step()


def train_gan(folder, epochs):
    """Train a GAN with two optimizers in a run that is resumed; return its handle, history and rates."""
    gan = Gan()
    plateau = ReduceLROnPlateau("generator", mode="min", factor=0.5, patience=1, min_delta=9.0)
    checkpoint = ModelCheckpoint(folder / "{epoch}.pt", monitor="critic", mode="min")
    history, found = History(), []
    with Loop(history, plateau, checkpoint, model=gan.handle, resume=folder / "run") as loop:
        for _ in loop.epochs(epochs):
            for real in loop.batches(torch.tensor(X).split(4)):
                generator, critic = gan.step(real)
                loop.log(generator=generator, critic=critic)
            gan.scheduler.step()
            found.append(gan.handle.learning_rates)
    return gan, history.history, found


def same(ours, theirs):
    return all(np.array_equal(one, two) for one, two in zip(ours, theirs, strict=True))


def test_a_gan_is_trained_saved_and_resumed(tmp_path):
    """Two optimizers, one with a schedule: the rates drop, files hold both, and a resumed run is as one without."""
    whole, history, expected = train_gan(tmp_path / "whole", 6)
    _, _, first = train_gan(tmp_path / "parts", 3)
    parts, resumed, second = train_gan(tmp_path / "parts", 6)
    assert first + second == expected
    assert expected[-1][1:] == [0.01 * 0.5**4, 0.02 * 0.5**4]
    assert resumed == history
    assert same(parts.handle.get_weights(), whole.handle.get_weights())

    other = Gan().handle
    other.load(tmp_path / "parts" / "6.pt")
    assert same(other.get_weights(), parts.handle.get_weights())
    assert other.schedulers["generator"].last_epoch == 6
    assert other.optimizers["critic"].state_dict()["state"].keys() == {0, 1, 2, 3}


@pytest.fixture
def gan():
    return Gan()


def test_rates_come_optimizer_by_optimizer(gan):
    """Their order is that of the dict, group by group, and they are set in the same order."""
    assert gan.handle.learning_rates == [0.05, 0.01, 0.02]
    gan.handle.learning_rates = [1.0, 2.0, 3.0]
    assert [group["lr"] for each in gan.optimizers.values() for group in each.param_groups] == [1.0, 2.0, 3.0]
    with pytest.raises(ValueError, match=r"one rate for each of 3 groups \(got 1\)"):
        gan.handle.learning_rates = [1.0]


def test_names_begin_with_the_modules(gan):
    """Weights and layers of several modules are distinguished by the module's name."""
    names = [name for name, _ in gan.handle.weights()]
    assert (names[0], names[6], names[-1]) == (
        "generator.0.weight",
        "critic.0.weight",
        "generator.1.num_batches_tracked",
    )
    assert gan.handle.layer_names() == [f"{name}.{part}" for name in ("generator", "critic") for part in range(4)]
    assert repr(gan.handle) == "TorchModel(generator=Sequential, critic=Sequential)"


def test_a_look_into_several_modules_takes_inputs_by_name(gan):
    """Modules with inputs are called, the others are not; outputs are by name too."""
    found = gan.handle.predict({"critic": X})
    assert {name: output.shape for name, output in found.items()} == {"critic": (8, 1)}
    both = {"generator": X, "critic": X}
    assert [name for name, _ in gan.handle.activations(both)] == gan.handle.layer_names()
    assert [name for name, _ in gan.handle.activations(both, ["critic"])] == ["critic"]
    assert len(list(gan.handle.gradients(both, np.zeros((8, 1), "float32")))) == 10
    assert {node.name for node in gan.handle.layer_graph(both).nodes} >= {"generator", "critic"}


def test_the_graph_of_several_modules_needs_no_sample(gan, warned):
    """Each module is followed from inputs of its own."""
    graph = gan.handle.layer_graph()
    assert [node.name for node in graph.nodes] == ["generator.input", "generator", "critic.input", "critic"]
    inside = gan.handle.layer_graph(expand_nested=True)
    assert len(inside.nodes) == 2 + len(gan.handle.layer_names())
    assert warned() == []


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X, r"x must be a mapping with inputs for some of the modules generator, critic \(got a Tensor\)"),
        ({"genrator": X}, r"x must have names of the modules generator, critic \(got genrator\)"),
    ],
)
def test_samples_for_several_modules_without_their_names_are_refused(gan, x, message):
    """The message says what the modules are called."""
    with pytest.raises(TypeError, match=message):
        gan.handle.predict(x)


def test_a_look_leaves_several_modules_as_they_were(gan):
    """Modes and buffers are restored, one module's in training, the other's not."""
    gan.critic.eval()
    before = [each.clone() for each in gan.generator.buffers()], torch.get_rng_state()
    gan.handle.predict({"generator": X, "critic": X})
    assert (gan.generator.training, gan.generator[1].training, gan.critic[1].training) == (True, True, False)
    assert all(map(torch.equal, gan.generator.buffers(), before[0]))
    assert torch.equal(torch.get_rng_state(), before[1])


def test_states_of_others_are_refused_whole(gan):
    """Names of optimizers and schedulers must be the same; nothing is set where one does not fit."""
    state = gan.handle.training_state()
    one = TorchModel(gan.generator, gan.optimizers["generator"], gan.scheduler)
    with pytest.raises(ValueError, match=r"one optimizer, as this handle has \(got the optimizers generator, critic\)"):
        one.load_training_state(state)
    with pytest.raises(ValueError, match=r"have the schedulers generator, as this handle has \(got no scheduler\)"):
        gan.handle.load_training_state({**state, "schedulers": {}})
    wrong = Gan()
    wrong.optimizers["critic"].add_param_group({"params": [nn.Parameter(torch.ones(1))]})
    wrong.handle.learning_rates = [1.0] * 4
    with pytest.raises(ValueError, match=r"state must have 3 parameter groups \(got 2\)"):
        wrong.handle.load_training_state(state)
    assert wrong.handle.learning_rates == [1.0] * 4


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([nn.Linear(1, 1)],), TypeError, r"modules must be a torch.nn.Module, or a dict of them by name \(got list\)"),
        ((None,), TypeError, r"modules must be .* \(got None\)"),
        (({},), ValueError, "modules must not be an empty dict"),
        (({"a.b": nn.Linear(1, 1)},), ValueError, r"modules must have names without a dot \(got 'a.b'\)"),
        (({"": nn.Linear(1, 1)},), ValueError, r"modules must have names without a dot \(got ''\)"),
        (({"train": nn.Linear(1, 1)},), ValueError, r"modules must have other names \(got train\)"),
        (
            (nn.Linear(1, 1), {"a": 3}),
            TypeError,
            r"optimizers must be a torch.optim.Optimizer, or a dict .* \(got int\)",
        ),
        ((nn.Linear(1, 1), None, [3]), TypeError, r"schedulers must be an LRScheduler, or a dict .* \(got list\)"),
    ],
)
def test_what_is_not_given_by_name_is_an_error(arguments, error, message):
    """Lists, empty dicts and names that weights could not have are refused at once."""
    with pytest.raises(error, match=message):
        TorchModel(*arguments)


def test_the_only_optimizer_has_an_attribute(gan):
    """Where there are several, the error names them."""
    assert TorchModel(gan.critic, gan.optimizers["critic"]).optimizer is gan.optimizers["critic"]
    assert TorchModel(gan.critic).optimizer is None
    with pytest.raises(AttributeError, match="there are several optimizers, by name: generator, critic"):
        _ = gan.handle.optimizer


def test_several_modules_are_found_again_while_all_parts_live(gan):
    """After a run nothing keeps them alive; once a part is gone, there is no handle."""
    again = gan.handle.recall()
    gan.handle = None
    handle = again()
    assert (handle.modules, handle.optimizers) == ({"generator": gan.generator, "critic": gan.critic}, gan.optimizers)
    assert handle.schedulers == {"generator": gan.scheduler}
    del handle, gan.scheduler
    gc.collect()
    assert again() is None


class Counting(torch.optim.SGD):
    """An optimizer with a state of its own, next to those of its parameters."""

    def step(self, closure=None):
        """Count."""
        self.state["steps"] = self.state.get("steps", 0) + 1
        return super().step(closure)


def test_an_optimizers_own_state_is_kept_next_to_those_of_its_parameters():
    """As PyTorch does; and a state of more parameters is refused by PyTorch's own message."""
    module = nn.Linear(2, 1)
    handle = TorchModel(module, Counting(module.parameters(), lr=0.1, momentum=0.9))
    module(torch.ones(1, 2)).sum().backward()
    handle.optimizer.step()
    state = handle.training_state()
    again = TorchModel(module, Counting(module.parameters(), lr=0.1, momentum=0.9))
    again.load_training_state(state)
    assert again.optimizer.state["steps"] == 1
    assert len(again.optimizer.state) == 3
    smaller = TorchModel(module, Counting([module.bias], lr=0.1, momentum=0.9))
    with pytest.raises(ValueError, match="doesn't match the size"):
        smaller.load_training_state(state)
