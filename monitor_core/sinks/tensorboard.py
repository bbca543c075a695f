"""TensorBoard: the run's metrics, and the model's weights and outputs, as event files; TensorFlow is not needed.

Contract. The files are created at train begin and written immediately: with each block, at each epoch's end, and with
each ``add_...``, which may be called from any thread. The model is read as an epoch ends, on the thread that trains,
and never between two batches. Each output is a part, see `monitor_core.tensorboard.parts`: if one fails, a warning is
logged once, and the others and the training continue.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs

from monitor_core import checks
from monitor_core.bus.copies import independent_copy
from monitor_core.bus.finding import Finding
from monitor_core.bus.run import Evaluation, Run
from monitor_core.bus.sink import Logs, Sink
from monitor_core.errors import SetupError
from monitor_core.files.folders import absolute
from monitor_core.records.numbering import Numbering
from monitor_core.tensorboard.formats.axes import Axis
from monitor_core.tensorboard.formats.event_file import EventFile
from monitor_core.tensorboard.parts import scalars
from monitor_core.tensorboard.parts.activations import Activations
from monitor_core.tensorboard.parts.additions import Additions
from monitor_core.tensorboard.parts.embeddings import Embeddings, LabelsByLayer
from monitor_core.tensorboard.parts.files import TRAIN, RunFiles
from monitor_core.tensorboard.parts.gradients import Gradients
from monitor_core.tensorboard.parts.graph import Graph
from monitor_core.tensorboard.parts.hparams import HParams
from monitor_core.tensorboard.parts.parts import Part, Parts, Samples
from monitor_core.tensorboard.parts.predictions import Predictions
from monitor_core.tensorboard.parts.profiling import Profile
from monitor_core.tensorboard.parts.texts import Texts
from monitor_core.tensorboard.parts.weights import Weights
from monitor_core.values.blocks import Block


def _check_profile_steps(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, tuple) or len(value) != 2:
        raise TypeError(f"{field.name} must be the first and the last step, such as (10, 12) (got {value!r})")
    first, last = (checks.checked_count(field.name, step, least=1) for step in value)
    if first > last:
        raise ValueError(f"{field.name} must not end before it begins (got {value})")


def _check_update_freq(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if value not in ("epoch", "batch") and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError(f'{field.name} must be "epoch", "batch", or a number of batches >= 1 (got {value!r})')


def _check_texts(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, Mapping) or not all(isinstance(text, str) for pair in value.items() for text in pair):
        raise TypeError(f"{field.name} must map tags to strings (got {value!r})")


def _check_labels(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, Mapping | str | PathLike):
        raise TypeError(f"{field.name} must be a file, or map layers' names to files or labels (got {value!r})")


@attrs.define(eq=False)
class TensorBoard(Additions, Sink):
    """Write the run for TensorBoard: ``tensorboard --logdir logs`` shows it while it trains.

    The folder ``train`` gets the training's metrics as ``epoch_<name>``, with the learning rate; ``validation`` gets
    those with the prefix ``val_`` under the same tags. An evaluation, within an epoch or on its own, is
    ``evaluation_<name>_vs_iterations`` over the steps. One with a name has a folder, and so a curve, of its own:
    ``evaluation(name="test")`` is ``epoch_loss`` and ``evaluation_loss_vs_iterations`` of ``test``.

    **Epochs and steps continue**: if one object records several runs, such as repeated `fit` calls, a run whose first
    epoch is 0 is numbered from after the last one, and so are its steps. A new object begins with 0, even in a folder
    that has files already; TensorBoard then replaces their values from there on. A resumed run
    (``ModelCheckpoint.resume``) continues where it was, and what was written after its checkpoint is dropped.

    "Every N epochs" begins with the first epoch. Outputs that read the model need members of its handle; activations,
    gradients and predictions also need validation data: ``validation_data=`` of the `KerasAdapter`, of
    ``adapter.fit``, or of the `Loop`.

    Args:
        log_dir: The folder.
        update_freq: ``"batch"`` also writes every batch's metrics, as ``batch_<name>`` over the steps; a number N those
            of every Nth batch, at the steps that are multiples of N. Epochs are always written.
        write_graph: Whether to write the model's layers as a graph, and as a table in the text tab.
        write_images: Whether to write the weights as images, every ``histogram_freq`` epochs, or every epoch if
            that is 0.
        histogram_freq: Every how many epochs to write the distributions of the weights; 0 for never.
        write_activations: Whether to write the distributions of each layer's outputs, as often as ``write_images``; for
            rectified outputs that of the positive part, and the share of zeros as a scalar. None writes them with the
            histograms if there are validation data that can be read again: not an iterator, and not a
            ``tf.data.Dataset``, which may shuffle differently once it was read.
        write_gradients: Whether to write the distributions of the gradients, as often.
        write_steps_per_second: Whether to write each epoch's training steps per second, without evaluations.
        embeddings_freq: Every how many epochs to write every embedding layer's matrix for the projector; 0 for never.
        embeddings_metadata: For each layer's name, a label for each row, several columns of labels by their titles, or
            the name of a file with a label in each line, or with titles in the first line and tabs between columns; or
            one such file for all layers. A relative name is resolved against ``log_dir``, as in Keras.
        embeddings_history: Whether to keep the embeddings of every written epoch, each as a separate run. The projector
            opens with the latest; without this option it has only that one.
        predictions_freq: Every how many epochs to write a classifier's precision-recall curves and confusion matrix; 0
            for never.
        class_names: The classes' names, in the order of the model's outputs.
        samples: How many validation samples to use for activations and gradients.
        prediction_samples: How many validation samples to predict.
        text: Markdown strings to write once, by their tags.
        hparams: The run's hyperparameters by name: numbers, booleans, strings; other values are written as strings.
            The table compares the log folders in the folder that TensorBoard is started with.
        hparams_metrics: Which of an epoch's metrics the table shows too, such as ``val_accuracy``; by default all. The
            table then has the hyperparameters of one of the log folders as columns.
        profile_steps: The first and the last step of the run, from 1, to profile if the framework has a profiler.

    Raises:
        TypeError: An argument is of another type.
        ValueError: An argument breaks its rule, or has no effect without another.
        SetupError: The package ``tensorboard`` is missing. At train begin: the folder cannot be written, or
            ``embeddings_metadata`` does not fit the model's embedding layers.

    Source: the tags are those of Keras 3.15's callback of this name; ``docs/differences.md`` lists where it differs.

    Example:
        >>> board = TensorBoard("logs", update_freq="batch", histogram_freq=1)
        >>> adapter = KerasAdapter(board, model=model)
        >>> model.fit(x, y, epochs=10, validation_split=0.2, callbacks=adapter)
    """

    __copy__ = independent_copy

    read_only: ClassVar[bool] = True
    writes: ClassVar[bool] = True
    background: ClassVar[bool] = True

    log_dir: Path = attrs.field(default=Path("logs"), converter=absolute)
    update_freq: Literal["epoch", "batch"] | int = attrs.field(
        default="epoch", kw_only=True, validator=_check_update_freq
    )
    write_graph: bool = attrs.field(default=True, kw_only=True, validator=checks.boolean)
    write_images: bool = attrs.field(default=False, kw_only=True, validator=checks.boolean)
    histogram_freq: int = attrs.field(default=0, kw_only=True, validator=checks.count())
    write_activations: bool | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(checks.boolean)
    )
    write_gradients: bool = attrs.field(default=False, kw_only=True, validator=checks.boolean)
    write_steps_per_second: bool = attrs.field(default=True, kw_only=True, validator=checks.boolean)
    embeddings_freq: int = attrs.field(default=0, kw_only=True, validator=checks.count())
    embeddings_metadata: LabelsByLayer | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(_check_labels)
    )
    embeddings_history: bool = attrs.field(default=False, kw_only=True, validator=checks.boolean)
    predictions_freq: int = attrs.field(default=0, kw_only=True, validator=checks.count())
    class_names: Sequence[str] | None = attrs.field(default=None, kw_only=True)
    samples: int = attrs.field(default=32, kw_only=True, validator=checks.count(least=1))
    prediction_samples: int = attrs.field(default=1024, kw_only=True, validator=checks.count(least=1))
    text: Mapping[str, str] | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(_check_texts)
    )
    hparams: Mapping[str, Any] | None = attrs.field(
        default=None,
        kw_only=True,
        validator=attrs.validators.optional(attrs.validators.instance_of(Mapping)),  # type: ignore[type-abstract]
    )
    hparams_metrics: Sequence[str] | None = attrs.field(default=None, kw_only=True)
    profile_steps: tuple[int, int] | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(_check_profile_steps)
    )
    _files: RunFiles = attrs.field(init=False, repr=False)
    _parts: Parts = attrs.field(init=False, repr=False)
    _numbers: Numbering = attrs.field(init=False, repr=False, factory=Numbering)
    _stopwatch: scalars.Stopwatch = attrs.field(init=False, repr=False, factory=scalars.Stopwatch)
    _spacing: scalars.Spacing = attrs.field(init=False, repr=False)
    _profile: Profile | None = attrs.field(init=False, repr=False, default=None)
    _run: Run | None = attrs.field(init=False, repr=False, default=None)
    _evaluations: scalars.Evaluations = attrs.field(init=False, repr=False, factory=scalars.Evaluations)

    def __attrs_post_init__(self) -> None:
        for option, unset, needed in (
            ("embeddings_metadata", None, "embeddings_freq"),
            ("embeddings_history", False, "embeddings_freq"),
            ("class_names", None, "predictions_freq"),
            ("hparams_metrics", None, "hparams"),
        ):
            if getattr(self, option) is not unset and not getattr(self, needed):
                raise ValueError(f"{option} must be {unset} without {needed} (got {getattr(self, option)!r})")
        try:
            importlib.import_module("tensorboard.compat.proto.event_pb2")
        except ImportError as error:
            raise SetupError('TensorBoard needs tensorboard: pip install "monitor_core[tensorboard]"') from error
        self.reset()

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """What the model's handle must have for the outputs asked for."""
        wanted = {
            "weights": self.histogram_freq or self.write_images,
            "activations": self.write_activations is True,
            "gradients": self.write_gradients,
            "embeddings": self.embeddings_freq,
            "predict": self.predictions_freq,
        }
        return tuple(need for need, is_wanted in wanted.items() if is_wanted)

    @property
    def dropped(self) -> int:
        """How many values were dropped because they could not be written for too long."""
        return self._files.dropped

    def wants_hook(self, hook: str) -> bool:
        """Listen to blocks where batches are to be written, and to each batch only for a profile."""
        return {
            "on_block": self.update_freq != "epoch",
            "on_batch_begin": self.profile_steps is not None,
            "on_batch_end": self.profile_steps is not None,
            "on_evaluation_begin": self.write_steps_per_second,
        }.get(hook, True)

    def reset(self) -> None:
        """Let the next run begin from scratch, with epoch 0 and step 0 in new files."""
        if self._run is not None:
            self._files.close()
        self._files, self._numbers = RunFiles(self.log_dir), Numbering()
        self._parts = Parts(*self._make_parts())
        self._spacing = scalars.Spacing(self.update_freq if isinstance(self.update_freq, int) else 1)
        self._run, self._profile = None, None
        self._evaluations = scalars.Evaluations()

    def _make_parts(self) -> Iterator[Part]:
        """Yield the parts for the outputs asked for."""
        often = self.histogram_freq or 1
        looked_at = Samples(self.samples)
        if self.write_graph:
            yield Graph(looked_at)
        if self.text:
            yield Texts(self.text)
        if self.hparams is not None:
            yield HParams(self.hparams, self.hparams_metrics)
        if self.histogram_freq or self.write_images:
            yield Weights(self.histogram_freq, often if self.write_images else 0)
        if self.write_activations or (self.write_activations is None and self.histogram_freq):
            yield Activations(often, looked_at, only_at_hand=self.write_activations is None)
        if self.write_gradients:
            yield Gradients(often, looked_at)
        if self.embeddings_freq:
            yield Embeddings(self.embeddings_freq, self.embeddings_metadata or {}, self.embeddings_history)
        if self.predictions_freq:
            yield Predictions(self.predictions_freq, Samples(self.prediction_samples), self.class_names)

    def _place(self, step: int | None, axis: Axis) -> tuple[EventFile, int]:
        if axis not in ("step", "epoch"):
            raise ValueError(f"axis must be 'step' or 'epoch' (got {axis!r})")
        if step is None:
            step = self._present(axis)
        return self._files[TRAIN], checks.checked_count("step", step)

    def _present(self, axis: Axis) -> int:
        """Return the number of the current epoch or of the last step; between runs the largest."""
        numbers, run = self._numbers, self._run
        if run is None or not numbers.is_settled:
            return max(0, numbers.last_epoch) if axis == "epoch" else numbers.last_step
        return max(0, numbers.epoch(run.epoch)) if axis == "epoch" else numbers.step(run.step)

    # --- hooks -----------------------------------------------------------------------------------------------------

    def on_train_begin(self, run: Run) -> None:
        """Create files, or continue those of a resumed run, and write what is known at train begin.

        Raises:
            SetupError: The folder cannot be written, or an option does not fit the model.
        """
        self._run = run
        self._numbers.begin()
        self._files.start = None if run.resumed else 0
        self._files.open()
        if self.profile_steps is not None and self._profile is None:
            self._profile = Profile(*self.profile_steps, self.log_dir / TRAIN)
        self._parts.begin(run, self._files)
        for finding in run.findings:
            self._write_finding(finding)

    def on_finding(self, run: Run, finding: Finding) -> None:
        """Write what is wrong with the training as a text."""
        if self._run is run:  # else it comes before this sink's train begin, which writes it
            self._write_finding(finding)

    def _write_finding(self, finding: Finding) -> None:
        text = f"**{finding.severity}** ({finding.symptom}): {finding}"
        self.add_text(f"findings/{finding.symptom}", text, finding.step)

    def on_epoch_begin(self, run: Run, epoch: int) -> None:
        """Determine, from the run's first epoch, how its numbers continue."""
        self._numbers.settle(epoch, run.step)
        self._stopwatch.begin_epoch(run)
        self._spacing.begin_epoch(run.step)
        self._evaluations.begin_epoch(run.step)

    def on_batch_begin(self, run: Run, step: int) -> None:
        """Begin the profile at its first step."""
        if self._profile is not None:
            self._profile.begin_batch(run, step)

    def on_batch_end(self, run: Run, step: int, logs: Logs) -> None:
        """End the profile after its last step."""
        if self._profile is not None:
            self._profile.end_batch(step)

    def on_block(self, run: Run, block: Block) -> None:
        """Write the batches' metrics."""
        self._numbers.settle(block.epoch, run.step)  # where this sink was added within the epoch
        _, shift = self._numbers.shift or (0, 0)
        scalars.write_block(self._spacing.chosen(block, shift), shift, self._files)

    def on_evaluation_begin(self, run: Run) -> None:
        """Exclude evaluations from the steps per second."""
        self._stopwatch.pause()

    def on_evaluation_end(self, run: Run, logs: Logs) -> None:
        """Write the evaluation's metrics, if its step is known."""
        self._stopwatch.resume()
        if run.evaluation is not None and (known := self._evaluations.end(run.evaluation, logs)) is not None:
            self._write_evaluation(known, known.step, logs)

    def on_midepoch_evaluation(self, run: Run, logs: Logs) -> None:
        """Write the evaluation's metrics, if they waited for its step."""
        for evaluation, results in self._evaluations.settle(run.evaluation):
            self._write_evaluation(evaluation, evaluation.step, results)

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        """Write the epoch's metrics, and the outputs of the model that are due."""
        self._numbers.settle(epoch, run.step)  # where this sink was added within the epoch
        number = self._numbers.epoch(epoch)
        speed = self._stopwatch.rate(run) if self.write_steps_per_second else {}
        try:
            scalars.write_epoch(
                {**scalars.rates_of(run), **speed, **logs}, number, self._files, self._evaluations.places
            )
            self._write_evaluations(run)
        finally:
            self._numbers.record(run.step, epoch)
            self._parts.call("record", logs, number, self._files)
            self._parts.call("end_epoch", run, number, self._files)

    def on_train_end(self, run: Run, logs: Logs) -> None:
        """Sync and close the files."""
        self._numbers.record(run.step)
        if self._profile is not None:
            self._profile.end()
        try:
            self._write_evaluations(run)
        finally:
            self._parts.call("end", run, self._files)
            self._files.close()

    def on_rewind(self, run: Run, epoch: int, step: int) -> None:
        """Drop later values, by their epoch or step, from files of earlier processes too."""
        next_epoch, last_step = self._numbers.rewind(epoch, step)
        self._files.rewind(lambda number, _tag, axis: number < next_epoch if axis == "epoch" else number <= last_step)
        self._parts.call("rewind", self._numbers.last_epoch + 1, self._files)

    @property
    def identity(self) -> Mapping[str, Any]:
        """The folder."""
        return {"log_dir": self.log_dir}

    def state_dict(self) -> dict[str, Any]:
        """Return the largest epoch and step in the files, and how this run's are numbered."""
        return {} if self._run is None else self._numbers.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the run's numbers."""
        self._numbers = Numbering.from_state(state)

    def _write_evaluations(self, run: Run) -> None:
        """Write the epoch's evaluations that had to wait for its number of steps."""
        for evaluation, logs in self._evaluations.end_epoch():
            self._write_evaluation(evaluation, run.step, logs)

    def _write_evaluation(self, evaluation: Evaluation, step: int, logs: Logs) -> None:
        if logs:  # else there is no folder to create
            file = self._files[scalars.run_of(evaluation)]
            scalars.write_evaluation(logs, self._numbers.step(step), file)
