"""A linear head on the model's own hidden states, fitted to labelled pairs (Bradley-Terry).

A model often represents which reply is better before it can say so. The head sees only the difference of the two
replies' features and has no intercept, so it cannot have a position bias. Of the principle it knows the pillar: what makes
a reply harmless is not what makes it helpful, so each pillar adds weights of its own to those that all share (one fit over
features repeated for each pillar; Daumé 2007, arXiv 0907.1815).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
    """Weights `[1 + pillars, features]`: those that all pairs share, then what each pillar adds; the scale of each feature's
    differences, and the temperature that calibrates the margin."""

    weight: Floats
    pillars: tuple[str, ...]
    scale: Floats
    temperature: float
    strength: float
    model: str = ""
    fitted_on: frozenset[str] = frozenset()

    def probability(self, difference: Floats, pillars: Sequence[str]) -> Floats:
        """P(first is better) from features of the first minus those of the second, `[n, features]`, and the pillar of each
        pair's principle; a pillar that the head does not know adds nothing."""
        if difference.shape[-1] != self.weight.shape[1]:
            raise ModelError(
                "the head does not fit these features", got=difference.shape[-1], expected=self.weight.shape[1]
            )
        margin = _margin(difference / self.scale, self.weight, _places(pillars, self.pillars)) / self.temperature
        return np.exp(-np.logaddexp(0, -margin))

    def save(self, path: str | Path) -> None:
        """Write an .npz file without pickled objects."""
        prompts = np.array(sorted(self.fitted_on), dtype="<U16")
        numbers = np.array([self.temperature, self.strength])
        with Path(path).open("wb") as file:
            np.savez(
                file, weight=self.weight, pillars=np.array(self.pillars, dtype="<U40"), scale=self.scale, numbers=numbers,
                model=np.array(self.model), prompts=prompts,
            )  # fmt: skip

    @classmethod
    def from_file(cls, path: str | Path) -> Head:
        """Read what `save` wrote. Raises `MissingError` or `DataError`."""
        if not Path(path).is_file():
            raise MissingError(f"there is no head {str(path)!r}", fix="leave out the option 'head' to fit one")
        try:
            with np.load(path, allow_pickle=False) as file:
                temperature, strength = map(float, file["numbers"])
                prompts = frozenset(map(str, file["prompts"]))
                pillars = tuple(map(str, file["pillars"]))
                return cls(file["weight"], pillars, file["scale"], temperature, strength, str(file["model"]), prompts)
        except (ValueError, KeyError, OSError, EOFError, TypeError) as error:
            raise DataError(f"{Path(path).name} is not the head of a probe", got=str(error)[:100]) from error


def fit_head(difference: Floats, pillars: Sequence[str], groups: Sequence[str], folds: int = 5) -> Head:
    """A head from features of the better reply minus those of the worse, `[pairs, features]`, and each pair's pillar.

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
    names = tuple(sorted(set(pillars)))
    places = _places(pillars, names)
    splits = list(GroupKFold(min(folds, len(set(groups)))).split(difference, groups=groups))
    best = (np.inf, 1.0, STRENGTHS[0])
    for strength in STRENGTHS:
        margin = np.zeros(len(difference))
        for train, held_out in splits:
            weight, scale = _fit(difference[train], places[train], len(names), strength)
            margin[held_out] = _margin(difference[held_out] / scale, weight, places[held_out])
        best = min(best, (*calibrate(margin), strength))
    _, temperature, strength = best
    weight, scale = _fit(difference, places, len(names), strength)
    return Head(weight, names, scale, temperature, strength)


def _places(pillars: Sequence[str], known: Sequence[str]) -> NDArray[np.int64]:
    """The row of each pair's pillar among the weights; 0 for one that is not known."""
    return np.array([known.index(one) + 1 if one in known else 0 for one in pillars], np.int64)


def _margin(scaled: Floats, weight: Floats, places: NDArray[np.int64]) -> Floats:
    own = np.where(places[:, None] > 0, weight[places], 0.0)
    return np.einsum("nf,nf->n", scaled, weight[0] + own)


def _fit(difference: Floats, places: NDArray[np.int64], pillars: int, strength: float) -> tuple[Floats, Floats]:
    """Weights for scaled differences, shared and by pillar. Without an intercept, turning a pair round changes nothing, so
    every second pair is turned to give the library the two classes that it asks for.

    There are many more features than pairs, so the fit is made in the space that the pairs span (their inner products, twice
    as large within a pillar); with a quadratic penalty its weights are those of the fit over all features.
    """
    from sklearn.linear_model import LogisticRegression

    size = np.sqrt((difference**2).mean(0))
    scale = np.where(size > 1e-12, size, 1.0)
    scaled = difference / scale
    inner = (scaled @ scaled.T) * (1.0 + (places[:, None] == places))
    length, axes = np.linalg.eigh(inner)
    spanned = length > 1e-12 * length[-1]
    length, axes = np.sqrt(length[spanned]), axes[:, spanned]
    sign = np.where(np.arange(len(difference)) % 2 == 0, 1.0, -1.0)
    head = LogisticRegression(C=strength, fit_intercept=False, max_iter=2000)
    head.fit(axes * length * sign[:, None], sign > 0)
    share = axes @ (head.coef_[0] / length)  # of each pair in the weights
    own = [np.where(places == place, share, 0.0) @ scaled for place in range(1, pillars + 1)]
    return np.stack([share @ scaled, *own]), scale


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
        pillars = [questions[i].principle.pillar for i in fit]
        p = self.head.probability(differences(self.model, pairs, self.batch, progress), pillars).tolist() if pairs else []
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
    fitted = fit_head(difference, [one.principle.pillar for one in labelled], keys, chosen.folds)
    head = replace(fitted, model=reader.digest, fitted_on=frozenset(keys))
    return ProbeJudge(head, reader, chosen.batch)
