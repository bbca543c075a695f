"""What it costs a training that its run goes to a store, and how fast runs get there and back.

Floor. The same training, recorded in a folder. Both are runs of 2 metrics and steps that take NumPy about a millisecond,
of which only the steps are timed, not the run's begin and end. The store is moto's S3 server in another process of this
machine, which takes its share of the processor; the mirror looks every second, ten times as often as by default. Goal:
no step waits for the store, so a ratio of 1 within the noise.
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from harness import arguments, interleave, machine, report
from monitor_core import Journal, Loop
from monitor_core.runs import find_runs
from monitor_core.store import mirror
from monitor_core.store.addresses import located
from monitor_core.store.fetching import fetched
from monitor_core.store.spool import Spool
from monitor_core.store.uploading import upload

MEGABYTES, RUNS, STEPS = 100, 1000, 2000


@contextmanager
def server():
    """Run a server for S3, and let this process find it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "something",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    command = [sys.executable, "-m", "moto.server", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with suppress(OSError):
                urllib.request.urlopen(os.environ["AWS_ENDPOINT_URL"], timeout=1).close()  # noqa: S310
                break
            time.sleep(0.1)
        import s3fs

        s3fs.S3FileSystem().mkdir("benchmark")
        yield "s3://benchmark"
    finally:
        process.kill()
        process.wait()


def trained(address: str, steps: int) -> tuple[float, float]:
    """Train a run; return the seconds that its steps took, and those of its end."""
    values = np.random.default_rng(0).normal(size=60_000)
    with Loop(Journal(address)) as loop:
        for _ in loop.epochs(1):
            began = time.perf_counter()
            for step in loop.batches(range(steps)):
                loop.log(loss=float(np.sin(values).sum()), accuracy=step / steps)
            ended = time.perf_counter()
    return ended - began, time.perf_counter() - ended


def steps_table(folder: Path, store: str, rounds: int, steps: int) -> tuple[list[dict], float]:
    ends = []

    def to_store(calls: int) -> float:
        seconds, end = trained(f"{store}/steps/{len(ends)}", calls)
        ends.append(end)
        return seconds

    variants = {
        "recorded in a folder": lambda calls: trained(str(folder / os.urandom(4).hex()), calls)[0],
        "recorded to S3": to_store,
    }
    return interleave(variants, "recorded in a folder", steps, rounds), float(np.median(ends))


def throughput(store: str, megabytes: int) -> dict[str, float]:
    """Return how fast a long journal is uploaded and fetched, in MB/s, and what memory that takes, in MB."""
    address = located(f"{store}/long")
    spool = Spool(address)
    spool.make()
    for _ in range(megabytes):
        with (spool.folder / "journal-0000.mcj").open("ab") as file:
            file.write(os.urandom(1_000_000))
    upload_first = Spool(located(f"{store}/warm"))
    upload_first.make()
    upload(upload_first)  # and with it the imports
    peak, began = _peak(), time.perf_counter()
    upload(spool)
    uploaded = time.perf_counter()
    fetched(address)
    return {
        "upload, MB/s": megabytes / (uploaded - began),
        "fetch, MB/s": megabytes / (time.perf_counter() - uploaded),
        "memory of both, MB": _peak() - peak,
    }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def listing(store: str, runs: int) -> dict[str, float]:
    """Return how long a list takes, in seconds, of summaries that were not read before and of such that were."""
    import s3fs

    system, source = s3fs.S3FileSystem(), Spool(located(f"{store}/steps/0")).folder
    manifest = system.cat_file(f"{store}/steps/0/store.json")
    for number in range(runs):
        system.pipe_file(f"{store}/many/{number}/summary.json", (source / "summary.json").read_bytes())
        system.pipe_file(f"{store}/many/{number}/store.json", manifest)
    found = {}
    for name in (f"list of {runs} runs, s", "the same again, s"):
        began = time.perf_counter()
        find_runs(f"{store}/many")
        found[name] = time.perf_counter() - began
    return found


def main() -> None:
    options = arguments(__doc__, rounds=15)
    mirror.SECONDS = 1.0
    scale = 50 if options.quick else 1
    with tempfile.TemporaryDirectory() as folder, server() as store:
        os.environ |= {"XDG_STATE_HOME": f"{folder}/state", "XDG_CACHE_HOME": f"{folder}/cache"}
        table, end = steps_table(Path(folder), store, options.rounds, STEPS // scale)
        figures = {"the run's end, s": end, **throughput(store, MEGABYTES // scale), **listing(store, RUNS // scale)}
    report({"A step": table}, machine("numpy", "s3fs", "moto"), as_json=options.json, figures=figures)


if __name__ == "__main__":
    main()
