"""What the callbacks of a trainer are not passed: the trainer itself, the checkpoint, an evaluation's name.

They are read from the frames of the trainer's methods that call the callbacks. Without them the adapter does with less.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType

from transformers import Trainer


def find_training() -> tuple[Trainer | None, str | None]:
    """Return the trainer that calls, and the folder of the checkpoint from which its training continues."""
    for frame in _frames_of_trainers():
        names = frame.f_locals
        if "resume_from_checkpoint" in names:
            return names["self"], names["resume_from_checkpoint"]
    return None, None


def find_evaluation() -> str | None:
    """Return the prefix of the metrics of the evaluation that calls; None for a prediction."""
    for frame in _frames_of_trainers():
        names = frame.f_locals
        if "metric_key_prefix" in names:
            return None if names.get("description") == "Prediction" else str(names["metric_key_prefix"])
    return "eval"


def _frames_of_trainers() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if isinstance(frame.f_locals.get("self"), Trainer):
            yield frame
        frame = frame.f_back
