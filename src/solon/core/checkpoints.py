"""Training state on disk: written whole or not at all, the newest good one found again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from solon.core.errors import StorageError

KEEP = 2


def save(folder: Path, step: int, state: Any) -> None:
    """Write a pytree of arrays as step `step` and drop all but the newest two. Orbax writes aside and renames."""
    import orbax.checkpoint as ocp

    target = (folder / f"{step:08d}").absolute()
    if target.exists():
        shutil.rmtree(target)
    try:
        with ocp.StandardCheckpointer() as writer:
            writer.save(target, state)
    except OSError as error:
        fix = "free some space and run the same command again: it goes on from the last good state"
        raise StorageError("a checkpoint could not be written", got=error, fix=fix) from error
    for old in steps(folder)[:-KEEP]:
        shutil.rmtree(folder / f"{old:08d}", ignore_errors=True)


def steps(folder: Path) -> list[int]:
    """The finished checkpoints, oldest first. Orbax's unfinished ones have a suffix and are not counted."""
    return sorted(int(entry.name) for entry in folder.glob("*") if entry.name.isdigit()) if folder.exists() else []


def restore(folder: Path, like: Any) -> tuple[int, Any] | None:
    """The newest checkpoint that can be read, in the shapes and types of `like`; None when there is none."""
    import jax
    import orbax.checkpoint as ocp

    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    for step in reversed(steps(folder)):
        try:
            with ocp.StandardCheckpointer() as reader:
                return step, reader.restore((folder / f"{step:08d}").absolute(), abstract)
        except (OSError, ValueError, KeyError):  # a damaged one: fall back to the one before
            continue
    return None
