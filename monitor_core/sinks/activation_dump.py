"""Activation dumps: the layers' outputs on a few validation samples, as a file for every N-th epoch.

Contract. The samples are read once, at train begin, and released at train end. Files are written atomically. A write
that fails raises, which the bus reports; the next file is tried again. Only files of this run are removed: each file
holds the id of its run, which is checked first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import attrs

from monitor_core import checks
from monitor_core._log import logger
from monitor_core.bus.copies import independent_copy
from monitor_core.bus.run import Run
from monitor_core.bus.sink import Logs, Sink
from monitor_core.errors import SetupError
from monitor_core.files.activation_files import RunFiles
from monitor_core.files.activations import Activations, is_storable
from monitor_core.files.folders import TemplateFolder
from monitor_core.files.templates import Template
from monitor_core.model.handles import Array, ModelHandle, check_layers, is_built
from monitor_core.model.samples import first_samples

_NUMBERS = ("epoch", "step")


def _check_layers(_: Any, __: Any, layers: Any) -> None:
    if layers is None:
        return
    if isinstance(layers, str) or not isinstance(layers, Sequence) or not all(isinstance(each, str) for each in layers):
        raise TypeError(f"layers must be a sequence of names (got {layers!r})")
    if not layers:
        raise ValueError("layers must have at least one name, or be None for all layers (got none)")


@attrs.define(eq=False)
class ActivationDump(Sink):
    """Write the activations of all or chosen layers, on the first validation samples, at the end of every N-th epoch.

    A file is an ``.npz`` that ``numpy.load`` opens: an array for each layer, samples first, under the layer's name,
    and ``__epoch__`` (0-based), ``__step__`` and ``__run__``; `monitor_core.load_activations`
    reads it too. The model computes in inference mode and is not changed. `monitor_core.plotting` plots the
    files: ``plot_feature_maps``, ``plot_activation_distributions`` and ``plot_dead_units``.

    The model's handle decides what a layer is and what its name is: see `KerasModel.activations` and
    `TorchModel.activations`. Outputs that are not numbers, such as strings, are left out with a warning.

    Args:
        filepath: The file, with fields for ``epoch``, counted from 1, and ``step``: ``"activations/{epoch:04d}.npz"``.
            A field is a name and a format spec, nothing else.
        layers: The names of the layers; None for all. A layer's name stands for all of its outputs.
        every: Write a file every this many epochs, at least 1: with 5 after the 5th, 10th, 15th, ...
        samples: How many of the data's first samples to use, at least 1.
        data: Samples to use in place of the validation data, of any kind that `first_samples` reads. None uses the
            validation data: ``validation_data=`` of `KerasAdapter`, ``adapter.fit`` or `Loop`.
        keep: How many of the run's newest files to keep, at least 1; None keeps all.
        max_bytes: How many bytes the files may take together; the oldest are removed first, the newest is always kept.
            None for no limit.

    Attributes:
        files: The run's existing files, the oldest first.

    Raises:
        TypeError: ``filepath`` is not a path, ``layers`` not a sequence of names, or a number not an integer.
        ValueError: An argument breaks its rule above.

    Example:
        >>> dump = ActivationDump("activations/{epoch:04d}.npz", layers=["conv"], every=5, samples=16)
        >>> KerasAdapter(dump).fit(model, x, y, epochs=50, validation_data=(x_val, y_val))
    """

    __copy__ = independent_copy

    read_only: ClassVar[bool] = True
    writes: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("activations",)

    filepath: str | PathLike[str] = attrs.field()
    layers: Sequence[str] | None = attrs.field(default=None, kw_only=True, validator=_check_layers)
    every: int = attrs.field(default=1, kw_only=True, validator=checks.count(least=1))
    samples: int = attrs.field(default=1, kw_only=True, validator=checks.count(least=1))
    data: Any = attrs.field(default=None, kw_only=True, repr=False)
    keep: int | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(checks.count(least=1))
    )
    max_bytes: int | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(checks.count(least=1))
    )
    _template: Template = attrs.field(init=False, repr=False)
    _folder: TemplateFolder = attrs.field(init=False, repr=False)
    _x: Any = attrs.field(init=False, repr=False, default=None)
    _chosen: Sequence[str] | None = attrs.field(init=False, repr=False, default=None)
    _is_checked: bool = attrs.field(init=False, repr=False, default=False)
    _files: RunFiles = attrs.field(init=False, repr=False)
    _warned: set[str] = attrs.field(init=False, repr=False, factory=set)

    @_template.default
    def _make_template(self) -> Template:
        return Template(self.filepath, numbers=_NUMBERS)

    @_folder.default
    def _make_folder(self) -> TemplateFolder:
        return TemplateFolder(self._template, type(self).__name__)

    @_files.default
    def _make_files(self) -> RunFiles:
        return RunFiles(self.keep, self.max_bytes)

    def __attrs_post_init__(self) -> None:
        text, names = self._template.text, self._template.names
        if not text.endswith(".npz"):
            raise ValueError(f"filepath must end in .npz (got {text!r})")
        if unknown := [name for name in names if name not in _NUMBERS]:
            raise ValueError(f"filepath must have no other fields than {{epoch}} and {{step}} (got {{{unknown[0]}}})")
        if self.keep is not None and not names:
            raise ValueError(f"filepath must have a field such as {{epoch}} with keep=... (got {text!r})")

    @property
    def files(self) -> tuple[Path, ...]:
        """The run's existing files, the oldest first."""
        return self._files.paths

    # --- train begin and end ---------------------------------------------------------------------------------------

    def on_train_begin(self, run: Run) -> None:
        """Read the samples and compute the activations once, so that errors show now.

        A model that is not built yet is first used after its first epoch.

        Raises:
            SetupError: The folder cannot be written, there are no samples, or the activations cannot be computed, for
                example because a layer does not exist.
        """
        self._folder.prepare()
        self._x = self._read_samples(run)
        self._chosen, self._is_checked = self.layers, False
        self._warned.clear()
        if is_built(run.model):
            self._try(run.model)
        self._folder.own()
        self._files.begin()

    def _read_samples(self, run: Run) -> Any:
        data = run.validation_data if self.data is None else self.data
        if data is None:
            raise SetupError(
                "ActivationDump needs samples, and there are no validation data: pass ActivationDump(..., data=x), or "
                "validation_data= to the adapter, adapter.fit or the Loop (model.fit does not provide them)"
            )
        try:
            return first_samples(data, self.samples)[0]
        except Exception as error:
            kind = "the validation data" if self.data is None else "data"
            raise SetupError(f"ActivationDump cannot read samples from {kind}: {error}") from error

    def _try(self, model: ModelHandle) -> None:
        try:
            self._look(model)
        except Exception as error:
            raise SetupError(f"ActivationDump cannot compute the layers' activations: {error}") from error
        self._is_checked = True

    def on_train_end(self, run: Run, logs: Logs) -> None:
        """Release the samples, and let other processes write such files."""
        self._x = None
        self._folder.disown()

    # --- dumps -----------------------------------------------------------------------------------------------------

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        """Write a file if one is due, and remove files beyond the limits."""
        if (epoch + 1) % self.every:
            return
        if not self._is_checked:
            self._choose(run.model)
        arrays = self._look(run.model)
        if arrays:
            self._write(Activations(arrays, epoch=epoch, step=run.step))

    def _choose(self, model: ModelHandle) -> None:
        """Leave out, with a warning, missing layers of a model that was not built at train begin."""
        self._is_checked = True
        names = model.layer_names()
        if self.layers is not None and names is not None:
            try:
                check_layers(self.layers, names)
            except ValueError as error:
                self._warn_once("layers", "%s; ActivationDump leaves out the missing ones", error)
            self._chosen = [name for name in self.layers if name in names]

    def _look(self, model: ModelHandle) -> dict[str, Array]:
        """Return those activations of the chosen layers that can be written."""
        if self._chosen is None:
            found = dict(model.activations(self._x))
        else:
            found = dict(model.activations(self._x, layers=self._chosen))
        used = {name.partition(":")[0] for name in found} | set(found)
        for name in self._chosen or ():
            if name not in used:
                self._warn_once(name, "ActivationDump finds no output of the layer %r: the model does not use it", name)
        for name, array in found.items():
            if not is_storable(array):
                self._warn_once(
                    name, "ActivationDump leaves out %r, whose output is not numeric (%s)", name, array.dtype
                )
        return {name: array for name, array in found.items() if is_storable(array)}

    def _warn_once(self, what: str, message: str, *arguments: object) -> None:
        """Log a warning, once in a run."""
        if what not in self._warned:
            self._warned.add(what)
            logger.warning(message, *arguments)

    def _write(self, activations: Activations) -> None:
        path = self._path(activations.epoch, activations.step)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._folder.check_inside(path)
        self._files.write(path, activations)
        if self.max_bytes is not None and (size := path.stat().st_size) > self.max_bytes:
            self._warn_once("max_bytes", "%s alone has %d bytes, more than max_bytes=%d", path, size, self.max_bytes)

    # --- rewind ----------------------------------------------------------------------------------------------------

    def on_rewind(self, run: Run, epoch: int, step: int) -> None:
        """Drop this run's files from ``epoch`` on."""
        self._files.drop(lambda mark: mark.epoch >= epoch)

    def _path(self, epoch: int, step: int) -> Path:
        return self._folder.file({"epoch": epoch + 1, "step": step}, {})

    @property
    def identity(self) -> Mapping[str, Any]:
        """The files."""
        return {"filepath": Path(self.filepath)}

    def state_dict(self) -> dict[str, Any]:
        """Return the run's id, which its files hold."""
        return {"run": self._files.run} if self._files.run else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with the files of the run whose `state_dict` this is."""
        self._files.run = state["run"]
        self._files.resume(self._folder.files("*.npz"))
