"""What it costs a training that its run goes to a store, and how fast runs get there and back.

Floor. The same training, recorded in a folder. Both are runs of 2 metrics, with steps that take NumPy a millisecond, of
which only the steps are timed, not the begin and the end of the run. The store is the S3 server of moto in another
process of this machine, which takes its share of the processor; the mirror looks every second, ten times as often as by
default. Goal: no step waits for the store, so a ratio of 1 within the noise.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from growth import peak

from harness import CONTROL, arguments, machine, report, rows
from monitor_core import Journal, Loop
from monitor_core.runs import find_runs
from monitor_core.store import mirror
from monitor_core.store.addresses import located
from monitor_core.store.fetching import fetched
from monitor_core.store.spool import Spool
from monitor_core.store.uploading import upload
from support.processes import free_port
from support.timing import Times, turns

MEGABYTES, RUNS, STEPS = 100, 1000, 2000


@contextmanager
def server():
    """Run a server for S3, and let this process find it."""
    port = free_port()
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


def trained(address: str, steps: int) -> tuple[float, float, float]:
    """Train a run; return the seconds of its steps, what the processor worked meanwhile, and those of the run's end."""
    values = np.random.default_rng(0).normal(size=60_000)
    with Loop(Journal(address)) as loop:
        for _ in loop.epochs(1):
            began, worked = time.perf_counter(), time.process_time()
            for step in loop.batches(range(steps)):
                loop.log(loss=float(np.sin(values).sum()), accuracy=step / steps)
            ended, worked = time.perf_counter(), time.process_time() - worked
    return ended - began, worked, time.perf_counter() - ended


def steps_tables(folder: Path, store: str, rounds: int, steps: int) -> tuple[dict[str, list[dict]], float]:
    floor, ends = "recorded in a folder", []
    names = [floor, "recorded to S3", CONTROL]
    wall, processor = ({name: Times() for name in names} for _ in range(2))
    for turn, name in enumerate(turns(names, rounds + 1)):
        address = f"{store}/steps/{turn}" if name == names[1] else str(folder / str(turn))
        seconds, worked, end = trained(address, steps)
        wall[name].wall.append(seconds)
        processor[name].wall.append(worked)
        ends += [end] if name == names[1] else []
    tables = {
        "A step": rows(wall, floor, steps),
        "A step, the processor's time of all threads": rows(processor, floor, steps),
    }
    return tables, float(np.median(ends))


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
    before, began = peak(), time.perf_counter()
    upload(spool)
    uploaded = time.perf_counter()
    fetched(address)
    return {
        "upload, MB/s": megabytes / (uploaded - began),
        "fetch, MB/s": megabytes / (time.perf_counter() - uploaded),
        "memory of both, MB": (peak() - before) / 2**20,
    }


def listing(store: str, runs: int) -> dict[str, float]:
    """Return how long a list takes, in seconds, of summaries that were not read before and of such that were."""
    import s3fs

    trained(f"{store}/listed", 10)
    system = s3fs.S3FileSystem()
    manifest, summary = (system.cat_file(f"{store}/listed/{name}") for name in ("store.json", "summary.json"))
    for number in range(runs):
        system.pipe_file(f"{store}/many/{number}/summary.json", summary)
        system.pipe_file(f"{store}/many/{number}/store.json", manifest)
    found = {}
    for name in (f"list of {runs} runs, s", "the same again, s"):
        began = time.perf_counter()
        find_runs(f"{store}/many")
        found[name] = time.perf_counter() - began
    return found


def main() -> None:
    options = arguments(__doc__, rounds=11)
    mirror.SECONDS = 1.0
    scale = 50 if options.quick else 1
    with tempfile.TemporaryDirectory() as folder, server() as store:
        os.environ |= {"XDG_STATE_HOME": f"{folder}/state", "XDG_CACHE_HOME": f"{folder}/cache"}
        tables, end = steps_tables(Path(folder), store, options.rounds, STEPS // scale)
        figures = {"the run's end, s": end, **throughput(store, MEGABYTES // scale), **listing(store, RUNS // scale)}
    report(tables, machine("numpy", "s3fs", "moto"), as_json=options.json, figures=figures)


if __name__ == "__main__":
    main()
