"""PyTorch: tensors may change in place, so each is read or copied when it is logged.

The next step changes a parameter, a view, a running sum or a metric's own state, and a loss that requires a gradient
would keep its whole graph alive. On the CPU, reading the number takes 0.5 us and waits for nothing. On a device, the
value is copied there, after the queued work, and many copies are fetched as one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor_core.frameworks.base import Framework, Generator, Stop, bases, is_a, iterated


class Torch(Framework):
    """PyTorch."""

    name = "torch"
    title = "PyTorch"
    packages = frozenset({"torch"})
    handle = "monitor_core.adapters.torch:TorchModel"
    takes_optimizer = True

    def is_array(self, kind: type) -> bool:
        """Return whether values of this type are tensors, including parameters and other subclasses."""
        return ("torch", "Tensor") in bases(kind)

    @staticmethod
    def keep(value: Any) -> Any:
        """Return the number in a tensor on the CPU, and a copy, on its device, of any other tensor.

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

    # `is_ready` is True: without an event for each copy it is not known which are done.

    def fetch(self, values: Sequence[Any]) -> NDArray[Any]:
        """Fetch tensors of one type on one device, ``(n,)``, with one transfer.

        On CUDA only this thread waits: the copy goes to pinned memory, after the work queued so far, and a blocking
        event signals its arrival. `Tensor.cpu` would wait for the whole stream.
        """
        torch = self.module
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

    def why_no_metric(self, value: Any) -> str | None:
        """Return why a tensor without numbers, or one inside ``vmap``, is not a metric."""
        if value.is_meta or is_a(value, "torch", "FakeTensor"):
            return "it is a tensor without numbers, as under tracing: log what the compiled function returns"
        if self.module._C._functorch.is_batchedtensor(value):
            return "it is a tensor inside vmap: log what the mapped function returns"
        return None

    def to_host(self, array: Any) -> NDArray[Any]:
        """Return a copy of a tensor in host memory; as float32 if NumPy has no such type."""
        tensor = array.detach().cpu()  # a tensor that requires gradients cannot be converted
        try:
            return np.array(tensor)
        except TypeError:  # bfloat16 and float8
            return np.array(tensor.float())

    def from_host(self, array: NDArray[Any]) -> Any:
        """Return a host array as a tensor on the CPU."""
        return self.module.from_numpy(np.array(array))

    def like(self, leaf: Any, array: NDArray[Any]) -> Any:
        """Return a host array as a tensor on the leaf's device."""
        return self.module.tensor(array, dtype=leaf.dtype, device=leaf.device)

    def is_model(self, kind: type) -> bool:
        """Return whether objects of this type are modules."""
        return ("torch.nn.modules.module", "Module") in bases(kind)

    def batches(self, data: Any, count: int) -> Iterable[Any] | None:
        """Return the first samples of each batch of a loader, or of a dataset of samples."""
        if is_a(data, "torch.utils.data", "DataLoader"):
            return _loader_batches(data, count)
        if is_a(data, "torch.utils.data", "Dataset"):
            return _loader_batches(self.module.utils.data.DataLoader(data, batch_size=count), count)
        return None

    def generators(self, data: Any) -> list[Generator]:
        """Return PyTorch's own generator, and those of a loader and its samplers."""
        samplers = [data, getattr(data, "sampler", None), getattr(data, "batch_sampler", None)]
        own: dict[int, Any] = {id(each): each for each in (getattr(sampler, "generator", None) for sampler in samplers)}
        return [
            self._generator(each)
            for each in (self.module.default_generator, *own.values())
            if hasattr(each, "get_state")
        ]

    def _generator(self, generator: Any) -> Generator:
        return Generator(
            lambda: self.to_host(generator.get_state()), lambda state: generator.set_state(self.from_host(state))
        )

    def ranks(self) -> tuple[int, int] | None:
        """Return the rank in the default process group."""
        distributed = self.module.distributed
        if not distributed.is_available() or not distributed.is_initialized():
            return None
        return distributed.get_rank(), distributed.get_world_size()

    def start_profile(self, folder: Path) -> Stop:
        """Start a profile of the CPU and of CUDA devices."""
        import torch.profiler

        profiler = torch.profiler.profile(on_trace_ready=torch.profiler.tensorboard_trace_handler(str(folder)))
        profiler.start()
        stop: Stop = profiler.stop
        return stop


TORCH = Torch()


def _order(device: Any) -> None:
    """Let the default stream, on which values are fetched, wait for the stream in use, if they differ."""
    cuda = TORCH.module.cuda
    current, default = cuda.current_stream(device), cuda.default_stream(device)
    if current != default:
        default.wait_stream(current)


def _loader_batches(loader: Any, count: int) -> Iterator[Any]:
    """Yield the first samples of each batch that a loader would yield.

    Its own iterator would start its workers and, if these persist, end an iteration in progress.
    """
    dataset, collate = loader.dataset, loader.collate_fn
    if is_a(dataset, "torch.utils.data", "IterableDataset"):
        samples = iterated(dataset)
        if loader.batch_size is None:
            yield from map(collate, samples)
        while loader.batch_size and (batch := list(itertools.islice(samples, min(count, loader.batch_size)))):
            yield collate(batch)
    elif loader.batch_sampler is None:
        for index in loader.sampler:
            yield collate(dataset[index])
    else:
        for indices in loader.batch_sampler:
            yield collate([dataset[index] for index in itertools.islice(indices, count)])
