"""Predictions: a classifier's precision-recall curves and confusion matrix on validation samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import attrs

from monitor_core.bus.run import Run
from monitor_core.tensorboard.formats.confusion import confusion_image
from monitor_core.tensorboard.formats.event_file import EventFile
from monitor_core.tensorboard.formats.images import image_value
from monitor_core.tensorboard.formats.pr_curves import pr_curve_value
from monitor_core.tensorboard.parts.classes import Classified, classify
from monitor_core.tensorboard.parts.files import VALIDATION, RunFiles
from monitor_core.tensorboard.parts.parts import Part, Samples, is_due


@attrs.frozen
class Predictions(Part):
    """Write ``pr_curve/<class>`` for each class among the targets, and ``confusion_matrix``, an image.

    A single output, for two classes, has one curve: ``pr_curve``. With several outputs, their names prefix the tags.

    Args:
        freq: Every how many epochs to write, starting with the first.
        samples: The samples to predict.
        class_names: The classes' names; None numbers them.
    """

    name: ClassVar[str] = "the precision-recall curves and the confusion matrix"

    freq: int
    samples: Samples
    class_names: Sequence[str] | None

    def end_epoch(self, run: Run, epoch: int, files: RunFiles) -> None:
        """Write what is due.

        Raises:
            ValueError: There are no targets, or the model is not a classifier.
        """
        if not is_due(self.freq, epoch):
            return
        x, y = self.samples.of(run)
        if y is None:
            raise ValueError("the validation data have no targets to compare with")
        for output, scores, targets in _by_output(run.model.predict(x), y):  # type: ignore[union-attr]
            self._write(files[VALIDATION], output, classify(scores, targets), epoch)

    def end(self, run: Run, files: RunFiles) -> None:
        self.samples.forget()

    def _write(self, file: EventFile, output: str, found: Classified, epoch: int) -> None:
        names = self._names(found)
        titles = [f"/{name}" for name in names] if found.scores.shape[1] > 1 else [""]
        for truth, scores, title in zip(found.truth.T, found.scores.T, titles, strict=True):
            if truth.any():  # else recall is undefined
                file.add_value(pr_curve_value(f"pr_curve{output}{title}", truth, scores), epoch, axis=self.axis)
        if found.exclusive:
            image = confusion_image(found.confusion(), names)
            file.add_value(image_value(f"confusion_matrix{output}", image), epoch, axis=self.axis)

    def _names(self, found: Classified) -> Sequence[str]:
        classes = max(2, found.scores.shape[1])
        if self.class_names is None:
            return [str(number) for number in range(classes)]
        if len(self.class_names) != classes:
            raise ValueError(f"class_names must have {classes} names, one for each class (got {len(self.class_names)})")
        return self.class_names


def _by_output(outputs: Any, targets: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield each output's name after a slash, its values and its targets; a single output has an empty name."""
    if isinstance(outputs, Mapping) and isinstance(targets, Mapping):
        for name in outputs:
            yield f"/{name}", outputs[name], targets[name]
    elif isinstance(outputs, (list, tuple)) and isinstance(targets, (list, tuple)):
        for number, (values, of_them) in enumerate(zip(outputs, targets, strict=True)):
            yield f"/{number}", values, of_them
    else:
        yield "", outputs, targets
