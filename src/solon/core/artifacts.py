"""Artifacts: directories named by the hash of what made them, each with its `evidence.json`.

A stage writes into a draft. Killed at any point, the draft keeps its finished shards and checkpoints, and the next call
goes on from there. Only a whole draft is renamed to its final name, so an artifact is either there or not.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import hashlib
import json
import os
import platform
import resource
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from solon.core.errors import MissingError, SolonError, StorageError, nearest

Record = dict[str, Any]
RECIPE = ("stage", "version", "config", "inputs")
"""What an artifact's name is the hash of."""
SMALL = 4 * 2**20  # bytes; a gate weighs larger files only, so that no start waits for gigabytes


def canonical(value: Any) -> str:
    """JSON with sorted keys: the same content always gives the same text."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def digest(value: Any, length: int = 12) -> str:
    """Short SHA-256 of a JSON value."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:length]


def file_digest(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def seal(evidence: Record) -> str:
    """SHA-256 of evidence without its own seal: it changes with every figure and every hash in it."""
    return digest(json.loads(json.dumps({name: one for name, one in evidence.items() if name != "seal"})), 64)


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    aside = path.with_name(path.name + ".part")
    try:
        with aside.open("w", encoding="utf-8") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        aside.replace(path)
    except OSError as error:
        fix = "free some space and run the same command again: it goes on where it stopped"
        raise StorageError(f"{path.name} could not be written", got=error, fix=fix) from error


def write_rows(path: Path, rows: Sequence[Record]) -> None:
    """Write JSON lines whole or not at all."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_rows(path: Path) -> Iterator[Record]:
    with path.open(encoding="utf-8") as f:
        for line in f:
            yield json.loads(line)


@dataclass(frozen=True)
class Artifact:
    """A finished directory. `reused` says that this call found it and did not make it."""

    id: str
    path: Path
    reused: bool = False

    @cached_property
    def evidence(self) -> Record:
        return json.loads((self.path / "evidence.json").read_text())

    @property
    def stage(self) -> str:
        return self.evidence["stage"]

    def rows(self, name: str) -> Iterator[Record]:
        return read_rows(self.path / f"{name}.jsonl")

    def read(self, name: str) -> Any:
        return json.loads((self.path / name).read_text())

    def check(self) -> None:
        """Raise if a file is not what the evidence says."""
        for output in self.evidence["outputs"]:
            path = self.path / output["path"]
            if not path.exists() or file_digest(path) != output["sha256"]:
                fix = f"delete the folder {self.path.name} and run again"
                raise StorageError(f"{self.id} was changed after it was made: {output['path']}", fix=fix)


    def unsound(self, whole: bool = False) -> str:
        """Why this artifact is no evidence, in words; empty if it is sound. Files above `SMALL` are hashed if `whole`."""
        try:
            evidence = json.loads((self.path / "evidence.json").read_text())
            if self.id != f"{evidence['stage']}-{digest({name: evidence[name] for name in RECIPE})}":
                return "its evidence.json was changed: the content no longer gives this name"
            if evidence.get("seal", seal(evidence)) != seal(evidence):
                return "its evidence.json was changed after it was made"
            for output in evidence["outputs"]:
                path, size = self.path / output["path"], output["bytes"]
                if not path.is_file():
                    return f"its file {output['path']} is missing"
                hashed = whole or size <= SMALL
                if path.stat().st_size != size or (hashed and file_digest(path) != output["sha256"]):
                    return f"its file {output['path']} was changed after it was made"
        except FileNotFoundError:
            return "it has no evidence.json"
        except (OSError, ValueError, KeyError, TypeError) as error:
            return f"its evidence.json cannot be read ({type(error).__name__})"
        return ""


@dataclass
class Draft:
    """A stage's work in progress: files under `path`, figures for the evidence."""

    id: str
    path: Path
    progress: Any
    metrics: list[Record] = field(default_factory=list)
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    licences: set[str] = field(default_factory=set)
    tokens: int = 0
    flops: float = 0.0
    facts: Record = field(default_factory=dict)

    def metric(self, name: str, value: float, **how: Any) -> None:
        """One figure for the evidence: `n`, `ci`, `unit`, `how` as keywords."""
        self.metrics.append({"name": name, "value": value, **how})

    def write(self, name: str, value: Any) -> None:
        write_text(self.path / name, json.dumps(value, ensure_ascii=False, indent=1))

    def write_rows(self, name: str, rows: Sequence[Record]) -> None:
        """Write `name.jsonl` and count each row's fate."""
        write_rows(self.path / f"{name}.jsonl", rows)
        self.count(rows)

    def count(self, rows: Sequence[Record]) -> None:
        """Rows without a `dropped` reason are kept."""
        for row in rows:
            if row.get("dropped"):
                self.dropped[row["dropped"]] += 1
            else:
                self.kept += 1

    def in_shards(
        self, name: str, items: Sequence[Any], size: int, make: Callable[[Sequence[Any]], Sequence[Record]]
    ) -> list[Record]:
        """Rows made shard by shard; a shard that is on disk is not made again. The cut depends on the items alone, so
        what a stopped and resumed run makes is what an undisturbed one makes."""
        folder = self.path / ".shards"
        folder.mkdir(exist_ok=True)
        rows: list[Record] = []
        for start in range(0, len(items), size):
            path = folder / f"{name}-{start:06d}.jsonl"
            if not path.exists():
                write_rows(path, make(items[start : start + size]))
            rows.extend(read_rows(path))
        return rows


class Store:
    """The folder of artifacts and runs (`SOLON_RUNS`, or `runs` in the working directory)."""

    def __init__(self, root: Path | str | None = None, progress: Any = None):
        self.root = Path(root or os.environ.get("SOLON_RUNS", "runs"))
        self.progress = progress or Silent()

    def get(self, id: str) -> Artifact:
        path = self.root / "artifacts" / id
        if not (path / "evidence.json").exists():
            known = [entry.name for entry in (self.root / "artifacts").glob("*-*")]
            raise MissingError(f"there is no artifact {id!r}", fix=nearest(id, known) if known else "run a recipe first")
        return Artifact(id, path)

    def admit(self, stage: str, inputs: Mapping[str, str]) -> dict[str, str]:
        """The gate of a stage: whatever it starts from has to be finished and unchanged. Gives the seals of its inputs.

        An input that this store has never made or begun is an outside source, such as a published model or data: it is named
        by its own hash and not looked at here."""
        seals = {}
        for role, id in inputs.items():
            if id in ("", "..") or Path(id).name != id:  # a path: no artifact's name
                continue
            one, draft = Artifact(id, self.root / "artifacts" / id), self.root / "drafts" / id
            begun = draft.is_dir()
            if not (begun or one.path.is_dir() or draft.with_name(f"{id}.lock").exists()):
                continue
            refused = f"the stage {stage!r} cannot start from {role} {id!r}"
            if not (one.path / "evidence.json").exists():
                got = "it is not finished" if begun else "it has no evidence.json" if one.path.is_dir() else "it is not there"
                remove = f"delete the folder artifacts/{id}, then " if one.path.is_dir() else ""
                again = "it goes on where it stopped" if begun else "what is missing is made again"
                raise MissingError(refused, got=got, expected="a finished artifact", fix=f"{remove}run the recipe again: {again}")
            fault = one.unsound()
            if fault:
                fix = f"delete the folder artifacts/{id} and run the recipe again: it is made anew"
                raise StorageError(refused, got=fault, expected="the artifact as it was made", fix=fix)
            seals[role] = seal(one.evidence)
        return seals

    def make(
        self, stage: str, version: int, config: Mapping[str, Any], inputs: Mapping[str, str], build: Callable[[Draft], None]
    ) -> Artifact:
        """The artifact of a stage: found if it exists, else built.

        `inputs` maps a role to the id of an artifact or the name and hash of an outside source.
        """
        recipe = {"stage": stage, "version": version, "config": config, "inputs": inputs}
        id = f"{stage}-{digest(recipe)}"
        final = self.root / "artifacts" / id
        if (final / "evidence.json").exists():
            return Artifact(id, final, reused=True)
        seals = self.admit(stage, inputs)
        draft_path = self.root / "drafts" / id
        try:
            draft_path.parent.mkdir(parents=True, exist_ok=True)
            final.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"the folder {self.root} cannot be used", got=error, fix="name another with --runs") from error
        with _alone(draft_path):
            if (final / "evidence.json").exists():  # another process made it since we looked
                return Artifact(id, final, reused=True)
            draft_path.mkdir(exist_ok=True)
            before = self._spent(draft_path)
            begin = time.monotonic()
            draft = Draft(id, draft_path, self.progress)
            try:
                with self.progress.stage(stage):
                    build(draft)
            finally:
                seconds = before + time.monotonic() - begin
                if draft_path.exists():
                    (draft_path / ".seconds").write_text(str(seconds))
            self._finish(draft, recipe | {"seals": seals}, seconds, final)
        _give_back()
        return Artifact(id, final)

    @staticmethod
    def _spent(draft_path: Path) -> float:
        try:
            return float((draft_path / ".seconds").read_text())
        except (OSError, ValueError):
            return 0.0

    def _finish(self, draft: Draft, recipe: Record, seconds: float, final: Path) -> None:
        hidden = [entry for entry in draft.path.iterdir() if entry.name.startswith(".")]
        for entry in hidden:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        # A call killed right here before may have left the evidence itself, or half of a file.
        for entry in (draft.path / "evidence.json", *draft.path.rglob("*.part")):
            entry.unlink(missing_ok=True)
        files = sorted(entry for entry in draft.path.rglob("*") if entry.is_file())
        outputs = [
            {"path": str(f.relative_to(draft.path)), "sha256": file_digest(f), "bytes": f.stat().st_size} for f in files
        ]
        evidence = {
            "id": draft.id, **recipe, "outputs": outputs,
            "data": {"kept": draft.kept, "dropped": dict(draft.dropped), "licences": sorted(draft.licences)},
            "metrics": draft.metrics, "facts": draft.facts,
            "cost": {"seconds": round(seconds, 2), "tokens": draft.tokens, "flops": draft.flops, "peak_bytes": peak_bytes()},
            "environment": environment(),
        }  # fmt: skip
        evidence["seal"] = seal(evidence)
        write_text(draft.path / "evidence.json", json.dumps(evidence, ensure_ascii=False, indent=1))
        draft.path.rename(final)


class Silent:
    """Progress that is shown to nobody; the terminal's own is in `solon.cli`."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        yield

    @contextmanager
    def task(self, name: str, total: float, unit: str = "") -> Iterator[Callable[..., None]]:
        """Gives a function `advance(by, note, before)`; what was done `before`, by a stopped call, counts but is not timed."""
        yield lambda by=1, note="", before=False: None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time may work on a draft; the lock dies with its process."""
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            fix = "wait for the other run, or name another folder with --runs"
            raise SolonError(f"another process is making {folder.name}", fix=fix) from error
        yield


def locked(lock: Path) -> bool:
    """Whether a process is at work on the draft whose lock this is."""
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _give_back() -> None:
    """Return freed memory to the system, so that the next stage does not come on top of this one: glibc keeps the pieces of
    unrolled weights, hundreds of megabytes of them."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim:
        trim(0)


def peak_bytes() -> int:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def environment() -> Record:
    """Versions, hardware and kernels that a figure may depend on."""
    import jax

    from solon.core import kernels  # here, since it is slow to import

    device = jax.devices()[0]
    return {
        "python": platform.python_version(), "jax": jax.__version__, "solon": version("solon"),
        "device": device.device_kind, "processor": _processor(), "cores": os.cpu_count(), "commit": _commit(),
        "kernels": " ".join(filter(kernels.ready, kernels.NAMES)) or "none",
    }  # fmt: skip


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _commit() -> str:
    """The commit of the code when it runs from a checkout."""
    git = Path(__file__).parents[3] / ".git"
    try:
        head = (git / "HEAD").read_text().strip()
        return (git / head[5:]).read_text().strip()[:12] if head.startswith("ref: ") else head[:12]
    except OSError:
        return ""
