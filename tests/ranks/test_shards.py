"""Checkpoints of PyTorch modules that are sharded over the ranks."""

import json
import pickle
import shutil

import pytest
from ranks_support import CONTINUED, reports, run_ranks

from monitor_core.files.shards import LIST

pytest.importorskip("torch")

TRAINING = """
from torch.distributed.fsdp import fully_shard
from monitor_core.adapters.torch import TorchModel

ranks = dist.get_world_size()

def build(sharded):
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 1))
    if sharded:
        for each in module[0], module[2]:
            fully_shard(each)
        fully_shard(module)
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.01)
    return module, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 2)

def whole(module):
    found = [each.full_tensor() if hasattr(each, "full_tensor") else each for each in module.parameters()]
    return [round(value, 6) for each in found for value in each.detach().flatten().tolist()]

def train(folder, epochs, *sinks, sharded=True, **options):
    module, optimizer, scheduler = build(sharded)
    model = TorchModel(module, optimizer, scheduler)
    data = torch.arange(36.0).reshape(3, 4, 3) / 36  # the same on all ranks, so that their number makes no difference
    history = History()
    with Loop(history, *sinks, model=model, **(dict(resume=folder) if folder else {}), **options) as loop:
        for epoch in loop.epochs(epochs):
            for x in loop.batches(data):
                loss = module(x).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                loop.log(loss=loss)
            scheduler.step()
    found = [loop.run.status, loop.run.step, [round(each, 6) for each in history["loss"]], whole(module)]
    print("\\n" + json.dumps(found), flush=True)
    return module, model

"""


def test_a_run_of_a_sharded_model_continues_as_if_it_had_not_ended(tmp_path):
    """With its optimizer and schedule; also from the checkpoint of a module that was not sharded."""
    zero, one = run_ranks(TRAINING + CONTINUED, tmp_path)
    assert reports(zero) == reports(one), zero + one
    whole, cut, continued, before, back = reports(zero)
    assert (cut[1], cut[2]) == (9, whole[2][:3])
    assert continued == whole
    assert (before, back) == (cut, whole)
    assert "continues with epoch 3, after step 9" in one


def test_it_continues_on_another_number_of_ranks(tmp_path):
    """From two ranks on three, whose number does not divide the parameters, then on one, without sharding."""
    whole, *_ = reports(run_ranks(TRAINING + "train('whole', 6)", tmp_path)[0])
    run_ranks(TRAINING + "train('cut', 2)", tmp_path)
    on_three = run_ranks(TRAINING + "train('cut', 4)", tmp_path, ranks=3)
    assert [reports(each)[0][:2] for each in on_three] == [["completed", 12]] * 3, on_three
    (alone,) = run_ranks(TRAINING + "train('cut', 6, sharded=False)", tmp_path, ranks=1)
    assert reports(alone) == [whole], alone


SAVED = """
best = ModelCheckpoint("best/{epoch}.pt", "loss", save_best_only=True, keep=Keep(best=1))
steps = ModelCheckpoint("steps/{step}.pt", save_freq=4, keep=Keep(last=2), save_weights_only=True)
stopping = EarlyStopping("loss", patience=9, restore_best_weights=True)
module, model = train(None, 4, best, steps, stopping)
with torch.no_grad():
    for each in module.parameters():
        each.zero_()
best.load_best(model)
print("\\n" + json.dumps([whole(module), best.best, str(best.best_path), str(steps.latest_path)]), flush=True)
"""


def test_checkpoints_are_saved_by_all_ranks_and_kept_by_rank_0(tmp_path):
    """At the ends of epochs and by steps; every rank finds and loads them."""
    zero, one = run_ranks(TRAINING + SAVED, tmp_path)
    (trained, found), (_, of_one) = reports(zero), reports(one)
    assert trained[0] == "completed", zero
    assert found[0] == trained[3] == of_one[0]
    assert found[1] == pytest.approx(min(trained[2]), abs=1e-6)
    assert found[2:] == of_one[2:] == [str(tmp_path / "best" / "4.pt"), str(tmp_path / "steps" / "12.pt")]
    assert sorted(each.name for each in (tmp_path / "steps").glob("*.pt")) == ["12.pt", "8.pt"]
    assert sorted(each.name for each in (tmp_path / "best").glob("*.pt")) == ["4.pt"]
    assert not list(tmp_path.rglob(".monitor_core-*"))
    assert "failed" not in zero + one


FULL = """
import resource

class Seen(Sink):
    def on_train_begin(self, run):
        self.run = run

if rank == 1:
    save_shards = TorchModel.save_shards
    def failing(self, folder, **options):
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        try:
            save_shards(self, folder, **options)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    TorchModel.save_shards = failing
train(None, 2, ModelCheckpoint("steps/{step}.pt", save_freq=1), seen := Seen())
print("\\n" + json.dumps([str(each.error) for each in seen.run.failures]), flush=True)
"""


def test_where_one_rank_cannot_write_all_continue_without_the_checkpoint(tmp_path):
    """Rank 1 has a limit on the size of its files; each of them is told, and the next save is tried again."""
    zero, one = run_ranks(TRAINING + FULL, tmp_path)
    (trained, failures), (_, of_one) = reports(zero), reports(one)
    assert (trained[:2], len(failures), len(of_one)) == (["completed", 6], 6, 6), zero + one
    assert all(
        "the ranks cannot save the model: OSError: [Errno 27] File too large, on rank 1" in each
        for each in failures + of_one
    )
    assert not list((tmp_path / "steps").glob("*.pt"))
    assert not list(tmp_path.rglob(".monitor_core-*"))


REFUSED = """
def tried(*arguments, **options):
    try:
        train(*arguments, **options)
    except Exception as error:
        print(type(error).__name__, error, flush=True)

tried(None, 1, ModelCheckpoint("model.pt"))
tried(None, 1, ModelCheckpoint("{epoch}.pt"), ranks=Ranks(together=False))
module, optimizer, _ = build(True)
try:
    TorchModel(module).save("whole.pt")
except ValueError as error:
    print(error)
wrapped = torch.distributed.fsdp.FullyShardedDataParallel(torch.nn.Linear(2, 2), device_id=torch.device("cpu"))
try:
    TorchModel(wrapped).save("flat.pt")
except ValueError as error:
    print(error, flush=True)
barrier()
"""


def test_what_cannot_be_saved_is_refused(tmp_path):
    """At construction or when the run begins, on each rank that it concerns."""
    zero, one = run_ranks(TRAINING + REFUSED, tmp_path)
    for written in (zero, one):
        assert "SetupError filepath must have a field such as {epoch} where parts of the model are on" in written
        assert "ModelCheckpoint cannot save a model whose parts are on 2 ranks that do not train together" in written
        assert "'0.weight' is sharded over 2 ranks, of which each has a part: call save_shards" in written
        assert "shard it by its successor, torch.distributed.fsdp.fully_shard(module)" in written


BOTH = """
train("res", 4, ModelCheckpoint("c/{epoch}.pt"), EarlyStopping("loss", patience=2, min_delta=1.0))
shards = TorchModel._shards
TorchModel._shards = lambda self, **options: shards(self, **options) if rank == 0 else 1 / 0
train(None, 1, ModelCheckpoint("d/{epoch}.pt"))
TorchModel._shards = shards
stage = torch.nn.Linear(2, 2 + rank)
fully_shard(stage)
try:
    TorchModel(stage).save_shards("stages.pt")
except RuntimeError as error:
    print(error, flush=True)
checkpoint = ModelCheckpoint("e/{epoch}.pt", save_freq=2 + rank)
try:
    train(None, 1, checkpoint)
except Exception as error:
    print(type(error).__name__, error, flush=True)
"""


def test_decisions_and_saves_of_one_epoch_are_all_agreed_on(tmp_path):
    """A stop by a sink after `ModelCheckpoint`, and the save to resume from; ranks that differ are told, not left."""
    zero, one = run_ranks(TRAINING + BOTH, tmp_path)
    assert reports(zero)[0][:2] == reports(one)[0][:2] == ["stopped", 9], zero + one
    assert (tmp_path / "res" / "resume" / "000003.pt").is_dir()
    assert (tmp_path / "c" / "3.pt").is_dir()
    for written in (zero, one):
        assert "ZeroDivisionError: division by zero (rank 1)" in written
        assert "the ranks must have the same parameters, each sharded over the same ranks" in written
        assert "ModelCheckpoint must have the same filepath, save_freq and at on every rank" in written
    assert not (tmp_path / "d").exists() or not list((tmp_path / "d").glob("*.pt"))


def damage_list(folder):
    """Change a checksum in the list of files."""
    listed = json.loads((folder / LIST).read_text())
    listed[min(listed)][1] = "crc32:00000000"
    (folder / LIST).write_text(json.dumps(listed))


def damage_tensors(folder):
    """Change a bit."""
    file = folder / "__1_0.distcp"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


def test_a_damaged_folder_is_never_loaded(tmp_path):
    """The checkpoint before it is, on all ranks."""
    damages = {"list": damage_list, "tensors": damage_tensors, "all": shutil.rmtree}
    whole, _ = reports(run_ranks(TRAINING + "train('whole', 6)\ntrain('cut', 4)", tmp_path)[0])
    for name, damage in damages.items():
        shutil.copytree(tmp_path / "cut", tmp_path / name)
        damage(max((tmp_path / name / "resume").glob("*.pt")))
    zero, one = run_ranks(TRAINING + "\n".join(f"train({name!r}, 6)" for name in damages), tmp_path)
    assert reports(zero) == reports(one) == [whole] * 3
    for name in damages:
        assert f"resuming from the checkpoint before it, {tmp_path / name / 'resume'}" in zero


class Runs:
    """Would write a file if it were unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        """Call a function."""
        return (open, (str(self.path), "w"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return a folder that two ranks have saved."""
    folder = tmp_path_factory.mktemp("saved")
    run_ranks(TRAINING + "train(None, 1, ModelCheckpoint('{epoch}.pt'))", folder)
    return folder / "1.pt"


def test_nothing_in_a_folder_is_executed(saved, tmp_path):
    """Its metadata are a pickle, of which only metadata's own classes are created."""
    import torch

    from monitor_core.adapters.torch import TorchModel

    module = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 1))
    TorchModel(module).load(saved)
    folder = tmp_path / "forged.pt"
    shutil.copytree(saved, folder)
    (folder / ".metadata").write_bytes(pickle.dumps(Runs(tmp_path / "executed")))
    with pytest.raises(ValueError, match=r"it names io\.open, which no metadata needs"):
        TorchModel(module).load(folder)
    assert not (tmp_path / "executed").exists()


def test_a_folder_of_another_module_is_refused(saved):
    """Nothing is set then."""
    import torch

    from monitor_core.adapters.torch import TorchModel

    for other, why in [
        (torch.nn.Sequential(torch.nn.Linear(3, 6), torch.nn.ReLU(), torch.nn.Linear(6, 1)), "must have the shape"),
        (torch.nn.Sequential(torch.nn.Linear(3, 5)), "which the module lacks"),
        (torch.nn.Linear(3, 5), "has no tensor module.weight|which the module lacks"),
    ]:
        before = [each.clone() for each in other.parameters()]
        with pytest.raises(RuntimeError, match=why):
            TorchModel(other).load(saved)
        assert all(map(torch.equal, before, other.parameters()))
