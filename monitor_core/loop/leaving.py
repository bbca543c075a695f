"""How a ``for`` loop over a generator is left: by ``break`` or ``return``, or by an exception.

A generator that is left gets the same `GeneratorExit` in each case. What differs is the instruction that the consumer's
frame is at: ``break`` and ``return`` drop the iterator by an instruction that cannot raise.
"""

from __future__ import annotations

import dis
import sys

_DROPS_ITERATOR = {"POP_TOP", "POP_ITER", "END_FOR"}
_SUSPENDED = {"YIELD_VALUE", "RESUME", "SEND"}


def is_left_by_break() -> bool:
    """Return whether the generator that calls this, within ``except GeneratorExit``, is left by break or return.

    Generators in between, such as a progress bar's, are passed over. Where the interpreter tells nothing, and where the
    generator is closed by a call, the answer is False.
    """
    try:
        frame = sys._getframe(1).f_back
    except AttributeError:  # not CPython
        return False
    while frame is not None and frame.f_lasti >= 0:
        instruction = dis.opname[frame.f_code.co_code[frame.f_lasti]]
        if instruction not in _SUSPENDED:
            return instruction in _DROPS_ITERATOR
        frame = frame.f_back
    return False
