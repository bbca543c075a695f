"""PyTorch: tensors may change in place, so each is read or copied when it is handed in.

A parameter, a view, a running sum or a metric's own state is changed by the next step, and a loss that requires a
gradient would keep its whole graph alive. On the CPU reading the number takes 0.5 us and nothing is waited for. On
a device it is copied there, behind the work that is queued, and many copies are fetched as one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray


def is_array(kind: type) -> bool:
    """Answer whether values of this type are tensors, parameters and other kinds of them included."""
    return any(base.__module__ == "torch" and base.__name__ == "Tensor" for base in kind.__mro__)


def keep(value: Any) -> Any:
    """Return the number of a tensor on the CPU, and a copy on its device of any other.

    Raises:
        Exception: The tensor has no number, or more than one.
    """
    if value.is_cpu:
        return value.item()
    if value.numel() != 1:
        raise ValueError("it has more or fewer than one element")
    copy = value.detach().clone()
    if value.is_cuda:
        _order(value.device)
    return copy


def _order(device: Any) -> None:
    """Let the default stream, on which values are fetched, wait for the stream in use, if that is another one."""
    cuda = sys.modules["torch"].cuda
    current, default = cuda.current_stream(device), cuda.default_stream(device)
    if current != default:
        default.wait_stream(current)


def is_ready(value: Any) -> bool:
    """Answer True: which copies are done is not known without an event for each."""
    return True


def fetch(values: Sequence[Any]) -> NDArray[Any]:
    """Fetch tensors of one type on one device, ``(n,)``, with one transfer.

    On CUDA only this thread waits for it: the copy goes to pinned memory, behind the work queued so far, and a
    blocking event tells when it is there. `Tensor.cpu` would wait for the whole stream.
    """
    torch = sys.modules["torch"]
    first = values[0]
    if {(each.dtype, each.device) for each in values} != {(first.dtype, first.device)}:
        raise TypeError("the tensors differ")
    stacked = torch.stack([each.reshape(()) for each in values])
    if first.is_cuda:
        host = torch.empty(stacked.shape, dtype=stacked.dtype, pin_memory=True)
        host.copy_(stacked, non_blocking=True)
        copied = torch.cuda.Event(blocking=True)
        copied.record(torch.cuda.current_stream(first.device))
        copied.synchronize()
    else:
        host = stacked.cpu()
    array: NDArray[Any] = (host if host.is_complex() else host.double()).numpy()
    return array
