"""Embeddings: every embedding layer's matrix with its labels, in the form that the projector reads.

TensorBoard reads a run's embeddings when it first sees the run, and never again. So each snapshot is a run of its own,
in the folder ``embeddings/epoch-0000`` of the log folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

import attrs

from monitor_core.bus.run import Run
from monitor_core.errors import SetupError
from monitor_core.model.handles import Array
from monitor_core.tensorboard.formats.projector import Labels, write_embeddings
from monitor_core.tensorboard.parts.files import RunFiles
from monitor_core.tensorboard.parts.parts import Part, is_due

ROWS = 100_000
"""How many rows of a matrix are written: the first ones, which are all that the projector shows."""


@attrs.define
class Embeddings(Part):
    """Write the matrix of each embedding layer.

    Args:
        freq: Every how many epochs, the first among them.
        labels: By the layer's name a label for each row, or several columns of labels by their titles.
    """

    name: ClassVar[str] = "the embeddings"

    freq: int
    labels: Mapping[str, Labels]
    _checked: bool = False

    def begin(self, run: Run, files: RunFiles) -> None:
        """Check the labels, once.

        Raises:
            SetupError: A layer is not there, or has another number of rows.
        """
        if self.labels and not self._checked:
            rows = {layer: len(matrix) for layer, matrix in run.model.embeddings()}  # type: ignore[union-attr]
            if rows:  # else the model is to be built yet
                self._check(rows)

    def end_epoch(self, run: Run, epoch: int, files: RunFiles) -> None:
        """Write a snapshot, if it is due.

        Raises:
            ValueError: There is no embedding layer, or the labels do not fit.
            OSError: The files cannot be written.
        """
        if is_due(self.freq, epoch):
            self._write(_folder(files) / f"epoch-{epoch:04d}", run.model.embeddings())  # type: ignore[union-attr]

    def rewind(self, epoch: int, files: RunFiles) -> None:
        """Remove the snapshots from an epoch on."""
        for folder in _folder(files).glob("epoch-*"):
            number = folder.name.removeprefix("epoch-")
            if number.isdecimal() and int(number) >= epoch:
                shutil.rmtree(folder)

    def _write(self, folder: Path, embeddings: Iterable[tuple[str, Array]]) -> None:
        matrices = dict(embeddings)
        if not matrices:
            raise ValueError("the model has no embedding layer")
        self._check({layer: len(matrix) for layer, matrix in matrices.items()})
        shutil.rmtree(folder, ignore_errors=True)  # what an earlier run has left
        write_embeddings(
            folder, {layer: (matrix[:ROWS], self._first_labels(layer), None) for layer, matrix in matrices.items()}
        )

    def _first_labels(self, layer: str) -> Labels | None:
        labels = self.labels.get(layer)
        if labels is None:
            return None
        if isinstance(labels, Mapping):
            return {title: column[:ROWS] for title, column in labels.items()}
        return labels[:ROWS]

    def _check(self, rows: Mapping[str, int]) -> None:
        """Check the labels against each layer's number of rows, the first time."""
        if self._checked:
            return
        for layer, labels in self.labels.items():
            if layer not in rows:
                raise SetupError(
                    f"embeddings_metadata must name embedding layers of the model, which are {', '.join(rows)} "
                    f"(got {layer!r})"
                )
            for column in labels.values() if isinstance(labels, Mapping) else [labels]:
                if len(column) != rows[layer]:
                    raise SetupError(
                        f"embeddings_metadata[{layer!r}] must have {rows[layer]} labels, one for each row "
                        f"(got {len(column)})"
                    )
        self._checked = True


def _folder(files: RunFiles) -> Path:
    return files.folder / "embeddings"
