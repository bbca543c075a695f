"""Runs programs and records what a diagnosis observes in them: each stack in a process of its own, resumable."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterable
from pathlib import Path

from programs.faults import faults
from programs.healthy import healthy
from programs.published import published
from programs.spec import STACKS, Program, Stack
from programs.tape import TapedDiagnosis, save

_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",  # threads of small matrices wait for each other more than they compute
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "",
}

FOLDER = Path(__file__).with_name("recorded")


def programs() -> list[Program]:
    """Return all programs."""
    return [*published(), *healthy(), *faults()]


def path_of(program: Program, seed: int, folder: Path = FOLDER) -> Path:
    """Return the file of a recording."""
    return folder / f"{program.id}.{seed}.json.xz"


def _order(program: Program) -> str:
    """Return what sorts programs as if shuffled, so that a part of a run is a sample of the whole."""
    return hashlib.sha256(f"{program.id} order".encode()).hexdigest()


def missing(chosen: Iterable[Program], seeds: int | None, folder: Path = FOLDER) -> list[tuple[Program, int]]:
    """Return the programs and seeds that are not recorded yet."""
    every = [
        (program, seed)
        for program in sorted(chosen, key=_order)
        for seed in range(min(program.seeds, seeds or program.seeds))
    ]
    return [(program, seed) for program, seed in every if not path_of(program, seed, folder).exists()]


def run_all(
    chosen: list[Program], seeds: int | None, folder: Path = FOLDER, stacks: tuple[Stack, ...] = STACKS
) -> None:
    """Run what is missing, one process for each stack."""
    for stack in stacks:
        names = [f"{program.id}:{seed}" for program, seed in missing(chosen, seeds, folder) if program.stack == stack]
        if names:
            _in_process(stack, names, folder)


def _in_process(stack: Stack, names: list[str], folder: Path) -> None:
    environment = {**os.environ, **_ONE_THREAD, "KERAS_BACKEND": stack.partition("-")[2] or "torch"}
    code = f"from programs.running import run_here; run_here({stack!r}, sys.stdin.read().split(), {str(folder)!r})"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(FOLDER.parents[1])!r}); {code}"]
    subprocess.run(command, input="\n".join(names), text=True, env=environment, check=True)


def run_here(stack: Stack, names: list[str], folder: str) -> None:
    """Run programs of one stack in this process."""
    known = {program.id: program for program in programs()}
    logging.getLogger("monitor_core").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    for name in names:
        program, seed = known[name.rpartition(":")[0]], int(name.rpartition(":")[2])
        begin = time.perf_counter()
        error = record(program, seed, stack, Path(folder))
        print(f"{time.perf_counter() - begin:6.1f} s  {stack:<17} {name} {error or ''}", flush=True)


def record(program: Program, seed: int, stack: Stack, folder: Path) -> str | None:
    """Run one program and save its recording; return what it raised, if it did."""
    sink = TapedDiagnosis()
    error = None
    try:
        _train(program, seed, stack, sink)
    except Exception as raised:  # a mistake may end the training
        error = f"{type(raised).__name__}: {raised}"[:300]
    first, later = sink.probe_cost
    save(
        path_of(program, seed, folder),
        sink.events,
        program=program.id,
        seed=seed,
        stack=stack,
        error=error,
        probe_seconds=[first, later],
        why_missing=sink._examination.seen.why_missing,
    )
    return error


def _train(program: Program, seed: int, stack: Stack, sink: TapedDiagnosis) -> None:
    if isinstance(program.layers, str):
        from programs.special import TRAINERS

        TRAINERS[program.layers](program.options["variant"], seed, sink)
    elif stack == "torch":
        from programs.torch_stack import train as train_torch

        train_torch(program, seed, sink)
    else:
        from programs.keras_stack import train as train_keras

        with contextlib.redirect_stdout(sys.stderr):
            train_keras(program, seed, sink)
