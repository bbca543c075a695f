"""Streams: a run by steps that was killed continues with the next item, whatever the data are."""

import logging

import numpy as np
import pytest

from monitor_core import Loop

torch = pytest.importorskip("torch")

from monitor_core.adapters.torch import TorchModel  # noqa: E402 (it imports torch)


class Linear(torch.nn.Module):
    """A model of one weight."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return self.weight * x


class Killed(BaseException):
    """Ends a training as a kill would: nothing of it is caught."""


@pytest.fixture
def _save_every_epoch(monkeypatch):
    """Save the state at every epoch's end, however long it takes."""
    monkeypatch.setattr("monitor_core.loop.resume.SHARE", 1e9)


def train(folder, data, *, kill_at=None, epochs=4):
    """Train by steps in a folder; return the items in order and the weight."""
    torch.manual_seed(0)
    model = Linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    seen = []
    try:
        with Loop(model=TorchModel(model, optimizer), resume=folder) as loop:
            for _ in loop.epochs(epochs, steps_per_epoch=3):
                for x in loop.batches(data):
                    seen.append(float(x))
                    loss = (model(x) - 3 * x).square().mean() * torch.rand(())
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    loop.log(loss=loss)
                    if loop.run.step + 1 == kill_at:
                        raise Killed
    except Killed:
        pass
    return seen, float(model.weight.detach()[0])


def loader():
    """Return a shuffled loader of seven items."""
    return torch.utils.data.DataLoader(torch.arange(7.0), batch_size=None, sampler=None, shuffle=True)


def stateful():
    """Return the same with a state of its own."""
    from_torchdata = pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader
    torch.manual_seed(1)  # its sampler draws a seed when it is made
    return from_torchdata(torch.arange(7.0), batch_size=None, shuffle=True)


def grain():
    """Return a dataset of Grain's, whose iterators have a state."""
    dataset = pytest.importorskip("grain").MapDataset.range(7).seed(1).shuffle().map(lambda x: torch.tensor(float(x)))
    return dataset.to_iter_dataset()


class Countdown:
    """A dataset with a state of its own that counts how often it is read from the beginning."""

    def __init__(self):
        self.at = 0
        self.begun = 0

    def __iter__(self):
        self.begun += 1
        while self.at < 7:
            self.at += 1
            yield torch.tensor(float(self.at))
        self.at = 0

    def state_dict(self):
        return {"at": self.at, ("a", 1): (b"bytes", [torch.tensor([1, 2])])}

    def load_state_dict(self, state):
        assert state["a", 1][0] == b"bytes"
        assert torch.equal(state["a", 1][1][0], torch.tensor([1, 2]))
        self.at = state["at"]


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
@pytest.mark.usefixtures("_save_every_epoch")
@pytest.mark.parametrize(
    "make", [loader, stateful, grain, Countdown, lambda: [torch.tensor(float(x)) for x in range(7)]]
)
@pytest.mark.parametrize("kill_at", [2, 5, 8, 11])
def test_a_killed_run_continues_with_the_next_item(tmp_path, make, kill_at):
    """A run that was killed in an epoch trains on the same items as one that was not, to the same weight."""
    whole, weight = train(tmp_path / "whole", make())
    train(tmp_path / "cut", make(), kill_at=kill_at)
    rest, resumed = train(tmp_path / "cut", make())
    assert len(whole) == 12
    assert rest == whole[-len(rest) :]
    assert resumed == weight


@pytest.mark.usefixtures("_save_every_epoch")
def test_the_log_says_how_the_position_was_found(tmp_path, caplog):
    """By the data's own state, or by reading and skipping."""
    caplog.set_level(logging.INFO, "monitor_core")
    for name, make, words in (("own", Countdown, "after their own state"), ("skip", loader, "are read and skipped")):
        train(tmp_path / name, make(), kill_at=5)
        caplog.clear()
        train(tmp_path / name, make())
        assert sum(words in record.getMessage() for record in caplog.records) == 1


@pytest.mark.usefixtures("_save_every_epoch")
def test_an_iterator_continues_with_its_next_item_and_says_so(tmp_path, warned):
    """The position of an iterator is the caller's."""
    train(tmp_path, iter(map(torch.tensor, np.arange(50.0).tolist())), kill_at=5)
    seen, _ = train(tmp_path, iter(map(torch.tensor, np.arange(100.0, 150.0).tolist())))
    assert seen[0] == 100.0
    assert [each for each in warned() if "the data are an iterator" in each]


@pytest.mark.usefixtures("_save_every_epoch")
def test_other_data_than_before_are_read_from_their_beginning(tmp_path, warned):
    """They do not get the position of data that look different; a warning names both."""
    train(tmp_path, [torch.tensor(float(x)) for x in range(7)], kill_at=5)
    seen, _ = train(tmp_path, [torch.tensor(float(x)) for x in range(20, 40)])
    assert seen[0] == 20.0
    [warning] = [each for each in warned() if "the data are read" in each]
    assert warning == (
        "the data are read from their beginning: they are list of 20, and before the run was resumed list of 7 was "
        "read first"
    )


@pytest.mark.usefixtures("_save_every_epoch")
@pytest.mark.parametrize(("turns", "warnings"), [(True, 1), (False, 0)])
def test_data_that_take_turns_by_epoch_and_look_alike_are_reported(tmp_path, caplog, turns, warnings):
    """Which of them comes first after a resume is unknown; where each epoch reads both, it is known."""
    for epochs in (2, 3):
        model = Linear()
        data = [loader(), loader()]
        with Loop(model=TorchModel(model, torch.optim.SGD(model.parameters(), lr=0.01)), resume=tmp_path) as loop:
            for epoch in loop.epochs(epochs, steps_per_epoch=4):
                for each in data[epoch % 2 :][:1] if turns else data:
                    for number, _ in enumerate(loop.batches(each)):
                        loop.log(loss=1.0)
                        if number == 1:
                            break
    told = [each.getMessage() for each in caplog.records if "another one in others" in each.getMessage()]
    assert len(told) == warnings
