"""Separate processes for what must not share one: a Keras backend, a framework, peak memory."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1]

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
"""Lets frameworks compute on one thread: with several, a small step waits for other load on the machine."""
ON_THE_CPU = {**ONE_THREAD, "CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}


def free_port() -> int:
    """Return a port of this machine that no server listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def in_fresh_process(code: str, **environment: str) -> dict:
    """Run code that can import the benchmarks in a fresh interpreter; return the JSON of the last line it prints."""
    path = os.pathsep.join(filter(None, [str(FOLDER), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],  # -P: import nothing from the current folder
        env={**os.environ, "PYTHONPATH": path, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])
