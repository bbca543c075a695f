"""Arrays of JAX whose parts are on several processes: their checkpoints as folders of Orbax.

Contract. All processes save together; what is not spread over them is that of the first one. Each loads what it has a
part of, on another number of processes too, and by one. Nothing in a folder is executed. Orbax is imported only here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from monitor_core.model.handles import to_host


def is_global(leaf: Any) -> bool:
    """Return whether an array is one of several processes, of which each has a part, or each has all."""
    return not getattr(leaf, "is_fully_addressable", True)


def is_sharded(leaf: Any) -> bool:
    """Return whether no process has the whole of an array."""
    return is_global(leaf) and not getattr(leaf, "is_fully_replicated", True)


def require_whole(leaves: Mapping[str, Any]) -> None:
    """Raise a ValueError if no process has the whole of an array."""
    for name, leaf in leaves.items():
        if is_sharded(leaf):
            raise ValueError(
                f"{name!r} is sharded over several processes, of which each has a part: call save_shards(folder) on "
                "all of them, as ModelCheckpoint does"
            )


def save(folder: Path, parts: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the parts of a training into a new folder; all processes call this.

    Args:
        folder: The folder, which all processes see.
        parts: The leaves of each part, by name.

    Raises:
        ImportError: Orbax is not installed.
        OSError: A file cannot be written.
    """
    orbax = _orbax()
    folder.mkdir(parents=True, exist_ok=True)
    for part, leaves in parts.items():
        if leaves:
            named = {name: leaf if is_sharded(leaf) else to_host(leaf) for name, leaf in leaves.items()}
            with orbax.StandardCheckpointer() as checkpointer:
                checkpointer.save(folder.absolute() / part, named)


def has(folder: Path, part: str) -> bool:
    """Return whether `save` has written a part."""
    return (folder / part).is_dir()


def load(folder: Path, parts: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what `save` wrote: global arrays spread as those that they replace, others in host memory.

    Args:
        folder: The folder.
        parts: The leaves of each part now, by name. The first part must have been saved; others are left out if they
            were not, or have no leaves.

    Raises:
        ImportError: Orbax is not installed.
        ValueError: It was saved of another model or optimizer.
    """
    first = next(iter(parts))
    if not has(folder, first):
        raise ValueError(f"{folder} must be a folder that a handle's save_shards wrote (it has no {first})")
    wanted = [part for part, leaves in parts.items() if part == first or (leaves and has(folder, part))]
    return {part: _load(folder, part, parts[part]) for part in wanted}


def _load(folder: Path, part: str, leaves: Mapping[str, Any]) -> dict[str, Any]:
    import jax

    orbax, own = _orbax(), jax.process_index()
    alone = orbax.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"process {own}"
    )
    with orbax.StandardCheckpointer(multiprocessing_options=alone) as checkpointer:
        path = folder.absolute() / part
        found = checkpointer.metadata(path).item_metadata
        require_alike(leaves, {name: tuple(each.shape) for name, each in found.items()}, str(folder))
        wanted = {
            name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
            if is_global(leaf)
            else np.empty(found[name].shape, found[name].dtype)
            for name, leaf in leaves.items()
        }
        loaded: dict[str, Any] = checkpointer.restore(path, wanted)
        return loaded


def require_alike(leaves: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Raise a ValueError if saved arrays have other names or shapes than the leaves that they are to replace."""
    if leaves.keys() != shapes.keys():
        others = ", ".join(sorted(leaves.keys() ^ shapes.keys())[:5])
        raise ValueError(f"{where} must have the model's {len(leaves)} arrays (got {len(shapes)}; different: {others})")
    for name, leaf in leaves.items():
        if np.shape(leaf) != shapes[name]:
            raise ValueError(f"{where} must have the shape {np.shape(leaf)} for {name} (got {shapes[name]})")


def _orbax() -> Any:
    try:
        import orbax.checkpoint as orbax
    except ImportError as error:
        raise ImportError(
            "saving and loading arrays that are sharded over several processes needs Orbax: "
            "pip install 'monitor_core[orbax]'"
        ) from error
    return orbax
