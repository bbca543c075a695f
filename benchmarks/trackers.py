"""What trackers cost: a step of the training, 20,000 scalars in a tracker's own store, and the memory of a million.

Floors. Of a step: a sink that drops its blocks, in the same loop; goal: nothing beyond the queue's 1.5 us. Of a store:
the tracker's own client, called as its documentation shows, one call for each scalar (MLflow) or row (trackio, W&B),
until everything is stored; goals: a tenth of the time for MLflow, no more than its own time for trackio. The database
is on this machine, and MLflow's server too, on the loopback. Each variant includes beginning and ending its run.
Trackers whose package is missing are left out.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from harness import arguments, interleave, machine, report
from monitor_core import Block, Bus, Loop, Sink
from monitor_core.trackers.tracker import Tracker
from support.processes import free_port, in_fresh_process

METRICS = ("loss", "accuracy")
STEPS = 256
PARTS = ("step", "mlflow", "trackio", "wandb", "server", "memory")
Work = Callable[[int], object]

for variable in ("DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "WANDB_SILENT"):
    os.environ.setdefault(variable, "true")


def has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def blocks(scalars: int) -> Iterator[Block]:
    """Yield blocks with a number of scalars."""
    values = np.random.default_rng(0).normal(size=STEPS)
    for first in range(1, scalars // len(METRICS) + 1, STEPS):
        steps = np.arange(first, min(first + STEPS, scalars // len(METRICS) + 1))
        column = values[: len(steps)]
        yield Block(0, steps, 1.7e9 + steps / 1000, dict.fromkeys(METRICS, column), dict.fromkeys(METRICS))


def delivered(tracker: Tracker, scalars: int, *, at_once: int = 1 << 30) -> None:
    """Send blocks through a tracker, in a run of its own, until everything is stored."""
    bus = Bus(tracker)
    bus.train_begin()
    for number, block in enumerate(blocks(scalars), start=1):
        tracker.on_block(bus.run, block)
        if number % at_once == 0:
            tracker.flush(600)
    bus.train_end()
    if not tracker.flush(600):
        raise RuntimeError(f"{tracker} has not delivered everything")


# --- a step ----------------------------------------------------------------------------------------------------------


class Dropped(Sink):
    """Drops its blocks."""

    background = True
    read_only = True

    def on_block(self, run: Any, block: Block) -> None:
        pass


@attrs.define(eq=False)
class Queued(Tracker):
    """A tracker whose session drops everything: what is left is the queue."""

    def start_session(self, about: Any) -> Any:
        return self

    def write(self, points: Any) -> None:
        pass

    def close(self, *_: Any) -> None:
        pass


def steps(make: Callable[[], Sink]) -> Work:
    def work(calls: int) -> None:
        with Loop(make()) as loop:
            for _ in loop.epochs(1):
                for value in loop.batches(range(calls)):
                    loop.log(loss=value, accuracy=0.5)

    return work


def hook(tracker: Tracker) -> Work:
    """Return what calls the hook of a block on the training's thread, for a number of steps."""
    bus = Bus(tracker)
    bus.train_begin()
    block = next(blocks(STEPS * len(METRICS)))

    def work(calls: int) -> None:
        for _ in range(calls // STEPS):
            tracker.on_block(bus.run, block)

    return work


def step_tables(*, quick: bool) -> dict[str, list[dict]]:
    calls, rounds = (2_560, 2) if quick else (256_000, 21)
    variants = {"a sink that drops its blocks": steps(Dropped), "a tracker": steps(lambda: Queued(per_batch=True))}
    loop = interleave(variants, "a sink that drops its blocks", calls, rounds)
    hooks = {"the outbox alone": outbox_alone(), "a tracker's hook": hook(Queued(per_batch=True))}
    return {
        "a step of a loop without training, on all threads": loop,
        "a step's share of the hook, 256 steps a block": interleave(hooks, "the outbox alone", calls, rounds),
    }


def outbox_alone() -> Work:
    outbox = Queued()._outbox
    block = next(blocks(STEPS * len(METRICS)))

    def work(calls: int) -> None:
        for _ in range(calls // STEPS):
            outbox.put((None, block), STEPS * len(METRICS))

    outbox.deliver = lambda _: None
    return work


# --- stores ----------------------------------------------------------------------------------------------------------


def mlflow_client(uri: str) -> Work:
    from mlflow import MlflowClient

    client = MlflowClient(uri)

    def work(calls: int) -> None:
        run = client.create_run("0").info.run_id
        for block in blocks(calls):
            for step, row in block.rows():
                for name, value in row.items():
                    client.log_metric(run, name, value, step=step)
        client.set_terminated(run)

    return work


def mlflow_ours(uri: str) -> Work:
    from monitor_core.trackers import MLflow

    return lambda calls: delivered(MLflow(uri, per_batch=True), calls)


@contextlib.contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Run a server on SQLite, and give its address."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/server.db"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    quiet, environment = subprocess.DEVNULL, {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    process = subprocess.Popen(command, cwd=folder, stdout=quiet, stderr=quiet, env=environment, start_new_session=True)
    uri = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{uri}/health", timeout=5)  # noqa: S310 - our own
                break
            time.sleep(0.2)
        yield uri
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def trackio_client() -> Work:
    import trackio

    def work(calls: int) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            trackio.init(project="theirs", embed=False, auto_log_gpu=False)
            for block in blocks(calls):
                for step, row in block.rows():
                    trackio.log(row, step=step)
            trackio.finish()

    return work


def trackio_ours() -> Work:
    from monitor_core.trackers import Trackio

    return lambda calls: delivered(Trackio("ours", per_batch=True), calls)


def wandb_client(folder: Path) -> Work:
    import wandb

    def work(calls: int) -> None:
        settings = wandb.Settings(console="off", silent=True)
        with wandb.init(project="theirs", mode="offline", dir=folder, settings=settings) as run:
            for block in blocks(calls):
                for step, row in block.rows():
                    run.log(row, step=step)

    return work


def wandb_ours(folder: Path) -> Work:
    from monitor_core.trackers import WandB

    return lambda calls: delivered(WandB("ours", mode="offline", folder=folder, per_batch=True), calls)


def store_table(part: str, folder: Path, scalars: int, rounds: int) -> dict[str, list[dict]]:
    """Return the table of a tracker's own store, none if its package is missing."""
    uri = f"sqlite:///{folder}/local.db"
    stores: dict[str, tuple[str, str, Callable[[], dict[str, Work]]]] = {
        "mlflow": (
            "sqlalchemy",
            "MLflow's database",
            lambda: {"log_metric": mlflow_client(uri), "ours": mlflow_ours(uri)},
        ),
        "trackio": ("trackio", "trackio's database", lambda: {"trackio.log": trackio_client(), "ours": trackio_ours()}),
        "wandb": ("wandb", "W&B's file", lambda: {"run.log": wandb_client(folder), "ours": wandb_ours(folder)}),
    }
    package, title, make = stores[part]
    if not has(package):
        return {}
    variants = make()
    return {f"{scalars:,} scalars into {title}": interleave(variants, next(iter(variants)), scalars, rounds)}


def server_table(folder: Path, scalars: int, rounds: int) -> dict[str, list[dict]]:
    if not (has("mlflow") and has("sqlalchemy")):
        return {}
    with mlflow_server(folder) as uri:
        variants = {"log_metric": mlflow_client(uri), "ours": mlflow_ours(uri)}
        return {f"{scalars:,} scalars into MLflow's server": interleave(variants, "log_metric", scalars, rounds)}


# --- memory ----------------------------------------------------------------------------------------------------------


def makers(folder: Path) -> dict[str, Callable[[], Tracker]]:
    """Return what makes each tracker, with the database in a folder."""
    from monitor_core import trackers

    made: dict[str, tuple[str, Callable[[], Tracker]]] = {
        "MLflow": ("sqlalchemy", lambda: trackers.MLflow(f"sqlite:///{folder}/memory.db", per_batch=True)),
        "Trackio": ("trackio", lambda: trackers.Trackio("memory", per_batch=True)),
        "WandB": ("wandb", lambda: trackers.WandB("memory", mode="offline", folder=folder, per_batch=True)),
        "Prometheus": ("prometheus_client", lambda: trackers.Prometheus(0, per_batch=True)),
    }
    return {name: make for name, (package, make) in made.items() if has(package)}


def memory(name: str, scalars: int) -> None:
    """Send scalars, ten blocks at a time, and print by how many MB memory grew after the first tenth."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRACKIO_DIR"] = folder
        tracker = makers(Path(folder))[name]()
        delivered(tracker, scalars // 10, at_once=10)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        delivered(tracker, scalars, at_once=10)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"mb": (after - before) / 1024}))


def main() -> None:
    options = arguments(__doc__, rounds=5, parts=PARTS)
    logging.disable(logging.WARNING)
    parts = options.part or PARTS
    tables: dict[str, list[dict]] = {}
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TRACKIO_DIR"] = str(folder / "trackio")
        if "step" in parts:
            tables |= step_tables(quick=options.quick)
        for part in {"mlflow", "trackio", "wandb"}.intersection(parts):
            tables |= store_table(part, folder, 100 if options.quick else 20_000, options.rounds)
        if "server" in parts and not options.quick:
            tables |= server_table(folder, 2_000, options.rounds)
        if "memory" in parts:
            scalars = 10_240 if options.quick else 1_000_000
            for tracker in makers(folder):
                grown = in_fresh_process(f"from trackers import memory; memory({tracker!r}, {scalars})")
                figures[f"MB of memory from {scalars // 10:,} to {scalars:,} scalars, {tracker}"] = grown["mb"]
    packages = ("numpy", "mlflow", "trackio", "wandb", "prometheus-client", "opentelemetry-proto")
    report(tables, machine(*packages), as_json=options.json, figures=figures)


if __name__ == "__main__":
    main()
