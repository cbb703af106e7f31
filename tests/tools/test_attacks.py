"""Programs that try to get out of the sandbox. Each is stopped, named, and leaves no trace on the machine.

`attacks/` holds one program a file; its first line says what it tries and which verdict it must get. A program that
gets through prints ESCAPED. What is around the sandbox is looked at as well: a file that anyone may write, listening
sockets, a process of the sandbox's own user, Solon's code, and the table of processes. Programs marked `Control` are also
run without a sandbox, where they must get through: otherwise they would prove nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from solon.tools import sandbox, seccomp
from solon.tools.sandbox import Limits, run

pytestmark = pytest.mark.skipif(bool(sandbox.available()), reason=f"no sandbox here: {sandbox.available()}")

ATTACKS = {path.stem: path.read_text("utf-8") for path in sorted((Path(__file__).parent / "attacks").glob("*.py"))}
SOURCE = Path(sandbox.__file__).parent
CANARY = "as it was"
SECRET = "key-that-nobody-may-see"
TIGHT = Limits(seconds=20, cpu_seconds=1, memory_bytes=256 << 20, disk_bytes=4 << 20, file_bytes=2 << 20)
SHORT = Limits(seconds=0.4, memory_bytes=256 << 20)
LONG = Limits(seconds=30, cpu_seconds=20)
# Asking for memory takes processor time, on a busy virtual machine more than a second.
PATIENT = replace(TIGHT, cpu_seconds=15)
LIMITS = {"sleep": SHORT, "silent_sleep": SHORT, "stubborn_fork_bomb": SHORT, "memory_at_once": PATIENT, "memory_bit_by_bit": PATIENT}
LIMITS |= dict.fromkeys(("memory_of_many", "memory_shared_by_many", "disk_names_only"), LONG)


def user_of_sandbox() -> int:
    return 65534 if os.geteuid() == 0 else os.geteuid()


def living() -> set[int]:
    """Every process that has not ended (a zombie has)."""
    numbers = set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                numbers.add(int(entry.name))
        except (OSError, IndexError):
            pass
    return numbers


def sandboxed() -> set[int]:
    """Living processes that belong to some sandbox: those of another process namespace than ours."""
    ours, found = os.readlink("/proc/self/ns/pid"), set()
    for number in living():
        try:
            if os.readlink(f"/proc/{number}/ns/pid") != ours:
                found.add(number)
        except OSError:
            pass
    return found


def left_over(before: set[int], patience: float = 5) -> set[int]:
    """Sandboxed processes that were not there before and do not end soon; other people's short runs do."""
    found, deadline = sandboxed() - before, time.monotonic() + patience
    while found & sandboxed() and time.monotonic() < deadline:
        time.sleep(0.02)
    return found & sandboxed()


class Host:
    """Things around the sandbox that an attack could reach, and what they must look like afterwards."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.canary = folder / "canary"
        self.canary.write_text(CANARY)
        self.package = shutil.copy(sandbox.__file__, folder / "package.py")
        for path in (*folder.parents[:2], folder, self.canary):
            path.chmod(0o777 if path in (folder, self.canary) else path.stat().st_mode | 0o055)
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.abstract = socket.socket(socket.AF_UNIX)
        self.name = f"solon-test-{os.getpid()}"
        self.abstract.bind("\0" + self.name)
        self.abstract.listen()
        for one in (self.tcp, self.udp, self.abstract):
            one.setblocking(False)
        self.pipe = os.pipe()
        os.set_blocking(self.pipe[0], False)
        os.set_inheritable(self.pipe[1], True)
        self.victim = self.start_victim()
        self.code = self.digest()

    def start_victim(self) -> subprocess.Popen[bytes]:
        """A process of the sandbox's own user, with a key in its environment."""
        user = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
        return subprocess.Popen(["sleep", "600"], env={**os.environ, "SANDBOX_SECRET": SECRET}, cwd="/", **user)

    def given(self, control: bool) -> str:
        return json.dumps({
            "tcp": self.tcp.getsockname()[1], "udp": self.udp.getsockname()[1], "abstract": self.name,
            "canary": str(self.canary), "folder": str(self.folder), "victim": self.victim.pid,
            "package": str(self.package if control else sandbox.__file__), "control": control,
        })  # fmt: skip

    def digest(self) -> str:
        files = [*sorted(SOURCE.glob("*.py")), Path(os.__file__), Path(sys.executable).resolve(), Path("/etc/passwd")]
        return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()

    def harm(self) -> list[str]:
        """What has happened to the host; nothing, one hopes."""
        found = []
        if self.canary.read_text() != CANARY:
            found.append("the canary was written to")
        if {path.name for path in self.folder.iterdir()} != {"canary", "package.py"}:
            found.append("a file was made")
        for name, listener in (("TCP", self.tcp), ("local", self.abstract)):
            try:
                listener.accept()[0].close()
                found.append(f"the {name} socket got a connection")
            except BlockingIOError:
                pass
        for name, read in (
            ("datagram", lambda: self.udp.recv(9)),
            ("inherited pipe", lambda: os.read(self.pipe[0], 9)),
        ):
            try:
                found.append(f"the {name} got {read()!r}")
            except BlockingIOError:
                pass
        if self.victim.poll() is not None:
            found.append("the victim was killed")
            self.victim = self.start_victim()
        if self.digest() != self.code:
            found.append("code or the system was changed")
        return found

    def close(self) -> None:
        self.victim.kill()
        self.victim.wait()
        for one in (self.tcp, self.udp, self.abstract):
            one.close()
        for number in self.pipe:
            os.close(number)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    host = Host(tmp_path_factory.mktemp("host"))
    time.sleep(0.05)  # the victim's own environment is there once it has been executed
    os.environ["SANDBOX_SECRET"] = SECRET
    yield host
    del os.environ["SANDBOX_SECRET"]
    host.close()


def test_the_corpus_is_large():
    assert len(ATTACKS) + len(CALLS) >= 50


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_is_stopped_and_named(name: str, host: Host):
    verdict = re.search(r"Verdict: (\w+)\.", ATTACKS[name].splitlines()[0])
    assert verdict, "the first line of an attack names its verdict"
    before = sandboxed()
    outcome = run(ATTACKS[name], LIMITS.get(name, TIGHT), stdin=host.given(control=False))
    assert "ESCAPED" not in outcome.stdout
    assert SECRET not in outcome.stdout + outcome.stderr
    assert outcome.status == verdict[1], f"{outcome.status}: {outcome.detail}\n{outcome.stderr}"
    assert outcome.detail or outcome.status == "passed"
    assert host.harm() == []
    assert left_over(before) == set()


@pytest.mark.parametrize("name", [name for name in ATTACKS if "Control." in ATTACKS[name].splitlines()[0]])
def test_without_the_sandbox_it_gets_through(name: str, host: Host, tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", ATTACKS[name]], input=host.given(control=True), capture_output=True, text=True,
        timeout=20, cwd=host.folder, close_fds=False,
    )  # fmt: skip
    host.canary.write_text(CANARY)
    shutil.copy(sandbox.__file__, host.package)
    for path in host.folder.iterdir():
        if path.name not in ("canary", "package.py"):
            path.unlink()
    host.harm()  # takes in what the attack sent, so that the next test begins with nothing
    assert "ESCAPED" in done.stdout, done.stderr


def harmless(call: str, *arguments: object) -> tuple[str, str]:
    return call, ", ".join(map(str, arguments))


# Calls that get the process killed, with arguments that would be in order outside.
CALLS = dict(
    [
        harmless("process_vm_readv", "os.getpid()", 0, 0, 0, 0, 0),
        harmless("process_vm_writev", "os.getpid()", 0, 0, 0, 0, 0),
        harmless("mount", "b'none'", "b'/box'", "b'tmpfs'", 0, 0),
        harmless("umount2", "b'/box'", 2),
        harmless("pivot_root", "b'/box'", "b'/box'"),
        harmless("open_by_handle_at", -100, 0, 0),
        harmless("fsopen", "b'tmpfs'", 0),
        harmless("keyctl", 0, -3, 0),
        harmless("bpf", 0, 0, 0),
        harmless("io_uring_setup", 1, "b'0' * 120"),
        harmless("perf_event_open", "b'0' * 120", 0, -1, -1, 0),
        harmless("userfaultfd", 1),
        harmless("kexec_load", 0, 0, 0, 0),
        harmless("init_module", 0, 0, "b''"),
        harmless("reboot", 0, 0, 0, 0),
        harmless("clock_settime", 0, 0),
        harmless("personality", 0x0040000),
        harmless("ioctl", 0, 0x5412, "b'x'"),
        harmless("clone", 0x1000_0000 | 17, 0, 0, 0, 0),
    ]
)


@pytest.mark.parametrize("call", CALLS)
def test_system_call_is_killed(call: str, host: Host):
    condition = seccomp.CONDITIONS.get(call)
    numbers = condition.numbers if condition else seccomp.KILLED[call]
    number = numbers[seccomp.MACHINES[platform.machine()][0]]
    lines = f"import ctypes, os\nprint(ctypes.CDLL(None).syscall({number}, {CALLS[call]}))\nprint('ESCAPED')"
    outcome = run(lines, TIGHT)
    assert (outcome.status, outcome.exit_code, outcome.stdout) == ("forbidden", 128 + 31, "")
    assert host.harm() == []


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only this processor has a second way to call")
def test_calls_of_other_machines_are_killed():
    """The numbers of 32-bit code mean other calls, so a filter that looks at numbers only would let them pass."""
    lines = """
import ctypes, mmap
code = bytes.fromhex("b814000000cd80c3")  # mov eax, 20 (getpid of 32-bit code); int 0x80; ret
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(code)
print(ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))())
"""
    assert run(lines, TIGHT).status == "forbidden"
    second = f"import ctypes\nprint(ctypes.CDLL(None).syscall({0x4000_0000 + 39}))"
    assert run(second, TIGHT).status == "forbidden"


def test_what_a_program_may_see_and_use():
    """The bounds as numbers: a program that stays below them is let alone, and what it sees is next to nothing."""
    lines = """
import json, os, resource
print(json.dumps({
    "root": sorted(os.listdir("/")), "work": os.listdir("."), "environment": sorted(os.environ),
    "host": os.uname().nodename, "user": os.getuid(), "devices": sorted(os.listdir("/dev")),
    "processes": resource.getrlimit(resource.RLIMIT_NPROC),
}))
"""
    seen = json.loads(run(lines).stdout)
    assert {"etc", "proc", "sys", "var", "bin", "sbin", "mnt", "opt", "run"}.isdisjoint(seen["root"])
    assert seen["work"] == ["program.py"]
    assert set(seen["environment"]) <= {"PWD", "PYTHONHASHSEED", "LD_LIBRARY_PATH", "LC_CTYPE"}
    assert (seen["host"], seen["user"], seen["processes"]) == ("sandbox", 1000, [16, 16])
    assert seen["devices"] == ["full", "null", "random", "shm", "urandom", "zero"]


def test_the_standard_input_is_the_first_of_three_files():
    lines = "import os\nfor n in range(64):\n  try: os.fstat(n); print(n)\n  except OSError: pass"
    assert run(lines).stdout.split() == ["0", "1", "2"]


def test_disk_and_processes_stop_at_their_bounds():
    largest = run(ATTACKS["disk_one_file"], TIGHT).stdout.split()[-1]
    assert int(largest) == TIGHT.file_bytes
    total = run(ATTACKS["disk_many_files"], TIGHT).stdout.split()[-1]
    assert TIGHT.disk_bytes - (1 << 20) <= int(total) <= TIGHT.disk_bytes
    roomy = replace(TIGHT, memory_bytes=8 << 30)  # threads ask for large pieces of memory that they do not use
    assert int(run(ATTACKS["thread_bomb"], roomy).stdout.split()[-1]) == TIGHT.processes - 2


def test_a_killed_solon_takes_the_sandbox_along(tmp_path: Path):
    """`kill -9` on the process that runs the sandbox ends the program as well."""
    before = sandboxed()
    line = "from solon.tools.sandbox import *; run('import time; time.sleep(60)', Limits(seconds=60))"
    parent = subprocess.Popen([sys.executable, "-c", line], env={**os.environ, "PYTHONPATH": str(SOURCE.parents[1])})
    try:
        deadline = time.monotonic() + 20
        while len(sandboxed() - before) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(sandboxed() - before) >= 2, "the sandbox never started"
    finally:
        parent.kill()
        parent.wait()
    assert left_over(before) == set()
