"""Checkpoints on disk: which files a run has saved, which of them are kept, and how a new process finds them.

Contract. A file is written under a temporary name in its own folder, flushed to disk and then renamed, so that a kill
or a full disk at any moment leaves the last good one. A small JSON file next to the checkpoints, the index, names the
latest and the best of them with a checksum of each, and the last two that a run can resume from, each with the file of
its state. The index is replaced last, so the files it names exist. A file whose checksum does not match is never
loaded. A failed save raises: it does not count as saved, no old file is removed, and the next save is attempted.

A template without fields names one file, which needs no index: it is both the latest and the best.
"""

from __future__ import annotations

import errno
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import attrs

from monitor_core import frameworks
from monitor_core._log import logger
from monitor_core.files.checkpoint_index import Index, Keep, Saved, kept, ranked
from monitor_core.files.folders import TemplateFolder
from monitor_core.files.model_files import checksum, write_model
from monitor_core.files.replacing import remove, replacing_folder
from monitor_core.files.shards import Together, check_shards, is_shards
from monitor_core.files.state import load_state, save_state
from monitor_core.files.templates import Template
from monitor_core.metrics.decisions import Mode
from monitor_core.model.handles import ModelHandle

Which = Literal["best", "latest"]


class CheckpointStore:
    """The checkpoints of one run, and the index by which they are found again. It handles files only, not hooks.

    Args:
        template: How the files are named.
        owner: The name of the sink that saves, for messages.
        keep: Which files to keep; None for all.
        weights_only: Whether to save the weights alone.
        has_states: Whether states to resume from are saved too.

    Attributes:
        folder: The folder of the files.
        files: The saved files that are kept, the newest last; if all are kept, the best and the newest. None before the
            first run.
        mode: Whether smaller or larger values are better.
    """

    def __init__(
        self,
        template: Template,
        owner: str,
        *,
        keep: Keep | None = None,
        weights_only: bool = False,
        has_states: bool = False,
    ) -> None:
        self.folder = TemplateFolder(template, owner)
        self.files: list[Saved] | None = None
        self.mode: Mode = "min"
        self._keep = keep
        self._weights_only = weights_only
        self._has_states = has_states  # of a sharded model, its files have the optimizers' parts too
        self._size = 0
        self._warned = False
        self._name = template.file_name
        self._has_index = bool(template.names)
        self._is_state = re.compile(rf"({re.escape(self._name)}\.state-[0-9a-f]{{8}})(?:\.[0-9a-f]{{32}}\.npz|\.json)")

    def begin(self, mode: Mode = "min") -> None:
        """Begin a run without files."""
        self.mode = mode
        self.files, self._size, self._warned = [], 0, False

    @property
    def index_path(self) -> Path:
        """The file that names the latest and the best checkpoint; a template without fields has none."""
        return self.folder.path / f"{self._name}.latest.json"

    # --- finding ---------------------------------------------------------------------------------------------------

    def find(self, which: Which) -> Saved | None:
        """Return the best or the latest existing checkpoint; before the first run, from the index."""
        if self.files is not None:
            found = ranked(self.files, self.mode)[:1] if which == "best" else self.files[-1:]
            return found[0] if found else None
        if not self._has_index:
            return Saved(self._name, 0, 0, None) if (self.folder.path / self._name).is_file() else None
        index = self._read_index()
        return index.best if which == "best" else index.latest

    def path(self, which: Which) -> Path | None:
        """Return the path of the best or the latest checkpoint, or None if there is none."""
        saved = self.find(which)
        return None if saved is None else self.folder.path / saved.file

    def load(self, model: ModelHandle, which: Which) -> Path:
        """Set a model's state to the best or the latest checkpoint; return the file.

        Raises:
            FileNotFoundError: There is none.
            ValueError: The file is damaged, or not one of this model.
        """
        saved = self.find(which)
        if saved is None:
            place = self.index_path if self._has_index else self.folder.path / self._name
            raise FileNotFoundError(errno.ENOENT, f"there is no {which} checkpoint", str(place))
        handle = frameworks.handle_of(model)
        try:
            self._check(saved)
        except ValueError as error:
            raise ValueError(f"{error}; restore it from a copy, or load another by model.load(path)") from None
        path = self.folder.path / saved.file
        try:
            handle.load(path)
        except FileNotFoundError:
            raise
        except Exception as error:
            raise ValueError(f"{path} cannot be loaded: it is damaged, or not a file of this model: {error}") from error
        return path

    def _check(self, saved: Saved, *, thorough: bool = True) -> None:
        """Raise a ValueError if a file is not the one that was saved, a FileNotFoundError if it is missing."""
        path = self.folder.path / saved.file
        if is_shards(path):
            check_shards(path, saved.checksum, thorough=thorough)
        elif path.is_dir():
            raise ValueError(f"{path} is damaged: it has no list of its files")
        elif saved.checksum is not None and checksum(path) != saved.checksum:
            raise ValueError(f"{path} is damaged, or another file: its checksum differs from that of the saved file")

    def _read_index(self) -> Index:
        if not self.index_path.exists():
            return Index()
        try:
            return Index.from_state(load_state(self.index_path))
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ValueError(f"{self.index_path} is damaged: restore it from a copy ({error})") from error

    # --- saving ----------------------------------------------------------------------------------------------------

    def write(
        self,
        model: ModelHandle,
        path: Path,
        *,
        epoch: int,
        step: int,
        value: float | None,
        together: Together | None = None,
    ) -> Saved | None:
        """Write a model's file if it is to be kept; `enter` then adds it to the index.

        Args:
            model: The model's handle, with ``save``.
            path: The file, within the folder.
            epoch: The epoch, 0-based.
            step: How many batches have been trained.
            value: The metric's value, or None.
            together: Where parts of the model are on several ranks, what has them write a folder together.

        Returns:
            The saved file; None if it would not be kept.

        Raises:
            OSError: The file cannot be written; the old file is unchanged.
        """
        saved = Saved(path.relative_to(self.folder.path).as_posix(), epoch, step, value)
        if saved not in self._stay([*self._others(saved), saved]):
            return None
        return attrs.evolve(saved, checksum=self._write_model(model, path, together))

    def enter(self, saved: Saved, state: Callable[[], Mapping[str, Any]] | None = None) -> None:
        """Add a file that `write` has written to the index, then remove the files that are no longer kept.

        Args:
            saved: What `write` returned.
            state: Returns the state to resume from, which includes ``files``. If it raises, a run cannot resume from
                this file; the last file that it can resume from stays.

        Raises:
            OSError: The index or the state cannot be written; the old ones are unchanged.
        """
        before = self._others(saved)
        files = [*before, saved]
        try:
            if state is not None:
                saved = self._enter_state(before, saved, state)
            self.files = self._stay([*before, saved])
            if self._has_index:
                save_state(self.index_path, self._index(saved).to_state())
        except BaseException:
            self.files = files
            raise
        logger.info("%s saved %s", self.folder.owner, self.folder.path / saved.file)
        if self._has_index:
            self._remove_states()
        if self._keep is not None:
            names = {each.file for each in self.files}
            self._remove([self.folder.path / each.file for each in files if each.file not in names])

    def _enter_state(self, before: list[Saved], saved: Saved, state: Callable[[], Mapping[str, Any]]) -> Saved:
        """Write the state; return the entry with it, or, with a warning, without it."""
        name = f"{self._name}.state-{uuid.uuid4().hex[:8]}.json"
        complete = attrs.evolve(saved, state=name)
        self.files = self._stay([*before, complete])
        try:
            save_state(self.folder.path / name, state())
        except OSError:
            raise
        except Exception:
            if not self._warned:
                self._warned = True
                logger.warning(
                    "%s saves the model without a state; the last checkpoint with a state is kept",
                    self.folder.owner,
                    exc_info=True,
                )
            return saved
        return complete

    def _others(self, saved: Saved) -> list[Saved]:
        return [each for each in self.files or [] if each.file != saved.file]

    def _stay(self, files: list[Saved]) -> list[Saved]:
        return kept(files, self._keep, self.mode)

    def _write_model(self, model: ModelHandle, path: Path, together: Together | None) -> str:
        """Write a model's file, or its folder, whole or not at all; return its checksum."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.folder.check_inside(path)
        if path.is_dir() and not is_shards(path):
            raise IsADirectoryError(errno.EISDIR, "filepath must name a file, but a folder has this name", str(path))
        if self._has_index and path.exists():
            self._part_from_index(path)
        if together is not None:
            with replacing_folder(path) as temporary:
                return together.write(temporary, weights_only=self._weights_only and not self._has_states)
        if path.is_dir():
            remove(path)
        found, self._size = write_model(model, path, weights_only=self._weights_only, size=self._size)
        return found

    def _part_from_index(self, path: Path) -> None:
        """Remove a file's checksum and state from the index before it is replaced, in case a kill comes in between."""
        try:
            before = self._read_index()
        except ValueError:
            self.index_path.unlink(missing_ok=True)
            return
        after = before.without(path.relative_to(self.folder.path).as_posix())
        if before.resumable and not after.resumable:
            self.index_path.unlink(missing_ok=True)
        elif after != before:
            save_state(self.index_path, after.to_state())

    def _index(self, saved: Saved) -> Index:
        files = self.files or []
        best = ranked(files, self.mode)[:1]
        return Index(saved, best[0] if best else None, tuple(each for each in files if each.state is not None))

    def _remove(self, paths: list[Path]) -> None:
        for path in paths:
            try:
                self.folder.check_inside(path)
                if is_shards(path):
                    remove(path)
                else:
                    path.unlink(missing_ok=True)
            except (OSError, ValueError) as error:
                logger.warning("%s cannot remove %s: %s", self.folder.owner, path, error)

    def _remove_states(self) -> None:
        """Remove the states that no checkpoint uses any more, and remains of killed saves."""
        used = {each.state.removesuffix(".json") for each in self.files or [] if each.state is not None}
        found = [(self._is_state.fullmatch(each.name), each) for each in self.folder.path.iterdir()]
        self._remove([path for match, path in found if match is not None and match[1] not in used])

    # --- resuming --------------------------------------------------------------------------------------------------

    def newest_state(self, found: str | None = None) -> tuple[dict[str, Any], Path] | None:
        """Return the newest state to resume from, and its model's file; None if no checkpoint was saved.

        If a file of the newest is damaged or missing, a warning names it, and the one before is returned.

        Args:
            found: The name of the model's file that another rank has found to be whole: only that one is considered,
                and of what several ranks have saved together only the sizes are checked again.

        Raises:
            ValueError: No state was saved, or all are damaged.
        """
        if not self.index_path.exists():
            return None
        problems: list[str] = []
        for saved in reversed(self._read_index().resumable):
            path = self.folder.path / saved.file
            if found not in (None, path.name):
                continue
            try:
                self._check(saved, thorough=found is None)
                state = load_state(self.folder.path / str(saved.state))
            except (ValueError, OSError) as error:
                problems.append(str(error))
                continue
            if problems:
                logger.warning("%s; resuming from the checkpoint before it, %s", "; ".join(problems), path)
            return state, path
        if found is not None and not problems:
            return None
        if problems:
            raise ValueError(f"{'; '.join(problems)}; restore it from a copy, or begin a new run in another folder")
        raise ValueError(
            f"{self.index_path} holds no state to resume from: it was saved without save_state=True; "
            "load_latest(model) loads the model alone"
        )

    def to_state(self) -> list[dict[str, Any]]:
        """Return the kept files, as JSON values."""
        return [each.to_state() for each in self.files or []]

    def load_files(self, state: Iterable[Mapping[str, Any]]) -> None:
        """Continue with those files of `to_state` that still exist.

        Raises:
            ValueError: A file is outside the folder.
        """
        files = [Saved.from_state(each) for each in state]
        self.files = [each for each in files if (self.folder.path / each.file).exists()]
