"""The handle of a PyTorch module, and the sinks that act on it in a PyTorch loop."""

import copy
import gc
import importlib
import json
import os
import pickle
import weakref

import numpy as np
import pytest

from monitor_core import History, Loop, SetupError, Sink
from monitor_core.schedules import CosineDecay, LinearWarmup
from monitor_core.sinks.learning_rate_scheduler import LearningRateScheduler
from monitor_core.sinks.model_checkpoint import ModelCheckpoint
from monitor_core.sinks.reduce_lr_on_plateau import ReduceLROnPlateau

torch = pytest.importorskip("torch")
TorchModel = importlib.import_module("monitor_core.adapters.torch").TorchModel  # not without torch
nn = torch.nn

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 4)).astype("float32")
Y = X.sum(axis=1, keepdims=True)


def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Dropout(0.5), nn.Linear(3, 1))


@pytest.fixture
def module():
    return network()


@pytest.fixture
def handle(module):
    return TorchModel(module, torch.optim.AdamW(module.parameters(), lr=0.1), loss=nn.functional.mse_loss)


def train(handle, steps=3):
    """Train some steps in full batches; dropout draws from PyTorch's generator."""
    handle.module.train()
    for _ in range(steps):
        loss = nn.functional.mse_loss(handle.module(torch.tensor(X)), torch.tensor(Y))
        handle.optimizer.zero_grad()
        loss.backward()
        handle.optimizer.step()
    return handle.get_weights()


def same(ours, theirs):
    return len(ours) == len(theirs) and all(np.array_equal(one, two) for one, two in zip(ours, theirs, strict=True))


def everything(module):
    """Return everything of a module that a look inside must leave alone."""
    tensors = [*module.parameters(), *module.buffers()]
    return (
        [tensor.detach().clone().numpy() for tensor in tensors],
        [None if each.grad is None else each.grad.clone().numpy() for each in module.parameters()],
        [each.training for each in module.modules()],
        [len(each._forward_hooks) for each in module.modules()],
        torch.get_rng_state().numpy(),
    )


def unchanged(before, after):
    values, gradients, modes, hooks, generator = after
    return (
        same(before[0], values)
        and same(before[1], gradients)
        and before[2:4] == (modes, hooks)
        and np.array_equal(before[4], generator)
    )


# --- weights -------------------------------------------------------------------------------------------------------


def test_weights_are_copies_of_parameters_and_buffers(handle, module):
    """Parameters and buffers come under their own names, and what was lent does not change as training goes on."""
    before = handle.get_weights()
    kept = copy.deepcopy(before)
    assert [name for name, _ in handle.weights()] == [
        *(name for name, _ in module.named_parameters()),
        *(name for name, _ in module.named_buffers()),
    ]
    assert not same(train(handle), kept)
    assert same(before, kept)


def test_weights_are_set_in_place(handle, module):
    """Setting weights changes the tensors that the optimizer holds, buffers included."""
    before = handle.get_weights()
    tensors = [id(tensor) for tensor in (*module.parameters(), *module.buffers())]
    train(handle)
    handle.set_weights(before)
    assert same(handle.get_weights(), before)
    assert [id(tensor) for tensor in (*module.parameters(), *module.buffers())] == tensors


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_weights_of_each_type_come_back(dtype):
    """Weights of any floating type are the same after a way to the host and back; bfloat16 travels as float32."""
    module = nn.Linear(3, 2).to(getattr(torch, dtype))
    handle, before = TorchModel(module), copy.deepcopy(module.state_dict())
    weights = handle.get_weights()
    assert weights[0].dtype == ("float32" if dtype == "bfloat16" else dtype)
    handle.set_weights([np.zeros_like(array) for array in weights])
    handle.set_weights(weights)
    assert all(torch.equal(module.state_dict()[name], value) for name, value in before.items())
    assert module.weight.dtype == getattr(torch, dtype)


def test_tied_weights_are_lent_once():
    """A parameter that two modules share comes once, under its first name."""
    one, two = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    two.weight = one.weight
    assert [name for name, _ in TorchModel(nn.Sequential(one, two)).weights()] == ["0.weight"]


def test_weights_of_another_module_are_refused_whole(handle):
    """A wrong number or shape of arrays is an error, and none of them is set."""
    before = handle.get_weights()
    with pytest.raises(ValueError, match=r"weights must be 9 arrays \(got 1\)"):
        handle.set_weights(before[:1])
    wrong = [array + 1 for array in before[:-2]] + [np.zeros(7), before[-1]]
    with pytest.raises(ValueError, match=r"weights must have the shape \(3,\) for 1\.running_var \(got \(7,\)\)"):
        handle.set_weights(wrong)
    assert same(handle.get_weights(), before)


# --- learning rates --------------------------------------------------------------------------------------------------


def test_learning_rates_of_all_groups_are_read_and_set():
    """Each parameter group has its rate; one that is a tensor stays the same tensor."""
    rate = torch.tensor(0.25)
    groups = [{"params": [torch.zeros(1)], "lr": 0.5}, {"params": [torch.zeros(1)], "lr": rate}]
    optimizer = torch.optim.Adam(groups)
    handle = TorchModel(nn.Linear(1, 1), optimizer)
    assert handle.learning_rates == [0.5, 0.25]
    handle.learning_rates = [0.125, 2.0]
    assert handle.learning_rates == [0.125, 2.0]
    assert optimizer.param_groups[1]["lr"] is rate
    with pytest.raises(ValueError, match=r"learning_rates must have one rate for each of 2 groups \(got 1\)"):
        handle.learning_rates = [0.1]


def test_without_an_optimizer_there_are_no_rates(module):
    """A handle without an optimizer lends no rates, so that a sink that needs them fails at train begin."""
    with pytest.raises(AttributeError, match=r"give the optimizer, Loop\(.*\) or TorchModel\(module, optimizer\)"):
        _ = TorchModel(module).learning_rates
    with (
        pytest.raises(SetupError, match="ReduceLROnPlateau needs 'learning_rates'"),
        Loop(ReduceLROnPlateau("loss"), model=TorchModel(module)),
    ):
        pass


# --- files and training state --------------------------------------------------------------------------------------


def test_a_saved_file_brings_weights_and_optimizer_back(handle, tmp_path):
    """A file holds the module's state and the optimizer's: the same steps after loading give the same weights."""
    train(handle)
    handle.save(tmp_path / "model.pt")
    torch.manual_seed(1)
    first = train(handle)
    other = TorchModel(module := network(), torch.optim.AdamW(module.parameters(), lr=9.0))
    other.load(tmp_path / "model.pt")
    torch.manual_seed(1)
    assert same(train(other), first)
    assert other.learning_rates == [0.1]


def test_a_file_of_weights_alone_is_a_plain_state_dict(handle, module, tmp_path):
    """With weights_only=True the file is what any PyTorch program expects, and loads back."""
    before = handle.get_weights()
    handle.save(tmp_path / "weights.pt", weights_only=True)
    assert list(torch.load(tmp_path / "weights.pt", weights_only=True)) == list(module.state_dict())
    train(handle)
    handle.load(tmp_path / "weights.pt")
    assert same(handle.get_weights(), before)


def test_a_whole_file_is_loaded_without_an_optimizer_too(handle, module, tmp_path):
    """For inference, a handle without an optimizer takes the weights from a whole file."""
    before = train(handle)
    handle.save(tmp_path / "model.pt")
    other = TorchModel(network())
    other.load(tmp_path / "model.pt")
    assert same(other.get_weights(), before)


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harmed",)


def test_loading_executes_nothing(handle, tmp_path, monkeypatch):
    """A file with code in it is refused, and the code is not run."""
    monkeypatch.chdir(tmp_path)
    torch.save({"module": Harmful()}, tmp_path / "model.pt")
    with pytest.raises(pickle.UnpicklingError):
        handle.load(tmp_path / "model.pt")
    assert not (tmp_path / "harmed").exists()


OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01, amsgrad=True),
    "adam of a tensor's rate": lambda parameters: torch.optim.Adam(parameters, lr=torch.tensor(0.01)),
    "adagrad": lambda parameters: torch.optim.Adagrad(parameters, lr=0.01),
    "two groups": lambda parameters: torch.optim.AdamW(
        [{"params": (listed := list(parameters))[:1], "lr": 0.5, "betas": (0.5, 0.6)}, {"params": listed[1:]}]
    ),
}


def through_json(value):
    """Return a state as it is after its JSON values went through JSON and its arrays were copied."""
    if isinstance(value, dict):
        return {name: through_json(each) for name, each in value.items()}
    if isinstance(value, list):
        return [through_json(each) for each in value]
    return value.copy() if isinstance(value, np.ndarray) else json.loads(json.dumps(value, allow_nan=False))


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_training_state_goes_on_where_it_was(make):
    """With weights and training state restored elsewhere, the same steps give the same weights, dropout included."""
    handle = TorchModel(module := network(), make(module.parameters()))
    weights = train(handle)
    state = through_json(handle.training_state())
    first = train(handle)
    other = TorchModel(module := network(), make(module.parameters()))
    train(other, steps=1)
    other.set_weights(weights)
    other.load_training_state(state)
    assert same(train(other), first)
    assert str(other.optimizer.state_dict()["param_groups"]) == str(handle.optimizer.state_dict()["param_groups"])


def test_a_rate_that_is_a_tensor_stays_the_same_tensor(module, tmp_path):
    """Loading a file or a state sets a rate that is a tensor in place, since a captured graph reads that tensor."""
    handle = TorchModel(module, torch.optim.Adam(module.parameters(), lr=(rate := torch.tensor(0.5))))
    handle.save(tmp_path / "model.pt")
    state = handle.training_state()
    for load in (lambda: handle.load(tmp_path / "model.pt"), lambda: handle.load_training_state(state)):
        handle.learning_rates = [0.25]
        load()
        assert handle.optimizer.param_groups[0]["lr"] is rate
        assert float(rate) == 0.5


def test_a_rate_that_is_not_finite_survives(handle):
    """An infinite option of the optimizer goes as a text, which JSON can hold, and comes back as a number."""
    handle.learning_rates = [float("inf")]
    state = through_json(handle.training_state())
    handle.learning_rates = [0.1]
    handle.load_training_state(state)
    assert handle.learning_rates == [float("inf")]


def test_the_state_of_another_optimizer_is_refused(handle, module):
    """A state without an optimizer's part, or with other groups, is an error that says what was expected."""
    with pytest.raises(ValueError, match=r"state must have one optimizer, as this handle has \(got no optimizer\)"):
        handle.load_training_state(TorchModel(module).training_state())
    with pytest.raises(ValueError, match=r"state must have no optimizer, as this handle has \(got one optimizer\)"):
        TorchModel(module).load_training_state(handle.training_state())
    two = TorchModel(module, torch.optim.SGD([{"params": [each]} for each in list(module.parameters())[:2]]))
    with pytest.raises(ValueError, match=r"state must have 1 parameter groups \(got 2\)"):
        handle.load_training_state(two.training_state())


def test_an_optimizers_state_of_other_objects_is_an_error(handle):
    """What cannot be written as JSON or an array is named where it stands."""
    handle.optimizer.param_groups[0]["extra"] = object()
    with pytest.raises(TypeError, match=r"the optimizer's param_groups's extra must be numbers, .* \(got object\)"):
        handle.training_state()


# --- a look inside ---------------------------------------------------------------------------------------------------


def test_predictions_are_host_arrays_in_evaluation_mode(handle, module):
    """Predictions are those of evaluation mode, without a trace in modes, buffers, gradients and generators."""
    train(handle)
    module[1].eval()  # a part that is frozen stays so
    before = everything(module)
    found = handle.predict(X)
    assert unchanged(before, everything(module))
    with torch.no_grad():
        np.testing.assert_array_equal(found, copy.deepcopy(module).eval()(torch.tensor(X)).numpy())


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, one, two):
        return {"sum": one + two, "parts": [self.scale * one, two]}


@pytest.mark.parametrize(
    "x", [(X, 2 * X), [X, 2 * X], {"two": 2 * X, "one": X}, (X.astype("float64"), torch.tensor(2 * X))]
)
def test_several_inputs_and_outputs_keep_their_structure(x):
    """Inputs by position or by name, arrays or tensors, give outputs as the module structures them."""
    found = TorchModel(TwoInputs()).predict(x)
    np.testing.assert_array_equal(found["sum"], 3 * X)
    np.testing.assert_array_equal(found["parts"], [2 * X, 2 * X])


def test_activations_are_each_layers_outputs(handle, module):
    """Each innermost layer's output is what the layers compute one after another, and nothing is left behind."""
    train(handle)
    before = everything(module)
    found = dict(handle.activations(X))
    assert unchanged(before, everything(module))
    assert list(found) == ["0", "1", "2", "3", "4"]
    value = torch.tensor(X)
    with torch.no_grad():
        for name, layer in copy.deepcopy(module).eval().named_children():
            value = layer(value)
            np.testing.assert_array_equal(found[name], value.numpy())


def test_activations_are_those_before_a_change_in_place():
    """An output that the next layer overwrites is lent as it was."""
    module = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True))
    found = dict(TorchModel(module).activations(torch.tensor([-1.0, 1.0])))
    assert (found["0"].tolist(), found["1"].tolist()) == ([-1.0, 1.0], [0.0, 1.0])


class Reusing(nn.Module):
    """A layer used twice, one with several outputs, one that is not called, and attention, which uses its part."""

    def __init__(self):
        super().__init__()
        self.shared = nn.Linear(4, 4)
        self.unused = nn.Linear(4, 4)
        self.memory = nn.LSTM(4, 4, batch_first=True)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))

    def forward(self, x):
        x = self.shared(self.shared(x))[:, None]
        x, _ = self.memory(x)
        x, _ = self.attention(x, x, x)
        return self.normed(x)


def test_activations_of_layers_with_several_outputs():
    """Every call and every output has a name of its own; attention and parametrized layers count as layers."""
    found = dict(TorchModel(Reusing()).activations(X))
    assert {name: array.shape for name, array in found.items()} == {
        "shared": (8, 4),
        "shared:1": (8, 4),
        "memory": (8, 1, 4),
        "memory:1": (1, 8, 4),
        "memory:2": (1, 8, 4),
        "attention": (8, 1, 4),
        "attention:1": (8, 1, 1),
        "normed": (8, 1, 4),
    }


def test_only_chosen_modules_are_lent():
    """Modules that are named are lent with all their uses, those that have parts too."""
    module = nn.Sequential(Reusing(), nn.Linear(4, 1))
    found = dict(TorchModel(module).activations(X, ["0", "0.shared"]))
    assert {name: array.shape for name, array in found.items()} == {
        "0.shared": (8, 4),
        "0.shared:1": (8, 4),
        "0": (8, 1, 4),
    }
    assert sum(len(each._forward_hooks) for each in module.modules()) == 0


def test_an_unknown_module_is_an_error():
    """A module that there is not is an error that tells the nearest names, before anything is computed."""
    with pytest.raises(ValueError, match=r"layers must name layers of the model \(got 'shred'\): .*shared"):
        list(TorchModel(Reusing()).activations(X, ["shred"]))


def test_the_names_of_layers_are_known_beforehand():
    """A module tells the names of its innermost layers, unless lazy ones have not seen a batch yet."""
    assert TorchModel(network()).layer_names() == ["0", "1", "2", "3", "4"]
    assert TorchModel(nn.Sequential(nn.LazyLinear(3))).layer_names() is None


def test_a_module_that_is_one_layer_is_named_by_its_class():
    """Where the module itself is the layer, it is named by its class."""
    assert [name for name, _ in TorchModel(nn.Linear(4, 1)).activations(X)] == ["Linear"]


class Noisy(nn.Module):
    """A module that draws numbers, counts its calls in a buffer, and raises where told, in any mode."""

    def __init__(self, fails):
        super().__init__()
        self.inner = nn.Linear(4, 1)
        self.register_buffer("calls", torch.zeros(()))
        self.fails = fails

    def forward(self, x):
        self.calls += 1
        x = self.inner(x + torch.randn_like(x))
        if self.fails:
            raise RuntimeError("broken")
        return x


LOOKS = {
    "predict": lambda handle: handle.predict(X),
    "activations": lambda handle: list(handle.activations(X)),
    "gradients": lambda handle: list(handle.gradients(X, Y)),
}


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_look_inside_leaves_no_trace(look, fails):
    """Buffers, modes, generators, gradients and hooks are as before, also where the module raises."""
    module = Noisy(fails)
    handle = TorchModel(module, loss=nn.functional.mse_loss)
    before = everything(module)
    if fails:
        with pytest.raises(RuntimeError, match="broken"):
            look(handle)
    else:
        look(handle)
    assert unchanged(before, everything(module))


class Merging(nn.Linear):
    """A layer that does work when its mode changes, as adapters do that merge their weights for evaluation."""

    merged = False

    def train(self, mode=True):
        self.merged = not mode
        return super().train(mode)


def test_modes_are_restored_by_the_modules_own_means():
    """The mode is set back by train(), so that a module that does more than set a flag undoes it."""
    module = Merging(4, 1)
    TorchModel(module).predict(X)
    assert (module.merged, module.training) == (False, True)


def test_gradients_are_those_of_the_loss(handle, module):
    """Gradients are what backward gives in evaluation mode, zeros for what the loss does not use; .grad stays."""
    train(handle)
    module.register_parameter("unused", nn.Parameter(torch.ones(2)))
    module[0].bias.requires_grad_(requires_grad=False)
    before = everything(module)
    with torch.no_grad():
        found = dict(handle.gradients(X, Y))
    assert unchanged(before, everything(module))
    other = copy.deepcopy(module).eval()
    other.zero_grad()
    nn.functional.mse_loss(other(torch.tensor(X)), torch.tensor(Y)).backward()
    expected = {name: each.grad for name, each in other.named_parameters() if each.requires_grad}
    assert list(found) == list(expected)
    np.testing.assert_array_equal(found.pop("unused"), [0.0, 0.0])
    for name, gradient in found.items():
        np.testing.assert_allclose(gradient, expected[name], rtol=1e-6)


def test_gradients_of_recurrent_modules_and_in_inference_mode():
    """A recurrent module's gradients are there too, also where the caller computes without any."""

    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.memory = nn.GRU(4, 1, batch_first=True)

        def forward(self, x):
            return self.memory(x)[0][:, -1]

    handle = TorchModel(Last(), loss=nn.functional.mse_loss)
    with torch.inference_mode():
        found = dict(handle.gradients(X.reshape(4, 2, 4), Y[:4]))
    assert all(np.abs(gradient).max() > 0 for gradient in found.values())


def test_gradients_need_a_loss_of_one_element(module):
    """Without a loss, or with one for each sample, the error says what to give."""
    with pytest.raises(TypeError, match=r"gradients need a loss: TorchModel\(module, optimizer, loss="):
        TorchModel(module).gradients(X, Y)
    with pytest.raises(TypeError, match=r"loss must return a tensor of one element \(got one of the shape \(8, 1\)\)"):
        TorchModel(module, loss=torch.sub).gradients(X, Y)
    with pytest.raises(TypeError, match=r"loss must return a tensor of one element \(got float\)"):
        TorchModel(module, loss=lambda outputs, targets: 0.5).gradients(X, Y)


def test_a_module_knows_no_directions(handle):
    """A PyTorch module has no metrics, so their names decide."""
    assert handle.direction("loss") is None


def test_a_compiled_module_is_lent_by_its_own_names(module):
    """What torch.compile wraps is lent without the wrapper's prefix."""
    assert TorchModel(torch.compile(module, backend="eager")).module is module


def test_only_modules_optimizers_and_functions_are_taken(module):
    """Anything else is refused by type."""
    with pytest.raises(TypeError, match=r"modules must be a torch\.nn\.Module, or a dict of them by name \(got int\)"):
        TorchModel(3)
    with pytest.raises(TypeError, match=r"optimizers must be a torch\.optim\.Optimizer, or a dict .* \(got float\)"):
        TorchModel(module, 0.1)
    with pytest.raises(TypeError, match=r"loss must be a function of outputs and targets \(got 'mse'\)"):
        TorchModel(module, loss="mse")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_on_a_cuda_device_all_of_it_holds(tmp_path):
    """Weights, predictions, gradients, files and training state work where the module is on a device."""
    module = network().cuda()
    handle = TorchModel(module, torch.optim.Adam(module.parameters(), lr=0.1), loss=nn.functional.mse_loss)
    x, y = torch.tensor(X).cuda(), torch.tensor(Y).cuda()

    def step():
        handle.optimizer.zero_grad()
        nn.functional.mse_loss(module(x), y).backward()
        handle.optimizer.step()
        return handle.get_weights()

    handle.save(tmp_path / "model.pt")
    state = through_json(handle.training_state())
    generator = torch.cuda.get_rng_state()
    assert handle.predict(X).shape == (8, 1)
    assert len(list(handle.activations(X))) == 5
    assert len(list(handle.gradients(X, Y))) == 6
    assert torch.equal(torch.cuda.get_rng_state(), generator)
    first = step()
    handle.load(tmp_path / "model.pt")
    handle.load_training_state(state)
    for ours, theirs in zip(step(), first, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    assert {tensor.device.type for tensor in (*module.parameters(), *module.buffers())} == {"cuda"}


# --- the sinks in a PyTorch loop -----------------------------------------------------------------------------------


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
    with pytest.raises(SetupError, match=r"give the optimizer, Loop\(model=module, optimizer=\.\.\.\) or TorchModel"):
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
