"""Public data sets in the folder that `SOLON_DATA` names, each brought into Solon's records. None of it is Solon's own.

A benchmark that its authors meant for testing only is all held out. Where the authors gave a split, it is kept; where not,
a row's text decides, as everywhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solon.core.artifacts import digest, file_digest
from solon.core.errors import DataError, MissingError
from solon.core.records import LabelledPair, Message, Passage, Sample, user
from solon.curate import forms, rows
from solon.curate.forms import Row
from solon.curate.splits import normalised

VARIABLE = "SOLON_DATA"


@dataclass(frozen=True)
class Shared:
    """One source: its files, what its rows become, and which of them are never trained on.

    `heldout` is a share (by the hash of the text), or a file whose rows are the held-out ones."""

    kind: str
    files: tuple[str, ...]
    make: Callable[[list[Row]], list[Any]]
    heldout: float | str


def folder(name: str, root: Path | str | None = None) -> Path:
    """The folder of one data set. Raises `MissingError` that names the variable and the folder."""
    given = root or os.environ.get(VARIABLE)
    fix = f"set {VARIABLE} to the folder that holds {name}/, or use a starter: source, which needs no download"
    if not given:
        raise MissingError(f"the data set {name!r} is not part of Solon, and {VARIABLE} is not set", fix=fix)
    path = Path(given).expanduser() / name
    if not path.is_dir():
        raise MissingError(
            f"there is no folder {path}", got=f"{VARIABLE}={given}", expected=f"a folder {name}/ in it", fix=fix
        )
    return path


def read(source: Shared, root: Path | str | None = None) -> Iterator[tuple[str, list[Any]]]:
    """Each file's name with its records."""
    for file in source.files:
        place = path(file, root)
        yield file, source.make(list(_lines(place) if file.endswith(".txt.gz") else rows.read(place)))


def files_digest(source: Shared, root: Path | str | None = None) -> str:
    """SHA-256 of the file, or of the files' hashes."""
    hashes = [file_digest(path(file, root)) for file in source.files]
    return hashes[0] if len(hashes) == 1 else digest(hashes, 64)


def licence(source: Shared, root: Path | str | None = None) -> str:
    """What the SOURCE.md beside the data says; 'unknown' where it says nothing."""
    found = []
    for name in sorted({file.split("/")[0] for file in source.files}):
        card = folder(name, root) / "SOURCE.md"
        said = re.search(r"^- Licence:\s*(.+)$", card.read_text("utf-8"), re.MULTILINE) if card.exists() else None
        found.append(said[1].strip() if said else "unknown")
    return "; ".join(dict.fromkeys(found))


def path(file: str, root: Path | str | None = None) -> Path:
    """Where a file such as `mmlu/questions.csv` lies. Raises `MissingError` that names the folder and the way out."""
    name, _, rest = file.partition("/")
    place = folder(name, root) / rest
    if not place.is_file():
        fix = f"see {name}/SOURCE.md for its origin"
        raise MissingError(f"the data set {name!r} lacks a file", expected=place, fix=fix)
    return place


def _lines(path: Path) -> Iterator[Row]:
    import gzip

    with gzip.open(path, "rt", encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            yield f"{path}, line {number}", {"text": line}


def _name(place: str) -> str:
    """`harmless-base-test-dev.jsonl.gz, line 3` gives `harmless-base-test-dev-3`: an id that a person can look up."""
    path, _, number = place.rpartition(", ")
    return f"{Path(path).name.split('.')[0]}-{number.split()[-1]}"


def _named(table: list[Row], keep: Callable[[Mapping[str, Any]], dict[str, Any] | None]) -> list[Row]:
    """Rows with an id from their place; those for which `keep` gives None are left out."""
    made = [(place, keep(row)) for place, row in table]
    return [(place, {"id": _name(place), **row}) for place, row in made if row is not None]


ABSENT = re.compile(
    r"\b(paragraph|passage|excerpt|snippet|reference text|(this|the|given|provided|following|below) (text|article|context))\b",
    re.IGNORECASE,
)
"""Signs of a question about a passage, which this copy of dolly has lost."""
ALPACA = re.compile(
    r"### Instruction:\n(?P<instruction>.*?)\n+(### Input:\n(?P<input>.*?)\n+)?### Response:", re.DOTALL
)


def _dolly(table: list[Row]) -> list[Any]:
    def plain(row: Mapping[str, Any]) -> dict[str, Any] | None:
        if "answer" in row:
            asked = ALPACA.search(row["prompt"])
            answer = row["answer"].removesuffix("###eos_token###").strip()
            return {**asked.groupdict(), "output": answer} if asked and answer else None
        if ABSENT.search(row["instruction"]) or not row["response"].strip():
            return None
        return {"instruction": row["instruction"], "output": row["response"]}

    return forms.as_demonstrations(_named(table, plain), source="shared:dolly")


def _hh(table: list[Row]) -> list[Any]:
    """`Human:` and `Assistant:` dialogues. Pairs that differ before the last reply, that are equal or of which a reply is
    empty are left out (7 of 1,873): they prefer nothing that can be told apart."""
    made = []
    for place, row in table:
        chosen, rejected = _dialogue(place, row["chosen"]), _dialogue(place, row["rejected"])
        last, other = chosen[-1].content, rejected[-1].content
        if chosen[:-1] == rejected[:-1] and chosen[-1].role == "assistant" and last and other and last != other:
            made.append(LabelledPair(_name(place), chosen[:-1], last, other, "harmless"))
    return made


def _dialogue(place: str, text: str) -> tuple[Message, ...]:
    parts = re.split(r"\n\n(Human|Assistant): ?", text)
    if parts[0].strip() or len(parts) < 3:
        raise DataError(f"{place}: not a dialogue", got=text[:80], expected="\\n\\nHuman: ...\\n\\nAssistant: ...")
    roles = {"Human": "user", "Assistant": "assistant"}
    return tuple(Message(roles[who], said.strip()) for who, said in zip(parts[1::2], parts[2::2], strict=True))  # type: ignore[arg-type]


MODERATED = {
    "S": "sexual", "H": "hate", "V": "violence", "HR": "harassment", "SH": "self_harm", "S3": "sexual_minors",
    "H2": "hate_threatening", "V2": "violence_graphic",
}  # fmt: skip


def _moderation(table: list[Row]) -> list[Any]:
    """The samples that carry at least one label. They are texts that people wrote, not all of them requests."""

    def harmful(row: Mapping[str, Any]) -> dict[str, Any] | None:
        labels = [name for label, name in MODERATED.items() if row.get(label) == 1]
        return {"prompt": row["prompt"], "category": labels[0], "labels": " ".join(labels)} if labels else None

    return forms.as_prompts(_named(table, harmful), source="shared:moderation")


def _behaviours(table: list[Row]) -> list[Any]:
    def request(row: Mapping[str, Any]) -> dict[str, Any]:
        category = row.get("SemanticCategory") or row.get("Category") or "unlabelled"
        return {"id": row["BehaviorID"], "prompt": row["Behavior"], "category": category}

    return forms.as_prompts(_named(table, request), source="shared:harmbench")


def _xstest(label: str) -> Callable[[list[Row]], list[Any]]:
    def make(table: list[Row]) -> list[Any]:
        def wanted(row: Mapping[str, Any]) -> dict[str, Any] | None:
            return (
                {"id": row["id"], "prompt": row["prompt"], "category": row["type"]} if row["label"] == label else None
            )

        return forms.as_prompts(_named(table, wanted), source=f"shared:xstest_{label}")

    return make


def _prompts(table: list[Row]) -> list[Any]:
    """One row a wording: the file repeats some."""
    seen: dict[str, Sample] = {}
    for place, row in table:
        if row["text"].strip():
            tags = {"source": "shared:open_assistant_prompts"}
            seen.setdefault(normalised(row["text"]), Sample(_name(place), user(row["text"].strip()), None, tags))
    return list(seen.values())


def _mmlu(table: list[Row]) -> list[Any]:
    """The column names of each subject's file stand among the rows of this copy."""

    def question(row: Mapping[str, Any]) -> dict[str, Any] | None:
        return None if row["answer"] == "answer" else {**row, "answer": int(row["answer"]), "topic": row["subject"]}

    return forms.as_questions(_named(table, question))


def _wikitext(table: list[Row]) -> list[Any]:
    """Articles: a title line `= Title =` begins one. The marks of WikiText (`@-@`, `<unk>`) stay, as papers keep them."""
    articles: list[tuple[str, list[str]]] = []
    for place, row in table:
        if re.fullmatch(r"\s*= [^=].* =\s*", row["text"]) and "= =" not in row["text"]:
            articles.append((place, []))
        if articles and row["text"].strip():
            articles[-1][1].append(row["text"].strip())
    return [Passage(_name(place), "\n".join(lines), "encyclopedia") for place, lines in articles if len(lines) > 1]


_XSTEST = ("xstest/xstest_prompts_dev.csv",)
SOURCES: dict[str, Shared] = {
    "dolly": Shared(
        "demonstrations",
        ("dolly/dolly_no_context_filtered.jsonl.gz", "dolly/dolly_151_formatted.jsonl.gz"),
        _dolly,
        0.1,
    ),
    "hh_harmless": Shared("labelled_pairs", ("hh_rlhf_harmless/harmless-base-test-dev.jsonl.gz",), _hh, 0.4),
    "moderation": Shared("prompts", ("openai_moderation_samples/samples-dev.jsonl.gz",), _moderation, 0.45),
    "harmbench": Shared(
        "prompts",
        ("harmbench/harmbench_behaviors_text_val_standard.csv", "advbench/advbench_behaviors_sample.csv"),
        _behaviours,
        0.45,
    ),
    "xstest_safe": Shared("prompts", _XSTEST, _xstest("safe"), 1.0),
    "xstest_unsafe": Shared("prompts", _XSTEST, _xstest("unsafe"), 1.0),
    "open_assistant_prompts": Shared(
        "prompts",
        ("open_assistant_prompts/en_100_text.jsonl.gz", "open_assistant_prompts/prompt_lottery_en_250_text.jsonl.gz"),
        _prompts,
        0.2,
    ),
    "mmlu": Shared(
        "multiple_choice",
        ("mmlu/mmlu_dev_5shot.jsonl.gz", "mmlu/mmlu_test_sample_dev.jsonl.gz"),
        _mmlu,
        "mmlu/mmlu_test_sample_dev.jsonl.gz",
    ),
    "wikitext2": Shared("passages", ("wikitext2/valid.txt.gz",), _wikitext, 1.0),
}
