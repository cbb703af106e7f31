"""Rewards that need no model: functions of rows and of the replies to them, for `stages/grpo.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from solon.core.artifacts import Record
from solon.core.errors import ConfigError, DataError
from solon.evals.ifeval.checks import follows

Rewards = Callable[[Sequence[Record], Sequence[str]], list[float]]
"""One reward for each reply; row `i` is the prompt's, with all that it carries beside the prompt."""


def instructions_followed(rows: Sequence[Record], replies: Sequence[str]) -> list[float]:
    """The share of a row's `instructions` (kinds of IFEval, each with its `arguments`) that the reply follows, in [0, 1]."""
    return [_share(row, reply) for row, reply in zip(rows, replies, strict=True)]


def _share(row: Record, reply: str) -> float:
    asked = list(zip(row.get("instructions", ()), row.get("arguments", ()), strict=True))
    if not asked:
        fix = "give kinds of IFEval as `instructions` and what they need as `arguments`"
        raise DataError("a prompt has no instructions to check", got=row.get("id"), fix=fix)
    return sum(follows(reply, kind, given) for kind, given in asked) / len(asked)


def name_of(rewards: Rewards) -> str:
    """What an artifact records of a reward function: module and name. Two functions without a name of their own cannot be
    told apart, so they are refused."""
    name = f"{getattr(rewards, '__module__', '')}.{getattr(rewards, '__qualname__', '')}"
    if "<" in name or name.startswith(".") or name.endswith("."):
        fix = "define it with `def` in a module, outside of any other function"
        raise ConfigError("the reward function has no name by which its results can be found again", got=name, fix=fix)
    return name
