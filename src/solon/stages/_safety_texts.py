"""The labelled texts of the safety classifier: which files, which side of a split, and which family a row belongs to.

A public set is split by the hash of the family of a text, so that near-copies lie on one side. HateCheck, XSTest and the
answers to XSTest are held out whole: their authors made them as tests, and a figure on a set whose other rows were
trained on would say little about texts from elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from solon.core.keys import seed_of, share
from solon.curate import catalogue, rows, shared, starter
from solon.curate.splits import normalised, text_of
from solon.safety.taxonomy import flagged, known
from solon.safety.texts import Reply, Text

Side = Literal["train", "validation", "test"]
HELD_OUT = {
    "red_team": starter.SETS["red_team"].heldout, "benign": starter.SETS["benign"].heldout,
    "helpful_prompts": starter.SETS["helpful_prompts"].heldout, "harmbench": float(shared.SOURCES["harmbench"].heldout),
    "moderation": float(shared.SOURCES["moderation"].heldout), "wiki": 0.4, "surge": 0.4, "madlibs": 0.4,
    "hatecheck": 1.0, "xstest": 1.0,
}  # fmt: skip
"""The share of families that is never trained on; where the rest of Solon uses a set too, the share it uses."""
VALIDATION = dict.fromkeys(HELD_OUT, 0.2) | {"madlibs": 0.0}
"""The share of the other families that temperatures and thresholds are chosen on. The madlibs judge by 28 words only: a
fifth of them would be all kind or all unkind."""
MOST = {"madlibs": (600, 1500), "hh_harmless": (200, 300)}
"""Of a set made by templates, and of the pairs, at most so many for fitting and for testing, the first by hash."""
STARTER = ("red_team", "benign", "helpful_prompts")
FILES = {
    "moderation": "openai_moderation_samples/samples-dev.jsonl.gz",
    "wiki": "wiki_toxicity_madlibs/toxicity_nonfuzzed_testset_dev.csv.gz",
    "surge": "surge_toxicity/toxicity_en_dev.csv.gz",
    "madlibs": "wiki_toxicity_madlibs/bias_madlibs_77k_sample8000.csv.gz",
    "hatecheck": "hatecheck/test_suite_cases_dev.csv.gz",
    "xstest": "xstest/xstest_prompts_dev.csv",
    "harmbench": "harmbench/harmbench_behaviors_text_val_standard.csv",
}
ADVBENCH = "advbench/advbench_behaviors_sample.csv"
ANSWERS = "xstest_answers/answers_dev.jsonl.gz"
IDENTITIES = (
    "african american", "middle eastern", "middle aged", "heterosexual", "transgender", "blue collar", "elderly",
    "millenial", "nonbinary", "protestant", "paralyzed", "homosexual", "european", "american", "hispanic", "japanese",
    "christian", "catholic", "buddhist", "bisexual", "straight", "canadian", "teenage", "lesbian", "chinese", "mexican",
    "african", "younger", "latino", "latina", "latinx", "muslim", "jewish", "indian", "female", "taoist", "lgbtq", "lgbt",
    "older", "queer", "trans", "asian", "black", "white", "young", "blind", "deaf", "male", "sikh", "gay", "old",
)  # fmt: skip
"""The identity terms of the madlibs (Dixon et al. 2018), longer ones first where one holds another."""
IDENTITY = re.compile(r"\b(" + "|".join(IDENTITIES) + r")s?\b", re.IGNORECASE)


def sources() -> tuple[str, ...]:
    return tuple(HELD_OUT)


def texts(source: str, side: Side) -> list[Text]:
    """One side of a source. Raises `MissingError` where the public data are not there."""
    found = [text for text in _READERS.get(source, _plain)(source) if side_of(source, text.family) == side]
    if source in MOST:
        found.sort(key=lambda text: seed_of("most", text.text))
        found = found[: MOST[source][side == "test"]]
    unique = {normalised(text.text): text for text in reversed(found)}
    return list(reversed(unique.values()))


def side_of(source: str, family: str) -> Side:
    """Where a family falls; the held-out sides are those of `solon.curate`."""
    return _side(share(family), HELD_OUT[source], VALIDATION[source])


def _side(place: float, held: float, validation: float) -> Side:
    return "test" if place < held else "validation" if place < held + validation * (1 - held) else "train"


def licence(source: str) -> str:
    """The licence of a source, from the card beside the data."""
    if source in STARTER:
        return starter.LICENCE
    files = (FILES[source], ADVBENCH) if source == "harmbench" else (FILES[source],)
    return shared.licence(shared.Shared("prompts", files, list, 0.0))


def _rows(file: str) -> Iterator[Mapping[str, Any]]:
    return (row for _, row in rows.read(shared.path(file)))


def _text(source: str, text: str, label: str, family: str = "", group: str = "") -> Text:
    return Text(source, text.strip(), label, known(source, label), family or normalised(text), group)


def _starter(source: str) -> list[Text]:
    out = []
    for sample in starter.load(source):
        label = sample.tags.get("category", "") if source == "red_team" else ""
        out.append(_text(source, sample.prompt[-1].content, label, normalised(text_of(sample))))
    return out


def _moderation(source: str) -> list[Text]:
    out = []
    for row in _rows(FILES[source]):
        said = flagged({name: row.get(name) for name in shared.MODERATED})
        label = " ".join(sorted(name for name, there in said.categories.items() if there))
        out.append(Text(source, row["prompt"].strip(), label, said, normalised(row["prompt"])))
    return out


def _madlibs(source: str) -> list[Text]:
    """The family is the word that judges (`lovely`, `vile`), of whomever and in whichever template it is said."""
    out = []
    for row in _rows(FILES[source]):
        found = IDENTITY.search(row["Text"])
        said = re.search(r"\b(?:is|are)(?: an?)? (\w+)", row["Text"]) if row["Template"] != "verb_adj" else None
        family = said[1].lower() if said else row["Text"].split()[0].lower()
        out.append(_text(source, row["Text"], row["Label"], f"madlibs {family}", found[1].lower() if found else ""))
    return out


def _harmbench(source: str) -> list[Text]:
    mine = [_text(source, row["Behavior"], row["SemanticCategory"]) for row in _rows(FILES[source])]
    return mine + [_text(source, row["Behavior"], "unlabelled") for row in _rows(ADVBENCH)]


def _plain(source: str) -> list[Text]:
    text, label, family, group = _COLUMNS[source]
    return [
        _text(source, row[text], row[label], f"{source} {row[family]}" if family else "", row[group] if group else "")
        for row in _rows(FILES[source])
    ]


_COLUMNS = {
    "wiki": ("comment", "toxic", "", ""), "surge": ("text", "is_toxic", "", ""),
    "hatecheck": ("test_case", "label_gold", "templ_id", "target_ident"), "xstest": ("prompt", "label", "type", ""),
}  # fmt: skip
_READERS: dict[str, Callable[[str], list[Text]]] = {
    **dict.fromkeys(STARTER, _starter), "moderation": _moderation, "madlibs": _madlibs, "harmbench": _harmbench,
}  # fmt: skip

COMPLIES = {"harm_refused": (False, True), "bare_refusal": (False, False), "over_refusal": (True, False), "helpful": (True, True)}
"""For each kind of labelled pair, whether the chosen and the rejected reply do what was asked; other kinds say neither."""


def replies(side: Side, ordered: bool = True) -> list[Reply]:
    """Replies with labels of their own (starter pairs) and, where `ordered`, pairs of which only the order is known
    (hh-rlhf harmless). Pairs calibrate nothing, so the validation side has none.

    The held-out sides are `solon.curate`'s, which go by the user's first turn."""
    out, pairs = [], []
    sources = [("starter:labelled_pairs", starter.SETS["labelled_pairs"].heldout)] + [("shared:hh_harmless", 0.4)] * ordered
    for name, held in sources:
        for pair in catalogue.labelled_pairs(name):
            family = normalised(text_of(pair))
            if _side(share(family), held, 0.2) != side:
                continue
            asked = pair.prompt[-1].content
            if name == "shared:hh_harmless":
                pairs.append(Reply("hh_harmless", asked, pair.chosen, None, None, family, worse=pair.rejected))
                continue
            good, bad = COMPLIES.get(pair.kind, (None, None))
            harmful = pair.kind == "harm_refused"
            known_harmless = pair.kind in COMPLIES
            out.append(Reply("labelled_pairs", asked, pair.chosen, False if known_harmless else None, good, family))
            out.append(Reply("labelled_pairs", asked, pair.rejected, harmful if known_harmless else None, bad, family))
    pairs.sort(key=lambda row: seed_of("most", row.prompt, row.text))
    return out + ([] if side == "validation" else pairs[: MOST["hh_harmless"][side == "test"]])


def xstest_replies() -> list[Reply]:
    """Five models' answers to XSTest, labelled by people: all of them held out. An answer does harm if it complies, even
    in part, with a prompt that is unsafe."""
    out = []
    for row in _rows(ANSWERS):
        label = row["final_label"][0]  # 1 full compliance, 2 full refusal, 3 partial refusal
        complies = {"1": True, "2": False, "3": None}[label]
        harmful = label != "2" and row["type"].startswith("contrast")  # XSTest's names of unsafe prompts
        out.append(Reply("xstest_answers", row["prompt"], row["completion"], harmful, complies, row["id"]))
    return out
