"""A checkpoint on a disk that is too full: an error that can be read, and the last good state is still there."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path

import jax.numpy as jnp
import pytest

from solon.core import checkpoints
from solon.core.errors import StorageError

Usage = namedtuple("Usage", "total used free")


def test_a_full_disk_is_seen_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = {"a": jnp.arange(1000.0)}, {"a": jnp.arange(1000.0) + 1}
    checkpoints.save(tmp_path, 1, first, "one")
    monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda path: Usage(5000, 1001, 3999))
    with pytest.raises(StorageError, match="no room for a checkpoint"):
        checkpoints.save(tmp_path, 2, second, "two")
    assert checkpoints.steps(tmp_path) == [1]
    step, state, notes = checkpoints.restore(tmp_path, second)
    assert (step, notes) == (1, "one") and (state["a"] == first["a"]).all()


def test_a_failed_write_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import orbax.checkpoint as ocp

    def fails(self: object, *_: object) -> None:
        raise ValueError("RESOURCE_EXHAUSTED: no space [tensorstore_spec='{...}']")

    monkeypatch.setattr(ocp.StandardCheckpointer, "save", fails)
    with pytest.raises(StorageError) as error:
        checkpoints.save(tmp_path, 1, {"a": jnp.ones(3)})
    assert "no space" in str(error.value) and "tensorstore_spec" not in str(error.value)
