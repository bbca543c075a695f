"""The state to resume a run from: the run and its sinks, the training, and the random generators.

In: the states of a bus and a model's handle. Out: one state that a `CheckpointStore` saves, and loading it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monitor_core.errors import SetupError
from monitor_core.files.rank_states import of_rank
from monitor_core.files.state import check_storable
from monitor_core.model.generators import generators_state, load_generators_state
from monitor_core.model.handles import ModelHandle

BusState = Callable[[], dict[str, Any]] | None
"""Returns the state of a bus, as ``run.bus_state`` does; None if the run is not on a bus."""


def whole_state(bus_state: BusState, model: ModelHandle) -> dict[str, Any]:
    """Return what a run needs to be resumed, apart from the model's file.

    Raises:
        Exception: Whatever a sink or the handle raises.
    """
    state: dict[str, Any] = {"state": _of_bus(bus_state), "generators": generators_state()}
    if hasattr(model, "training_state"):
        state["training"] = dict(model.training_state())
    elif hasattr(model, "learning_rates"):
        state["learning_rates"] = list(model.learning_rates)
    return state


def check_state(bus_state: BusState, owner: str, argument: str) -> None:
    """Raise a SetupError if the state of the sinks cannot be read or saved.

    Args:
        bus_state: Returns the state.
        owner: The name of the sink that saves, for the message.
        argument: The argument by which the user asked for states, for the message.
    """
    try:
        check_storable(_of_bus(bus_state))
    except Exception as error:
        raise SetupError(
            f"{owner} cannot save the state of the sinks, which is needed to resume the run "
            f"({type(error).__name__}: {error}): correct the state_dict() that raised, or leave {argument} out"
        ) from error


def _of_bus(bus_state: BusState) -> dict[str, Any]:
    if bus_state is None:
        raise RuntimeError("the run is not on a bus")
    return bus_state()


def resume(
    newest: tuple[dict[str, Any], Path] | None,
    load_bus_state: Callable[[Mapping[str, Any]], None],
    model: ModelHandle,
    *,
    rank: int = 0,
    ranks: int = 1,
) -> bool:
    """Continue from the newest undamaged state; return whether there was one.

    Args:
        newest: What `CheckpointStore.newest_state` returned.
        load_bus_state: Called with the state that ``bus_state`` of `whole_state` returned.
        model: The model's handle, with ``load``.
        rank: The number of this process.
        ranks: How many train together.

    Raises:
        ValueError: The state does not fit, or the handle cannot load.
    """
    if newest is None:
        return False
    state, path = newest
    if not hasattr(model, "load"):
        raise ValueError(
            f"bus must have a model's handle with 'load' (got {model!r}): pass model=... to the adapter or the Loop"
        )
    try:
        state = of_rank(state, model, rank, ranks)
        load_bus_state(state["state"])
        if state.get("training") is not None:  # before the file: loading it may require a built optimizer
            model.load_training_state(state["training"])
        model.load(path)
        if state.get("learning_rates") is not None:
            model.learning_rates = state["learning_rates"]
        if state.get("generators") is not None:
            load_generators_state(state["generators"])
    except (AttributeError, LookupError, TypeError) as error:
        raise ValueError(f"the state of {path} is damaged, or of another release: {error!r}") from error
    return True
