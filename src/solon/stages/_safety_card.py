"""The model card of a safety head: as data beside the head, and as a page for people."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from solon.core.artifacts import Record
from solon.safety.head import OUTPUTS, Head, targets
from solon.safety.replies import ReplyHead
from solon.safety.taxonomy import CATEGORIES, SEVERITIES
from solon.safety.texts import Text
from solon.stages import _safety_texts

LIMITS = (
    "English only. Other languages, encodings and homoglyphs were neither trained on nor measured.",
    "Small: a few thousand labelled texts. Categories with few of them (see `labels`) are rough.",
    "Severity follows from the sources' labels by a table of ours; no person rated it text by text.",
    "A toxicity set's `not toxic` counts as harmless, although its raters were not asked about other harms.",
    "Starter rows were written by a language model and reviewed by nobody; they count as one author's manner.",
    "HateCheck, XSTest and the answers to XSTest were never trained on; the other figures are on held-out families of sets "
    "that were, and will be lower on texts from elsewhere.",
    "Weapons, drugs, cyber, crime, privacy, deception and dangerous advice are measured on held-out requests only, few of each.",
    "A text of more than 8 windows (some 2,000 tokens) is read up to there; a score says so (`truncated`).",
    "Not for deciding about people. It is one stage of a cascade whose threshold belongs to its use.",
)


def identity(name: str, files: Mapping[str, bytes]) -> str:
    """What scores carry: the name and the hash of the head's files."""
    whole = hashlib.sha256(b"".join(files[file] for file in sorted(files))).hexdigest()
    return f"solon-safety-{name}-{whole[:12]}"


def card(
    name: str, files: Mapping[str, bytes], head: Head, replies: ReplyHead | None, fitted_on: Sequence[Text], figures: Sequence[Record]
) -> Record:  # fmt: skip
    """Everything that a user of the head should know, without dates or paths, so that making it again gives the same."""
    known = targets([text.known for text in fitted_on])
    return {
        "id": identity(name, files),
        "name": name,
        "files": {file: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for file, data in files.items()},
        "reads": dict(head.facts),
        "categories": CATEGORIES,
        "severities": {str(level): words for level, words in SEVERITIES.items()},
        "threshold": {output: _short(x) for output, x in zip(OUTPUTS, head.threshold, strict=True)},
        "temperature": {output: _short(x) for output, x in zip(OUTPUTS, head.temperature, strict=True)},
        "reply_threshold": _short(replies.threshold) if replies else None,
        "data": {source: _data(source) for source in _safety_texts.sources()},
        "labels": {
            output: {"yes": int((known[:, j] == 1).sum()), "no": int((known[:, j] == 0).sum())} for j, output in enumerate(OUTPUTS)
        },
        "figures": [{key: _short(x) if isinstance(x, float) else x for key, x in row.items()} for row in figures],
        "limits": list(LIMITS),
        "licence": "Apache-2.0 (the head). The texts keep the licences named under data; none of them is contained in it.",
        "made_by": f"solon safety train --encoder {head.facts['reader'] if name != 'minilm' else name}",
    }


def _data(source: str) -> Record:
    count = {side: len(_safety_texts.texts(source, side)) for side in ("train", "validation", "test")}  # type: ignore[arg-type]
    return {"licence": _safety_texts.licence(source), **count}


def _short(x: Any) -> float | None:
    """Six places: the last bits would differ between processors and say nothing."""
    return round(float(x), 6) if np.isfinite(x) else None


def page(card: Record) -> str:
    """The card as Markdown."""
    reads = card["reads"]
    lines = [
        f"# {card['id']}", "",
        f"A linear head on {reads['reader']} ({', '.join(f'{k} {v}' for k, v in reads['settings'].items())}; weights "
        f"{reads['digest'][:12]}), which says how likely a text does each of {len(card['categories'])} kinds of harm, or any, "
        f"and how severe it is. Made by `{card['made_by']}`.", "",
        *(f"* **{name}**: {words}" for name, words in card["categories"].items()), "",
        "Severity: " + "; ".join(f"{level} {words}" for level, words in card["severities"].items()) + ".", "",
        "## Held-out figures", "",
        f"Score: probability of any harm; flagged from {card['threshold']['severity>=1']:.3f} on. 95 % intervals by a bootstrap "
        "over families.", "",
        *_table([row for row in card["figures"] if not row["slice"]]), "",
        *(line for picture, words in PICTURES.items() for line in (f"![{words}]({card['name']}-{picture})", "")),
        "## By category, level of severity and group", "",
        *_table([row for row in card["figures"] if row["slice"]]), "",
        "## Data", "", "| source | licence | train | validation | test |", "|---|---|---|---|---|",
        *(f"| {name} | {d['licence']} | {d['train']} | {d['validation']} | {d['test']} |" for name, d in card["data"].items()), "",
        "| output | yes | no (in training; the rest unknown) |", "|---|---|---|",
        *(f"| {name} | {d['yes']} | {d['no']} |" for name, d in card["labels"].items()), "",
        "## Limits", "", *(f"* {limit}" for limit in card["limits"]), "",
        f"Licence: {card['licence']}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


PICTURES = {"reliability.svg": "Probability of harm and share harmful", "precision-recall.svg": "Precision over recall of harm"}
COLUMNS = ("AUPRC", "AUROC", "F1", "macro-F1", "recall", "FPR", "ECE", "worse reply scores higher")


def _table(rows: Sequence[Record]) -> list[str]:
    """One line a set and slice, one column a figure."""
    lines: dict[tuple[str, str], dict[str, Record]] = {}
    for row in rows:
        lines.setdefault((row["set"], row["slice"]), {})[row["figure"]] = row
    columns = [name for name in COLUMNS if any(name in line for line in lines.values())]
    out = ["| set | n (harmful) | " + " | ".join(columns) + " |", "|---" * (len(columns) + 2) + "|"]
    for (name, slice), line in lines.items():
        first = next(iter(line.values()))
        cells = [_cell(line.get(column)) for column in columns]
        out.append(f"| {name} {slice} | {first['n']} ({first['positives']}) | " + " | ".join(cells) + " |")
    return out


def _cell(row: Record | None) -> str:
    if row is None or row["value"] is None:
        return ""
    ends = "" if row["low"] is None else f" ({row['low']:.3f} to {row['high']:.3f})"
    return f"{row['value']:.3f}{ends}"
