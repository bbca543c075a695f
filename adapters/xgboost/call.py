"""The call of ``train`` or ``cv`` that a callback is used in: XGBoost passes callbacks neither its sets nor its rounds.

Contract. They are read from the innermost frame of ``xgboost.train`` or ``xgboost.cv`` on this thread; estimators call
these too. Without such a frame, a set named ``train`` is the training data, and the number of rounds is unknown.
"""

from __future__ import annotations

import sys
from types import FrameType

import attrs
from xgboost.callback import EarlyStopping, EvaluationMonitor, TrainingCheckPoint

from monitor_core._log import logger


@attrs.frozen(eq=False)
class Call:
    """What the call of ``train`` or ``cv`` says that callbacks do not get.

    Attributes:
        rounds: The number of rounds, None if unknown.
        training: The names of the sets that are the training data.
        sets_rate: Whether a callback but the adapter may set the learning rate.
    """

    rounds: int | None = None
    training: frozenset[str] = frozenset({"train"})
    sets_rate: bool = True


_LOOKING = (EarlyStopping, EvaluationMonitor, TrainingCheckPoint)
"""XGBoost's callbacks that set no parameter."""


def find_call(adapter: object) -> Call:
    """Return the innermost call on this thread, read from its frame, which XGBoost gives callbacks no other way."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__") == "xgboost.training" and frame.f_code.co_name in {"train", "cv"}:
            names = frame.f_locals
            sets = names.get("evals") or []
            _warn_of_shared([name for _, name in sets])
            own = {name for data, name in sets if data is names.get("dtrain")} if "evals" in names else {"train"}
            others = [each for each in names.get("callbacks", [None]) if each is not adapter]
            sets_rate = not all(type(each) in _LOOKING for each in others)
            return Call(names.get("num_boost_round"), frozenset(own), sets_rate)
        frame = frame.f_back
    return Call()


def _warn_of_shared(names: list[str]) -> None:
    shared = sorted({name for name in names if names.count(name) > 1})
    if shared:
        logger.warning("several sets of evals have the name %r: only the results of the last one arrive", shared[0])
