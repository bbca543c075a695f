"""Data that is read in stretches: an iterator that continues from one epoch to the next, and its position.

Contract. Items are taken one at a time and only when they are trained on, so the position is exact. A stream whose data
end begins again, if it can. A resumed run continues after the last item: by the data's own state where it has one
(``state_dict`` and ``load_state_dict``, as torchdata's ``StatefulDataLoader``; or ``get_state`` and ``set_state`` of
its iterator, as Grain's), else by reading and skipping as many items, with the random generators as they were when the
iterator was made, so that a shuffled loader shuffles alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from monitor_core._log import logger
from monitor_core.bus.run import Run
from monitor_core.loop.data_state import decoded, encoded
from monitor_core.model.generators import generators_kept, load_reading_state, reading_state

T = TypeVar("T")


class Stream(Generic[T]):
    """An iterator over data that continues from one stretch to the next.

    Args:
        data: The data.
        run: The run, which ends if the data run out for good.
        state: Where to continue, as `state_dict` returned it, or None.

    Attributes:
        data: The data.
        epoch: The epoch in which they were last read.
    """

    def __init__(self, data: Iterable[T], run: Run, state: Mapping[str, Any] | None) -> None:
        self.data = data
        self._run = run
        self._state = state
        self._iterator: Iterator[T] | None = None
        self._taken = 0
        self.epoch = run.epoch
        self._generators: dict[str, Any] | None = None

    def next(self) -> T:
        """Return the next item, from the beginning again where the data end.

        Raises:
            StopIteration: The data are an iterator, and have ended.
            ValueError: The data are empty.
        """
        if self._iterator is None:
            self._iterator = self._resumed() if self._state else self._begun()
            self._state = None
        try:
            item = next(self._iterator)
        except StopIteration:
            if self._iterator is self.data:
                raise
            self._iterator = self._begun()
            try:
                item = next(self._iterator)
            except StopIteration:
                raise ValueError("data must have at least one batch: it was empty when it began") from None
        self._taken += 1
        return item

    def run_out(self) -> None:
        """End the run, because there are no more items."""
        self._run.stop(
            f"the data ended after {self._run.step} steps: pass a dataset or a loader that can be read again, or an "
            "endless iterator"
        )

    def _begun(self) -> Iterator[T]:
        self._taken, self._generators = 0, reading_state(self.data)
        return iter(self.data)

    def _resumed(self) -> Iterator[T]:
        state = self._state or {}
        own, skipped = state["own"], int(state["taken"])
        if own is not None and hasattr(self.data, "load_state_dict"):
            self.data.load_state_dict(decoded(own))
            logger.info("the data continue after their own state, at item %d", skipped)
            with generators_kept(None):  # not those of the data, which they have restored
                iterator = self._begun()
        elif own is not None and hasattr(iterator := self._begun(), "set_state"):
            iterator.set_state(decoded(own))
            logger.info("the data continue after their iterator's own state, at item %d", skipped)
        else:
            iterator = self._skipped(skipped, state["generators"])
        self._taken = skipped
        return iterator

    def _skipped(self, count: int, generators: Mapping[str, Any]) -> Iterator[T]:
        """Return an iterator past the items that were taken, and restore the generators as they are now."""
        if hasattr(self.data, "__next__"):  # not by iter(), which may draw random numbers
            logger.warning(
                "the data are an iterator, whose position is unknown: training continues with its next item. Pass "
                "something that can be read again, and the first %d items are skipped",
                count,
            )
            return self._begun()
        logger.info("the data have no state of their own: %d items are read and skipped", count)
        with generators_kept(self.data):
            load_reading_state(self.data, generators)
            iterator = self._begun()
            for _ in range(count):
                next(iterator, None)
        return iterator

    def state_dict(self) -> dict[str, Any]:
        """Return the position: JSON values and NumPy arrays."""
        if self._iterator is None and self._state:
            return dict(self._state)
        state = {"taken": self._taken, "own": self._own_state(), "generators": self._generators or {}}
        return {**state, "data": _described(self.data), "epoch": self.epoch}

    def _own_state(self) -> Any:
        """Return the state of the data themselves; None, with a warning, if it cannot be stored."""
        for owner, read, load in (
            (self.data, "state_dict", "load_state_dict"),
            (self._iterator, "get_state", "set_state"),
        ):
            if hasattr(owner, read) and hasattr(owner, load):
                try:
                    return encoded(getattr(owner, read)())
                except TypeError as error:
                    logger.warning("the state of the data cannot be stored, so a resumed run skips items: %s", error)
        return None


class Stretch(Generic[T]):
    """The next items of a stream, as an iterable with a length.

    Args:
        stream: The stream.
        length: How many items.
    """

    def __init__(self, stream: Stream[T], length: int) -> None:
        self._stream = stream
        self._length = length

    def __len__(self) -> int:
        """Return how many items it has, unless the data end before."""
        return self._length

    def __iter__(self) -> Iterator[T]:
        """Take the items."""
        for _ in range(self._length):
            try:
                item = self._stream.next()
            except StopIteration:
                self._stream.run_out()
                return
            yield item


STREAMS = 16
"""How many streams are kept at most; of more, the one that was read first is dropped."""


class Streams:
    """The streams of a run, in the order in which they were first read.

    Args:
        run: The run; if it was resumed, it knows where they continue.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._loaded = list(run.loaded_data or [])
        self._streams: list[Stream[Any]] = []
        self._first_epoch: int | None = None
        self._warned = self._warned_of_turns = False

    def stretch(self, data: Iterable[T], length: int) -> Stretch[T]:
        """Return the next items of some data."""
        stream = next((each for each in self._streams if each.data is data), None)
        if stream is None:
            number = len(self._streams)
            self._warn_of_new_data()
            stream = Stream(data, self._run, self._state_of(number, data))
            self._streams = [*self._streams, stream][-STREAMS:]
        stream.epoch = self._run.epoch
        return Stretch(stream, length)

    def _state_of(self, number: int, data: Any) -> Mapping[str, Any] | None:
        """Return where the data continue, if they look like those that were read as the same of the run's data."""
        state = self._loaded[number] if number < len(self._loaded) else None
        described = _described(data)
        self._warn_of_turns(described)
        if state is not None and state["data"] != described:
            logger.warning(
                "the data are read from their beginning: they are %s, and before the run was resumed %s was read first",
                described,
                state["data"],
            )
            return None
        return state

    def _warn_of_turns(self, described: str) -> None:
        """Warn once where data that look alike took turns by epoch, so that it is unknown which of them comes now."""
        epochs = {each.get("epoch") for each in self._loaded if each["data"] == described}
        if len(epochs) > 1 and not self._warned_of_turns:
            self._warned_of_turns = True
            logger.warning(
                "%s was read in some epochs, and another one in others: which of them comes first now is unknown, so "
                "they continue in the order in which the run first read them. Read all of them in each epoch, or pass "
                "data of different types or lengths",
                described,
            )

    def _warn_of_new_data(self) -> None:
        """Warn once where data are made again in each epoch, which would train on their beginning again and again."""
        if self._first_epoch is None:
            self._first_epoch = self._run.epoch
        elif self._run.epoch > self._first_epoch and not self._warned:
            self._warned = True
            logger.warning(
                "batches() got other data in epoch %d than before, which are read from their beginning: with "
                "steps_per_epoch, make the data once and pass the same object in every epoch",
                self._run.epoch + 1,
            )

    def state(self) -> list[dict[str, Any]]:
        """Return where all of them are."""
        return [each.state_dict() for each in self._streams] + self._loaded[len(self._streams) :]


def _described(data: Any) -> str:
    """Return what tells data from others: their type, and their length if they have one."""
    try:
        return f"{type(data).__name__} of {len(data)}"
    except Exception:  # whatever a length may raise
        return type(data).__name__
