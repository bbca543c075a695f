"""Runs of several ranks that continue on as many ranks, or on others."""

import pytest
from ranks_support import reports, run_ranks

pytest.importorskip("torch")

TRAINING = """
import numpy as np

def train(folder, epochs):
    torch.manual_seed(rank)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 1))
    module = torch.nn.parallel.DistributedDataParallel(module)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    own = torch.randn(7 + rank, 3, generator=torch.Generator().manual_seed(rank))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(own), batch_size=2, shuffle=True)
    history = History()
    with Loop(history, CSVLogger(f"{folder}.csv"), model=module, optimizer=optimizer, resume=folder) as loop:
        for epoch in loop.epochs(epochs, steps_per_epoch=3):
            for (x,) in loop.batches(loader):
                loss = module(x).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                loop.log(loss=loss)
    weights = np.concatenate([each.detach().numpy().ravel() for each in module.parameters()])
    print("\\n" + json.dumps([loop.run.status, loop.run.step, history["loss"].tolist(), weights.tolist()]), flush=True)

"""

CONTINUED = """
train("whole", 8)
train("cut", 5)
train("cut", 8)
try:
    train("cut" if rank == 0 else "another folder", 9)
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_run_continues_on_all_ranks_as_if_it_had_not_ended(tmp_path):
    """Each with its own random generators and position in its data; they must see one folder."""
    zero, one = run_ranks(TRAINING + CONTINUED, tmp_path)
    for written in (zero, one):
        whole, cut, continued = reports(written)
        assert (cut[1], cut[2]) == (15, whole[2][:5])
        assert continued == whole
        assert "continues with epoch 5, after step 15" in written
    assert (tmp_path / "cut.csv").read_text() == (tmp_path / "whole.csv").read_text()
    assert "SetupError resume: all ranks must see one folder, but rank 1 has the checkpoint None" in one
    assert "all ranks must see one folder" in zero.partition("RankError ")[2]


def test_a_run_continues_on_another_number_of_ranks(tmp_path):
    """From the same weights, without their positions and generators, which is said once."""
    run_ranks(TRAINING + "train('cut', 2)", tmp_path)
    written = run_ranks(TRAINING + "train('cut', 3)", tmp_path, ranks=3)
    assert "".join(written).count("the run was saved by 2 ranks and continues on 3") == 1
    assert [reports(each)[0][:2] for each in written] == [["completed", 9]] * 3
