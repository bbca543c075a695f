"""Embeddings: every embedding layer's matrix with its labels, in the form that the Projector reads.

TensorBoard reads a run's embeddings when it first sees the run, and never again. So each snapshot is a separate run,
in the folder ``embeddings/epoch-0000`` of the log folder, and replaces the previous one unless all are to be kept.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import ClassVar

import attrs

from monitor_core.bus.run import Run
from monitor_core.errors import SetupError
from monitor_core.model.handles import Array
from monitor_core.tensorboard.formats.projector import Labels, read_labels, write_embeddings
from monitor_core.tensorboard.parts.files import RunFiles
from monitor_core.tensorboard.parts.parts import Part, is_due

FileName = str | PathLike[str]
LabelsByLayer = Mapping[str, Labels | FileName] | FileName
"""By layer name: a label for each row, columns of labels by title, or a file. Or one file for all layers."""

ROWS = 100_000
"""How many rows of a matrix are written: the first ones, since the Projector shows no more."""


@attrs.define
class Embeddings(Part):
    """Write the matrix of each embedding layer.

    Args:
        freq: Every how many epochs to write, starting with the first.
        labels: The rows' labels; files are read when the first run begins, relative names from the log folder.
        keeps_all: Whether earlier snapshots are kept.
    """

    name: ClassVar[str] = "the embeddings"

    freq: int
    labels: LabelsByLayer
    keeps_all: bool = False
    _read: Mapping[str, Labels] | None = attrs.field(init=False, default=None)
    _for_all: Labels | None = attrs.field(init=False, default=None)
    _checked: bool = attrs.field(init=False, default=False)
    _latest: Path | None = attrs.field(init=False, default=None)

    def begin(self, run: Run, files: RunFiles) -> None:
        """Read and check the labels, once.

        Raises:
            SetupError: A file cannot be read, a layer does not exist, or has a different number of rows.
        """
        if self._read is None:
            self._read_labels(files.folder)
        if self.labels and not self._checked:
            rows = {layer: len(matrix) for layer, matrix in run.model.embeddings()}  # type: ignore[union-attr]
            if rows:  # else the model is not built yet
                self._check(rows)

    def end_epoch(self, run: Run, epoch: int, files: RunFiles) -> None:
        """Write a snapshot if it is due.

        Raises:
            ValueError: There is no embedding layer, or the labels do not match it.
            OSError: The files cannot be written.
        """
        if is_due(self.freq, epoch):
            folder = _folder(files) / f"epoch-{epoch:04d}"
            self._write(folder, run.model.embeddings())  # type: ignore[union-attr]
            before, self._latest = self._latest, folder
            if before not in (None, folder) and not self.keeps_all:
                shutil.rmtree(before, ignore_errors=True)

    def rewind(self, epoch: int, files: RunFiles) -> None:
        self._latest = None
        for number, snapshot in _snapshots(_folder(files)):
            if number >= epoch:
                shutil.rmtree(snapshot)
            else:
                self._latest = snapshot

    def _read_labels(self, folder: Path) -> None:
        if not isinstance(self.labels, Mapping):
            self._for_all, self._read = _from_file(self.labels, folder), {}
            return
        self._read = {
            layer: _from_file(labels, folder) if isinstance(labels, str | PathLike) else labels
            for layer, labels in self.labels.items()
        }

    def _labels_of(self, layer: str) -> Labels | None:
        return (self._read or {}).get(layer, self._for_all)

    def _write(self, folder: Path, embeddings: Iterable[tuple[str, Array]]) -> None:
        matrices = dict(embeddings)
        if not matrices:
            raise ValueError("the model has no embedding layer")
        self._check({layer: len(matrix) for layer, matrix in matrices.items()})
        shutil.rmtree(folder, ignore_errors=True)  # files of an earlier run
        write_embeddings(
            folder, {layer: (matrix[:ROWS], self._first_labels(layer), None) for layer, matrix in matrices.items()}
        )

    def _first_labels(self, layer: str) -> Labels | None:
        labels = self._labels_of(layer)
        if labels is None:
            return None
        if isinstance(labels, Mapping):
            return {title: column[:ROWS] for title, column in labels.items()}
        return labels[:ROWS]

    def _check(self, rows: Mapping[str, int]) -> None:
        """Check the labels against each layer's number of rows, the first time."""
        if self._checked:
            return
        for layer in self._read or ():
            if layer not in rows:
                raise SetupError(
                    f"embeddings_metadata must name embedding layers of the model, which are {', '.join(rows)} "
                    f"(got {layer!r})"
                )
        for layer in rows:
            labels = self._labels_of(layer)
            for column in labels.values() if isinstance(labels, Mapping) else [labels]:
                if column is not None and len(column) != rows[layer]:
                    raise SetupError(
                        f"embeddings_metadata[{layer!r}] must have {rows[layer]} labels, one for each row "
                        f"(got {len(column)})"
                    )
        self._checked = True


def _from_file(name: FileName, folder: Path) -> Labels:
    path = folder / name
    try:
        return read_labels(path)
    except OSError as error:
        raise SetupError(
            f"embeddings_metadata must name a file that can be read; a relative name starts at log_dir "
            f"(got {os.fspath(name)!r}: {error})"
        ) from error


def _snapshots(folder: Path) -> list[tuple[int, Path]]:
    """Return the snapshots in a folder and their epochs, in order."""
    named = ((path.name.removeprefix("epoch-"), path) for path in folder.glob("epoch-*"))
    return sorted((int(number), path) for number, path in named if number.isdecimal())


def _folder(files: RunFiles) -> Path:
    return files.folder / "embeddings"
