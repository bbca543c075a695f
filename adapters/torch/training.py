"""Optimizers and learning rate schedulers, by name, with their rates and states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
import torch

from monitor_core._log import logger
from monitor_core.adapters.torch import parts
from monitor_core.adapters.torch.states import check_names, decoded, encoded

if TYPE_CHECKING:
    from monitor_core.adapters.torch.shards import Saved


@attrs.define(eq=False)
class Training:
    """The optimizers and schedulers of a handle.

    Attributes:
        optimizers: By name, in the order of their parameter groups; a single one is named ``optimizer``.
        schedulers: By name; a single one is named ``scheduler``.
    """

    optimizers: dict[str, Any]
    schedulers: dict[str, Any]
    _has_warned: bool = attrs.field(default=False, init=False)

    def groups(self) -> list[dict[str, Any]]:
        """Return the parameter groups of all optimizers, which have the rates.

        Raises:
            AttributeError: There is no optimizer.
        """
        if not self.optimizers:
            raise AttributeError(
                "there is no learning rate: pass the optimizer, Loop(model=module, optimizer=...) or "
                "TorchModel(module, optimizer)"
            )
        return [group for optimizer in self.optimizers.values() for group in optimizer.param_groups]

    def set_rates(self, rates: list[float]) -> None:
        """Set the rate of each parameter group.

        Raises:
            AttributeError: There is no optimizer.
            ValueError: The number of rates differs from that of groups.
        """
        groups = self.groups()
        if len(rates) != len(groups):
            raise ValueError(f"learning_rates must have one rate for each of {len(groups)} groups (got {len(rates)})")
        for group, rate in zip(groups, rates, strict=True):
            _set_rate(group, group["lr"], rate)

    def optimizer_states(self) -> dict[str, Any]:
        """Return the optimizers' states by name, unchanged."""
        return {name: each.state_dict() for name, each in self.optimizers.items()}

    def scheduler_states(self) -> dict[str, Any]:
        """Return the schedulers' states by name, encoded."""
        self._warn_of_others()
        return {name: encoded(each.state_dict(), _what("scheduler", name)) for name, each in self.schedulers.items()}

    def states(self) -> dict[str, Any]:
        """Return the states of all of them as JSON values and host arrays.

        Raises:
            TypeError: A state holds a type other than numbers, strings and tensors.
        """
        return self._encoded(self.optimizer_states())

    def _encoded(self, states: Mapping[str, Any]) -> dict[str, Any]:
        optimizers = {name: encoded(state, _what("optimizer", name)) for name, state in states.items()}
        return {"optimizers": optimizers, "schedulers": self.scheduler_states()}

    def tensors(self) -> dict[str, Any]:
        """Return the tensors of the optimizers' states, by ``optimizers.<name>.<parameter's number>.<key>``."""
        return {
            f"{_prefix(name)}{number}.{key}": value
            for name, state in self.optimizer_states().items()
            for number, entries in state["state"].items()
            if isinstance(entries, Mapping)
            for key, value in entries.items()
            if isinstance(value, torch.Tensor)
        }

    def rest(self) -> dict[str, Any]:
        """Return the states without these tensors, as JSON values and host arrays."""
        states = self.optimizer_states()
        for state in states.values():
            state["state"] = {
                number: {key: value for key, value in entries.items() if not isinstance(value, torch.Tensor)}
                if isinstance(entries, Mapping)
                else entries
                for number, entries in state["state"].items()
            }
        return self._encoded(states)

    def joined(self, rest: Mapping[str, Any], saved: Saved) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the states as `load` takes them, with new tensors, and these by the names of `tensors`.

        Args:
            rest: What `rest` returned.
            saved: What has the tensors.
        """
        states = {"optimizers": decoded(rest["optimizers"]), "schedulers": rest["schedulers"]}
        tensors: dict[str, Any] = {}
        for name in self.optimizers.keys() & states["optimizers"].keys():
            parameters = _parameters(self.optimizers[name])
            entries = states["optimizers"][name]["state"]
            for whole in saved.names(_prefix(name)):
                number, _, key = whole.partition(".")
                like = parameters[int(number)] if int(number) < len(parameters) else None
                tensor = tensors[_prefix(name) + whole] = saved.empty(_prefix(name) + whole, like)
                entries.setdefault(int(number), {})[key] = tensor
        return states, tensors

    def load(self, states: Mapping[str, Any], *, partly: bool = False) -> None:
        """Set the states to what `states` returned, or to those of a file with plain states of optimizers.

        Learning rates that are tensors stay the same tensors, on their devices.

        Args:
            states: Those under ``optimizers`` and ``schedulers``.
            partly: Whether either may be missing in the states, or in this handle.

        Raises:
            ValueError: The states belong to other objects; no state is set then.
        """
        optimizers, schedulers = decoded(states["optimizers"]), decoded(states["schedulers"])
        self.check({"optimizers": optimizers, "schedulers": schedulers}, partly=partly)
        for name in self.optimizers.keys() & optimizers.keys():
            optimizer = self.optimizers[name]
            before = [group["lr"] for group in optimizer.param_groups]
            optimizer.load_state_dict(_placed(optimizers[name], optimizer))
            for group, rate in zip(optimizer.param_groups, before, strict=True):
                _set_rate(group, rate, float(group["lr"]))
        for name in self.schedulers.keys() & schedulers.keys():
            self.schedulers[name].load_state_dict(schedulers[name])

    def check(self, states: Mapping[str, Any], *, partly: bool = False) -> None:
        """Raise a ValueError if `load` would."""
        for kind, own in (("optimizer", self.optimizers), ("scheduler", self.schedulers)):
            saved = states[f"{kind}s"]
            if not partly or (own and saved):
                check_names(kind, own, saved)
        for name in self.optimizers.keys() & states["optimizers"].keys():
            groups, saved = self.optimizers[name].param_groups, states["optimizers"][name]["param_groups"]
            if len(saved) != len(groups):
                raise ValueError(f"state must have {len(groups)} parameter groups (got {len(saved)})")

    def _warn_of_others(self) -> None:
        """Warn once if an optimizer has a scheduler that was not passed to the handle."""
        known = {id(getattr(each, "optimizer", None)) for each in self.schedulers.values()}
        for name, each in self.optimizers.items():
            is_scheduled = getattr(each.step, "_wrapped_by_lr_sched", False)
            if is_scheduled and id(each) not in known and not self._has_warned:
                self._has_warned = True
                logger.warning(
                    "%s has a learning rate scheduler that was not passed, so its state is not saved, and a resumed "
                    "run begins its schedule again: write TorchModel(modules, optimizers, schedulers)",
                    _what("optimizer", name),
                )


def _prefix(name: str) -> str:
    return f"optimizers.{name}."


def _parameters(optimizer: Any) -> list[Any]:
    """Return an optimizer's parameters, in the order of the numbers that they have in its state."""
    return [each for group in optimizer.param_groups for each in group["params"]]


def _placed(state: Mapping[str, Any], optimizer: Any) -> dict[str, Any]:
    """Return an optimizer's state with its tensors sharded as the parameters are that they belong to."""
    parameters = dict(enumerate(_parameters(optimizer)))
    entries = dict(state["state"])
    for number in entries.keys() & {number for number, each in parameters.items() if parts.is_distributed(each)}:
        entries[number] = {
            key: parts.placed_like(value, parameters[number]) if isinstance(value, torch.Tensor) else value
            for key, value in entries[number].items()
        }
    return {**state, "state": entries}


def _what(kind: str, name: str) -> str:
    return f"the {kind}" if name == kind else f"the {kind} {name!r}"


def _set_rate(group: dict[str, Any], present: Any, rate: float) -> None:
    """Set a group's rate; if it is a tensor, set it in place, since a captured graph reads that tensor."""
    if isinstance(present, torch.Tensor):
        with torch.no_grad():
            present.fill_(rate)
        group["lr"] = present
    else:
        group["lr"] = rate
