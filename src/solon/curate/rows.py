"""Rows of a user's files, as they are. What a row means is for `forms.py` to say.

Every row comes with its place, such as `pairs.jsonl, line 3`, so that any later complaint can name it.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from solon.core.errors import DataError, MissingError, StorageError
from solon.curate.forms import (
    Row,
    as_demonstrations,
    as_labelled_pairs,
    as_paraphrases,
    as_passages,
    as_preferences,
    as_prompts,
    as_questions,
)

__all__ = [
    "Row",
    "as_demonstrations",
    "as_labelled_pairs",
    "as_paraphrases",
    "as_passages",
    "as_preferences",
    "as_prompts",
    "as_questions",
    "files",
    "read",
]

SUFFIXES = (".jsonl", ".json", ".parquet", ".csv")
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(:[\w./-]+)?")
LONGEST_CELL = 2**27
"""Python's own limit for a CSV cell, 128 KiB, is less than some documents."""


def read(path_or_name: str | Path, skipped: list[str] | None = None) -> Iterator[Row]:
    """Rows of a JSONL, JSON, Parquet or CSV file (JSONL, JSON and CSV may be gzipped), or of a hub data set
    `org/name[:split]`.

    A line that cannot be read raises `DataError` that names it; give a list as `skipped` to go on and collect the
    complaints instead. A file without rows is refused. Raises `MissingError` where there is no such file or data set,
    and `StorageError` where the hub cannot be reached."""
    count = 0
    for path in files(path_or_name):
        for item in _rows(path, skipped):
            count += 1
            yield item
    if not count:
        raise DataError(
            f"{path_or_name} holds no rows", expected="at least one row", fix="see that it was written whole"
        )


def files(path_or_name: str | Path) -> list[Path]:
    """The files behind a path or a hub name; hub files are fetched into the hub's own cache."""
    path = Path(path_or_name).expanduser()
    if path.is_file():
        if _kind(path) is None:
            raise DataError(
                f"{path_or_name} is of no known format", got=path.suffix or "no ending", expected=_endings()
            )
        return [path]
    if path.is_dir():
        raise DataError(
            f"{path_or_name} is a folder", expected=f"one file: {_endings()}", fix="give the path of the file"
        )
    text = str(path_or_name)
    if _kind(path) is None and HUB_NAME.fullmatch(text):
        return _hub_files(*text.partition(":")[::2])
    raise MissingError(
        f"there is no file {text}", expected=f"a file ({_endings()}), or a hub data set org/name[:split]"
    )


def _kind(path: Path) -> str | None:
    name = path.name.removesuffix(".gz")
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)


def _endings() -> str:
    return ", ".join(SUFFIXES)


def _rows(path: Path, skipped: list[str] | None) -> Iterator[Row]:
    kind = _kind(path)
    if kind == ".parquet":
        return _parquet(path)
    if kind == ".csv":
        return _csv(path, skipped)
    if kind == ".json" and _first_character(path) == "[":
        return _json_list(path, skipped)
    return _json_lines(path, skipped)  # many a .json file holds JSON lines


def _opened(path: Path) -> Any:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def _decoded(raw: bytes, place: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        got = f"byte 0x{raw[error.start]:02x} at {error.start}"
        raise DataError(f"{place} is not UTF-8", got=got, fix="save the file as UTF-8") from error


def _first_character(path: Path) -> str:
    with _opened(path) as file:
        return file.read(4096).decode("utf-8-sig", errors="replace").lstrip()[:1]


def _refuse(error: DataError, skipped: list[str] | None) -> None:
    if skipped is None:
        raise error
    skipped.append(str(error))


def _json_lines(path: Path, skipped: list[str] | None) -> Iterator[Row]:
    with _opened(path) as file:
        for number, raw in enumerate(file, 1):
            if not raw.strip():
                continue
            place = f"{path}, line {number}"
            try:
                yield place, _object(json.loads(_decoded(raw, place)), place)
            except json.JSONDecodeError as error:
                _refuse(_not_json(place, error, raw.decode("utf-8", errors="replace")), skipped)
            except DataError as error:
                _refuse(error, skipped)


def _json_list(path: Path, skipped: list[str] | None) -> Iterator[Row]:
    with _opened(path) as file:
        text = _decoded(file.read(), str(path))
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise _not_json(f"{path}, line {error.lineno}", error, text.splitlines()[error.lineno - 1]) from error
    for number, value in enumerate(values, 1):
        place = f"{path}, row {number}"
        try:
            yield place, _object(value, place)
        except DataError as error:
            _refuse(error, skipped)


def _not_json(place: str, error: json.JSONDecodeError, line: str) -> DataError:
    start = max(0, error.colno - 20)
    around = line.strip("\n")[start : error.colno + 20]
    return DataError(
        f"{place} is not valid JSON: {error.msg}",
        got=f"... {around} ... (column {error.colno})",
        expected="one JSON object",
    )


def _object(value: Any, place: str) -> dict[str, Any]:
    if isinstance(value, str):
        return {"text": value}  # files of bare prompts are common
    if not isinstance(value, dict):
        raise DataError(
            f"{place} is not an object", got=type(value).__name__, expected='{"field": value, ...} or "a text"'
        )
    return value


def _csv(path: Path, skipped: list[str] | None) -> Iterator[Row]:
    csv.field_size_limit(LONGEST_CELL)
    with _opened(path) as file:
        reader = csv.DictReader((_decoded(raw, str(path)) for raw in file), strict=True)
        try:
            for row in reader:
                place = f"{path}, line {reader.line_num}"
                wanted = len(reader.fieldnames or ())
                if None in row or None in row.values():
                    found = wanted + len(row.get(None) or ()) - sum(value is None for value in row.values())
                    error = DataError(f"{place} has the wrong number of columns", got=found, expected=wanted)
                    _refuse(error, skipped)
                    continue
                yield place, dict(row)
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.line_num} is not valid CSV", got=error) from error


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        file = parquet.ParquetFile(path)
        number = 0
        for batch in file.iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                yield f"{path}, row {number}", row
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a Parquet file that can be read", got=str(error).splitlines()[0]) from error


def _hub_files(name: str, split: str) -> list[Path]:
    """The Parquet files of one split of a hub data set; the hub's own conversion where the authors gave none."""
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    split = split or "train"
    try:
        found: list[str] = []
        for revision in (None, "refs/convert/parquet"):
            listed = HfApi().list_repo_files(name, repo_type="dataset", revision=revision)
            found = _of_split([file for file in listed if file.endswith(".parquet")], split, name)
            if found:
                break
        paths = [Path(hf_hub_download(name, file, repo_type="dataset", revision=revision)) for file in found]
    except DataError:
        raise
    except GatedRepoError as error:
        fix = "accept there, then run `hf auth login`"
        raise StorageError(f"the data set {name} asks for consent on the hub", fix=fix) from error
    except RepositoryNotFoundError as error:
        fix = "look at the spelling; a file's path must exist"
        raise MissingError(
            f"the hub has no data set {name!r}, or it is private, and no file is called so", fix=fix
        ) from error
    except Exception as error:  # the client's many network errors have no common root
        raise StorageError(
            f"the Hugging Face hub could not be reached for the data set {name!r}",
            got=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:300],
            fix="look at the network, or give the path of a local file; the starter: sources need no network",
        ) from error
    if not paths:
        raise MissingError(f"the data set {name!r} has no Parquet files of a split {split!r}", fix=f"try {name}:test")
    return paths


def _of_split(listed: list[str], split: str, name: str) -> list[str]:
    """Files called `<split>-00000-of-00001.parquet`, or in a folder called so; `config/split` chooses a configuration."""
    config, _, last = split.rpartition("/")
    mark = re.compile(rf"(^|[/_.-]){re.escape(last)}([/_.-]|$)")
    found = sorted(file for file in listed if mark.search(file) and (not config or config in file.split("/")))
    folders = {str(Path(file).parent).removesuffix(f"/{last}") for file in found}
    if len(folders) > 1:
        expected = "one configuration of: " + ", ".join(sorted(folders))
        raise DataError(
            f"the data set {name!r} has several configurations", expected=expected, fix=f"{name}:<one>/{last}"
        )
    return found
