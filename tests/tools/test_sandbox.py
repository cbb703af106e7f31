"""The sandbox's verdicts, its files and streams, and that nothing runs where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from solon.core.errors import ConfigError, DataError
from solon.tools import container, sandbox
from solon.tools.sandbox import Limits, Outcome, available, calibrate, run, run_many, stretched

needs_sandbox = pytest.mark.skipif(bool(available()), reason=f"no sandbox here: {available()}")

VERDICTS = {
    "pass": ("passed", 0, ""),
    "import sys; sys.exit(0)": ("passed", 0, ""),
    "import sys; sys.exit(3)": ("failed", 3, "exit code 3"),
    "assert 1 == 2, 'no'": ("failed", 1, "AssertionError: no"),
    "def f(": ("failed", 1, "SyntaxError"),
    "import os; os.abort()": ("failed", 134, "SIGABRT"),
    "import ctypes; ctypes.string_at(0)": ("failed", 139, "SIGSEGV"),
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)": ("failed", 137, "SIGKILL"),
    "import numpy": ("failed", 1, "ModuleNotFoundError"),
    "open('/box/x', 'w').write('y' * (11 << 20))": ("failed", 1, "File too large"),
    "raise MemoryError": ("memory", 1, "536,870,912"),
    "import time; time.sleep(60)": ("timeout", None, "0.3 s"),
}


@needs_sandbox
@pytest.mark.parametrize("program", VERDICTS)
def test_verdict(program: str):
    status, code, why = VERDICTS[program]
    outcome = run(program, Limits(seconds=0.3) if "sleep" in program else Limits())
    assert (outcome.status, outcome.exit_code) == (status, code), outcome
    assert why in outcome.detail and bool(outcome.detail) == (status != "passed")


@needs_sandbox
def test_streams_and_files():
    lines = """
import sys, other, folder.deep
print(sys.stdin.read() + other.WORD + open("data.bin").read())
print("wörds", file=sys.stderr)
open("data.bin", "w").write("changed")
"""
    files = {"other.py": b"WORD = ' and '", "folder/deep.py": b"", "data.bin": b"bytes"}
    outcome = run(lines, stdin="input ü", files=files)
    assert (outcome.status, outcome.stdout, outcome.stderr) == ("passed", "input ü and bytes\n", "wörds\n")
    assert files["data.bin"] == b"bytes"


@needs_sandbox
def test_a_program_is_main_and_leaves_no_trace_of_what_started_it():
    lines = """
import pickle, sys
class Record: pass
assert type(pickle.loads(pickle.dumps(Record()))) is Record
print(__name__, __file__, sys.argv, sorted(name for name in globals() if not name.startswith("__")))
exit(0)
"""
    expected = "__main__ /box/program.py ['program.py'] ['Record', 'pickle', 'sys']\n"
    assert run(lines).stdout == expected


@needs_sandbox
def test_the_same_program_gives_the_same_output():
    lines = "print(list({str(i) for i in range(50)}), hash('a'))"
    assert run(lines).stdout == run(lines).stdout


@needs_sandbox
def test_output_is_cut_at_its_bound_and_never_kept_whole():
    outcome = run("while True: print('x' * 100_000)", Limits(output_bytes=1000))
    assert (outcome.status, len(outcome.stdout), outcome.stderr) == ("output", 1000, "")
    exact = run("print('x' * 999)", Limits(output_bytes=1000))
    assert (exact.status, len(exact.stdout)) == ("passed", 1000)
    both = run("import sys; print('x' * 799, flush=True); sys.stderr.write('y' * 300)", Limits(output_bytes=1000))
    assert (both.status, len(both.stdout) + len(both.stderr)) == ("output", 1000)


@needs_sandbox
def test_time_is_that_of_the_program():
    outcome = run("import time; time.sleep(0.2)")
    assert 0.2 <= outcome.seconds < 5
    begin = time.monotonic()
    assert run("import time; time.sleep(60)", Limits(seconds=0.2)).seconds == pytest.approx(0.2, abs=3)
    assert time.monotonic() - begin < 20


@needs_sandbox
def test_many_programs_keep_their_order():
    heard: list[Outcome] = []
    lines = [f"import time; time.sleep({0.2 if n == 0 else 0}); print({n})" for n in range(4)]
    outcomes = run_many(lines, 2, told=heard.append)
    assert [outcome.stdout for outcome in outcomes] == ["0\n", "1\n", "2\n", "3\n"]
    assert heard == outcomes


def test_many_programs_run_side_by_side(monkeypatch: pytest.MonkeyPatch):
    """Three workers wait for each other; fewer would wait for ever, more would break the next round."""
    together = threading.Barrier(3, timeout=20)
    monkeypatch.setattr(sandbox, "run", lambda program, limits: (together.wait(), program)[1])
    assert run_many(["a", "b", "c", "d", "e", "f"], 3) == ["a", "b", "c", "d", "e", "f"]


@needs_sandbox
def test_calibration_only_stretches(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sandbox, "REFERENCE", "import time; time.sleep(0.2)")
    monkeypatch.setattr(sandbox, "REFERENCE_SECONDS", 0.05)
    slow = calibrate(Limits(seconds=2, cpu_seconds=3))
    assert slow.seconds >= 8 and slow.cpu_seconds >= 12 and slow.cpu_seconds == int(slow.cpu_seconds)
    monkeypatch.setattr(sandbox, "REFERENCE_SECONDS", 60)
    assert calibrate(Limits(seconds=2)) == Limits(seconds=2)


def test_stretched_limits():
    assert stretched(Limits(seconds=2, cpu_seconds=3), 1.5) == Limits(seconds=3, cpu_seconds=5)
    assert stretched(Limits(), 0.1) == Limits()
    assert stretched(Limits(seconds=1, cpu_seconds=1), 1e9) == Limits(seconds=10, cpu_seconds=10)


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "a/./b", "", ".", "program.py", "a\0b"])
def test_file_names_stay_inside(name: str):
    with pytest.raises(DataError, match="folder"):
        sandbox._run("pass", Limits(), "", {name: b""})


def test_what_does_not_fit_is_refused():
    with pytest.raises(DataError, match="fit"):
        sandbox._run("pass", Limits(disk_bytes=100), "", {"x": b"y" * 200})
    with pytest.raises(ConfigError, match="memory_bytes"):
        Limits(memory_bytes=0)


def test_without_a_sandbox_nothing_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """No program is started, not even on the way to finding out, and the message says what to install."""
    monkeypatch.setattr(container, "missing", lambda: ["bwrap"])
    monkeypatch.setattr(sandbox, "available", sandbox.available.__wrapped__)
    monkeypatch.setattr(subprocess, "Popen", None)
    with pytest.raises(ConfigError, match="apt-get install bubblewrap") as raised:
        run(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert "bwrap not found" in str(raised.value)
    assert not (tmp_path / "ran").exists()


def test_a_sandbox_that_does_not_start_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A bubblewrap that may not make namespaces, as in many containers, is found out and its words are passed on."""
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    tmp_path.chmod(0o755)
    fake.chmod(0o755)
    for tool in ("setpriv", "unshare", "mount", "sh"):
        if found := shutil.which(tool):
            (tmp_path / tool).symlink_to(found)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(container, "_drop", lambda python: [])
    monkeypatch.setattr(sandbox, "available", sandbox.available.__wrapped__)
    with pytest.raises(ConfigError, match="No permissions to create new namespace"):
        run("print('ran')")


def test_a_sandbox_that_does_not_hold_is_none(monkeypatch: pytest.MonkeyPatch):
    """Something that merely runs the program, with its network and all, is not taken for a sandbox."""
    bare = [sys.executable, "-c", "import os,sys; os.write(int(sys.argv[1]), b'+'); exec(sys.argv[2])"]
    monkeypatch.setattr(container, "missing", list)
    monkeypatch.setattr(container, "command", lambda *rest: [*bare, str(rest[3].ready), sandbox.PROBE])
    assert "does not hold" in sandbox.available.__wrapped__()


@needs_sandbox
@pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/usr/bin/python3").exists(), reason="needs root and the system's Python"
)
def test_it_works_for_an_ordinary_user_too(tmp_path: Path):
    """Another user, another Python: no root and no setpriv on the way."""
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    shutil.copytree(Path(sandbox.__file__).parents[1] / "tools", tmp_path / "solon/tools")
    shutil.copytree(Path(sandbox.__file__).parents[1] / "core", tmp_path / "solon/core")
    (tmp_path / "solon/__init__.py").write_text("")
    lines = """
from solon.tools.sandbox import *
if why := available(): raise SystemExit(why)
many = "import os, time\\nfor i in range(99999): os.close(os.open(str(i), os.O_CREAT))\\ntime.sleep(9)"
bomb = "import os\\nwhile 1: os.fork()"
for program in ("print('ran')", "import socket; socket.socket()", "open('/etc/passwd')", bomb, many):
    print(run(program).status)
"""
    user = ["setpriv", "--reuid=4242", "--regid=4242", "--clear-groups", "--"]
    done = subprocess.run(
        [*user, "/usr/bin/python3", "-c", lines], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    if done.returncode and "No module named" in done.stderr:
        pytest.skip(f"the system's Python cannot run it: {done.stderr.splitlines()[-1]}")
    assert done.stdout.split() == ["passed", "forbidden", "failed", "failed", "memory"], done.stderr
