"""What the tests of stores share: a machine of their own, with a quick mirror."""

import itertools

import pytest

from monitor_core.store import mirror
from store_support import become_machine


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """Give the test a machine without spools and copies; return a function that changes to another one."""
    monkeypatch.setattr(mirror, "SECONDS", 0.05)
    names = (f"machine-{number}" for number in itertools.count(1))

    def change():
        return become_machine(tmp_path / next(names), monkeypatch)

    change()
    yield change
    mirror._at_work.clear()
