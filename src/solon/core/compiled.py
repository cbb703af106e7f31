"""Compiled programs kept on disk, so that a second start need not compile again.

This is JAX's own persistent cache, switched on through the environment before JAX is imported. JAX's own limit on its size is
not used: it needs a lock for every reading, and one file missing beside an entry stops it from writing ever again. Instead
the folder is put in order at each start: entries cut short by a crash or a full disk go, then the oldest beyond the limit.

Entries hold machine code, so each kind of processor has its own folder, and the folder must be the user's alone.
`SOLON_COMPILED` names another folder, or is `off`. Nothing here raises: without the folder a start compiles, as before.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import stat
import sys
import time
import warnings
import zlib
from collections.abc import MutableMapping
from pathlib import Path

LIMIT = 1 << 30  # bytes of all entries; a run of the quickstart writes about a twentieth of that
SPARE = 1 << 30  # bytes that the disk must have left
YOUNG = 60.0  # seconds in which another process may still be writing an entry
LEAST = "0.2"  # seconds of compiling that are worth an entry
OFF = ("0", "off", "no", "false")
CHECKED = ".checked"


def keep(environment: MutableMapping[str, str]) -> Path | None:
    """Let every JAX program of this process and its children be kept; gives the folder, or None where it is not done.

    Does nothing if JAX's own variable is set already, and outside Linux, where it was not tried.
    """
    choice = environment.get("SOLON_COMPILED", "")
    if sys.platform != "linux" or choice.lower() in OFF or "JAX_COMPILATION_CACHE_DIR" in environment:
        return None
    try:
        folder = own_folder(Path(choice) if choice else Path.home() / ".cache" / "solon" / "compiled")
        if folder is None or shutil.disk_usage(folder).free < SPARE:
            return None
        tidy(folder)
    except (OSError, RuntimeError):  # read-only, no home, a file in the way
        return None
    environment["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    environment.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", LEAST)
    # XLA writes an error of many lines for each entry that was compiled with hints for tuning (jax #38445); it then compiles.
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # A disk that fills up on the way costs time, not the run, and there is nothing the user should do about one entry.
    warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache entry")
    return folder


def tidy(folder: Path, limit: int = LIMIT) -> None:
    """Remove entries that cannot be unpacked (each is looked at once, at the start after it was written), then the oldest
    until the rest take at most `limit` bytes."""
    now, mark = time.time(), folder / CHECKED
    since = mark.stat().st_mtime if mark.exists() else 0.0
    kept = []
    for entry in os.scandir(folder):
        if not entry.name.endswith("-cache"):
            continue
        found = entry.stat()
        if since < found.st_mtime <= now - YOUNG and not _whole(Path(entry.path)):
            os.unlink(entry.path)
        else:
            kept.append((found.st_mtime, found.st_size, entry.path))
    mark.touch()
    os.utime(mark, (now - YOUNG, now - YOUNG))
    total = sum(size for _, size, _ in kept)
    for _, size, path in sorted(kept):
        if total <= limit:
            break
        os.unlink(path)
        total -= size


def machine() -> str:
    """A name for what compiled code depends on beyond what JAX looks at itself: the processor and the number of cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    said = sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))})
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return hashlib.sha256("\n".join([platform.machine(), str(cores), *said]).encode()).hexdigest()[:16]


def own_folder(root: Path) -> Path | None:
    """The folder under `root` for machine code of this kind of processor, made if need be; none if others can write there: they
    could have this user run any code. Raises `OSError` where it cannot be made."""
    folder = root / machine()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = folder.stat()
    mine = found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and os.access(folder, os.W_OK)
    return folder if mine else None


def _whole(path: Path) -> bool:
    """Does the entry unpack? Zlib's checksum is at its end. Entries in another form (zstandard) are taken as they are."""
    data = path.read_bytes()
    if data[:1] != b"\x78":
        return bool(data)
    try:
        zlib.decompress(data)
    except zlib.error:
        return False
    return True
