"""The manifest of a release: a chain of hashes over everything that the decision rests on, signed if a key is given.

Each entry holds the hash of the one before it, so nothing can be changed, taken out or put in between without every later hash
changing. Without a signature that shows only carelessness: whoever can write the folder can write a new chain. With one, and the
public key from elsewhere, nobody but the key's owner can.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from solon.core.artifacts import Artifact, Record, Store, digest, file_digest, write_text
from solon.core.errors import ConfigError, MissingError, SolonError, StorageError
from solon.stages.release import PASS, WAIVED

MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
FORMAT = 1
START = "0" * 64
PRIVATE = 0o600


def chain(entries: Sequence[Record]) -> list[Record]:
    """The entries, each with the hash of the one before it and its own."""
    out: list[Record] = []
    for number, entry in enumerate(entries):
        linked = {"n": number, **entry, "previous": out[-1]["hash"] if out else START}
        out.append({**linked, "hash": digest(linked, 64)})
    return out


def verdict_entry(run: str, verdict: Mapping[str, Any], reviewer: str) -> Record:
    """The decision with all conditions and waivers."""
    kept = {name: verdict[name] for name in ("release", "conditions", "waivers")}
    return {"kind": "verdict", "run": run, "reviewer": reviewer, **kept}


def artifact_entry(role: str, one: Artifact) -> Record:
    """An artifact by the hash of its evidence and of every file."""
    files = {output["path"]: output["sha256"] for output in one.evidence["outputs"]}
    return {"kind": "artifact", "role": role, "id": one.id, "evidence": file_digest(one.path / "evidence.json"), "files": files}


def file_entry(path: Path) -> Record:
    """A file of the release's own folder."""
    return {"kind": "file", "path": path.name, "sha256": file_digest(path)}


def write(folder: Path, entries: Sequence[Record], key: Path | None) -> str:
    """`manifest.json`, and `manifest.sig` if there is a key. Gives the head of the chain."""
    linked = chain(entries)
    signer = _private(key) if key else None
    public = _text(signer.public_key()) if signer else ""
    head: str = linked[-1]["hash"]
    write_text(folder / MANIFEST, json.dumps({"format": FORMAT, "signed_by": public, "head": head, "chain": linked}, indent=1, ensure_ascii=False))
    if signer:
        said = base64.b64encode(signer.sign((folder / MANIFEST).read_bytes())).decode()
        write_text(folder / SIGNATURE, json.dumps({"algorithm": "ed25519", "public_key": public, "signature": said}, indent=1))
    return head


def verify(folder: Path, store: Store | None = None, trusted: Path | None = None) -> Record:
    """`{"ok", "faults", "run", "release", "head", "signed_by", "artifacts", "absent"}` of a release's folder.

    Every file of the folder, every link of the chain, the signature, and every artifact that the store has are looked at;
    `absent` counts the artifacts that are not there. `trusted` is the file of the public key that must have signed. Raises
    `MissingError` where there is no manifest, `SolonError` where the library that checks signatures is missing."""
    path = folder / MANIFEST
    if not path.is_file():
        raise MissingError(f"{folder} holds no release", got=f"no {MANIFEST}", fix="make one: solon release RUN --out FOLDER")
    out: Record = {"run": "", "release": False, "head": "", "signed_by": "", "artifacts": 0, "absent": 0}
    try:
        manifest = json.loads(path.read_text("utf-8"))
        entries = manifest["chain"]
        faults = _chain_faults(manifest, entries)
        faults += _signature_faults(folder, manifest, trusted)
        faults += _file_faults(folder, [one for one in entries if one["kind"] == "file"])
        faults += _verdict_faults(entries)
        made = [one for one in entries if one["kind"] == "artifact"]
        here = [one for one in made if store and (store.root / "artifacts" / one["id"]).is_dir()]
        faults += [fault for one in here for fault in _artifact_faults(store.root / "artifacts" / one["id"], one)] if store else []
        out |= {"run": entries[0]["run"], "release": bool(entries[0]["release"]), "head": manifest["head"], "signed_by": manifest["signed_by"]}
        out |= {"artifacts": len(here), "absent": len(made) - len(here)}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        if isinstance(error, SolonError):
            raise
        faults = [f"{MANIFEST}: it is not what Solon wrote ({type(error).__name__})"]
    return {"ok": not faults, "faults": faults, **out}


def _chain_faults(manifest: Record, entries: Sequence[Record]) -> list[str]:
    if manifest["format"] != FORMAT:
        return [f"{MANIFEST}: written in format {manifest['format']}, and this version reads {FORMAT}"]
    before = START
    for number, entry in enumerate(entries):
        bare = {name: value for name, value in entry.items() if name != "hash"}
        if entry["n"] != number or entry["previous"] != before or entry["hash"] != digest(bare, 64):
            return [f"{MANIFEST}: entry {number} ({entry.get('path') or entry.get('id') or entry.get('kind')}) was changed, added or taken out"]
        before = entry["hash"]
    if not entries or manifest["head"] != before:
        return [f"{MANIFEST}: the end of the chain was changed or taken out"]
    return []


def _file_faults(folder: Path, entries: Sequence[Record]) -> list[str]:
    faults, known = [], {MANIFEST, SIGNATURE}
    for one in entries:
        name = str(one["path"])
        known.add(name)
        if Path(name).name != name:
            faults.append(f"{MANIFEST}: {name!r} is no file of this folder")
        elif not (folder / name).is_file():
            faults.append(f"{name}: it is missing")
        elif file_digest(folder / name) != one["sha256"]:
            faults.append(f"{name}: it was changed after the release")
    return faults + [f"{entry.name}: it was added after the release" for entry in sorted(folder.iterdir()) if entry.name not in known]


def _artifact_faults(path: Path, entry: Record) -> list[str]:
    wanted = {"evidence.json": entry["evidence"], **entry["files"]}
    faults = []
    for name, sha in wanted.items():
        file = path / name
        if not file.is_file():
            faults.append(f"{entry['id']}/{name}: it is missing")
        elif file_digest(file) != sha:
            faults.append(f"{entry['id']}/{name}: it was changed after the release")
    return faults


def _verdict_faults(entries: Sequence[Record]) -> list[str]:
    """A decision that its own conditions do not bear out, or a waiver without a name or a reason."""
    first = entries[0]
    if first["kind"] != "verdict":
        return [f"{MANIFEST}: the first entry is not the verdict"]
    conditions, faults = first["conditions"], []
    if first["release"] != all(one["status"] in (PASS, WAIVED) for one in conditions):
        faults.append(f"{MANIFEST}: the verdict does not follow from its conditions")
    for one in conditions:
        told = one.get("waiver", {})
        if one["status"] == WAIVED and not (one["waivable"] and told.get("name", "").strip() and told.get("reason", "").strip()):
            faults.append(f"{MANIFEST}: the waiver of {one['key']} has no name, no reason, or is of what cannot be waived")
    return faults


def _signature_faults(folder: Path, manifest: Record, trusted: Path | None) -> list[str]:
    path, wanted = folder / SIGNATURE, _public(trusted) if trusted else ""
    if not path.exists() and not manifest["signed_by"]:
        return [f"{MANIFEST}: it is not signed, and a signature by {trusted} was asked for"] if trusted else []
    if not path.exists():
        return [f"{SIGNATURE}: it is missing, though {MANIFEST} says that it was signed"]
    try:
        said = json.loads(path.read_text("utf-8"))
        key, signature = str(said["public_key"]), base64.b64decode(said["signature"], validate=True)
        raw = base64.b64decode(key, validate=True)
    except (ValueError, KeyError, TypeError):
        return [f"{SIGNATURE}: it is not what Solon wrote"]
    if key != manifest["signed_by"]:
        return [f"{SIGNATURE}: it is by another key than {MANIFEST} names"]
    faults = [] if _signs(raw, signature, (folder / MANIFEST).read_bytes()) else [f"{SIGNATURE}: it does not belong to this {MANIFEST}"]
    return faults + ([f"{SIGNATURE}: it is by the key {fingerprint(key)}, not by {trusted}"] if wanted and key != wanted else [])


def fingerprint(public: str) -> str:
    """A short name of a public key, to be compared by eye."""
    return digest(public, 16) if public else ""


def new_key(path: Path) -> str:
    """A new private key in a file that only its owner can read, beside it the public one as `.pub`. Gives the fingerprint.

    Raises `ConfigError` where the file exists: a key is never overwritten."""
    library = _library()
    key = library.Ed25519PrivateKey.generate()
    serial = _serialization()
    private = key.private_bytes(serial.Encoding.PEM, serial.PrivateFormat.PKCS8, serial.NoEncryption())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "wb") as file:
            file.write(private)
    except FileExistsError as error:
        raise ConfigError(f"{path} exists already, and a key is never overwritten", fix="name another file") from error
    except OSError as error:
        raise StorageError(f"the key file {path} cannot be written", got=error.strerror, fix="name another place") from error
    write_text(path.with_name(path.name + ".pub"), key.public_key().public_bytes(serial.Encoding.PEM, serial.PublicFormat.SubjectPublicKeyInfo).decode())
    return fingerprint(_text(key.public_key()))


def _private(path: Path) -> Any:
    """The key of a file. Nothing of its content ever stands in an error."""
    if not path.is_file():
        raise MissingError(f"there is no key file {path}", fix=f"make one: solon release --new-key {path}")
    if os.name == "posix" and path.stat().st_mode & 0o077:
        fix = f"chmod 600 {path}, and think about who may have read it"
        raise ConfigError(f"others can read the key file {path}", got=oct(path.stat().st_mode & 0o777), expected=oct(PRIVATE), fix=fix)
    library = _library()
    try:
        key = _serialization().load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, OSError):
        key = None
    if not isinstance(key, library.Ed25519PrivateKey):
        raise ConfigError(f"{path} holds no Ed25519 key in PEM form without a password", fix="make one: solon release --new-key FILE") from None
    return key


def _public(path: Path) -> str:
    if not path.is_file():
        raise MissingError(f"there is no public key {path}", fix="name the .pub file that --new-key wrote")
    library = _library()
    try:
        key = _serialization().load_pem_public_key(path.read_bytes())
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, library.Ed25519PublicKey):
        raise ConfigError(f"{path} holds no public Ed25519 key in PEM form", fix="name the .pub file that --new-key wrote")
    return _text(key)


def _signs(public: bytes, signature: bytes, content: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        _library().Ed25519PublicKey.from_public_bytes(public).verify(signature, content)
    except (InvalidSignature, ValueError):
        return False
    return True


def _text(public: Any) -> str:
    return base64.b64encode(public.public_bytes_raw()).decode()


def _library() -> Any:
    """Ed25519 (RFC 8032) of the library `cryptography`: only signing and checking signatures need it."""
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        fix = "pip install 'solon[sign]'"
        raise SolonError("signatures need the library cryptography, which is not installed", fix=fix) from error
    return ed25519


def _serialization() -> Any:
    from cryptography.hazmat.primitives import serialization

    return serialization
