"""The command line that starts the sandbox: who it runs as, what it sees, what it may use up.

bubblewrap builds a file system from nothing: the libraries in `/usr/lib` and the interpreter, read-only; `/box`, a
small file system in memory; five devices. There is no `/proc`, no `/etc`, no home, no other program, and no package
beside the standard library. Root first becomes the user `nobody`: root's processes are counted against no limit.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from solon.core.errors import ConfigError
from solon.tools import seccomp

NOBODY = 65534
INSIDE = 1000  # what the user is called inside
OPEN_FILES = 64
DEVICES = ("null", "zero", "full", "urandom", "random")
BARRED = ("site-packages", "dist-packages")  # folders of the host's own packages
NEUTRAL = "/mnt"  # where an interpreter from a closed folder is shown to `nobody`, in a mount namespace of its own


@dataclass(frozen=True)
class Interpreter:
    """The Python that Solon runs on, without its virtual environment; the sandbox's user finds `prefix` at `seen`."""

    prefix: Path
    executable: Path
    seen: Path

    @property
    def hidden(self) -> bool:
        """Whether only root can reach it, so that it has to be mounted elsewhere first."""
        return self.seen != self.prefix


@dataclass(frozen=True)
class Open:
    """Numbers of the open files that the sandbox is handed: the pipe that says it is ready, the filter, files to be."""

    ready: int
    calls: int
    files: Mapping[str, int]


def interpreter() -> Interpreter:
    """The Python that Solon runs on. Root's view of a closed folder (its own home) is not that of `nobody`."""
    executable = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    prefix = Path(sys.base_prefix).resolve()
    if not executable.is_relative_to(prefix):
        raise ConfigError("the sandbox cannot tell where this Python lies", got=executable, expected=f"below {prefix}")
    closed = os.geteuid() == 0 and not all(folder.stat().st_mode & 1 for folder in (prefix, *prefix.parents))
    return Interpreter(prefix, executable, Path(NEUTRAL) if closed else prefix)


def command(python: Interpreter, limits: Sequence[str], disk_bytes: int, given: Open) -> list[str]:
    """The whole line: become nobody, build the sandbox, run `inside.py` in it, which sets the `limits`."""
    start = ["bwrap", *_isolation(), *_system(python), *_work(disk_bytes, given.files), "--remount-ro", "/"]
    start += ["--seccomp", str(given.calls), "--"]
    start += [str(python.executable), "-s", "-P", "-B", "-X", "utf8", "-c", _inside(), str(given.ready)]
    return [*_drop(python), *start, seccomp.no_starting(platform.machine()).hex(), *limits]


def programs() -> list[str]:
    """What has to be installed, beside bubblewrap what root needs to stop being root."""
    return ["bwrap", *(["setpriv", "unshare", "mount"] if os.geteuid() == 0 else [])]


def missing() -> list[str]:
    """Those of `programs` that are not to be found."""
    return [name for name in programs() if shutil.which(name) is None]


def _drop(python: Interpreter) -> list[str]:
    if os.geteuid() != 0:
        return []
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs", "--"]
    if not python.hidden:
        return user
    show = 'mount --bind "$0" "$1" && shift && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", show, str(python.prefix), NEUTRAL, *user]


def _isolation() -> list[str]:
    names = ["--unshare-all", "--unshare-user", "--disable-userns", "--assert-userns-disabled"]
    return [
        *names, "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--hostname", "sandbox",
        "--uid", str(INSIDE), "--gid", str(INSIDE), "--clearenv", "--setenv", "PYTHONHASHSEED", "0",
    ]  # fmt: skip


def _system(python: Interpreter) -> list[str]:
    """Libraries, time zones, the interpreter and a few devices; all of it read-only."""
    line: list[str] = []
    for folder in sorted(Path("/").glob("lib*")):
        if folder.is_symlink():
            line += ["--symlink", os.readlink(folder), str(folder)]
        elif folder.is_dir():
            line += ["--ro-bind", str(folder), str(folder)]
    for folder in sorted(Path("/usr").glob("lib*")):
        if folder.is_dir() and folder.name != "libexec" and not folder.is_symlink():
            line += ["--ro-bind", str(folder), str(folder)]
    line += ["--ro-bind-try", "/usr/share/zoneinfo", "/usr/share/zoneinfo"]
    if python.prefix != Path("/usr"):
        line += ["--ro-bind", str(python.seen / "lib"), str(python.prefix / "lib")]
        line += ["--setenv", "LD_LIBRARY_PATH", str(python.prefix / "lib")]
    within = python.executable.relative_to(python.prefix)
    line += ["--ro-bind", str(python.seen / within), str(python.executable)]
    for folder in _packages(python.prefix):
        line += ["--size", "4096", "--tmpfs", str(folder), "--remount-ro", str(folder)]
    line += ["--size", "65536", "--tmpfs", "/dev"]
    for device in DEVICES:
        line += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    return [*line, "--symlink", "/box", "/dev/shm", "--remount-ro", "/dev"]


def _packages(prefix: Path) -> list[Path]:
    """Folders of installed packages that the sandbox would see."""
    roots = dict.fromkeys((Path("/usr/lib"), prefix / "lib"))
    found = (path for root in roots for name in BARRED for path in sorted(root.glob(f"python3*/{name}")))
    return [path for path in found if path.is_dir()]


def _work(disk_bytes: int, files: Mapping[str, int]) -> list[str]:
    """The one folder that can be written to, of bounded size, with the program and its files in it."""
    line = ["--size", str(disk_bytes), "--tmpfs", "/box", "--symlink", "/box", "/tmp", "--chdir", "/box"]
    for name, number in files.items():
        line += ["--perms", "0644", "--file", str(number), f"/box/{name}"]
    return line


def _inside() -> str:
    return Path(__file__).with_name("inside.py").read_text("utf-8")
