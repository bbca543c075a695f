"""Model checkpoints: save the model at each epoch, at each best one, or every N steps, and find them again.

Contract. A file is written under a temporary name in its own folder, flushed to disk and then renamed, so that a kill
or a full disk at any moment leaves the last good one. Beside the files stands a small JSON file, the index, which names
the latest and the best of them; it is replaced last, and what it names is there. A save that fails raises, which the
bus reports; nothing is taken as saved, no old file is removed, and the next save is tried again.
"""

from __future__ import annotations

import errno
import math
import operator
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs

from monitor_core import checks, frameworks
from monitor_core._log import logger
from monitor_core.bus.bus import Bus
from monitor_core.bus.copies import independent_copy
from monitor_core.bus.run import Run
from monitor_core.bus.sink import Logs, Sink
from monitor_core.errors import SetupError
from monitor_core.files.replacing import replacing
from monitor_core.files.state import load_state, save_state
from monitor_core.files.templates import Template
from monitor_core.metrics.decisions import Best, restore, state_of
from monitor_core.metrics.monitor import AnyMode, Monitor
from monitor_core.metrics.outcome import Watched
from monitor_core.model.generators import generators_state, load_generators_state
from monitor_core.model.handles import ModelHandle

_NUMBERS = ("epoch", "step", "batch")
# How frameworks say that a disk is full or a limit reached, where they do not raise an OSError: h5py and torch.save.
_WRITE_FAILED = re.compile(r"errno = \d+|(?:write|writing) .*fail|fail\w* (?:to )?writ|No space left", re.IGNORECASE)


@attrs.frozen(kw_only=True)
class Keep:
    """Which checkpoints of a run stay on disk: the best ones and the last ones; a file that is both counts for both.

    Args:
        best: How many of those with the best values; the older of two that are equal. A file without a value, or with
            NaN, is never among them.
        last: How many of those saved last.

    Raises:
        TypeError: A number is no integer.
        ValueError: A number is below 0, or both are 0.
    """

    best: int = attrs.field(default=0, validator=checks.count())
    last: int = attrs.field(default=0, validator=checks.count())

    def __attrs_post_init__(self) -> None:
        if not self.best and not self.last:
            raise ValueError("best or last must be >= 1 (got 0 for both)")


@attrs.frozen
class _Saved:
    """A file that was saved: its path within the folder, and the metric's value, None where there was none."""

    file: str
    epoch: int
    step: int
    value: float | None

    def to_state(self) -> dict[str, Any]:
        return {"file": self.file, **state_of(self, "epoch", "step", "value")}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> _Saved:
        path = Path(state["file"])
        if path.is_absolute() or ".." in path.parts:  # files that are no longer kept are removed
            raise ValueError(f"a checkpoint must lie in the folder of its index (got {state['file']!r})")
        value = state["value"]
        return cls(state["file"], state["epoch"], state["step"], None if value is None else float(value))


def _check_save_freq(_: Any, __: Any, value: Any) -> None:
    if value != "epoch" and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError(f"save_freq must be 'epoch' or a number of steps >= 1 (got {value!r})")


@attrs.define(eq=False)
class ModelCheckpoint(Sink):
    """Save the model at the end of each epoch, or every N steps; all of them, or only those better than all before.

    It is called after all other sinks, so that what it saves includes the decisions of this epoch. Each run is judged
    anew; a `Loop` makes many `fit` calls one run, and `resume` goes on with an earlier one.

    Where the metric is missing, None, no number or NaN, an epoch is never better, with one warning for the first three.

    Args:
        filepath: The file, with fields for ``epoch`` and ``batch`` (of the epoch), both counted from 1, ``step``, and
            any metric: ``"runs/{epoch:03d}-{val_loss:.2f}.keras"``. A field is a name and a format spec, nothing else.
            The ending names the format: ``.keras``, ``.h5`` or ``.weights.h5`` for Keras models, any for others.
        monitor: The metric's name; ``acc`` and ``accuracy`` find each other.
        save_best_only: Whether to save only where the metric is better than at all saves before.
        save_weights_only: Whether to save the weights alone.
        mode: ``"min"``, ``"max"``, or ``"auto"``: the metric's own direction on a Keras model, else that of its name
            in `monitor_core.metrics.DIRECTIONS`.
        save_freq: ``"epoch"``, or a number of steps, at least 1: save at the end of the batch by which that many have
            been trained since the last turn, and compare what that batch has. Each such batch waits for the device.
        initial_value_threshold: The best value to begin with.
        keep: Which files of the run stay: ``Keep(best=3, last=1)``. None keeps all. A file that would not stay is not
            saved in the first place. The names must differ.
        save_state: Whether to save, with the index, the state of the run, of all sinks and of the training (optimizer,
            random generators, Python's own and NumPy's global one among them), so that `resume` can go on. The names
            must differ from one save to the next.

    Attributes:
        best: The best value so far; None, or the threshold, before the first.
        best_path: The file with the best value of those that are there, None if there is none.
        latest_path: The file that was saved last, None if there is none.
        index_path: The index: ``<name>.latest.json`` beside the files.

    Raises:
        TypeError: ``filepath`` is no path, ``keep`` no `Keep`, or an option no boolean.
        ValueError: An argument breaks its rule above.

    Example:
        >>> checkpoint = ModelCheckpoint("runs/{epoch:03d}.keras", keep=Keep(best=1, last=1), save_state=True)
        >>> with Loop(EarlyStopping(), checkpoint, model=model) as loop:
        ...     ...
        >>> checkpoint.load_best(model)

    Source: Keras 3.15's callback of the same name, whose decisions these are, except that there a NaN that comes first
    stays the best for ever, an epoch without the metric is saved, values are compared in float32, ``save_freq=N``
    counts the last execution of several batches as full, and the best value outlives the run.
    """

    __copy__ = independent_copy

    read_only: ClassVar[bool] = True
    saves: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("save",)

    filepath: str | PathLike[str] = attrs.field()
    monitor: str = attrs.field(default="val_loss")
    save_best_only: bool = checks.switch()
    save_weights_only: bool = checks.switch()
    mode: AnyMode = attrs.field(default="auto", kw_only=True)
    save_freq: int | Literal["epoch"] = attrs.field(default="epoch", kw_only=True, validator=_check_save_freq)
    initial_value_threshold: float | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(checks.number())
    )
    keep: Keep | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(attrs.validators.instance_of(Keep))
    )
    save_state: bool = checks.switch()
    _template: Template = attrs.field(init=False, repr=False)
    _monitor: Monitor = attrs.field(init=False, repr=False)
    _best: Best = attrs.field(init=False, repr=False, factory=lambda: Best("min"))
    _files: list[_Saved] | None = attrs.field(init=False, repr=False, default=None)
    _turn: int = attrs.field(init=False, repr=False, default=0)
    _epoch_began_at: int = attrs.field(init=False, repr=False, default=0)
    _loaded: bool = attrs.field(init=False, repr=False, default=False)
    _size: int = attrs.field(init=False, repr=False, default=0)
    _told_no_state: bool = attrs.field(init=False, repr=False, default=False)

    @_template.default
    def _make_template(self) -> Template:
        return Template(self.filepath, numbers=_NUMBERS)

    @_monitor.default
    def _make_monitor(self) -> Monitor:
        return Monitor(self.monitor, self.mode, type(self).__name__)

    def __attrs_post_init__(self) -> None:
        text, names = self._template.text, self._template.names
        if self.save_weights_only and (endings := frameworks.weights_endings_for(text)):
            raise ValueError(f"filepath must end in {' or '.join(endings)} with save_weights_only=True (got {text!r})")
        if self.keep is not None and not names:
            raise ValueError(f"filepath must have a field such as {{epoch}} with keep=... (got {text!r})")
        if self.save_state and "step" not in names and not ("epoch" in names and self._differs_by_epoch(names)):
            fields = "{epoch} or {step}" if self.save_freq == "epoch" else "{step}, or {epoch} and {batch},"
            raise ValueError(
                f"filepath must have {fields} with save_state=True, or a kill could leave a model and a state of "
                f"different saves (got {text!r})"
            )

    def _differs_by_epoch(self, names: tuple[str, ...]) -> bool:
        return self.save_freq == "epoch" or "batch" in names

    # --- what was saved --------------------------------------------------------------------------------------------

    @property
    def best(self) -> float | None:
        """The best value so far; None, or ``initial_value_threshold``, before the first."""
        return self._best.value

    @property
    def best_path(self) -> Path | None:
        """The file with the best value of those that are there; before the first run, what the index says."""
        if self._files is None:
            return self._indexed("best")
        best = self._ranked(self._files)[:1]
        return self._folder / best[0].file if best else None

    @property
    def latest_path(self) -> Path | None:
        """The file that was saved last; before the first run, what the index says."""
        if self._files is None:
            return self._indexed("latest")
        return self._folder / self._files[-1].file if self._files else None

    @property
    def index_path(self) -> Path:
        """The file that names the latest and the best checkpoint."""
        return self._folder / f"{self._template.file_name}.latest.json"

    @property
    def _folder(self) -> Path:
        return Path(self._template.folder)

    def _indexed(self, which: Literal["best", "latest"]) -> Path | None:
        if not self.index_path.exists():
            return None
        entry = load_state(self.index_path)[which]
        return None if entry is None else self._folder / _Saved.from_state(entry).file

    def load_best(self, model: ModelHandle) -> Path:
        """Set a model's state to the best checkpoint; in a new process too, by the index. Return the file.

        Args:
            model: The model, or its handle with ``load``; those of Keras and PyTorch execute nothing from a file.

        Raises:
            FileNotFoundError: There is none.
        """
        return self._load(model, self.best_path, "best")

    def load_latest(self, model: ModelHandle) -> Path:
        """Set a model's state to the latest checkpoint, as `load_best` does to the best. Return the file.

        Raises:
            FileNotFoundError: There is none.
        """
        return self._load(model, self.latest_path, "latest")

    def _load(self, model: ModelHandle, path: Path | None, which: str) -> Path:
        if path is None:
            raise FileNotFoundError(errno.ENOENT, f"there is no {which} checkpoint", str(self.index_path))
        frameworks.handle_of(model).load(path)
        return path

    def resume(self, bus: Bus) -> bool:
        """Go on with the run that the latest checkpoint was part of; call it before train begin.

        The model, the optimizer and the random generators, as far as the model's handle lends them, the run's numbers
        and the states of all sinks become those at that checkpoint. An epoch that was broken off begins again.

        Args:
            bus: The bus, with the same sinks and the model's handle: ``loop.bus`` or ``adapter.bus``.

        Returns:
            Whether there was anything to go on with.

        Raises:
            OrderError: The run has begun.
            ValueError: The checkpoint was saved without ``save_state=True``, or by other sinks, or the bus has no
                handle that can load.
        """
        if not self.index_path.exists():
            return False
        index = load_state(self.index_path)
        try:
            self._go_on(bus, index)
        except (AttributeError, LookupError, TypeError) as error:
            raise ValueError(f"{self.index_path} is damaged, or of another release: {error!r}") from error
        return True

    def _go_on(self, bus: Bus, index: Mapping[str, Any]) -> None:
        if index["latest"] is None or index.get("state") is None:
            raise ValueError(
                f"{self.index_path} holds no state to go on from: it was saved without save_state=True; "
                "load_latest(model) loads the model alone"
            )
        if not hasattr(bus.run.model, "load"):
            raise ValueError(
                f"bus must have a model's handle with 'load' (got {bus.run.model!r}): give model=... to the "
                "adapter or the Loop"
            )
        bus.load_state_dict(index["state"])
        model: Any = bus.run.model
        if index.get("training") is not None:  # before the file, which may hold what an optimizer needs to be built for
            model.load_training_state(index["training"])
        model.load(self._folder / _Saved.from_state(index["latest"]).file)
        if index.get("learning_rates") is not None:
            model.learning_rates = index["learning_rates"]
        if index.get("generators") is not None:
            load_generators_state(index["generators"])

    # --- hooks -----------------------------------------------------------------------------------------------------

    def wants_hook(self, hook: str) -> bool:
        """Listen to batches only if they are counted, so that they stay asynchronous otherwise."""
        return hook != ("on_batch_end" if self.save_freq == "epoch" else "on_epoch_end")

    def on_train_begin(self, run: Run) -> None:
        """Begin anew, unless a state was loaded just before; make the folder, and clear what a kill has left in it.

        Raises:
            SetupError: The folder cannot be written, another process saves under such names, a folder stands in the
                file's place, the direction is not known, or the model cannot be saved under such a name.
        """
        mode = self._monitor.direction(run.model)
        self._check_ending(run.model)
        self._template.prepare_folder("ModelCheckpoint")
        self._template.own("ModelCheckpoint")
        if not self._loaded:
            self._best = Best(mode, value=self.initial_value_threshold)
            self._files = []
            self._turn = run.step
        self._best.mode = mode
        if self.save_best_only or (self.keep is not None and self.keep.best):
            run.watched.append(Watched(type(self).__name__, self.monitor, mode))
        self._epoch_began_at = run.step
        self._loaded = self._told_no_state = False
        self._size = 0

    def _check_ending(self, model: ModelHandle) -> None:
        if (framework := frameworks.of_handle(model)) is None:
            return
        endings = framework.weights_endings if self.save_weights_only else framework.endings
        if endings and not self._template.text.endswith(endings):
            raise SetupError(
                f"filepath must end in {' or '.join(endings)} for a {framework.title} model with save_weights_only="
                f"{self.save_weights_only} (got {self._template.text!r})"
            )

    def on_epoch_begin(self, run: Run, epoch: int) -> None:
        """Note where the epoch begins, for the numbers of its batches."""
        self._epoch_began_at = run.step

    def on_batch_end(self, run: Run, step: int, logs: Logs) -> None:
        """Save if enough batches have been trained."""
        if isinstance(self.save_freq, int) and step - self._turn >= self.save_freq:
            self._turn = step
            self._consider(run, run.epoch, logs, "this batch")

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        """Save, if this epoch is to be saved."""
        self._consider(run, epoch, logs, "this epoch")

    def on_rewind(self, run: Run, epoch: int, step: int) -> None:
        """Count batches from there."""
        self._turn = min(self._turn, step)

    def on_train_end(self, run: Run, logs: Logs) -> None:
        """Let other processes save under such names."""
        self._template.disown()

    # --- saving ----------------------------------------------------------------------------------------------------

    def _consider(self, run: Run, epoch: int, logs: Logs, where: str) -> None:
        """Save, if this is to be saved."""
        value = self._value(logs, where)
        if self.save_best_only and (value is None or not self._best.beats(value, self._best.value)):
            return
        numbers = {"epoch": epoch + 1, "step": run.step, "batch": run.step - self._epoch_began_at}
        path = Path(self._template.format(numbers, logs))
        saved = _Saved(path.relative_to(self._folder).as_posix(), epoch, run.step, value)
        before = self._files or []
        files = [each for each in before if each.file != saved.file] + [saved]
        kept = self._kept(files)
        if saved in kept:
            self._write_model(run.model, path)
            self._take_over(run, saved, files, kept)

    def _value(self, logs: Logs, where: str) -> float | None:
        """Return the metric's value, None where it is none; where it decides nothing it may be missing silently."""
        found = self._monitor.find(logs)
        if found is not None and logs[found] is not None:
            return self._monitor.convert(found, logs[found])
        if self.save_best_only or (self.keep is not None and self.keep.best):
            self._monitor.tell_missing([name for name, value in logs.items() if value is not None], where)
        return None

    def _ranked(self, files: list[_Saved]) -> list[_Saved]:
        """Return the files that have a value, the best first, and the older of equal ones."""
        sign = 1.0 if self._best.mode == "min" else -1.0
        valued = [(sign * each.value, each) for each in files if each.value is not None and not math.isnan(each.value)]
        return [each for _, each in sorted(valued, key=operator.itemgetter(0))]

    def _kept(self, files: list[_Saved]) -> list[_Saved]:
        """Return the files to keep, in the order of saving; where all stay, those to remember."""
        keep = self.keep or Keep(best=1, last=1)
        chosen = [*self._ranked(files)[: keep.best], *files[max(0, len(files) - keep.last) :]]
        return [each for each in files if each in chosen]

    def _write_model(self, model: ModelHandle, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._template.check_inside(path)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "filepath must name a file, and a folder stands there", str(path))
        if self.save_state and path.exists():
            self._disown(path)
        _require_space(path.parent, self._size or _weights_size(model))
        with replacing(path) as temporary:
            try:
                model.save(temporary, weights_only=self.save_weights_only)
            except Exception as error:
                if not isinstance(error, OSError) and _WRITE_FAILED.search(str(error)):
                    raise OSError(errno.EIO, f"the model could not be written: {error}", str(path)) from error
                raise
            self._size = temporary.stat().st_size

    def _disown(self, path: Path) -> None:
        """Remove an index whose state belongs to the file that is to be replaced, of an earlier run."""
        try:
            if self._indexed("latest") != path:
                return
        except (ValueError, LookupError):
            pass
        self.index_path.unlink(missing_ok=True)

    def _take_over(self, run: Run, saved: _Saved, files: list[_Saved], kept: list[_Saved]) -> None:
        """Note what was saved, replace the index, then remove what is no longer kept."""
        if saved.value is not None:
            self._best.update(saved.value)
        self._files = kept
        try:
            save_state(self.index_path, self._index(run, saved))
        except BaseException:
            self._files = files
            raise
        logger.info("%s saved %s", type(self).__name__, self._folder / saved.file)
        if self.keep is not None:
            self._remove([self._folder / each.file for each in files if each not in kept])

    def _remove(self, paths: list[Path]) -> None:
        for path in paths:
            try:
                self._template.check_inside(path)
                path.unlink(missing_ok=True)
            except (OSError, ValueError) as error:
                logger.warning("%s cannot remove %s: %s", type(self).__name__, path, error)

    def _index(self, run: Run, saved: _Saved) -> dict[str, Any]:
        best = self._ranked(self._files or [])[:1]
        index: dict[str, Any] = {"latest": saved.to_state(), "best": best[0].to_state() if best else None}
        if self.save_state:
            try:
                index |= self._whole_state(run)
            except Exception:
                if not self._told_no_state:
                    self._told_no_state = True
                    logger.warning("%s saves the model without a state", type(self).__name__, exc_info=True)
        return index

    def _whole_state(self, run: Run) -> dict[str, Any]:
        if run.bus_state is None:
            raise RuntimeError("the run is not on a bus")
        state: dict[str, Any] = {"state": run.bus_state(), "generators": generators_state()}
        if self.save_freq != "epoch":  # within an epoch, which begins again
            state["state"]["run"]["epoch"] -= 1
        model: Any = run.model
        if hasattr(model, "training_state"):
            state["training"] = dict(model.training_state())
        elif hasattr(model, "learning_rates"):
            state["learning_rates"] = list(model.learning_rates)
        return state

    # --- state -----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the best value, the files that are kept, and the step of the last turn."""
        files = [each.to_state() for each in self._files or []]
        return {"best": state_of(self._best, "value"), "files": files, "turn": self._turn}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the run that begins next go on from what `state_dict` returned.

        Raises:
            ValueError: A file lies outside of the folder.
        """
        files = [_Saved.from_state(each) for each in state["files"]]
        restore(self._best, state["best"])
        self._files, self._turn = files, state["turn"]
        self._loaded = True


def _weights_size(model: ModelHandle) -> int:
    """Return how many bytes the weights have, 0 where the handle does not lend them."""
    return sum(array.nbytes for _, array in model.weights()) if hasattr(model, "weights") else 0


def _require_space(folder: Path, size: int) -> None:
    """Raise an `OSError` at once where there is no room: in the middle of a save HDF5 can crash the process by it."""
    if size and hasattr(os, "posix_fallocate"):
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)
    elif shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
