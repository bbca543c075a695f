"""The command, on runs in a store; most of it in this process, which is as quick as it can be."""

import json
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection

import pytest

from cli_support import Done, command
from monitor_core import Control, Journal, Loop
from monitor_core.cli import app
from monitor_core.runs import compare
from monitor_core.store.addresses import located
from monitor_core.store.objects import Objects
from page_support import ask, port_of
from store_support import expected, losses, spool_of, train


@pytest.fixture
def called(monkeypatch, capsys):
    """Return a function that calls the command, and returns what it did."""

    def call(*args):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["monitor-core", *map(str, args)])
        code = app.run()
        return Done(code, *capsys.readouterr())

    return call


def test_it_reads_a_store(tmp_path, called):
    """As it reads folders."""
    store = f"file://{tmp_path}/store"
    for name in "ab":
        train(f"{store}/{name}", epochs=2)
    listed = [json.loads(line) for line in called("list", store, "--json").out.splitlines()]
    assert [(run["path"], run["status"]) for run in listed] == [(f"{store}/{name}", "completed") for name in "ab"]
    assert f"{store}/a: completed after 2 of 2 epochs, 600 steps" in called("show", f"{store}/a").out
    assert [each["run"] for each in json.loads(called("compare", store, "--json").out)["ranks"]] == ["a", "b"]
    assert str(compare([store]).runs["a"].path) == f"{store}/a"
    assert called("watch", f"{store}/a", "--json").out.count("\n") == 2
    sql = "select path, max(step) as last from batches group by path order by path"
    assert [json.loads(line) for line in called("query", sql, store, "--json").out.splitlines()] == [
        {"path": name, "last": 600} for name in "ab"
    ]
    assert called("export", f"{store}/a", "--to", "json", "-o", tmp_path / "a.json").code == 0
    assert losses(tmp_path / "a.json") == []
    assert called("diagnose", f"{store}/a").code == 0


def test_it_writes_a_report_of_a_stored_run(tmp_path, called):
    """To a file that is named, since no report is written to a store."""
    address = f"file://{tmp_path}/store/a"
    train(address, epochs=2)
    refused = called("report", address)
    assert (refused.code, refused.out) == (1, "")
    assert f"path must be given: {address} is in a store" in refused.err
    assert called("report", address, "-o", tmp_path / "a.html").code == 0
    assert (tmp_path / "a.html").stat().st_size > 1000


@pytest.mark.parametrize("subcommand", ["list", "show", "serve", "watch", "diagnose", "compare", "report", "control"])
def test_what_is_not_there_is_said(subcommand, tmp_path, called):
    """In a line, with the address as it was given."""
    address = f"file://{tmp_path}/store/none"
    done = called(subcommand, address, *(["stop"] if subcommand == "control" else []))
    assert done.code == 1
    assert done.err.startswith("monitor-core: ")
    assert address in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("subcommand", ["list", "show", "serve", "watch", "diagnose", "compare", "report"])
def test_an_unknown_protocol_is_said(subcommand, called):
    """As it is where a run is recorded."""
    done = called(subcommand, "nothing://a")
    assert done.code == 1
    assert "nothing://a cannot be opened: Protocol not known: nothing" in done.err


def test_the_live_page_shows_a_store(tmp_path):
    """A list of the runs, and each, with changes as they come; what leads out of the address is not found."""
    pytest.importorskip("starlette")
    pytest.importorskip("uvicorn")
    store = f"file://{tmp_path}/store"
    train(f"{store}/runs/a", epochs=2)
    train(f"{store}/secret", epochs=1)
    line = [sys.executable, "-m", "monitor_core", "serve", f"{store}/runs", "--port", "0", "--json"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as server:
        try:
            address = json.loads(server.stdout.readline())["address"]
            listed, run = ask(address, "/"), ask(address, "/runs/a")
            assert (listed[0], run[0]) == (200, 200)
            assert 'href="/runs/a"' in listed[2]
            assert "600" in run[2]
            assert [ask(address, f"/runs/{name}")[0] for name in ("none", "..%2fsecret", "../secret")] == [404] * 3
            client = HTTPConnection("127.0.0.1", port_of(address), timeout=60)
            client.request("GET", "/events?run=a")
            events = client.getresponse()
            train(f"{store}/runs/a", epochs=1)
            assert b"changed" in read_until(events, b"changed")
            client.close()
        finally:
            server.terminate()


def read_until(answer, text):
    """Return what an answer holds up to a text."""
    found = b""
    while text not in found and (line := answer.readline()):
        found += line
    return found


def test_it_uploads_what_is_left(tmp_path, called):
    """And removes the local copies if asked to."""
    address = f"file://{tmp_path}/store/a"
    train(address, epochs=1)
    spool = spool_of(address)
    Objects(located(address)).remove(Objects(located(address)).find())
    done = called("upload", address)
    assert (done.code, done.out) == (0, f"{address}: all of it is there; the local copy is {spool}\n")
    assert losses(address) == expected(1)
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    (tmp_path / "store").touch()
    done = called("upload", "--remove", "--json")
    about = json.loads(done.out)
    assert (done.code, about["folder"]) == (1, str(spool))
    assert "File exists" in about["problem"] or "Not a directory" in about["problem"]
    (tmp_path / "store").unlink()
    assert called("upload", "--remove").code == 0
    assert not spool.exists()
    assert losses(address) == expected(1)


def test_it_uploads_nothing_that_was_not_recorded_here(tmp_path, called):
    """In a line that says so."""
    assert (
        called("upload", "s3://other/a").err == "monitor-core: nothing on this machine was recorded to s3://other/a\n"
    )
    assert "is not the address of a store" in called("upload", tmp_path).err
    assert called("upload") == Done(0, "", "")


def test_requests_go_through_the_machine_that_trains(tmp_path, machine, called):
    """Where it is known by its address; a store carries no requests."""
    address, asked = f"file://{tmp_path}/store/a", []
    thread = threading.Thread(target=lambda: asked.append(command("control", address, "note", "well done")))
    deadline = time.monotonic() + 60
    with Loop(Control(), Journal(address)) as loop:
        for _ in loop.epochs(1):
            thread.start()
            for _ in loop.batches(iter(lambda: time.monotonic() > deadline or bool(asked), True)):
                time.sleep(0.01)
            thread.join()
    assert (asked[0].code, asked[0].out) == (0, "noted\n"), asked[0].err
    machine()
    refused = called("control", address, "stop")
    assert refused.err == (
        f"monitor-core: no request reaches a run through a store: ask on the machine that records to {address}\n"
    )
