"""What is seen of PyTorch modules: the chain of layers, the output, the loss; their code is not read."""

import pytest

torch = pytest.importorskip("torch")

from monitor_core.adapters.torch import TorchModel  # noqa: E402 (not without torch)

nn = torch.nn


class Branched(nn.Module):
    """A module with a function between its layers, and another at its end."""

    def __init__(self, end=False):
        super().__init__()
        self.first, self.second, self.end = nn.Linear(2, 4), nn.Linear(4, 3), end

    def forward(self, x):
        x = self.second(torch.relu(self.first(x)))
        return torch.softmax(x, 1) if self.end else x


X = torch.zeros(8, 2)


def facts(module, sample=None, **options):
    """Return what is known of the output."""
    summary = TorchModel(module, **options).summary(sample)
    return summary.is_chain, summary.output_layer, summary.output_activation, summary.output_units


def test_a_sequence_is_a_chain_without_a_sample():
    """Also a nested one."""
    module = nn.Sequential(nn.Sequential(nn.Linear(2, 4), nn.ReLU()), nn.Linear(4, 3), nn.Softmax(1))
    assert facts(module) == facts(module, X) == (True, "2", "softmax", 3)
    assert [(each.name, each.role, each.activation) for each in TorchModel(module).summary().layers] == [
        ("0.0", "linear", "linear"),
        ("0.1", "activation", "relu"),
        ("1", "linear", "linear"),
        ("2", "activation", "softmax"),
    ]


def test_functions_between_layers_are_no_chain():
    """With a sample, the layer that gives the output is seen; nothing is guessed."""
    assert facts(Branched()) == (False, None, None, None)
    assert facts(Branched(), X) == (False, "second", "linear", 3)
    assert facts(Branched(end=True), X) == (False, None, None, 3)


def test_weights_are_named_as_the_handle_names_them():
    """Also those of a module that is a single layer."""
    for module in (nn.Linear(2, 3), nn.Sequential(nn.Linear(2, 3)), Branched()):
        handle = TorchModel(module)
        names = [name for layer in handle.summary().layers for name in layer.weights]
        assert names == [name for name, _ in handle.weights()]


@pytest.mark.parametrize(
    ("loss", "known"),
    [
        (nn.CrossEntropyLoss(), ("sparse_categorical_crossentropy", True)),
        (nn.functional.cross_entropy, ("sparse_categorical_crossentropy", True)),
        (nn.BCELoss(), ("binary_crossentropy", False)),
        (nn.functional.mse_loss, ("mean_squared_error", None)),
        (nn.MSELoss(reduction="sum"), (None, None)),
        (lambda output, y: output.mean(), (None, None)),
        (None, (None, None)),
    ],
)
def test_losses_by_keras_names(loss, known):
    """A sum has another scale, and a function of the user's is not known."""
    summary = TorchModel(nn.Linear(2, 3), loss=loss).summary()
    assert (summary.loss, summary.from_logits) == known


def test_optimizer_rate_and_what_is_trained():
    """Frozen parameters do not count."""
    module = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3))
    module[0].requires_grad_(False)
    optimizer = torch.optim.SGD(module[2].parameters(), 0.1)
    summary = TorchModel(module, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 3)).summary()
    assert (summary.optimizer, summary.learning_rate, summary.has_rate_schedule) == ("sgd", 0.1, True)
    assert summary.trainable == 15
    assert [layer.trainable for layer in summary.layers] == [False, True, True]


def test_a_summary_leaves_the_module_as_it_is():
    """Its mode, and its buffers."""
    module = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    TorchModel(module).summary(torch.randn(8, 2))
    assert [each.training for each in module.modules()] == [True] * 4
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
