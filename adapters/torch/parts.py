"""Tensors that are sharded over several ranks, of which each has a part."""

from __future__ import annotations

from typing import Any


def is_distributed(tensor: Any) -> bool:
    """Return whether a tensor is a `DTensor`."""
    return hasattr(tensor, "full_tensor")


def is_sharded(tensor: Any) -> bool:
    """Return whether a tensor is a `DTensor` of which this rank has a part."""
    return is_distributed(tensor) and tensor.device_mesh.size() > 1


def local(tensor: Any) -> Any:
    """Return what this rank has of a tensor."""
    return tensor.to_local() if is_distributed(tensor) else tensor


def placed_like(whole: Any, like: Any) -> Any:
    """Return a whole tensor as it is sharded in another one of its shape, without an exchange between the ranks."""
    if not is_distributed(like) or is_distributed(whole) or whole.shape != like.shape:
        return whole
    from torch.distributed.tensor import distribute_tensor

    whole = whole.to(like.device)
    return distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None)
