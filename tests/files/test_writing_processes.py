"""Writing: processes, a file of one process alone."""

import os
import resource
import subprocess
import sys
import textwrap

import pytest

from monitor_core import SetupError
from monitor_core.files.writing import AppendFile
from writing_support import (
    at_once,  # noqa: F401 (fixtures)
    run,
)


def test_a_forked_process_writes_nothing(tmp_path):
    """Neither by appending, nor by changing, closing or dropping what the parent has open or waiting."""
    run(
        """
        import os, sys
        from monitor_core.files.writing import AppendFile
        file = AppendFile(sys.argv[1])
        file.append(b"parent\\n")
        if not os.fork():
            file.append(b"child\\n")
            file.change(lambda old: [b"child"])
            file.close()
            del file
            sys.exit()
        os.wait()
        file.append(b"parent\\n")
        """,
        tmp_path / "a.txt",
    )
    assert (tmp_path / "a.txt").read_bytes() == b"parent\nparent\n"


@pytest.mark.parametrize(
    ("limit_at_end", "content", "warnings"), [("resource.RLIM_INFINITY", "one\ntwo\n", 1), ("4", "one\n", 2)]
)
def test_the_end_of_the_interpreter_is_the_last_attempt(tmp_path, limit_at_end, content, warnings):
    """Without a close, waiting records are written if possible, and otherwise logged as lost; nothing raises."""
    output = run(
        f"""
        import resource, signal, sys
        from monitor_core.files.writing import AppendFile
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        file = AppendFile(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (4, resource.RLIM_INFINITY))
        file.append(b"one\\n", b"two\\n")
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_at_end}, resource.RLIM_INFINITY))
        """,
        tmp_path / "a.txt",
    )
    assert (tmp_path / "a.txt").read_text() == content
    assert len(output.splitlines()) == warnings
    assert ("lacks 1 values, in 1 records" in output) == (warnings == 2)


def test_a_file_that_outlives_its_modules_is_silent(tmp_path):
    """At the interpreter's exit whatever the destructor needs may be gone: it prints no traceback."""
    script = """
        import sys
        from monitor_core.files import writing
        file = writing.AppendFile(sys.argv[1], exclusive=True)
        file._ownership.free()
        file._ownership = None
        for name in [name for name in vars(writing) if not name.startswith("__")]:
            setattr(writing, name, None)
        del file
    """
    assert run(script, tmp_path / "a.txt") == ""


def test_a_limit_on_open_files_is_waited_out(tmp_path, at_once):
    """While no file can be opened, records wait."""
    file = AppendFile(tmp_path / "a.txt")
    file.close()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        file.append(b"one\n")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    file.append(b"two\n")
    assert file.path.read_bytes() == b"one\ntwo\n"


OTHER = """
    import sys
    from monitor_core import SetupError
    from monitor_core.files.writing import AppendFile
    try:
        file = AppendFile(sys.argv[1], append=False, exclusive=True)
        file.append(b"other\\n")
    except SetupError as error:
        print(error)
"""


def test_a_file_that_another_process_has_for_itself_is_refused_as_it_is(tmp_path):
    """The error names the file and the process; the file is not emptied, also where it was replaced meanwhile."""
    file = AppendFile(tmp_path / "a.txt", exclusive=True)
    file.append(b"one\n")
    expected = f"a.txt cannot be written: process {os.getpid()} on "
    assert expected in run(OTHER, file.path)
    file.change(lambda old: [b"new\n"])
    assert expected in run(OTHER, file.path)
    file.append(b"two\n")
    assert file.path.read_bytes() == b"new\ntwo\n"


def test_a_file_is_free_once_it_is_closed(tmp_path):
    """The next process may empty the file; no other file is left in the folder."""
    file = AppendFile(tmp_path / "a.txt", exclusive=True)
    file.append(b"one\n")
    file.close()
    assert run(OTHER, file.path) == ""
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("a.txt", b"other\n")]


def test_a_file_that_could_not_be_opened_is_nobodys(tmp_path):
    """An error at opening leaves no lock."""
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(SetupError, match="not a regular file"):
        AppendFile(tmp_path / "a.txt", exclusive=True)
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]


def test_records_wait_while_another_process_has_taken_the_file(tmp_path, at_once, warned):
    """A file taken between two runs is written again when the other process finishes; the warning names that one."""
    file = AppendFile(tmp_path / "a.txt", exclusive=True)
    file.append(b"one\n")
    file.close()
    taker = OTHER.replace("except", "    print(flush=True); sys.stdin.read()\n    except")
    command = [sys.executable, "-c", textwrap.dedent(taker), str(file.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        file.append(b"two\n")
        assert (file.path.read_bytes(), file.waiting) == (b"other\n", 1)
        other.communicate(timeout=60)
    file.append(b"three\n")
    assert file.path.read_bytes() == b"other\ntwo\nthree\n"
    assert [f"(process {other.pid} on " in message for message in warned()] == [True]
