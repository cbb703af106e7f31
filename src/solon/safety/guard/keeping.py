"""Where the guard's rulings are kept: one line of JSON each, appended to a file before anything goes on.

A line holds names, numbers and hashes, and never a word of the text. A hash is there to find the ruling on a text that one has
already; whoever guesses a short text can find it too, so only the owner may read the file.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from solon.core.artifacts import Store
from solon.core.errors import StorageError

Keep = Callable[[Mapping[str, Any]], None]
FOLDER, FILE = "guard", "rulings.jsonl"
PRIVATE = 0o600


def place(root: Path | str | None = None) -> Path:
    """The file of a folder of runs (`SOLON_RUNS`, or `runs` in the working directory, where none is given)."""
    return Store(root).root / FOLDER / FILE


def to_file(path: Path | None = None) -> Keep:
    """Append each record with its time (UTC) to the file, else to that of the folder of runs. Calls from several threads or
    processes never mix their lines. It survives the end of this process at any point; the loss of power it may not.

    What it gives raises `StorageError` where nothing can be written, and then the guard stops the text."""

    def keep(record: Mapping[str, Any]) -> None:
        file = path or place()
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, PRIVATE)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)  # given back when the file is closed
                timed = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **record}
                _whole(handle, (json.dumps(timed, sort_keys=True) + "\n").encode())
            finally:
                os.close(handle)
        except OSError as error:
            fix = "free some space, or name another folder with --runs"
            raise StorageError(f"the ruling cannot be kept in {file}", got=error.strerror, fix=fix) from error

    return keep


def _whole(handle: int, line: bytes) -> None:
    """All of the line, or none: half a line would spoil the next one."""
    start = os.fstat(handle).st_size
    try:
        left = line
        while left:
            left = left[os.write(handle, left) :]
    except OSError:
        os.ftruncate(handle, start)
        raise
