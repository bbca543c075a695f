"""Model checkpoints: save the model at each epoch, at each best one, or every N steps, and find them again.

Contract. This module decides what is saved, and when; `monitor_core.files.checkpoints` makes files survive kills and
full disks, and finds them again. A save that fails raises, which the bus reports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs

from monitor_core import checks, frameworks
from monitor_core._log import logger
from monitor_core.bus.bus import Bus
from monitor_core.bus.copies import independent_copy
from monitor_core.bus.run import Run, Save
from monitor_core.bus.sink import Logs, Sink
from monitor_core.errors import SetupError
from monitor_core.files.checkpoint_index import Keep, Saved
from monitor_core.files.checkpoints import CheckpointStore
from monitor_core.files.resume_state import check_state, resume, whole_state
from monitor_core.files.shards import Together, is_sharded, save_together
from monitor_core.files.templates import Template
from monitor_core.metrics.decisions import Best, state_of
from monitor_core.metrics.monitor import AnyMode, Monitor
from monitor_core.metrics.names import check_metric
from monitor_core.metrics.occasions import At, Occasions
from monitor_core.metrics.outcome import Watched
from monitor_core.model.handles import ModelHandle

_NUMBERS = ("epoch", "step", "batch")


def _check_save_freq(_: Any, __: Any, value: Any) -> None:
    if value != "epoch" and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError(f"save_freq must be 'epoch' or a number of steps >= 1 (got {value!r})")


@attrs.define(eq=False)
class ModelCheckpoint(Sink):
    """Save the model at the end of each epoch, or every N steps: each time, or only if better than all before.

    It is called after all other sinks, so that what it saves includes the decisions of this epoch. Each run is judged
    from scratch; a `Loop` makes many `fit` calls one run, and `resume` continues an earlier one. At an evaluation
    within an epoch that has the metric, it saves as at an epoch's end; the file's name then needs ``{step}``, unless it
    has no fields at all.

    An epoch whose metric is missing, None, not a number or NaN is never better; the first three log one warning. If a
    field of the file's name is missing, nothing is saved, with one warning.

    Args:
        filepath: The file, with fields for ``epoch`` and ``batch`` (of the epoch), both counted from 1, ``step``, and
            any metric: ``"runs/{epoch:03d}-{val_loss:.2f}.keras"``. A field is a name and a format spec, nothing else.
            A relative path is resolved against the working directory at construction.
            The ending names the format: ``.keras``, ``.h5`` or ``.weights.h5`` for Keras models, any for others.
        monitor: The metric's name; ``acc`` and ``accuracy`` find each other.
        save_best_only: Whether to save only if the metric is better than at all earlier saves.
        save_weights_only: Whether to save only the weights.
        mode: ``"min"``, ``"max"``, or ``"auto"``: the metric's own direction on a Keras model, else that of its name
            in `monitor_core.metrics.DIRECTIONS`.
        save_freq: ``"epoch"``, or a number of steps, at least 1: save at the end of the batch by which that many have
            been trained since the last save, and compare that batch's metric. Each such batch waits for the device.
        initial_value_threshold: The best value to begin with.
        keep: Which files of the run to keep: ``Keep(best=3, last=1)``. None keeps all. A file that would not be kept is
            not saved in the first place. The names must differ.
        save_state: Whether to save, next to the index, the state of the run, of all sinks and of the training
            (optimizer, random generators, Python's own and NumPy's global one included), so that `resume` can
            continue. The last two states are kept, as long as their files are. The names must differ from one save to
            the next. A run that continues from a state within an epoch begins that epoch again; a `Loop` whose epochs
            have ``steps_per_epoch`` takes the steps that the epoch still lacks.
        model: Another model to save instead of the run's, such as one of averaged weights: a model or a handle.
        at: When a metric of the training is judged: ``"epoch"``, at each epoch's end; or ``"evaluation"``, at each
            evaluation, by its weighted mean since the one before.

    Attributes:
        best: The best value so far; None, or the threshold, before the first.
        best_path: The existing file with the best value, None if there is none.
        latest_path: The file that was saved last, None if there is none.
        index_path: The index: ``<name>.latest.json`` next to the files; a name without fields needs none.

    Raises:
        TypeError: ``filepath`` is not a path, ``keep`` not a `Keep`, or an option not a boolean.
        ValueError: An argument breaks its rule above.

    Example:
        >>> checkpoint = ModelCheckpoint("runs/{epoch:03d}.keras", keep=Keep(best=1, last=1), save_state=True)
        >>> with Loop(EarlyStopping(), checkpoint, model=model) as loop:
        ...     ...
        >>> checkpoint.load_best(model)

    Source: Keras 3.15's callback of the same name, whose decisions these are, except that there a NaN that comes first
    stays the best, an epoch without the metric is saved, values are compared in float32, ``save_freq=N``
    counts the last execution of several batches as full, and the best value carries over to the next run.
    """

    __copy__ = independent_copy

    read_only: ClassVar[bool] = True
    writes: ClassVar[bool] = True
    saves: ClassVar[bool] = True
    filepath: str | PathLike[str] = attrs.field()
    monitor: str = attrs.field(default="val_loss")
    save_best_only: bool = attrs.field(default=False, kw_only=True, validator=checks.boolean)
    save_weights_only: bool = attrs.field(default=False, kw_only=True, validator=checks.boolean)
    mode: AnyMode = attrs.field(default="auto", kw_only=True)
    save_freq: int | Literal["epoch"] = attrs.field(default="epoch", kw_only=True, validator=_check_save_freq)
    initial_value_threshold: float | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(checks.number())
    )
    keep: Keep | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(attrs.validators.instance_of(Keep))
    )
    save_state: bool = attrs.field(default=False, kw_only=True, validator=checks.boolean)
    at: At = attrs.field(default="epoch", kw_only=True, validator=checks.one_of("epoch", "evaluation"))
    model: ModelHandle | None = attrs.field(default=None, kw_only=True, repr=False, converter=frameworks.handle_of)
    _template: Template = attrs.field(init=False, repr=False)
    _store: CheckpointStore = attrs.field(init=False, repr=False)
    _monitor: Monitor = attrs.field(init=False, repr=False)
    _occasions: Occasions = attrs.field(init=False, repr=False)
    _best: Best = attrs.field(init=False, repr=False, factory=lambda: Best("min"))
    _refused_name: bool = attrs.field(init=False, repr=False, default=False)
    _saved_within: set[Path] = attrs.field(init=False, repr=False, factory=set)
    _turn: int = attrs.field(init=False, repr=False, default=0)
    _warned_no_name: bool = attrs.field(init=False, repr=False, default=False)

    @_template.default
    def _make_template(self) -> Template:
        return Template(self.filepath, numbers=_NUMBERS)

    @_store.default
    def _make_store(self) -> CheckpointStore:
        return CheckpointStore(
            self._template,
            type(self).__name__,
            keep=self.keep,
            weights_only=self.save_weights_only,
            has_states=self.save_state,
        )

    @_monitor.default
    def _make_monitor(self) -> Monitor:
        return Monitor(self.monitor, self.mode, type(self).__name__)

    @_occasions.default
    def _none_yet(self) -> Occasions:
        return Occasions(self._monitor, self.at)

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """What the run's model must have: a way to save, unless another model is saved."""
        return ("save",) if self.model is None else ()

    @property
    def wants_interval_means(self) -> bool:  # type: ignore[override]
        """Whether the means since the last evaluation are needed."""
        return self.at == "evaluation"

    def __attrs_post_init__(self) -> None:
        if self.model is not None and not hasattr(self.model, "save"):
            raise ValueError(f"model must be a model or a handle with 'save' (got {self.model!r})")
        if self.model is not None and self.save_state:
            raise ValueError(
                "save_state must be False with model=... (got True): a run continues from its own model's checkpoint"
            )
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
        """The existing file with the best value; before the first run, as the index has it."""
        return self._store.path("best")

    @property
    def latest_path(self) -> Path | None:
        """The file that was saved last; before the first run, as the index has it."""
        return self._store.path("latest")

    @property
    def index_path(self) -> Path:
        """The file that names the latest and the best checkpoint; there is none if the name has no fields."""
        return self._store.index_path

    def load_best(self, model: ModelHandle) -> Path:
        """Load the best checkpoint into a model and return its file; the index finds it in a new process too.

        Args:
            model: The model, or its handle with ``load``. Keras and PyTorch handles execute nothing from a file.

        Raises:
            FileNotFoundError: There is none.
            ValueError: The file is damaged, or not one of this model.
        """
        return self._store.load(model, "best")

    def load_latest(self, model: ModelHandle) -> Path:
        """Load the latest checkpoint into a model and return its file, as `load_best` does with the best.

        Raises:
            FileNotFoundError: There is none.
            ValueError: The file is damaged, or not one of this model.
        """
        return self._store.load(model, "latest")

    def resume(self, bus: Bus) -> bool:
        """Continue the run of the latest checkpoint; call it before train begin.

        Restores the model, the optimizer and the random generators, as far as the model's handle provides them, the
        run's numbers and the states of all sinks. An epoch that was aborted begins again. If a file of the checkpoint
        is damaged, the checkpoint before it is used, with a warning.

        Args:
            bus: The bus, with the same sinks and the model's handle: ``loop.bus`` or ``adapter.bus``.

        Returns:
            Whether there was anything to continue.

        Raises:
            OrderError: The run has begun.
            ValueError: The checkpoint was saved without ``save_state=True``, or by other sinks, its files are damaged,
                or the bus has no handle that can load.
        """
        return resume(self._store.newest_state(), bus.load_state_dict, bus.run.model)

    # --- hooks -----------------------------------------------------------------------------------------------------

    def wants_hook(self, hook: str) -> bool:
        """Listen to batches only if they are counted; otherwise they stay asynchronous."""
        return hook not in (
            ("on_batch_end",) if self.save_freq == "epoch" else ("on_epoch_end", "on_midepoch_evaluation")
        )

    def wants_rank(self, run: Run) -> bool:
        """Help rank 0 to save a model whose parts are on several ranks."""
        return is_sharded(self._model_of(run))

    def on_train_begin(self, run: Run) -> None:
        """Begin from scratch; create the folder, and remove temporary files that a kill left in it.

        Raises:
            SetupError: The folder cannot be written, another process saves under such names, a folder has the file's
                name, the direction is not known, a metric is misspelt, the model cannot be saved under such a
                name, the state of a sink cannot be saved, or the parts of the model are on ranks that do not train
                together.
        """
        self._turn = run.step
        if is_sharded(self._model_of(run)):
            self._require_together(run)
        if run.rank:
            return
        mode = self._monitor.direction(run.model)
        for name in self._template.names:
            if name not in _NUMBERS:
                check_metric(name, run.model, type(self).__name__, "filepath")
        self._check_ending(self._model_of(run))
        if self.save_state:
            check_state(run.bus_state, type(self).__name__, "save_state=True")
        self._store.folder.prepare()
        self._store.folder.own()
        self._store.begin(mode)
        self._best = Best(mode, value=self.initial_value_threshold)
        if self.save_best_only or (self.keep is not None and self.keep.best):
            run.watched.append(Watched(type(self).__name__, self.monitor, mode))
        self._saved_within.clear()
        self._refused_name = False
        self._warned_no_name = False

    def _model_of(self, run: Run) -> ModelHandle:
        return run.model if self.model is None else self.model

    def _require_together(self, run: Run) -> None:
        name = type(self).__name__
        if run.share is None:
            raise SetupError(
                f"{name} cannot save a model whose parts are on {run.ranks} ranks that do not train together: connect "
                "them before the run begins, and pass the same ranks= on every rank, without together=False"
            )
        if not self._template.names:
            raise SetupError(
                f"filepath must have a field such as {{epoch}} where parts of the model are on several ranks (got "
                f"{self._template.text!r}): they are saved as a folder, which cannot be replaced in one step"
            )
        own = f"filepath={self._template.text!r}, save_freq={self.save_freq!r}, at={self.at!r}"
        found = [each.decode() for each in run.share(f"{name}'s options", own.encode())]
        if len(set(found)) > 1:
            raise SetupError(
                f"{name} must have the same filepath, save_freq and at on every rank, because all save together (got "
                f"{'; '.join(f'{each} on rank {rank}' for rank, each in enumerate(found))})"
            )

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
        """Forget which files the last epoch's evaluations were saved to."""
        self._saved_within.clear()

    def on_batch_end(self, run: Run, step: int, logs: Logs) -> None:
        """Save if enough batches have been trained."""
        if isinstance(self.save_freq, int) and step - self._turn >= self.save_freq:
            self._turn = step
            self._on_rank_zero(run, lambda together: self._at_batch_end(run, logs, together))

    def _at_batch_end(self, run: Run, logs: Logs, together: Together | None) -> None:
        self._consider(run, run.epoch, logs, self._value(logs, "this batch"), together)

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        """Save if due."""
        self._on_rank_zero(run, lambda together: self._at_epoch_end(run, epoch, logs, together))

    def _at_epoch_end(self, run: Run, epoch: int, logs: Logs, together: Together | None) -> None:
        if self.at == "evaluation" or self._monitor.find(logs) in run.stale_metrics:
            value = self._occasions.at_epoch_end(run, logs)
        else:
            value = self._value(logs, "this epoch")
        self._consider(run, epoch, logs, value, together)

    def on_midepoch_evaluation(self, run: Run, logs: Logs) -> None:
        """Save if due, if the evaluation has the metric.

        Raises:
            ValueError: The file's name would be that of another evaluation of this epoch.
        """
        self._on_rank_zero(run, lambda together: self._at_evaluation(run, logs, together))

    def _at_evaluation(self, run: Run, logs: Logs, together: Together | None) -> None:
        value = self._occasions.within_epoch(run, logs)
        if value is not None:
            self._consider(run, run.epoch, {**run.interval_means, **logs}, value, together, within=True)

    def on_rewind(self, run: Run, epoch: int, step: int) -> None:
        """Count batches from the rewound step."""
        self._turn = min(self._turn, step)

    def on_train_end(self, run: Run, logs: Logs) -> None:
        """Let other processes save under such names."""
        if run.rank == 0:
            self._store.folder.disown()

    # --- saving ----------------------------------------------------------------------------------------------------

    def _on_rank_zero(self, run: Run, consider: Callable[[Together | None], None]) -> None:
        """Save what is due, on rank 0; if the model's parts are on several ranks, the others help.

        Raises:
            OSError: It cannot be written, on any rank.
            RankError: A rank is elsewhere, or lost.
        """
        save_together(self._model_of(run), run.rank, run.share, self._template.text, consider)

    def _consider(
        self,
        run: Run,
        epoch: int,
        logs: Logs,
        value: float | None,
        together: Together | None,
        *,
        within: bool = False,
    ) -> None:
        """Save, unless ``save_best_only`` or ``keep`` rule it out."""
        if self.save_best_only and (value is None or not self._best.beats(value, self._best.value)):
            return
        numbers = {"epoch": epoch + 1, "step": run.step, "batch": run.epoch_step}
        path = self._path(numbers, logs)
        if within and path is not None and not self._has_own_name(path):
            return
        saved = None if path is None else self._write(run, path, epoch, value, together)
        if saved is None:
            return
        run.saves.append(Save(saved.file, int(epoch), int(run.step), None if value is None else float(value)))
        if value is not None:
            self._best.update(value)
        is_whole = self.save_freq == "epoch" and not within
        self._store.enter(saved, (lambda: _whole_state(run, is_whole=is_whole)) if self.save_state else None)

    def _write(self, run: Run, path: Path, epoch: int, value: float | None, together: Together | None) -> Saved | None:
        return self._store.write(self._model_of(run), path, epoch=epoch, step=run.step, value=value, together=together)

    def _has_own_name(self, path: Path) -> bool:
        """Refuse a name that a second evaluation of this epoch would overwrite; raise once in a run, then skip."""
        names = self._template.names
        if not names or (path not in self._saved_within and ("step" in names or not self.save_state)):
            self._saved_within.add(path)
            return True
        if self._refused_name:  # raising again would disable the sink, and cost the saves at the ends of epochs
            return False
        self._refused_name = True
        stem, dot, ending = self._template.text.rpartition(".")
        raise ValueError(
            f"filepath must have {{step}} where evaluations are within epochs, or each would replace the one before "
            f"(got {self._template.text!r}): write {f'{stem}-{{step}}{dot}{ending}'!r}; this one is not saved"
        )

    def _path(self, numbers: Mapping[str, int], logs: Logs) -> Path | None:
        """Return the file's path; None, with one warning in a run, if the logs lack a field of its name."""
        try:
            return self._store.folder.file(numbers, logs)
        except (KeyError, TypeError) as error:
            if not self._warned_no_name:
                self._warned_no_name = True
                logger.warning(
                    "%s saves nothing while a field of the file's name is missing: %s",
                    type(self).__name__,
                    error.args[0],
                )
            return None

    def _value(self, logs: Logs, where: str) -> float | None:
        """Return the metric's value, None if it has none; warn only if the value decides about a save."""
        found = self._monitor.find(logs)
        if found is not None and logs[found] is not None:
            return self._monitor.convert(found, logs[found])
        if self.save_best_only or (self.keep is not None and self.keep.best):
            self._monitor.warn_missing([name for name, value in logs.items() if value is not None], where)
        return None

    # --- state -----------------------------------------------------------------------------------------------------

    @property
    def identity(self) -> Mapping[str, Any]:
        """The files, and the metric by which they are compared."""
        return {"filepath": Path(self.filepath), "monitor": self.monitor}

    def state_dict(self) -> dict[str, Any]:
        """Return the best value, the files that are kept, and the step of the last save."""
        best = state_of(self._best, "mode", "value")
        return {"best": best, "files": self._store.to_state(), "turn": self._turn}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned.

        Raises:
            ValueError: A file lies outside of the folder, or the state has another direction.
        """
        self._store.load_files(state["files"])
        self._best.restore(state["best"])
        self._turn = state["turn"]


def _whole_state(run: Run, *, is_whole: bool) -> dict[str, Any]:
    """Return the state to continue from; within an epoch, that epoch is the next to begin."""
    state = whole_state(run.bus_state, run.model)
    if not is_whole:
        state["state"]["run"]["epoch"] -= 1
    return state
