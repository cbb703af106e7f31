"""The folder of compiled programs: what is kept, what goes, and that a broken or forbidden folder does no harm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from solon.core import compiled

linux = pytest.mark.skipif(sys.platform != "linux", reason="kept on Linux only")


def entry(folder: Path, name: str, data: bytes, age: float = 1000.0) -> Path:
    path = folder / f"{name}-cache"
    path.write_bytes(data)
    os.utime(path, (time.time() - age,) * 2)
    return path


@linux
def test_the_folder_is_given_to_jax_and_is_the_users_alone(tmp_path: Path) -> None:
    environment = {"SOLON_COMPILED": str(tmp_path / "new")}
    folder = compiled.keep(environment)
    assert folder is not None and folder.parent == tmp_path / "new"
    assert environment["JAX_COMPILATION_CACHE_DIR"] == str(folder)
    assert folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("word", ["off", "OFF", "0", "no"])
def test_it_can_be_switched_off(word: str) -> None:
    environment = {"SOLON_COMPILED": word}
    assert compiled.keep(environment) is None and environment == {"SOLON_COMPILED": word}


def test_a_choice_made_for_jax_itself_is_left_alone(tmp_path: Path) -> None:
    environment = {"JAX_COMPILATION_CACHE_DIR": "elsewhere", "SOLON_COMPILED": str(tmp_path)}
    assert compiled.keep(environment) is None and environment["JAX_COMPILATION_CACHE_DIR"] == "elsewhere"
    assert not list(tmp_path.iterdir())


@linux
def test_a_folder_that_others_can_write_is_not_trusted(tmp_path: Path) -> None:
    folder = compiled.keep({"SOLON_COMPILED": str(tmp_path)})
    assert folder is not None
    folder.chmod(0o777)
    environment = {"SOLON_COMPILED": str(tmp_path)}
    assert compiled.keep(environment) is None and "JAX_COMPILATION_CACHE_DIR" not in environment


@linux
@pytest.mark.parametrize("how", ["a file in the way", "a full disk", "no such mount"])
def test_where_it_cannot_be_kept_nothing_is_raised(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"SOLON_COMPILED": str(tmp_path / "here")}
    if how == "a file in the way":
        (tmp_path / "here").write_text("")
    elif how == "a full disk":
        monkeypatch.setattr(compiled, "SPARE", 1 << 62)
    else:
        environment["SOLON_COMPILED"] = "/proc/none"
    assert compiled.keep(environment) is None and "JAX_COMPILATION_CACHE_DIR" not in environment


def test_entries_cut_short_go_and_whole_ones_stay(tmp_path: Path) -> None:
    good = zlib.compress(os.urandom(5000))
    sound, cut, empty = entry(tmp_path, "sound", good), entry(tmp_path, "cut", good[:-100]), entry(tmp_path, "empty", b"")
    writing = entry(tmp_path, "writing", good[:-100], age=5.0)
    other = entry(tmp_path, "zstd", b"\x28\xb5\x2f\xfd rest")
    (tmp_path / "somebody's file").write_text("stays")
    compiled.tidy(tmp_path)
    assert sound.exists() and writing.exists() and other.exists() and not cut.exists() and not empty.exists()
    assert (tmp_path / "somebody's file").exists()


def test_an_entry_is_unpacked_at_one_start_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry(tmp_path, "sound", zlib.compress(b"x" * 100))
    seen: list[Path] = []
    monkeypatch.setattr(compiled, "_whole", lambda path: seen.append(path) or True)
    compiled.tidy(tmp_path)
    compiled.tidy(tmp_path)
    assert len(seen) == 1


def test_the_oldest_go_first_when_the_folder_is_too_large(tmp_path: Path) -> None:
    paths = [entry(tmp_path, str(age), zlib.compress(os.urandom(1000)), age=age) for age in (3000.0, 100.0, 2000.0)]
    size = paths[0].stat().st_size
    compiled.tidy(tmp_path, limit=2 * size + 10)
    assert [path.exists() for path in paths] == [False, True, True]
    compiled.tidy(tmp_path, limit=0)
    assert not any(path.exists() for path in paths)


PROGRAM = """
import json, os, sys
from solon.core import compiled
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
folder = compiled.keep(os.environ)
import jax, jax.numpy as jnp, numpy as np
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event) if event.endswith("cache_hits") else None)
step = jax.jit(lambda x: jnp.tanh(x @ x.T).sum(0) / jnp.sqrt(jnp.arange(1.0, 65.0)))
x = jax.random.normal(jax.random.key(0), (64, 64))
for _ in range(3):
    x = x + step(x)
print(json.dumps([np.asarray(x).tobytes().hex(), len(hits), len(list(folder.glob("*-cache"))) if folder else 0]))
"""


@pytest.mark.slow
@linux
def test_what_comes_from_the_folder_computes_the_same_bytes(tmp_path: Path) -> None:
    """Without it, cold, again, and again after every entry was broken: one result, and no word on standard error."""

    def run(where: str) -> tuple[str, int, int]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_COMP", "JAX_PERS"))}
        environment |= {"SOLON_COMPILED": where, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, check=True)
        assert done.stderr == ""
        return tuple(json.loads(done.stdout))

    plain, cold, again = run("off"), run(str(tmp_path)), run(str(tmp_path))
    assert cold[1] == 0 and cold[2] > 0 and again[1] >= cold[2]
    for path in tmp_path.rglob("*-cache"):
        path.write_bytes(path.read_bytes()[:-50])
    broken = run(str(tmp_path))
    assert broken[1] == 0
    assert plain[0] == cold[0] == again[0] == broken[0]
