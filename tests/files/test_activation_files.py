"""The files of one run: kept within limits, found again, and distinguished from other runs' files."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_core.files.activation_files import RunFiles
from monitor_core.files.activations import Activations, read_mark


def write(files, folder, epoch, size=4):
    """Write an epoch's file of about ``8 * size`` bytes beyond its head."""
    files.write(folder / f"{epoch}.npz", Activations({"a": np.zeros(size)}, epoch=epoch, step=10 * epoch))


def begun(**limits):
    """Return the files of a new run."""
    files = RunFiles(**limits)
    files.begin()
    return files


def names(folder):
    """Return the names in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())


def epochs(files):
    """Return the epochs in the order of the files' names."""
    return [int(path.stem) for path in files.paths]


@given(sizes=st.lists(st.integers(1, 400), min_size=1, max_size=8), keep=st.integers(1, 4), limit=st.integers(1, 9000))
def test_limits_remove_the_oldest_and_never_the_newest(tmp_path_factory, sizes, keep, limit):
    """The newest files stay, as many as fit both limits, and at least one."""
    folder = tmp_path_factory.mktemp("run")
    files = begun(keep=keep, max_bytes=limit)
    written = {}
    for epoch, size in enumerate(sizes):
        write(files, folder, epoch, size)
        written[epoch] = (folder / f"{epoch}.npz").stat().st_size
    stay = [epoch for epoch in written if epoch > max(written) - keep]
    while len(stay) > 1 and sum(written[epoch] for epoch in stay) > limit:
        stay.pop(0)
    assert epochs(files) == stay
    assert names(folder) == [f"{epoch}.npz" for epoch in stay]


def test_without_limits_all_stay(tmp_path):
    """Without limits, no file is removed."""
    files = begun()
    for epoch in range(5):
        write(files, tmp_path, epoch)
    assert epochs(files) == [0, 1, 2, 3, 4]


def test_a_file_that_is_written_again_counts_once(tmp_path):
    """An epoch that is repeated replaces its file, and is the newest then."""
    files = begun(keep=2)
    for epoch in (0, 1, 0, 2):
        write(files, tmp_path, epoch)
    assert epochs(files) == [0, 2]


def test_what_is_not_of_the_run_is_never_removed(tmp_path):
    """Files of other runs, replaced files and removed files are left alone."""
    other, files = begun(), begun(keep=1)
    write(other, tmp_path, 7)
    for epoch in range(3):
        write(files, tmp_path, epoch)
        if epoch == 0:
            (tmp_path / "0.npz").write_bytes(b"mine")
    files.drop(lambda mark: True)
    assert names(tmp_path) == ["0.npz", "7.npz"]
    assert files.paths == ()


def test_a_run_is_found_again(tmp_path):
    """A new object that knows the run finds its files by epoch, and continues within the same limits."""
    files, again = begun(), RunFiles(keep=2)
    for epoch in (2, 0, 1):
        write(files, tmp_path, epoch)
    write(begun(), tmp_path, 5)
    again.run = files.run
    again.resume(tmp_path.iterdir())
    assert epochs(again) == [0, 1, 2]
    write(again, tmp_path, 3)
    assert names(tmp_path) == ["2.npz", "3.npz", "5.npz"]
    assert read_mark(tmp_path / "3.npz").run == files.run


def test_a_failed_write_changes_nothing(tmp_path):
    """A file that cannot be written raises, and the files are unchanged."""
    files = begun(keep=1)
    write(files, tmp_path, 0)
    with pytest.raises(FileNotFoundError):
        write(files, tmp_path / "none", 1)
    assert (epochs(files), names(tmp_path)) == ([0], ["0.npz"])


def test_a_file_that_cannot_be_removed_is_reported(tmp_path, warned, monkeypatch):
    """A file that cannot be removed is a warning, and the run continues."""
    files = begun(keep=1)
    write(files, tmp_path, 0)

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.unlink", refuse)
        files.drop(lambda mark: True)
    (message,) = warned()
    assert message.endswith("0.npz cannot be removed: [Errno 13] Permission denied")
