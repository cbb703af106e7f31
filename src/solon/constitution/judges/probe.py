"""A linear head on the model's own hidden states, fitted to labelled pairs (Bradley-Terry).

A model often represents which reply is better before it can say so. The head sees only the difference of the two
replies' features and has no intercept, so it cannot have a position bias. It does not read the principle: it has
learned the preference that its labels share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from solon.constitution.judging import Labelled, Opinion, Progress, Question, needs_model, prompt_key
from solon.constitution.store import Book
from solon.constitution.validation import Record, checked
from solon.core.errors import ConfigError, DataError, MissingError, ModelError
from solon.core.records import Conversation, Message

if TYPE_CHECKING:
    from solon.models.load import Model
    from solon.text.template import Tokens
    from solon.text.tokenizer import Tokenizer

Floats = NDArray[np.float64]

STRENGTHS = tuple(10.0**power for power in range(-6, 2))  # inverse regularisation, chosen by cross-validation
FEWEST = 10  # labelled pairs


class Options(Record):
    """`head` is a fitted head's file; without it one is fitted to the labelled pairs, in `folds` folds of prompts."""

    head: str = ""
    folds: int = Field(default=5, ge=2)
    batch: int = Field(default=256, ge=2)


@dataclass(frozen=True)
class Head:
    """One weight a feature, the scale of each feature's differences, and the temperature that calibrates the margin."""

    weight: Floats
    scale: Floats
    temperature: float
    strength: float
    model: str = ""
    fitted_on: frozenset[str] = frozenset()

    def probability(self, difference: Floats) -> Floats:
        """P(first is better) from features of the first minus those of the second, `[n, features]`."""
        if difference.shape[-1] != len(self.weight):
            raise ModelError(
                "the head does not fit these features", got=difference.shape[-1], expected=len(self.weight)
            )
        margin = (difference / self.scale) @ self.weight / self.temperature
        return np.exp(-np.logaddexp(0, -margin))

    def save(self, path: str | Path) -> None:
        """Write an .npz file without pickled objects."""
        prompts = np.array(sorted(self.fitted_on), dtype="<U16")
        numbers = np.array([self.temperature, self.strength])
        with Path(path).open("wb") as file:
            np.savez(
                file, weight=self.weight, scale=self.scale, numbers=numbers, model=np.array(self.model), prompts=prompts
            )

    @classmethod
    def from_file(cls, path: str | Path) -> Head:
        """Read what `save` wrote. Raises `MissingError` or `DataError`."""
        if not Path(path).is_file():
            raise MissingError(f"there is no head {str(path)!r}", fix="leave out the option 'head' to fit one")
        try:
            with np.load(path, allow_pickle=False) as file:
                temperature, strength = map(float, file["numbers"])
                prompts = frozenset(map(str, file["prompts"]))
                return cls(file["weight"], file["scale"], temperature, strength, str(file["model"]), prompts)
        except (ValueError, KeyError, OSError, EOFError, TypeError) as error:
            raise DataError(f"{Path(path).name} is not the head of a probe", got=str(error)[:100]) from error


def fit_head(difference: Floats, groups: Sequence[str], folds: int = 5) -> Head:
    """A head from features of the better reply minus those of the worse, `[pairs, features]`.

    Pairs of one group (a prompt) stay in one fold. Regularisation and temperature are those with which the folds
    that were left out are predicted best (mean log loss).
    """
    from sklearn.model_selection import GroupKFold

    difference = np.asarray(difference, np.float64)
    if len(difference) < FEWEST or len(set(groups)) < 2:
        got = f"{len(difference)} pairs of {len(set(groups))} prompts"
        raise DataError("too few labelled pairs to fit a judge", got=got, expected=f"{FEWEST} pairs or more")
    if not np.isfinite(difference).all():
        raise DataError("a feature is not a number", fix="load the model in float32")
    splits = list(GroupKFold(min(folds, len(set(groups)))).split(difference, groups=groups))
    best = (np.inf, 1.0, STRENGTHS[0])
    for strength in STRENGTHS:
        margin = np.zeros(len(difference))
        for train, held_out in splits:
            weight, scale = _fit(difference[train], strength)
            margin[held_out] = (difference[held_out] / scale) @ weight
        best = min(best, (*calibrate(margin), strength))
    _, temperature, strength = best
    weight, scale = _fit(difference, strength)
    return Head(weight, scale, temperature, strength)


def _fit(difference: Floats, strength: float) -> tuple[Floats, Floats]:
    """Weights for scaled differences. Without an intercept, turning a pair round changes nothing, so every second pair
    is turned to give the library the two classes that it asks for."""
    from sklearn.linear_model import LogisticRegression

    size = np.sqrt((difference**2).mean(0))
    scale = np.where(size > 1e-12, size, 1.0)
    sign = np.where(np.arange(len(difference)) % 2 == 0, 1.0, -1.0)
    head = LogisticRegression(C=strength, fit_intercept=False, max_iter=2000)
    head.fit(difference / scale * sign[:, None], sign > 0)
    return head.coef_[0], scale


def calibrate(margin: Floats) -> tuple[float, float]:
    """The least mean log loss of margins that should be positive, and the temperature that gives it.

    The target stays a little below 1 (Platt 1999), so that a flawless fold does not make the judge certain.
    """
    from scipy.optimize import minimize_scalar

    target = (len(margin) + 1) / (len(margin) + 2)

    def loss(log_temperature: float) -> float:
        z = margin / np.exp(log_temperature)
        return float((target * np.logaddexp(0, -z) + (1 - target) * np.logaddexp(0, z)).mean())

    # The loss is flat far out, so a coarse grid finds the valley first.
    grid = np.linspace(-12, 8, 41)
    near = grid[int(np.argmin([loss(one) for one in grid]))]
    found = minimize_scalar(loss, bounds=(near - 0.5, near + 0.5), method="bounded")
    return float(found.fun), float(np.exp(found.x))


class ProbeJudge:
    """Compares replies by a head on their features."""

    def __init__(self, head: Head, model: Model, batch: int = 256):
        self.head, self.model, self.batch = head, model, batch
        self.name = f"probe:{model.name}"
        self.fitted_on = head.fitted_on

    def prefer(self, questions: Sequence[Question], progress: Progress | None = None) -> list[Opinion]:
        """One opinion a question; the other order gives the complement by construction."""
        opinions = [Opinion(None, note="longer than the model's context")] * len(questions)
        fit = [i for i, one in enumerate(questions) if self._fits(one)]
        pairs = [(questions[i].prompt, questions[i].first, questions[i].second) for i in fit]
        p = self.head.probability(differences(self.model, pairs, self.batch, progress)).tolist() if pairs else []
        for i, value in zip(fit, p, strict=True):
            opinions[i] = Opinion(value, value, 1 - value)
        return opinions

    def _fits(self, one: Question) -> bool:
        rows = (reply_row(self.model.tokenizer, one.prompt, reply) for reply in (one.first, one.second))
        return all(len(row.ids) <= self.model.arch.context for row in rows)

    def save(self, path: str | Path) -> None:
        """Keep the head for later runs with the same model."""
        self.head.save(path)


def differences(
    model: Model, pairs: Sequence[tuple[Conversation, str, str]], batch: int, progress: Progress | None = None
) -> Floats:
    """Features of the first reply minus those of the second, `[pairs, features]`; a reply met twice is read once."""
    from solon.generate.score import reply_features

    places: dict[tuple[Conversation, str], int] = {}
    for prompt, first, second in pairs:
        for reply in (first, second):
            places.setdefault((prompt, reply), len(places))
    rows = [reply_row(model.tokenizer, prompt, reply) for prompt, reply in places]
    parts = []
    for start in range(0, len(rows), batch):
        parts.append(np.asarray(reply_features(model, rows[start : start + batch]), np.float64))
        if progress:
            progress(min(start + batch, len(rows)), len(rows))
    features = np.concatenate(parts)
    firsts = [places[prompt, first] for prompt, first, _ in pairs]
    seconds = [places[prompt, second] for prompt, _, second in pairs]
    return features[firsts] - features[seconds]


def reply_row(tokenizer: Tokenizer, prompt: Conversation, reply: str) -> Tokens:
    """The conversation's tokens, of which only those of the last reply are marked: earlier ones are context."""
    from solon.text.template import Tokens, encode_training

    tokens = encode_training(tokenizer, (*prompt, Message("assistant", reply)))
    marked = [place for place, learned in enumerate(tokens.learn) if learned]
    if not marked:
        raise DataError("a reply has no tokens, so it cannot be judged", got=repr(reply)[:80])
    start = end = marked[-1]
    while start > 0 and tokens.learn[start - 1]:
        start -= 1
    return Tokens(tokens.ids, [start <= place <= end for place in range(len(tokens.ids))])


def judge(book: Book, options: Mapping[str, Any], model: Model | None, labelled: Sequence[Labelled]) -> ProbeJudge:
    """A probe from a saved head, or fitted to the labelled pairs: keep those for its certificate apart."""
    chosen = checked(Options, options, "judge 'probe'", ConfigError)
    reader = needs_model("probe", model)
    if chosen.head:
        head = Head.from_file(chosen.head)
        if head.model != reader.digest:
            raise ModelError("the head was fitted on another model", got=reader.digest[:12], expected=head.model[:12])
        return ProbeJudge(head, reader, chosen.batch)
    if len(labelled) < FEWEST:
        raise DataError(
            "too few labelled pairs to fit a judge", got=f"{len(labelled)} pairs", expected=f"{FEWEST} or more"
        )
    keys = [prompt_key(one.prompt) for one in labelled]
    difference = differences(reader, [(one.prompt, one.better, one.worse) for one in labelled], chosen.batch)
    fitted = fit_head(difference, keys, chosen.folds)
    head = Head(fitted.weight, fitted.scale, fitted.temperature, fitted.strength, reader.digest, frozenset(keys))
    return ProbeJudge(head, reader, chosen.batch)
