"""Runs a command, reads what it writes up to a bound, and ends it when it takes too much time or memory.

The limits that the kernel keeps are each process's own. What all processes of a sandbox use together is added up here,
from outside, some thirty times a second.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

PAUSE = 0.03  # seconds between two looks at the memory
SHARE = 0.1  # of the time may go into looking
START_SECONDS = 20.0  # until the sandbox has to be ready
MOST_INODES = 4096  # files and folders; each costs the kernel about a kilobyte that no other limit counts
FOLDER = "/box"  # the one that a program can write to
CHUNK = 1 << 16


@dataclass(frozen=True)
class Bounds:
    """What a command may take: seconds from the moment it is ready, bytes of memory and of output, both in all."""

    seconds: float
    memory_bytes: int
    output_bytes: int


@dataclass
class Ended:
    """How a command ended. `stopped` says what it was killed for; `code` is then None, else 128 + n after signal n."""

    code: int | None = None
    stopped: str = ""
    ready: bool = False
    seconds: float = 0.0
    out: bytearray = field(default_factory=bytearray)
    err: bytearray = field(default_factory=bytearray)


def watch(line: Sequence[str], bounds: Bounds, stdin: int, ready: int, handed: Sequence[int]) -> Ended:
    """Starts the line with the open files `handed`, and comes back when nothing of it is left.

    `ready` is the reading end of a pipe; the time starts with the first byte that comes from it.
    """
    with subprocess.Popen(
        line, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=handed, cwd="/",
        env={"PATH": os.environ.get("PATH", os.defpath)}, start_new_session=True,
    ) as process:  # fmt: skip
        ended = Ended()
        try:
            _first_to_go(process.pid)
            _follow(process, ended, bounds, ready)
        except BaseException:
            ended.stopped = "interrupted"
            raise
        finally:
            _end(process, ended)
    return ended


def _follow(process: subprocess.Popen[bytes], ended: Ended, bounds: Bounds, ready: int) -> None:
    """Reads until all ends are closed or a bound is passed."""
    assert process.stdout and process.stderr
    begin = time.monotonic()
    deadline, look = begin + START_SECONDS, begin
    with selectors.DefaultSelector() as selector:
        for stream, sink in ((process.stdout, ended.out), (process.stderr, ended.err), (ready, None)):
            os.set_blocking(stream if isinstance(stream, int) else stream.fileno(), False)
            selector.register(stream, selectors.EVENT_READ, sink)
        while any(key.data is not None for key in selector.get_map().values()):
            for key, _ in selector.select(_wait(ended.ready, look, deadline)):
                data = os.read(key.fd, CHUNK)
                if key.data is None:
                    ended.ready = bool(data)
                    begin = time.monotonic()
                    deadline = begin + bounds.seconds if data else deadline
                else:
                    key.data.extend(data)
                if not data or key.data is None:
                    selector.unregister(key.fileobj)
            now = time.monotonic()
            ended.seconds = now - begin
            ended.stopped = _passed(ended, bounds, now > deadline)
            if now > look and ended.ready and not ended.stopped:
                ended.stopped = _too_large(process.pid, bounds.memory_bytes)
                look = time.monotonic() + max(PAUSE, (time.monotonic() - now) / SHARE)
            if ended.stopped:
                return


def _wait(ready: bool, look: float, deadline: float) -> float:
    """Seconds until there is something to do even if nothing comes to read."""
    return max(0.0, (min(look, deadline) if ready else deadline) - time.monotonic())


def _passed(ended: Ended, bounds: Bounds, late: bool) -> str:
    if len(ended.out) + len(ended.err) > bounds.output_bytes:
        del ended.out[bounds.output_bytes :]
        del ended.err[bounds.output_bytes - len(ended.out) :]
        return "output"
    return ("timeout" if ended.ready else "start") if late else ""


def _end(process: subprocess.Popen[bytes], ended: Ended) -> None:
    """Waits for the command if it ended by itself, else kills it; its process namespace dies with its first process."""
    if ended.stopped or not _over(process, 10.0):
        ended.stopped = ended.stopped or "timeout"
        for number in (process.pid, *_family(process.pid)):
            try:
                os.kill(number, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass  # it ended in the meantime
        _over(process, 60.0)
    ended.code = None if ended.stopped else process.returncode


def _over(process: subprocess.Popen[bytes], patience: float) -> bool:
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        return False
    return True


def _first_to_go(number: int) -> None:
    """If the machine runs out of memory, the kernel shall take the sandbox and not Solon."""
    try:
        Path(f"/proc/{number}/oom_score_adj").write_text("1000")
    except OSError:
        pass  # only a precaution; the limits hold without it


def _too_large(number: int, memory_bytes: int) -> str:
    """Whether a command's descendants hold too much memory, or its first process sees too many files, or ''."""
    family = _family(number)
    if sum(map(_memory, family)) > memory_bytes:
        return "memory"
    for member in family[:1]:
        try:
            usage = os.statvfs(f"/proc/{member}/root" + FOLDER)
        except OSError:
            continue  # it has just begun or just ended
        if usage.f_files - usage.f_ffree > MOST_INODES:
            return "files"
    return ""


def _family(number: int) -> list[int]:
    """All descendants of a process, parents first; an orphan in a process namespace stays one of them."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = _read(f"/proc/{entry}/stat").rpartition(b")")[2].split()
            if len(fields) > 1:
                children.setdefault(int(fields[1]), []).append(int(entry))
    family = [number]
    for member in family:
        family += children.get(member, [])
    return family[1:]


def _memory(number: int) -> int:
    """Bytes that a process holds and that are not a file's. Pages shared after a fork count once for each."""
    names = (b"RssAnon:", b"RssShmem:", b"VmSwap:")
    lines = _read(f"/proc/{number}/status").splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(names))


def _read(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(1 << 14)
    except OSError:
        return b""  # the process is gone
