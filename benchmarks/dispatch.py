"""The cost of delivering one batch's begin and end to 0, 1, 5 and 10 listeners, in ns per pair.

Floor: an inline loop over the same bound methods. Compared: the bus with sinks that promise not to modify their
logs, as all of ours do; with custom sinks, which get a copy each; with ``strict=True``; Keras's `CallbackList`; and
Ignite, Lightning and transformers if installed.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable

from harness import arguments, interleave, machine, report
from monitor_core import Bus, Sink

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
LOGS = {"loss": 0.5, "accuracy": 0.9}


class Listener(Sink):
    def on_batch_begin(self, run, step):
        pass

    def on_batch_end(self, run, step, logs):
        pass


class ReadOnlyListener(Listener):
    read_only = True


def inline(listeners: int) -> Callable[[int], None]:
    sinks = [Listener() for _ in range(listeners)]
    begin = tuple(sink.on_batch_begin for sink in sinks)
    end = tuple(sink.on_batch_end for sink in sinks)
    run = Bus().run

    def work(calls: int) -> None:
        logs = LOGS
        for step in range(1, calls + 1):
            for hook in begin:
                hook(run, step)
            for hook in end:
                hook(run, step, logs)

    return work


class LeastBus:
    """The least that a bus can be: two methods over tuples of bound methods, and nothing else."""

    def __init__(self, *sinks: Sink) -> None:
        self.run = Bus().run
        self._begin = tuple(sink.on_batch_begin for sink in sinks)
        self._end = tuple(sink.on_batch_end for sink in sinks)

    def batch_begin(self, step: int) -> None:
        hooks = self._begin
        if hooks:
            run = self.run
            for hook in hooks:
                hook(run, step)

    def batch_end(self, step: int, logs: dict) -> None:
        run = self.run
        run.step = step
        hooks = self._end
        if hooks:
            for hook in hooks:
                hook(run, step, logs)


def through_least_bus(listeners: int) -> Callable[[int], None]:
    bus = LeastBus(*(Listener() for _ in range(listeners)))

    def work(calls: int) -> None:
        begin, end, logs = bus.batch_begin, bus.batch_end, LOGS
        for step in range(1, calls + 1):
            begin(step)
            end(step, logs)

    return work


def through_bus(listeners: int, kind: type[Sink], *, strict: bool = False) -> Callable[[int], None]:
    bus = Bus(*(kind() for _ in range(listeners)), strict=strict)
    bus.train_begin()
    bus.epoch_begin(0)

    def work(calls: int) -> None:
        begin, end, logs = bus.batch_begin, bus.batch_end, LOGS
        first = bus.run.step + 1
        for step in range(first, first + calls):
            begin(step)
            end(step, logs)

    return work


def keras_list(listeners: int) -> Callable[[int], None]:
    import keras

    class Callback(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            pass

        def on_train_batch_end(self, batch, logs=None):
            pass

    callbacks = keras.callbacks.CallbackList([Callback() for _ in range(listeners)])
    callbacks.on_train_begin()  # on some backends it starts the pool for callbacks without batch hooks

    def work(calls: int) -> None:
        logs = LOGS
        for step in range(calls):
            callbacks.on_train_batch_begin(step)
            callbacks.on_train_batch_end(step, logs)

    return work


def ignite(listeners: int) -> Callable[[int], None]:
    from ignite.engine import Engine, Events

    engine = Engine(lambda *_: None)
    for _ in range(listeners):
        engine.add_event_handler(Events.ITERATION_STARTED, lambda _: None)
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda _: None)

    def work(calls: int) -> None:
        for _ in range(calls):
            engine.fire_event(Events.ITERATION_STARTED)
            engine.fire_event(Events.ITERATION_COMPLETED)

    return work


def lightning(listeners: int) -> Callable[[int], None]:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    from lightning.pytorch import Callback, Trainer
    from lightning.pytorch.trainer.call import _call_callback_hooks

    class Quiet(Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            pass

        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            pass

    options = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = Trainer(callbacks=[Quiet() for _ in range(listeners)], accelerator="cpu", **options)

    def work(calls: int) -> None:
        for step in range(calls):
            _call_callback_hooks(trainer, "on_train_batch_start", None, step)
            _call_callback_hooks(trainer, "on_train_batch_end", LOGS, None, step)

    return work


def transformers(listeners: int) -> Callable[[int], None]:
    from transformers import TrainerCallback, TrainerControl, TrainerState
    from transformers.trainer_callback import CallbackHandler

    class Quiet(TrainerCallback):
        pass

    handler = CallbackHandler([Quiet() for _ in range(listeners)], None, None, None, None)

    def work(calls: int) -> None:
        state, control = TrainerState(), TrainerControl()
        for _ in range(calls):
            handler.on_step_begin(None, state, control)
            handler.on_step_end(None, state, control)

    return work


PEERS = {
    "Keras CallbackList": keras_list,
    "Ignite engine": ignite,
    "Lightning trainer": lightning,
    "transformers handler": transformers,
}


def main() -> None:
    options = arguments(__doc__)
    tables = {}
    for listeners in (0, 1, 5, 10):
        variants = {
            "inline loop over bound methods": inline(listeners),
            "the least possible bus": through_least_bus(listeners),
            "bus": through_bus(listeners, ReadOnlyListener),
            "bus, custom sinks (a copy of logs each)": through_bus(listeners, Listener),
            "bus, strict": through_bus(listeners, ReadOnlyListener, strict=True),
        }
        for name, peer in PEERS.items():
            with contextlib.suppress(ImportError):
                variants[name] = peer(listeners)
        calls, rounds = (20, 3) if options.quick else (1000, 81)
        tables[f"{listeners} listeners"] = interleave(variants, "inline loop over bound methods", calls, rounds)
    about = machine("keras", "pytorch-ignite", "lightning", "transformers")
    report(tables, about, as_json=options.json)


if __name__ == "__main__":
    main()
