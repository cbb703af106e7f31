"""Runs Python that a model wrote, where it can neither reach nor harm anything; docs/design/009.

A program gets a file system, a process table and a network of its own (bubblewrap), a user who owns nothing, a filter
on system calls, and bounds on time, memory, processes, files and output. Where that cannot be had, nothing is run.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Literal

from solon.core.errors import ConfigError, DataError, SolonError
from solon.tools import container, seccomp, watch

Status = Literal["passed", "failed", "timeout", "memory", "output", "forbidden", "sandbox_error"]

PROGRAM = "program.py"
REFERENCE_SECONDS = 0.27  # what `REFERENCE` takes where the limits were chosen: a quiet AMD EPYC (Zen 5), Python 3.11
MOST_STRETCH = 10.0  # a machine that is slower for a moment shall not make endless loops last for minutes
REFERENCE = "print(sum(i * i % 7 for i in range(6_000_000)))"
PROBE = """
import os, socket
child = os.fork()
if not child:
    os._exit(7)
assert os.waitpid(child, 0)[1] == 7 << 8
try:
    socket.socket()
except PermissionError:
    print("confined")
"""
WAY_OUT = (
    "install bubblewrap (on Debian: apt-get install bubblewrap) on a Linux that lets users make user namespaces, "
    "or leave out what runs generated code"
)
STOPPED: dict[str, tuple[Status, str]] = {
    "timeout": ("timeout", "still running after {limits.seconds:g} s"),
    "memory": ("memory", "its processes together held over {limits.memory_bytes:,} bytes"),
    "files": ("memory", f"made over {watch.MOST_INODES:,} files"),
    "output": ("output", "wrote over {limits.output_bytes:,} bytes"),
    "start": ("sandbox_error", f"the sandbox was not ready within {watch.START_SECONDS:g} s"),
}


@dataclass(frozen=True)
class Limits:
    """What a program may use up. Memory counts for each process and for all together, processor time for each.

    `processes` counts threads and the sandbox's own first process; `disk_bytes` is all files together.
    """

    seconds: float = 5
    cpu_seconds: int = 5
    memory_bytes: int = 512 << 20
    processes: int = 16
    file_bytes: int = 10 << 20
    disk_bytes: int = 16 << 20
    output_bytes: int = 1 << 20

    def __post_init__(self) -> None:
        for one in fields(self):
            if not (got := getattr(self, one.name)) > 0:
                raise ConfigError(f"the limit {one.name} leaves nothing", got=got, expected="above 0")


@dataclass(frozen=True)
class Outcome:
    """What became of a program. `passed` means exit code 0; `detail` says in words why not; None is no exit code."""

    status: Status
    stdout: str
    stderr: str
    seconds: float
    exit_code: int | None
    detail: str


LIMITS = Limits()
NO_FILES: Mapping[str, bytes] = MappingProxyType({})


def run(program: str, limits: Limits = LIMITS, stdin: str = "", files: Mapping[str, bytes] = NO_FILES) -> Outcome:
    """Runs Python source in the sandbox, in a folder that holds `files` (relative paths) and can import them.

    Raises `ConfigError` where no sandbox works: a program is never run without one.
    """
    if why := available():
        raise ConfigError("there is no sandbox here, so generated code is not run", got=why, fix=WAY_OUT)
    return _run(program, limits, stdin, files)


def run_many(
    programs: Iterable[str], workers: int = 2, limits: Limits = LIMITS, told: Callable[[Outcome], None] | None = None
) -> list[Outcome]:
    """`run` for each program, `workers` at a time; outcomes in the programs' order, in which `told` hears of them."""
    outcomes = []
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for outcome in pool.map(lambda program: run(program, limits), programs):
            outcomes.append(outcome)
            if told:
                told(outcome)
    return outcomes


@cache
def available() -> str:
    """'' if the sandbox works here, else why not. Found out once, by really starting it."""
    if not sys.platform.startswith("linux"):
        return f"it needs Linux, and this is {sys.platform}"
    if platform.machine() not in seccomp.MACHINES:
        return f"it knows the system calls of {' and '.join(seccomp.MACHINES)}, not those of {platform.machine()}"
    if absent := container.missing():
        return f"{' and '.join(absent)} not found"
    try:
        outcome = _run(PROBE, LIMITS, "", NO_FILES)
    except (SolonError, OSError) as error:
        return " ".join(str(error).split())
    if outcome.status == "passed" and outcome.stdout == "confined\n":
        return ""
    return f"it did not start or does not hold: {outcome.detail or outcome.stdout.strip() or 'a socket could be made'}"


def calibrate(limits: Limits = LIMITS) -> Limits:
    """The limits with their times stretched by how much slower than the reference this machine is now.

    A fixed program of pure Python is run once in the sandbox and its time compared with `REFERENCE_SECONDS`.
    """
    outcome = run(REFERENCE, replace(limits, seconds=60, cpu_seconds=60))
    if outcome.status != "passed":
        raise ConfigError("the reference program did not run", got=outcome.detail, expected="exit code 0 within 60 s")
    return stretched(limits, outcome.seconds / REFERENCE_SECONDS)


def stretched(limits: Limits, factor: float) -> Limits:
    """The limits with both times multiplied by `factor`, but never shortened and at most stretched tenfold.

    Processor time is rounded up to whole seconds.
    """
    factor = min(max(1.0, factor), MOST_STRETCH)
    return replace(limits, seconds=limits.seconds * factor, cpu_seconds=int(-(-limits.cpu_seconds * factor // 1)))


def _run(program: str, limits: Limits, stdin: str, files: Mapping[str, bytes]) -> Outcome:
    source = program.encode("utf-8", "surrogatepass")
    contents = {**_confined(files), PROGRAM: source}
    if (size := sum(map(len, contents.values()))) > limits.disk_bytes:
        most = f"at most {limits.disk_bytes} bytes"
        raise DataError("a program and its files do not fit in the sandbox", got=size, expected=most)
    with _handed(contents, stdin) as (given, ready, stdin_file, numbers):
        line = container.command(container.interpreter(), _rlimits(limits), limits.disk_bytes, given)
        bounds = watch.Bounds(limits.seconds, limits.memory_bytes, limits.output_bytes)
        ended = watch.watch(line, bounds, stdin_file, ready, numbers)
    status, detail = _verdict(ended, limits)
    out, err = (bytes(data).decode("utf-8", "replace") for data in (ended.out, ended.err))
    return Outcome(status, out, err, ended.seconds, ended.code, detail)


def _confined(files: Mapping[str, bytes]) -> dict[str, bytes]:
    for name in files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or str(path) != name or name in (".", PROGRAM) or "\0" in name:
            expected = f"a relative path without .., not {PROGRAM}"
            raise DataError("a file's name does not lie in the sandbox's folder", got=repr(name), expected=expected)
    return dict(files)


@contextmanager
def _handed(contents: Mapping[str, bytes], stdin: str) -> Iterator[tuple[container.Open, int, int, list[int]]]:
    """Open files for one run: those for the sandbox, the pipe's reading end, standard input, and what it inherits."""
    opened: list[int] = []
    try:
        opened += os.pipe()
        ready, tell = opened
        numbers: dict[str, int] = {}
        for name, data in (*contents.items(), ("", stdin.encode("utf-8", "surrogatepass"))):
            numbers[name] = _sealed(data)
            opened.append(numbers[name])
        calls = _sealed(seccomp.calls(platform.machine()))
        opened.append(calls)
        stdin_file = numbers.pop("")
        given = container.Open(tell, calls, numbers)
        yield given, ready, stdin_file, [tell, calls, *numbers.values()]
    finally:
        for number in opened:
            os.close(number)


def _sealed(data: bytes) -> int:
    """An open file in memory with this content, which nobody can change any more."""
    number = os.memfd_create("sandbox", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(number, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(number, 0, os.SEEK_SET)
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(number, fcntl.F_ADD_SEALS, seals)
    return number


def _rlimits(limits: Limits) -> list[str]:
    each = {
        "CPU": limits.cpu_seconds, "FSIZE": limits.file_bytes, "NOFILE": container.OPEN_FILES, "CORE": 0, "MEMLOCK": 0,
        "MSGQUEUE": 0, "NPROC": limits.processes, "AS": limits.memory_bytes,
    }  # fmt: skip
    return [f"RLIMIT_{name}={number}" for name, number in each.items()]


def _verdict(ended: watch.Ended, limits: Limits) -> tuple[Status, str]:
    """What the way in which a program ended is called, and why."""
    words = bytes(ended.err[-4096:]).decode("utf-8", "replace").strip().splitlines()
    last = words[-1].strip()[:500] if words else ""
    if ended.stopped in STOPPED:
        status, why = STOPPED[ended.stopped]
        return status, why.format(limits=limits)
    if not ended.ready or ended.code is None or ended.code < 0:
        return "sandbox_error", last or f"the sandbox ended with code {ended.code}"
    if ended.code == 0:
        return "passed", ""
    killed = ended.code - 128
    if killed == signal.SIGSYS:
        return "forbidden", "made a forbidden system call and was killed for it"
    if re.match(r"PermissionError: \[Errno 1\]", last):
        return "forbidden", last
    # The hard limit kills without a word; so may the program itself, but only one that had the time for it ran into it.
    spent = ended.seconds * (os.cpu_count() or 1) >= limits.cpu_seconds
    if killed == signal.SIGXCPU or (killed == signal.SIGKILL and spent):
        return "timeout", f"used up {limits.cpu_seconds} s of processor time"
    if re.match(r"(\w+\.)*_?(Array)?MemoryError\b|OSError: \[Errno 12\]", last):
        return "memory", f"asked for more than {limits.memory_bytes:,} bytes"
    if killed in signal.valid_signals():
        return "failed", f"killed by {signal.Signals(killed).name}"
    return "failed", last or f"exit code {ended.code}"
