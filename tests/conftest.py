"""What all tests share. The recorders are in `recorders`, which pytest finds in this folder."""

import gc

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("monitor_core", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("monitor_core")


_OBJECTS = 150_000


@pytest.fixture(scope="module", autouse=True)
def few_objects():
    """Spare the collections of garbage what frameworks have made when they were imported: a million objects."""
    if len(gc.get_objects()) > _OBJECTS:
        gc.collect()
        gc.freeze()


@pytest.fixture
def warned(caplog):
    """Return a function that gives the package's warnings so far, as texts."""

    def messages():
        return [
            record.getMessage()
            for record in caplog.records
            if record.name.startswith("monitor_core") and record.levelname == "WARNING"
        ]

    return messages


@pytest.fixture
def nothing_around(monkeypatch):
    """No run around the test's, and no job."""
    from monitor_core.bus import origin

    for name in (origin.RUN, origin.FOLDER, "SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(origin, "_open", None)
