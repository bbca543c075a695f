"""Activation dumps: what the layers give for a few validation samples, as a file for every N-th epoch.

Contract. The samples are read once, at train begin, and let go of at train end. A file is complete or not there, at any
moment; one that cannot be written raises, which the bus reports, and the next is tried anew. Only files of this run
are ever removed: each says of itself which run it is of, and is asked before.
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
from monitor_core.model.handles import Array, ModelHandle, check_layers
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
    reads it too. The model computes in inference mode and is left as it was. `monitor_core.plotting` draws what was
    written: ``plot_feature_maps``, ``plot_activation_distributions`` and ``plot_dead_units``.

    The model's handle decides what a layer is, and how it is called: see `KerasModel.activations` and
    `TorchModel.activations`. Outputs that are no numbers, such as texts, are left out with a warning.

    Args:
        filepath: The file, with fields for ``epoch``, counted from 1, and ``step``: ``"activations/{epoch:04d}.npz"``.
            A field is a name and a format spec, nothing else.
        layers: The names of the layers; None for all. A layer's name stands for all of its outputs.
        every: Every how many epochs, at least 1: with 5 at the ends of the 5th, 10th, 15th, ...
        samples: How many samples, the first ones of the data, at least 1.
        data: Samples to use in place of the validation data, of any kind that `first_samples` reads. None takes the
            validation data that were lent: ``validation_data=`` of `KerasAdapter`, ``adapter.fit`` or `Loop`.
        keep: How many files of the run stay, the newest, at least 1; None keeps all.
        max_bytes: How many bytes they may have together; the oldest go first, the newest stays always. None for any.

    Attributes:
        files: The files of the run that are there, the oldest first.

    Raises:
        TypeError: ``filepath`` is no path, ``layers`` no sequence of names, or a number no integer.
        ValueError: An argument breaks its rule above.

    Example:
        >>> dump = ActivationDump("activations/{epoch:04d}.npz", layers=["conv"], every=5, samples=16)
        >>> KerasAdapter(dump).fit(model, x, y, epochs=50, validation_data=(x_val, y_val))
    """

    __copy__ = independent_copy

    read_only: ClassVar[bool] = True
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
    _told: set[str] = attrs.field(init=False, repr=False, factory=set)

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
        """The files of the run that are there, the oldest first."""
        return self._files.paths

    # --- train begin and end ---------------------------------------------------------------------------------------

    def on_train_begin(self, run: Run) -> None:
        """Read the samples and look at the model once, so that what cannot be done is known now.

        A model that is not built yet is looked at after its first epoch.

        Raises:
            SetupError: The folder cannot be written, there are no samples, or the model cannot be looked at, such as
                for a layer that does not exist.
        """
        self._folder.prepare()
        self._x = self._read_samples(run)
        self._chosen, self._is_checked = self.layers, False
        self._told.clear()
        if _is_built(run.model):
            self._try(run.model)
        self._folder.own()
        self._files.begin()

    def _read_samples(self, run: Run) -> Any:
        data = run.validation_data if self.data is None else self.data
        if data is None:
            raise SetupError(
                "ActivationDump needs samples, and no validation data were lent: give ActivationDump(..., data=x), or "
                "validation_data= to the adapter, adapter.fit or the Loop (model.fit lends none)"
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
            raise SetupError(f"ActivationDump cannot look at the model's layers: {error}") from error
        self._is_checked = True

    def on_train_end(self, run: Run, logs: Logs) -> None:
        """Let go of the samples, and let other processes write such files."""
        self._x = None
        self._folder.disown()

    # --- dumps -----------------------------------------------------------------------------------------------------

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        """Write a file, if this epoch's turn has come, and remove what is beyond the limits."""
        if (epoch + 1) % self.every:
            return
        if not self._is_checked:
            self._choose(run.model)
        arrays = self._look(run.model)
        if arrays:
            self._write(Activations(arrays, epoch=epoch, step=run.step))

    def _choose(self, model: ModelHandle) -> None:
        """Leave out, with a warning, layers that a model has not which was not built at train begin."""
        self._is_checked = True
        names = model.layer_names()
        if self.layers is not None and names is not None:
            try:
                check_layers(self.layers, names)
            except ValueError as error:
                self._tell("layers", "%s; ActivationDump leaves out what there is not", error)
            self._chosen = [name for name in self.layers if name in names]

    def _look(self, model: ModelHandle) -> dict[str, Array]:
        """Return the activations of the chosen layers, as far as they can be written."""
        if self._chosen is None:
            found = dict(model.activations(self._x))
        else:
            found = dict(model.activations(self._x, layers=self._chosen))
        used = {name.partition(":")[0] for name in found} | set(found)
        for name in self._chosen or ():
            if name not in used:
                self._tell(name, "ActivationDump finds no output of the layer %r: the model does not use it", name)
        for name, array in found.items():
            if not is_storable(array):
                self._tell(name, "ActivationDump leaves out %r, whose output is no number (%s)", name, array.dtype)
        return {name: array for name, array in found.items() if is_storable(array)}

    def _tell(self, what: str, message: str, *arguments: object) -> None:
        """Warn, once in a run."""
        if what not in self._told:
            self._told.add(what)
            logger.warning(message, *arguments)

    def _write(self, activations: Activations) -> None:
        path = self._path(activations.epoch, activations.step)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._folder.check_inside(path)
        self._files.write(path, activations)
        if self.max_bytes is not None and (size := path.stat().st_size) > self.max_bytes:
            self._tell("max_bytes", "%s alone has %d bytes, more than max_bytes=%d", path, size, self.max_bytes)

    # --- going back ------------------------------------------------------------------------------------------------

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
        """Return what the files of this run have in common."""
        return {"run": self._files.run} if self._files.run else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with the files of the run that `state_dict` was taken of."""
        self._files.run = state["run"]
        self._files.go_on(self._folder.files("*.npz"))


def _is_built(model: ModelHandle) -> bool:
    names = getattr(model, "layer_names", None)
    return names is None or names() is not None
