"""The store of checkpoints: its index, what damage it finds, and the checkpoint before it."""

from pathlib import Path

import numpy as np
import pytest

from monitor_core.files.checkpoint_index import Keep, Saved, kept, ranked
from monitor_core.files.checkpoints import CheckpointStore
from monitor_core.files.state import load_state
from monitor_core.files.templates import Template


class Model:
    """A handle of one number."""

    value = 0.0

    def save(self, path, *, weights_only=False):
        with Path(path).open("wb") as file:
            np.save(file, self.value)

    def load(self, path):
        self.value = float(np.load(path, allow_pickle=False))


def store(folder, name="{epoch}.npy", **options):
    """Return a store in a folder."""
    return CheckpointStore(Template(folder / name, numbers=["epoch"]), "Owner", **options)


def saved(folder, *epochs, state=True, **options):
    """Save a model at the ends of some epochs, whose number is its value and its metric's; return the store."""
    made, model = store(folder, **options), Model()
    made.begin()
    for epoch in epochs:
        model.value = float(epoch)
        path = made.folder.file({"epoch": epoch}, {})
        entry = made.write(model, path, epoch=epoch, step=epoch, value=model.value)
        if entry is not None:
            made.enter(entry, (lambda number=epoch: {"epoch": number, "array": np.ones(3)}) if state else None)
    return made


def names(folder):
    """Return the names of the files in a folder, with those of states as `state`."""
    return sorted(each.name if ".state-" not in each.name else f"state{each.suffix}" for each in folder.iterdir())


def damage(path, how):
    """Damage a file in one of the ways that disks and people do."""
    content = path.read_bytes()
    if how == "flipped":
        middle = len(content) // 2
        content = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    path.write_bytes({"empty": b"", "truncated": content[:-3], "foreign": b"\x89PNG", "flipped": content}[how])


DAMAGE = ["flipped", "empty", "truncated", "foreign"]


def test_files_are_ranked_by_value_and_age():
    """The best first; of equal values the older; none without a value."""
    files = [Saved(str(number), 0, 0, value) for number, value in enumerate([2.0, None, 1.0, float("nan"), 1.0])]
    assert [each.file for each in ranked(files, "min")] == ["2", "4", "0"]
    assert [each.file for each in ranked(files, "max")] == ["0", "2", "4"]


def test_what_can_be_resumed_from_stays_once():
    """Beyond what is to be kept, the newest file with a state; older ones lose theirs."""
    files = [Saved(str(number), 0, 0, None, state=f"s{number}") for number in range(4)] + [Saved("4", 0, 0, None)]
    assert [(each.file, each.state) for each in kept(files, Keep(last=1), "min")] == [("3", "s3"), ("4", None)]
    assert [(each.file, each.state) for each in kept(files, Keep(last=9), "min")] == [
        ("0", None), ("1", None), ("2", "s2"), ("3", "s3"), ("4", None),
    ]  # fmt: skip


def test_a_folder_holds_two_states_and_no_more(tmp_path):
    """The newest and the one before; a file that stays, but is older, can no longer be resumed from."""
    saved(tmp_path, 1, 2, 3, 4)
    assert names(tmp_path) == [
        "1.npy", "2.npy", "3.npy", "4.npy", "epoch.npy.latest.json", *2 * ["state.json"], *2 * ["state.npz"],
    ]  # fmt: skip
    assert [each["file"] for each in load_state(tmp_path / "epoch.npy.latest.json")["resumable"]] == ["3.npy", "4.npy"]


def test_a_store_that_keeps_one_file_keeps_one_state(tmp_path):
    """A state without its file is of no use."""
    saved(tmp_path, 1, 2, 3, keep=Keep(last=1))
    assert names(tmp_path) == ["3.npy", "epoch.npy.latest.json", "state.json", "state.npz"]


def test_a_template_without_fields_needs_no_index(tmp_path):
    """One file is the latest and the best, in a new process too, and there is no other file."""
    assert store(tmp_path, "m.npy").path("best") is None
    saved(tmp_path, 1, 2, name="m.npy", state=False)
    assert names(tmp_path) == ["m.npy"]
    for which in ("best", "latest"):
        assert store(tmp_path, "m.npy").load(model := Model(), which) == tmp_path / "m.npy"
        assert model.value == 2.0


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("is_new", [False, True])
def test_a_damaged_file_is_not_loaded(tmp_path, how, is_new):
    """The error names the file, and says what to do; the model is unchanged."""
    made = saved(tmp_path, 1, 2, state=False)
    damage(tmp_path / "2.npy", how)
    model = Model()
    with pytest.raises(
        ValueError, match=r"2\.npy is damaged, or another file.*restore it from a copy, or load another"
    ):
        (store(tmp_path) if is_new else made).load(model, "latest")
    assert model.value == 0.0
    assert store(tmp_path).load(model, "best") == tmp_path / "1.npy"


@pytest.mark.parametrize("how", ["empty", "truncated", "foreign"])
def test_a_file_without_an_index_that_cannot_be_loaded_is_named(tmp_path, how):
    """Whatever the framework's own reader raises."""
    saved(tmp_path, 1, name="m.npy", state=False)
    damage(tmp_path / "m.npy", how)
    with pytest.raises(ValueError, match=r"m\.npy cannot be loaded: it is damaged, or not a file of this model"):
        store(tmp_path, "m.npy").load(Model(), "latest")


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("pattern", ["2.npy", "*.state-*.json", "*.state-*.npz"])
def test_the_checkpoint_before_a_damaged_one_is_resumed_from(tmp_path, warned, how, pattern):
    """With a warning that names the damaged file; the state and the model's file belong together."""
    folder = tmp_path
    assert saved(folder, 1, 2).newest_state()[0]["epoch"] == 2
    newest = load_state(folder / "epoch.npy.latest.json")["latest"]["state"].removesuffix(".json")
    (path,) = [each for each in folder.glob(pattern) if each.name == "2.npy" or each.name.startswith(newest)]
    damage(path, how)
    state, file = store(folder).newest_state()
    assert (state["epoch"], file) == (1, folder / "1.npy")
    assert len(warned()) == 1
    assert path.name.partition(".")[0] in warned()[0]
    assert f"resuming from the checkpoint before it, {folder / '1.npy'}" in warned()[0]


def test_a_file_that_is_gone_is_as_a_damaged_one(tmp_path, warned):
    """The one before is resumed from."""
    saved(tmp_path, 1, 2)
    (tmp_path / "2.npy").unlink()
    assert store(tmp_path).newest_state()[1] == tmp_path / "1.npy"
    assert "2.npy" in warned()[0]


def test_damage_to_all_checkpoints_is_one_error(tmp_path):
    """It names each file, and says what to do."""
    saved(tmp_path, 1, 2)
    for name in ("1.npy", "2.npy"):
        damage(tmp_path / name, "flipped")
    with pytest.raises(
        ValueError, match=r"2\.npy is damaged.*1\.npy is damaged.*restore it from a copy, or begin a new"
    ):
        store(tmp_path).newest_state()


@pytest.mark.parametrize("how", ["empty", "truncated", "foreign"])
def test_a_damaged_index_is_an_error_that_names_it(tmp_path, how):
    """For each use of it."""
    saved(tmp_path, 1, 2)
    damage(index := tmp_path / "epoch.npy.latest.json", how)
    for use in (store(tmp_path).newest_state, lambda: store(tmp_path).load(Model(), "best")):
        with pytest.raises(ValueError, match=rf"{index.name} is damaged: restore it from a copy"):
            use()


def test_a_file_that_is_written_again_is_never_taken_for_the_old_one(tmp_path):
    """A kill after the file and before the index leaves an index that says no more than that the file is there."""
    saved(tmp_path, 1, 2, state=False)
    again = store(tmp_path)
    again.begin()
    again.write(model := Model(), tmp_path / "2.npy", epoch=2, step=2, value=9.0)
    model.value = 7.0
    assert store(tmp_path).load(model, "latest") == tmp_path / "2.npy"
    assert model.value == 0.0


def test_a_failing_index_keeps_the_old_files(tmp_path):
    """If the index cannot be written, no file is removed."""
    made = saved(tmp_path, 1, keep=Keep(last=1))
    made.index_path.unlink()
    made.index_path.mkdir()
    entry = made.write(Model(), tmp_path / "2.npy", epoch=2, step=2, value=2.0)
    with pytest.raises(OSError, match=r"latest\.json"):
        made.enter(entry, lambda: {"epoch": 2})
    assert {"1.npy", "2.npy"} <= set(names(tmp_path))
