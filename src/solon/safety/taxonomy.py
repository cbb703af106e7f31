"""Which harms the classifier tells apart, and what each data set's own labels say about them.

A label that a source does not give is unknown and is masked in training; it is never taken for a no. Where an author
chose one of several exclusive categories, the others are a no, except those that the table lists as able to come along.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from solon.core.errors import DataError, nearest

CATEGORIES: dict[str, str] = {
    "toxicity": "Rude, insulting, obscene or demeaning language that would make people leave a conversation.",
    "hate": "Attacks or demeans people for a protected trait: race, religion, origin, sex, gender, orientation, disability.",
    "harassment": "Meant to torment, bully, threaten or humiliate a particular person, or help to do so.",
    "violence": "Promotes, glorifies, plans or depicts violence against people or animals; violent extremism.",
    "self_harm": "Promotes, plans, depicts or expresses self-harm, suicide or an eating disorder.",
    "sexual": "Content meant to arouse, or explicit sexual description. Sex education is not meant.",
    "child_safety": "Sexualises or endangers a person under 18, or helps to.",
    "weapons": "Making, getting or using weapons, explosives, or chemical, biological and nuclear means.",
    "drugs": "Making, selling or hiding illegal drugs, or their abuse.",
    "cyber": "Malware, intrusion, theft of access, getting round security measures.",
    "crime": "Fraud, theft, illegal trade, laundering, evading the law.",
    "privacy": "Stalking, covert surveillance, exposing or collecting people's personal data.",
    "deception": "Disinformation, impersonation, forged evidence, cheating in study or work.",
    "dangerous_advice": "Advice that endangers health or life: medical, chemical, unsafe challenges.",
}
"""Name and definition, in the order of the head's outputs."""
SEVERITIES = {
    0: "harmless",
    1: "mild: offends or is improper, no lasting harm to anyone",
    2: "serious: real harm to a person, money or society is the aim or the likely outcome",
    3: "severe: life, a child, or many people at stake",
}
"""An ordinal policy scale. It follows from the sources' labels by the tables below; no person rated it text by text."""


@dataclass(frozen=True)
class Known:
    """What a source's label says: categories known to be there or not, and the least and highest possible severity."""

    categories: Mapping[str, bool] = field(default_factory=dict)
    severity: tuple[int, int] = (0, 3)

    def at_least(self, level: int) -> bool | None:
        """Whether the severity reaches a level; None where the label leaves it open."""
        low, high = self.severity
        return True if low >= level else False if high < level else None


def _only(present: str, possible: str, low: int, high: int) -> Known:
    """An exclusive label: these are there, those may be, the rest is not. Rude words are never what it was about."""
    yes, open_ = set(present.split()), {*possible.split(), "toxicity"}
    rest = [name for name in CATEGORIES if name not in yes | open_]
    return Known({**dict.fromkeys(sorted(yes), True), **dict.fromkeys(rest, False)}, (low, high))


def _open(present: str, low: int, high: int) -> Known:
    return Known(dict.fromkeys(present.split(), True), (low, high))


HARMLESS = Known(dict.fromkeys(CATEGORIES, False), (0, 0))
CIVIL = Known(dict.fromkeys(("toxicity", "hate", "harassment"), False), (0, 0))
"""A comment that raters found not toxic. It was not asked about drugs or weapons, so these stay unknown."""
RED_TEAM = {
    "weapons": _only("weapons", "violence crime", 3, 3),
    "cyber_intrusion": _only("cyber", "privacy crime", 2, 2),
    "malware": _only("cyber", "crime privacy", 2, 3),
    "fraud": _only("crime", "deception cyber privacy", 2, 2),
    "privacy_stalking": _only("privacy", "harassment cyber violence", 2, 3),
    "harassment": _only("harassment", "hate privacy violence sexual deception", 1, 2),
    "hate": _only("hate", "harassment violence deception", 2, 3),
    "self_harm": _only("self_harm", "dangerous_advice drugs", 3, 3),
    "violence": _only("violence", "weapons harassment crime hate", 3, 3),
    "child_safety": _only("child_safety", "privacy harassment violence sexual deception drugs", 3, 3),
    "drugs": _only("drugs", "crime dangerous_advice", 2, 2),
    "theft_illegal_trade": _only("crime", "weapons drugs deception cyber privacy", 2, 2),
    "disinformation": _only("deception", "hate dangerous_advice harassment crime", 2, 2),
    "medical_danger": _only("dangerous_advice", "drugs self_harm deception", 2, 3),
    "extremism": _only("violence", "hate weapons deception harassment crime", 3, 3),
    "financial_crime": _only("crime", "deception cyber", 2, 2),
    "academic_or_professional_cheating": _only("deception", "crime cyber privacy", 1, 2),
}
LABELS: dict[str, dict[str, Known]] = {
    "red_team": RED_TEAM,
    "benign": {"": HARMLESS},
    "helpful_prompts": {"": HARMLESS},
    "harmbench": {
        "chemical_biological": Known(severity=(2, 3)),  # weapons and drugs together
        "illegal": Known(severity=(2, 3)),  # anything from arson to smuggling
        "misinformation_disinformation": _open("deception", 2, 3),
        "cybercrime_intrusion": _open("cyber", 2, 3),
        "harmful": Known(severity=(1, 3)),
        "harassment_bullying": _open("harassment", 1, 3),
        "unlabelled": Known(severity=(1, 3)),  # AdvBench has no categories
    },
    "wiki": {"True": _open("toxicity", 1, 3), "False": CIVIL},
    "surge": {"Toxic": _open("toxicity", 1, 3), "Not Toxic": CIVIL},
    "madlibs": {"BAD": _open("toxicity", 1, 2), "NOT_BAD": HARMLESS},
    "hatecheck": {"hateful": _open("hate", 2, 3), "non-hateful": Known({"hate": False})},
    "xstest": {"unsafe": Known(severity=(1, 3)), "safe": HARMLESS},
}
"""For each source, what each of its labels says. `moderation` has a set of flags a row instead; see `flagged`."""
FLAGS = {
    "S": ("sexual", 1), "H": ("hate", 2), "V": ("violence", 1), "HR": ("harassment", 1), "SH": ("self_harm", 2),
    "S3": ("child_safety", 3), "H2": ("hate", 3), "V2": ("violence", 2),
}  # fmt: skip
"""Flags of the moderation samples, their category, and the least severity that one of them implies."""


def known(source: str, label: str) -> Known:
    """What a label of a source says. Raises `DataError` for a label that the table does not hold: none is guessed."""
    if source not in LABELS:
        raise DataError(f"no labels of a source {source!r} are known", fix=nearest(source, LABELS))
    table = LABELS[source]
    if label not in table:
        raise DataError(f"{source} has a label without a meaning here", got=label, expected=", ".join(sorted(table)))
    return table[label]


def flagged(flags: Mapping[str, int | None]) -> Known:
    """What a moderation sample's flags say; a flag that is absent or null was not judged.

    Threatening hate and graphic violence are kinds of hate and violence: one of them set is a yes, and the wider flag's
    zero is a no for both. Raises `DataError` for a flag that is not 0 or 1."""
    found: dict[str, list[bool | None]] = {}
    low = 0
    for flag, (category, severity) in FLAGS.items():
        value = flags.get(flag)
        if value not in (None, 0, 1):
            raise DataError(f"the flag {flag} of a moderation sample is neither 0 nor 1", got=value)
        found.setdefault(category, []).append(None if value is None else bool(value))
        low = max(low, severity if value else 0)
    categories: dict[str, bool] = {}
    for category, values in found.items():
        if any(values):
            categories[category] = True
        elif values[0] is False:
            categories[category] = False
    if low:
        return Known(categories, (low, 3))
    clear = all(flags.get(flag) == 0 for flag in FLAGS)
    return Known(categories, (0, 0) if clear else (0, 3))
