"""Unified diffs that a model wrote, put on files held as text. Nothing is run and no file of the machine is touched."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from solon.core.errors import DataError

HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+\d+(?:,\d+)? @@")
NOWHERE = "/dev/null"


@dataclass
class _Hunk:
    """`old` lines, expected from line `start` (from 1) on, become `new` lines."""

    start: int
    old: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)


@dataclass
class _Change:
    before: str
    after: str
    hunks: list[_Hunk] = field(default_factory=list)


def patched(files: Mapping[str, str], patch: str) -> dict[str, str]:
    """The files (path -> text) after a unified diff, as `git diff` and `diff -u` write it; `files` stay as they are.

    A hunk lies where its old lines stand, nearest to the line it names: models miscount, so its counts are not read. Raises
    `DataError` for a text that is no diff, an unknown file, or old lines that stand nowhere."""
    out = dict(files)
    changes = _read(patch)
    if not changes:
        raise DataError("this is no unified diff", got=patch[:80] or "an empty text", expected="--- a/FILE, +++ b/FILE, @@ -n,n +n,n @@")
    for change in changes:
        old = change.before
        if old != NOWHERE and old not in out:
            raise DataError("a patch changes a file that does not exist", got=old, expected=", ".join(sorted(out)))
        lines = out.pop(old).split("\n") if old != NOWHERE else []
        text = "\n".join(_changed(lines, change.hunks, old))
        if change.after != NOWHERE:
            out[change.after] = text if old != NOWHERE else text + "\n"
    return out


def _changed(lines: list[str], hunks: Sequence[_Hunk], name: str) -> list[str]:
    moved = 0
    for hunk in hunks:
        width = len(hunk.old)
        wanted = hunk.start - (width > 0) + moved  # a hunk without old lines names the line that it follows
        places = [i for i in range(len(lines) - width + 1) if lines[i : i + width] == hunk.old]
        if not places:
            got = " / ".join(hunk.old[:3])
            raise DataError(f"a hunk does not fit {name}", got=got, expected="lines that stand there, one behind the other")
        place = min(places, key=lambda i: abs(i - wanted))
        lines = [*lines[:place], *hunk.new, *lines[place + width :]]
        moved += len(hunk.new) - width
    return lines


def _read(patch: str) -> list[_Change]:
    changes: list[_Change] = []
    lines = patch.rstrip().split("\n")
    i = 0
    while i < len(lines):
        line = lines[i].rstrip("\r")
        if line.startswith("--- ") and i + 1 < len(lines) and lines[i + 1].startswith("+++ "):
            changes.append(_Change(_path(line), _path(lines[i + 1])))
            i += 1
        elif changes and (head := HUNK.match(line)):
            changes[-1].hunks.append(_Hunk(int(head[1])))
        elif changes and changes[-1].hunks:
            _take(changes[-1].hunks[-1], line)
        i += 1
    return changes


def _take(hunk: _Hunk, line: str) -> None:
    """One line of a hunk; an empty one is context whose single space was lost. What no diff holds (`\\ No newline`,
    `diff --git`, `index`) is passed over."""
    sign, text = line[:1], line[1:]
    if sign in ("", " ", "-"):
        hunk.old.append(text)
    if sign in ("", " ", "+"):
        hunk.new.append(text)


def _path(line: str) -> str:
    """The path of a `---` or `+++` line, without git's `a/` and `b/` and without a time behind a tab."""
    path = line[4:].split("\t")[0].strip()
    return path if path == NOWHERE else re.sub(r"^[ab]/", "", path)
