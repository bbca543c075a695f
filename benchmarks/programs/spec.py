"""What a program is: data, layers, loss and optimizer as plain values, and which symptoms are right for it."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import attrs

Kind = Literal["fault", "healthy", "unverified"]
Stack = Literal["keras-tensorflow", "keras-torch", "torch"]
STACKS: tuple[Stack, ...] = ("keras-tensorflow", "keras-torch", "torch")


@attrs.frozen(kw_only=True)
class Program:
    """One labelled program.

    Attributes:
        id: Its name; its part and its stack follow from it.
        kind: Whether something is wrong with it.
        family: Programs that share data, architecture and loss.
        data: The dataset, a function's name in `datasets`.
        layers: The layers, as tuples: a name and its arguments; or the name of a function in `special`, which trains.
        loss: The loss in Keras's spelling.
        optimizer: Its name, its rate, and its other options.
        batch: Samples of a batch.
        epochs: How many epochs.
        expect: Of a fault, one of these symptoms must be found.
        allow: These may be found too.
        is_static: Whether the mistake is in layers, loss or data, and so visible before the first step.
        options: What else there is, see `stacks`.
        stacks: The stacks that it can be built on.
        seeds: How many seeds.
    """

    id: str
    kind: Kind
    family: str
    data: str
    layers: Any
    loss: str
    optimizer: tuple[str, float, dict[str, Any]] = ("adam", 0.001, {})
    batch: int = 32
    epochs: int = 20
    expect: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    is_static: bool = False
    options: dict[str, Any] = attrs.field(factory=dict)
    stacks: tuple[Stack, ...] = STACKS

    @property
    def collection(self) -> str:
        """Where it comes from: ``at``, ``tdc`` or ``own``."""
        head = self.id.partition("-")[0]
        return head if head in {"at", "tdc"} else "own"

    @property
    def seeds(self) -> int:
        """How many seeds it runs with."""
        return 3 if self.kind == "healthy" else 1

    @property
    def stack(self) -> Stack:
        """The stack that it runs on, by a hash of its id."""
        number = int(hashlib.sha256(f"{self.id} stack".encode()).hexdigest(), 16)
        return self.stacks[number % len(self.stacks)]
