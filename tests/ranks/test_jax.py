"""Real processes that JAX connects: what its own ways of training need."""

import pytest
from ranks_support import UNEVEN, reports, require_exact_means, run_ranks

pytest.importorskip("jax")


BITS = """
import numpy as np
from monitor_core.ranks.jax import connected

collective = connected()
collective.open()
own = np.frombuffer(bytes(range(64 + rank, 128 + rank)))
print(json.dumps({"bits": [collective.gather(own).tobytes().hex() for _ in range(3)]}))
barrier()
"""


def test_means_of_uneven_ranks_are_exact(tmp_path):
    """As those over PyTorch: no float64 becomes a float32 on its way, whatever its bits mean."""
    outputs = run_ranks(UNEVEN + BITS, tmp_path, engine="jax")
    found = [reports(output) for output in outputs]
    require_exact_means(found[0] + found[1], "".join(outputs), tmp_path)
    rows = "".join(bytes(range(64 + rank, 128 + rank)).hex() for rank in (0, 1))
    assert [each[-1] for each in found] == [{"bits": [rows] * 3}] * 2
