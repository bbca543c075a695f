"""How a ``for`` loop over a generator exits: by ``break`` or ``return``, or by an exception.

The generator gets the same `GeneratorExit` in each case. The difference is the instruction that the consumer's frame is
at: ``break`` and ``return`` drop the iterator by an instruction that cannot raise.
"""

from __future__ import annotations

import dis
import sys

_DROPS_ITERATOR = {"POP_TOP", "POP_ITER", "END_FOR"}
_SUSPENDED = {"YIELD_VALUE", "RESUME", "SEND"}


def is_left_by_break() -> bool:
    """Return whether the loop over the generator that calls this exits by break or return.

    To be called within ``except GeneratorExit``. Generators in between, such as a progress bar's, are skipped. It is
    False if the interpreter does not provide frames, and if the generator is closed by a call.
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
