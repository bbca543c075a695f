"""Addresses as paths."""

import pickle
from pathlib import Path

import pytest

from monitor_core.store.addresses import StorePath, located


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("s3://bucket/runs/a", "s3://bucket/runs/a"),
        ("s3://bucket/runs/a/", "s3://bucket/runs/a"),
        (Path("s3://bucket/runs/a"), "s3://bucket/runs/a"),  # a path has lost a slash, as typer gives it
        ("memory://runs/a", "memory://runs/a"),
        ("file:///tmp/runs/a", "file:///tmp/runs/a"),
        (Path("file:///tmp/runs/a"), "file:///tmp/runs/a"),
        ("abfs://box@account.dfs.core.windows.net/a", "abfs://box@account.dfs.core.windows.net/a"),
    ],
)
def test_an_address_is_shown_as_it_was_given(given, shown):
    """Also one that was a path in between."""
    assert isinstance(located(given), StorePath)
    assert str(located(given)) == shown


@pytest.mark.parametrize("given", ["runs/a", "/runs/a", "C:/runs/a", "runs/s3:/a", Path("a"), "s3:", "./x:y/z"])
def test_a_path_of_this_machine_stays_one(given):
    """Neither a drive nor what comes later in a path is a protocol."""
    assert type(located(given)) is type(Path())
    assert located(given) == Path(given)


def test_it_has_the_parts_of_a_path():
    """Names, parents and relative paths are those of the address."""
    address = located("s3://bucket/runs") / "deep" / "a"
    assert (str(address), address.name, str(address.parent)) == (
        "s3://bucket/runs/deep/a",
        "a",
        "s3://bucket/runs/deep",
    )
    assert address.relative_to(Path("s3://bucket/runs")).as_posix() == "deep/a"
    assert address.absolute() is address
    assert pickle.loads(pickle.dumps(address)) == address  # noqa: S301
    assert address == located("s3://bucket/runs/deep/a")
    assert hash(address) == hash(located("s3://bucket/runs/deep/a"))


def test_dots_lead_nowhere_outside():
    """As the live page needs it, which takes names from a browser."""
    folder = located("s3://bucket/runs")
    assert (folder / "a" / ".." / "b").resolve() == folder / "b"
    assert not (folder / ".." / "secret").resolve().is_relative_to(folder)
    assert str((folder / "../../../..").resolve()) == "s3://"
