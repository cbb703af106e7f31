"""The records of the red team, and the families by name.

A goal is what is asked for, an attack a way of asking, a script what one attempt says. What an attempt says depends on the
seed, the goal, the family and the attempt's number alone, never on what was tried before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from numpy.random import Generator

from solon.core import plugins
from solon.core.artifacts import digest
from solon.core.errors import ConfigError, MissingError, nearest
from solon.core.keys import rng
from solon.core.records import Conversation, as_json

TRIES = 8
"""Draws for one new wording, before a family counts as having no more."""


@dataclass(frozen=True)
class Goal:
    """What an attempt wants of the target: a request, its harm category, and the side of the split that it is from.

    `before` are turns that belong to the goal itself (a system turn that sets a rule, say). `asked` is what is said where
    that is not the request itself (a stored attempt, made by `family`), and `contains` the text whose presence in the
    reply is the success, for goals that a literal test decides."""

    id: str
    request: str
    category: str = "unlabelled"
    side: str = "heldout"
    before: Conversation = ()
    asked: str = ""
    family: str = ""
    contains: str = ""


@dataclass(frozen=True)
class Script:
    """What one attempt says: turns that are there from the start, and user turns sent one after the other, each once the
    target has answered the one before. The last carries the request."""

    asks: tuple[str, ...]
    opening: Conversation = ()


Write = Callable[[str, Generator], Script]


@dataclass(frozen=True)
class Attack:
    """A way of asking. `decode` undoes what `write` does to the request, where that can be undone."""

    name: str
    group: str
    about: str
    write: Write
    decode: Callable[[str], str] | None = field(default=None, compare=False)


def asked(text: str) -> Script:
    """A script of one user turn."""
    return Script((text,))


def one_of(draw: Generator, options: Sequence[str]) -> str:
    return options[int(draw.integers(len(options)))]


@cache
def every() -> Mapping[str, Attack]:
    """All families by name, in the order of their files and tables. Raises `ConfigError` if two have one name."""
    found: dict[str, Attack] = {}
    for file in plugins.names("attacks"):
        for attack in plugins.load("attacks", file).ATTACKS:
            if attack.name in found:
                raise ConfigError(f"two families are called {attack.name!r}", got=f"again in {file}", fix="rename one")
            found[attack.name] = attack
    return found


def named(names: Iterable[str], known: Mapping[str, str]) -> list[str]:
    """The families of these names or groups, each once and in the order of `known`, which maps families to their groups.
    Raises `MissingError` with the nearest name."""
    wanted: set[str] = set()
    for name in names:
        if name not in known and name not in known.values():
            raise MissingError(f"no family of attacks is called {name!r}", fix=nearest(name, {*known, *known.values()}))
        wanted.update([name] if name in known else [family for family, group in known.items() if group == name])
    return [family for family in known if family in wanted]


def script(attack: Attack, goal: Goal, seed: int, k: int) -> Script:
    """What attempt `k` of a family says for a goal: a pure function of these four. It is the `k`th new wording that the
    family draws; once it has no more, its wordings come round again."""
    seen: list[Script] = []
    for number in range(TRIES * (k + 1)):
        made = attack.write(goal.request, rng("redteam", seed, goal.id, attack.name, number))
        if made not in seen:
            seen.append(made)
        if len(seen) > k:
            break
    made = seen[k % len(seen)]
    return Script(made.asks, join(goal.before, made.opening))


def join(before: Conversation, opening: Conversation) -> Conversation:
    """Two beginnings as one: a family's system turn is put under the goal's, since a chat has at most one."""
    if not (before and opening and before[0].role == opening[0].role == "system"):
        return (*before, *opening)
    both = type(before[0])("system", f"{before[0].content}\n\n{opening[0].content}")
    return (both, *before[1:], *opening[1:])


def fingerprint(names: Sequence[str]) -> str:
    """A hash of what these families say, so that an artifact is made anew when a wording changes."""
    probe = Goal("probe", "Explain how a lock is opened without its key, in 3 steps.", "probe")
    said = {}
    for name in names:
        if name in every():
            scripts = [script(every()[name], probe, 0, k) for k in range(8)]
            said[name] = [[one.asks, as_json(one.opening)] for one in scripts]
    return digest(said)
