"""Model: a look inside."""

import copy

import numpy as np
import pytest

from torch_model_support import TorchModel, X, Y, handle, module, network, nn, same, through_json, torch, train  # noqa: F401 (fixtures)


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
    """Each innermost layer's output is what the layers compute one after another, and no hook stays registered."""
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
    """An output that the next layer overwrites is returned as it was."""
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


def test_only_chosen_modules_are_returned():
    """The named modules are returned with all their uses, even modules that have parts."""
    module = nn.Sequential(Reusing(), nn.Linear(4, 1))
    found = dict(TorchModel(module).activations(X, ["0", "0.shared"]))
    assert {name: array.shape for name, array in found.items()} == {
        "0.shared": (8, 4),
        "0.shared:1": (8, 4),
        "0": (8, 1, 4),
    }
    assert sum(len(each._forward_hooks) for each in module.modules()) == 0


def test_an_unknown_module_is_an_error():
    """An unknown module is an error that gives the nearest names, before anything is computed."""
    with pytest.raises(ValueError, match=r"layers must name layers of the model \(got 'shred'\): .*shared"):
        list(TorchModel(Reusing()).activations(X, ["shred"]))


def test_the_names_of_layers_are_known_beforehand():
    """A module gives the names of its innermost layers, unless lazy ones have not seen a batch yet."""
    assert TorchModel(network()).layer_names() == ["0", "1", "2", "3", "4"]
    assert TorchModel(nn.Sequential(nn.LazyLinear(3))).layer_names() is None


def test_a_module_that_is_one_layer_is_named_by_its_class():
    """Where the module itself is the layer, it is named by its class."""
    assert [name for name, _ in TorchModel(nn.Linear(4, 1)).activations(X)] == ["Linear"]


class Noisy(nn.Module):
    """A module that draws numbers, counts its calls in a buffer, and raises on request, in any mode."""

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


def test_a_compiled_module_keeps_its_own_names(module):
    """Names of what torch.compile wraps lack the wrapper's prefix."""
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
