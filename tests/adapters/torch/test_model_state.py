"""Model: weights, learning rates, files and training state."""

import copy
import os
import pickle

import numpy as np
import pytest

from monitor_core import Loop, SetupError
from monitor_core.sinks.reduce_lr_on_plateau import ReduceLROnPlateau
from torch_model_support import TorchModel, handle, module, network, nn, same, through_json, torch, train  # noqa: F401 (fixtures)


def test_weights_are_copies_of_parameters_and_buffers(handle, module):
    """Parameters and buffers come under their own names, as copies that do not change during further training."""
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


def test_tied_weights_are_returned_once():
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
    """A handle without an optimizer has no rates, so that a sink that needs them fails at train begin."""
    with pytest.raises(AttributeError, match=r"pass the optimizer, Loop\(.*\) or TorchModel\(module, optimizer\)"):
        _ = TorchModel(module).learning_rates
    with (
        pytest.raises(SetupError, match="ReduceLROnPlateau needs 'learning_rates'"),
        Loop(ReduceLROnPlateau("loss"), model=TorchModel(module)),
    ):
        pass


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


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_training_state_continues_where_it_was(make):
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
    """What cannot be written as JSON or an array is named with its place."""
    handle.optimizer.param_groups[0]["extra"] = object()
    with pytest.raises(TypeError, match=r"the optimizer's param_groups's extra must be numbers, .* \(got object\)"):
        handle.training_state()
