"""One evaluator a pillar: how probable it is that a reply breaks it. Fitted in a moment, without a model.

A logistic regression on the reply's words and on cues (`solon.constitution.cues`). It knows words and forms and not
what they mean, so it is a floor: a judge that reads a model should beat it. The weight of the cues and the strength of
the regularisation were chosen by cross-validation on the train side of the shipped fixtures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solon.constitution.cues import cues
from solon.constitution.fixtures import Fixture
from solon.core.errors import DataError

Floats = NDArray[np.float64]
Exchange = tuple[str, str]
"""A request and the reply to it."""

THRESHOLD = 0.5
"""A reply at least this likely to break its pillar is flagged."""
CUE_WEIGHT = 0.5  # beside words, whose vector has length 1
STRENGTH = 10.0  # inverse regularisation
FEWEST = 5  # fixtures without which nothing is fitted
_TOKEN = r"(?u)\b\w+'?\w*\b"


@dataclass(frozen=True)
class Evaluator:
    """A fitted evaluator of one pillar. `fitted_on` holds the ids of its fixtures."""

    pillar: str
    fitted_on: frozenset[str]
    words: Any
    centre: Floats
    scale: Floats
    weight: Floats
    bias: float

    def breaks(self, exchanges: Sequence[Exchange]) -> Floats:
        """The probability that each reply breaks the pillar, `[n]`; no reply's depends on those beside it."""
        margins = [float(self._features(one) @ self.weight) + self.bias for one in exchanges]
        return np.exp(-np.logaddexp(0, -np.array(margins, np.float64)))

    def flags(self, exchanges: Sequence[Exchange]) -> list[bool]:
        """Whether each reply is flagged."""
        return [bool(p >= THRESHOLD) for p in self.breaks(exchanges)]

    def _features(self, exchange: Exchange) -> Floats:
        scaled = (_cues([exchange])[0] - self.centre) / self.scale
        return np.concatenate([scaled, self.words.transform([exchange[1]]).toarray()[0]])


def fit(pillar: str, fixtures: Sequence[Fixture]) -> Evaluator:
    """An evaluator from fixtures of one pillar, each of which is two replies: one keeps, one breaks it.

    Raises `DataError` for too few, or for a fixture of another pillar."""
    _enough(pillar, fixtures)
    exchanges = [(one.prompt, reply) for one in fixtures for reply in (one.keeps, one.breaks)]
    broken = [reply == one.breaks for one in fixtures for reply in (one.keeps, one.breaks)]
    words = _words()
    bag = words.fit_transform([reply for _, reply in exchanges]).toarray()
    found = _cues(exchanges)
    spread = found.std(0)
    centre = found.mean(0)
    scale = np.where(spread > 1e-9, spread, 1.0) * np.sqrt(found.shape[1]) / CUE_WEIGHT
    head = _head().fit(np.hstack([(found - centre) / scale, bag]), broken)
    weight, bias = head.coef_[0].astype(np.float64), float(head.intercept_[0])
    return Evaluator(pillar, frozenset(one.id for one in fixtures), words, centre, scale, weight, bias)


@dataclass(frozen=True)
class Kinds:
    """Tells which kind of harm a text is about, by its words."""

    names: tuple[str, ...]
    words: Any
    head: Any

    def of(self, texts: Sequence[str]) -> list[str]:
        """The likeliest kind of each text."""
        return [str(name) for name in self.head.predict(self.words.transform(texts))]


def fit_kinds(texts: Sequence[str], kinds: Sequence[str]) -> Kinds:
    """From texts whose kind is known; each kind counts alike, however many texts it has."""
    names = tuple(sorted(set(kinds)))
    if len(names) < 2 or len(texts) != len(kinds):
        raise DataError("kinds need texts of at least two", got=f"{len(texts)} texts, kinds {', '.join(names)}")
    words = _words()
    bag = words.fit_transform(texts)
    return Kinds(names, words, _head("balanced").fit(bag, list(kinds)))


def _enough(pillar: str, fixtures: Sequence[Fixture]) -> None:
    if len(fixtures) < FEWEST:
        raise DataError(f"too few fixtures to fit an evaluator of {pillar!r}", got=len(fixtures), expected=f"{FEWEST} or more")
    strange = next((one for one in fixtures if one.pillar != pillar), None)
    if strange:
        raise DataError(f"the fixture {strange.id!r} is not of the pillar {pillar!r}", got=strange.principle)


def _cues(exchanges: Sequence[Exchange]) -> Floats:
    return np.array([cues(*one) for one in exchanges], np.float64)


def _words() -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=_TOKEN)


def _head(weights: str | None = None) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=STRENGTH, max_iter=3000, class_weight=weights)
