"""The refusal categories and what is offered instead, read from `refusals.yaml`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from solon.core.errors import ConfigError
from solon.safety.taxonomy import CATEGORIES as HARMS

CODE = ("malware", "security_bypass", "vulnerable_code", "unauthorised_access", "illegal_code")
"""The five kinds of request for code that are refused; the classifier knows them as one, `cyber`."""
OTHER, UNCHECKED, INJECTION, TOOL_CALL = "harm", "unchecked", "injection", "tool_call"
ABOUT_CODE = re.compile(
    r"\b(codes?|scripts?|programs?|python|java(script)?|c\+\+|rust|bash|powershell|sql|php|app|bot|tool|software|function|"
    r"website|server|network|computer|laptop|phone|router|macro|browser|extension|package|library|api|database|firmware)\b",
    re.IGNORECASE,
)
LEAST = 0.15
"""A harm less probable than this is not named."""


@dataclass(frozen=True)
class Refusal:
    """One category: its title, the classifier's categories that lead to it, its cues, and the text that is offered."""

    name: str
    title: str
    harms: tuple[str, ...]
    cues: re.Pattern[str] | None
    alternative: str


@cache
def refusals() -> Mapping[str, Refusal]:
    """All categories by name. Raises `ConfigError` where the file leaves a harm without words."""
    import yaml

    content: Mapping[str, Any] = yaml.safe_load((files("solon") / "safety" / "guard" / "refusals.yaml").read_text("utf-8"))
    out = {}
    for name, row in content.items():
        cues = re.compile(row["cues"], re.IGNORECASE) if row.get("cues") else None
        out[name] = Refusal(name, row["title"], tuple(row["from"]), cues, row["alternative"])
    lost = set(HARMS) - {"cyber"} - {harm for one in out.values() for harm in one.harms}
    if lost or not set(CODE) <= set(out):
        raise ConfigError("refusals.yaml leaves a harm without words", got=sorted(lost or set(CODE) - set(out)))
    return out


class _Names:
    """The names of the categories, read when they are first asked for."""

    def __contains__(self, name: object) -> bool:
        return name in refusals()


CATEGORIES = _Names()


def alternative(category: str) -> str:
    """What is said and offered when something of this category is stopped."""
    return refusals().get(category, refusals()[OTHER]).alternative


def category_of(request: str, harms: Mapping[str, float]) -> str:
    """The refusal category of a request: a kind of code where cyber is the likeliest harm or the request speaks of
    programs and one kind's cues; else the likeliest harm; else `harm`. Insults come along with anything, so they are
    named only where nothing else is."""
    ranked = sorted((name for name in harms if harms[name] >= LEAST), key=lambda name: (name == "toxicity", -harms[name]))
    likeliest = ranked[0] if ranked else ""
    code = kind_of_code(request) if likeliest in ("", "cyber", "crime", "privacy", "deception", "toxicity") else ""
    if code and (likeliest == "cyber" or ABOUT_CODE.search(request)):
        return code
    if likeliest == "cyber":
        return "unauthorised_access"
    return next((one.name for one in refusals().values() if likeliest in one.harms), OTHER)


def kind_of_code(request: str) -> str:
    """The kind of code whose cues the request has most of; of equals the first in the file. Empty without any."""
    found = {name: len({m.group(0).lower() for m in refusals()[name].cues.finditer(request)}) for name in CODE}  # type: ignore[union-attr]
    best = max(CODE, key=found.__getitem__)
    return best if found[best] else ""
