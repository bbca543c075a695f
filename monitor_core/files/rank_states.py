"""What each rank has of its own in the state that rank 0 saves for all: its generators, and its position in the data.

Contract. With as many ranks as before, each continues with its own part. With another number the parts fit none of
them: each rank reads its data from the beginning, and rank 0 alone keeps its generators; a warning says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monitor_core._log import logger
from monitor_core.files.state import parse_state, state_bytes
from monitor_core.model.generators import generators_state
from monitor_core.model.handles import ModelHandle
from monitor_core.values.text import counted


def own_part(model: ModelHandle, data: Any) -> bytes:
    """Return the part of this rank.

    Args:
        model: The model's handle.
        data: The rank's position in its data, None if it has none.
    """
    return state_bytes({"generators": generators_state(), "training": _of_model(model), "data": data})


def _of_model(model: ModelHandle) -> dict[str, Any]:
    return dict(model.rank_state()) if hasattr(model, "rank_state") else {}


def joined(ranks: int, parts: Sequence[bytes]) -> dict[str, Any]:
    """Return the parts of all ranks, to be saved as ``ranks``.

    Args:
        ranks: How many there are.
        parts: What `own_part` returned on each.
    """
    return {"count": ranks, "parts": [parse_state(each) for each in parts]}


def of_rank(state: Mapping[str, Any], model: ModelHandle, rank: int, ranks: int) -> dict[str, Any]:
    """Return the state that one of so many ranks continues from.

    Args:
        state: What was saved; without ``ranks``, by one process.
        model: The model's handle.
        rank: The number of this process.
        ranks: How many there are.
    """
    saved: Mapping[str, Any] = state.get("ranks") or {"count": 1, "parts": []}
    run = dict(state["state"]["run"])
    own: dict[str, Any] = {**state, "state": {**state["state"], "run": run}}
    if saved["count"] == ranks:
        if saved["parts"]:
            part = saved["parts"][rank]
            run["data"], own["generators"] = part["data"], part["generators"]
            _replace(own, part["training"])
        return own
    if rank == 0:
        logger.warning(
            "the run was saved by %s and continues on %d: the ranks' positions in the data and their random "
            "generators cannot be kept, so each rank reads its data from the beginning",
            counted(saved["count"], "rank"),
            ranks,
        )
    else:
        own["generators"] = None
        _replace(own, _of_model(model))
    run["data"] = None
    return own


def _replace(state: dict[str, Any], training: Mapping[str, Any]) -> None:
    if state.get("training") is not None:
        state["training"] = {**state["training"], **training}
