"""Write a custom sink: a class with some hooks. It works in Keras and in any loop, and cannot break the training.

python examples/custom_sink.py
"""

import math
import time

from monitor_core import Block, Loop, Run, Sink, scalar


class StopOnNaN(Sink):
    """Decides: receives each batch immediately, and stops the training."""

    def on_batch_end(self, run: Run, step: int, logs: dict) -> None:
        if not math.isfinite(scalar(logs["loss"])):
            run.stop(f"loss is not finite at step {step}", failed=True)


class StepsPerSecond(Sink):
    """Records: receives many steps together, later, and costs nothing per batch."""

    def on_train_begin(self, run: Run) -> None:
        self.began = time.time()
        self.batches = 0

    def on_block(self, run: Run, block: Block) -> None:
        self.batches += len(block)

    def on_train_end(self, run: Run, logs: dict) -> None:
        print(f"{self.batches / (time.time() - self.began):,.0f} steps per second, {run.status}: {run.stop_reason}")


class Broken(Sink):
    """Fails: the error is logged once, with its traceback, and the training continues."""

    def on_epoch_end(self, run: Run, epoch: int, logs: dict) -> None:
        raise ConnectionError("the dashboard is down")


def main() -> None:
    with Loop(StopOnNaN(), StepsPerSecond(), Broken()) as loop:
        for _ in loop.epochs(3):
            for step in loop.batches(range(10_000)):
                loop.log(loss=1 / (step + 1) if loop.run.step < 25_000 else math.nan)
    print(f"{len(loop.bus.failures)} failures of {loop.bus.failures[0].sink}, and still {loop.run.step} steps")


if __name__ == "__main__":
    main()
