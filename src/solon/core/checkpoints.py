"""Training state on disk: written whole or not at all, the newest good one found again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from solon.core.artifacts import write_text
from solon.core.errors import StorageError

KEEP = 2
GO_ON = "free some space and run the same command again: it goes on from the last good state"


def save(folder: Path, step: int, state: Any, notes: Any = None) -> None:
    """Write a pytree of arrays and a JSON value as step `step`; drop all but the newest two.

    The notes are written first and Orbax's rename comes last, so a finished checkpoint has its notes. Later steps than
    this are ones that could not be read, and are dropped too.
    """
    import orbax.checkpoint as ocp

    target = (folder / f"{step:08d}").absolute()
    if target.exists():
        shutil.rmtree(target)
    folder.mkdir(parents=True, exist_ok=True)
    _room_for(folder, state)
    write_text(_notes(folder, step), json.dumps(notes))
    try:
        with ocp.StandardCheckpointer() as writer:
            writer.save(target, state)
    except (OSError, ValueError) as error:  # TensorStore reports a failed write as a ValueError
        got = str(error).split(" [tensorstore_spec", 1)[0]
        raise StorageError("a checkpoint could not be written", got=got, fix=GO_ON) from error
    found = steps(folder)
    past = [old for old in found if old <= step]
    for old in set(found) - set(past[-KEEP:]):
        shutil.rmtree(folder / f"{old:08d}", ignore_errors=True)
        _notes(folder, old).unlink(missing_ok=True)


def _room_for(folder: Path, state: Any) -> None:
    """Raise before anything is written where the disk is too full: Orbax's threads would fail one by one."""
    import jax

    need, free = sum(x.nbytes for x in jax.tree.leaves(state)), shutil.disk_usage(folder).free
    if need > free:
        got, expected = f"{free / 1e6:,.0f} MB free at {folder}", f"{need / 1e6:,.0f} MB"
        raise StorageError("there is no room for a checkpoint", got=got, expected=expected, fix=GO_ON)


def _notes(folder: Path, step: int) -> Path:
    return folder / f"{step:08d}.json"


def steps(folder: Path) -> list[int]:
    """The finished checkpoints, oldest first. Orbax's unfinished ones have a suffix and are not counted."""
    return sorted(int(entry.name) for entry in folder.glob("*") if entry.name.isdigit()) if folder.exists() else []


def restore(folder: Path, like: Any) -> tuple[int, Any, Any] | None:
    """Step, arrays (in the shapes and types of `like`) and notes of the newest checkpoint that can be read, or None."""
    import jax
    import orbax.checkpoint as ocp

    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    for step in reversed(steps(folder)):
        try:
            notes = json.loads(_notes(folder, step).read_text(encoding="utf-8"))
            with ocp.StandardCheckpointer() as reader:
                return step, reader.restore((folder / f"{step:08d}").absolute(), abstract), notes
        except (OSError, ValueError, KeyError):  # a damaged one: fall back to the one before
            continue
    return None
