"""Folders that are there whole or not at all: written aside, synced, then renamed into place."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from solon.core.errors import ConfigError, StorageError

MARK = "solon.json"
"""Every folder that Solon writes for others holds this file; only such a folder is ever replaced."""


def check_free(out: Path, force: bool = False) -> None:
    """See that `out` may be written. A folder with something in it is replaced only if asked, and only if Solon made it."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not out.is_dir():
        raise ConfigError(f"{out} is a file", fix="name a new folder: what is written consists of several files")
    if not force:
        raise ConfigError(f"the folder {out} is not empty", fix="name a new one, or replace it with --force")
    if not (out / MARK).is_file():
        fix = "name a new folder, or empty this one yourself"
        raise ConfigError(f"{out} was not written by Solon, so --force does not delete it", got=f"no {MARK} in it", fix=fix)


@contextmanager
def whole(out: Path, force: bool = False) -> Iterator[Path]:
    """A folder beside `out` to write in. It becomes `out` when the block ends well and is gone when it does not.

    A process that was killed leaves only the folder beside it, which the next call clears. Raises `ConfigError` if
    `out` may not be written, `StorageError` if the disk does not do its part.
    """
    check_free(out, force)
    aside = out.parent / f".{out.name}.part"
    try:
        aside.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"the folder {out} cannot be made", got=error, fix="name another folder") from error
    with _alone(aside, out):
        try:
            _clear(aside)
            yield aside
            _sync(aside)
            check_free(out, force)  # somebody may have written there meanwhile
            _move(aside, out)
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            fix = "free some space or name a folder on another disk; nothing was left behind"
            raise StorageError(f"{out.name} could not be written", got=error, fix=fix) from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _alone(aside: Path, out: Path) -> Iterator[None]:
    """One process at a time writes one folder; the lock dies with its process."""
    handle = os.open(aside, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StorageError(f"another process is writing {out}", fix="wait for it, or name another folder") from error
        yield
    finally:
        os.close(handle)


def _clear(folder: Path) -> None:
    for entry in folder.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _sync(folder: Path) -> None:
    for path in [*(entry for entry in folder.rglob("*") if entry.is_file()), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _move(aside: Path, out: Path) -> None:
    """A rename replaces an empty folder; a full one is put aside first and comes back if the rename fails."""
    if not out.exists() or not any(out.iterdir()):
        aside.rename(out)
        return
    old = out.parent / f".{out.name}.old"
    shutil.rmtree(old, ignore_errors=True)
    out.rename(old)
    try:
        aside.rename(out)
    except OSError:
        old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
