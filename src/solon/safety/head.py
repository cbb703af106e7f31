"""A linear head: from a text's features to the probability of each harm, calibrated, in one small file.

One logistic regression an output, each fitted on the texts whose label is known for it. Linear on purpose: the mean over
tokens of a token's score is the score of the mean, so the same head can watch a text while it is being written.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solon.core.artifacts import canonical
from solon.core.errors import DataError, MissingError, ModelError, TrainingError
from solon.safety.taxonomy import CATEGORIES, Known

Floats = NDArray[np.float64]

LEVELS = (1, 2, 3)
OUTPUTS = (*CATEGORIES, *(f"severity>={level}" for level in LEVELS))
"""What a head says of a text. `severity>=1` is harm of any kind."""
HARM = len(CATEGORIES)
FORMAT = 1
FEWEST = 5
"""Texts of each kind without which no output is fitted, and no temperature or threshold either."""
COMPONENTS = 256
"""Fitting sees the features' main directions only: there are fewer texts than directions worth fitting."""
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
FOLDS = 3


def targets(labels: Sequence[Known]) -> Floats:
    """`[n, outputs]`: 1 yes, 0 no, nan unknown."""
    out = np.full((len(labels), len(OUTPUTS)), np.nan)
    for i, label in enumerate(labels):
        for j, name in enumerate(CATEGORIES):
            if name in label.categories:
                out[i, j] = float(label.categories[name])
        for j, level in enumerate(LEVELS, HARM):
            reached = label.at_least(level)
            if reached is not None:
                out[i, j] = float(reached)
    return out


@dataclass(frozen=True)
class Head:
    """`weight [outputs, features]` on features that are centred and scaled; a temperature and a threshold an output.

    `facts` says what the head reads (`reader`, `digest`, `settings`) and how it was made."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    centre: NDArray[np.float32]
    scale: NDArray[np.float32]
    temperature: NDArray[np.float32]
    threshold: NDArray[np.float32]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def logits(self, features: NDArray[Any]) -> Floats:
        """`[n, features]` to `[n, outputs]`, before the temperature. One row at a time: neighbours change no bit."""
        if features.ndim != 2 or features.shape[1] != self.weight.shape[1]:
            raise ModelError("the head does not fit these features", got=features.shape, expected=self.weight.shape[1])
        scaled = (features.astype(np.float64) - self.centre) / self.scale
        weight = self.weight.astype(np.float64)
        return np.array([weight @ row for row in scaled]).reshape(len(scaled), len(weight)) + self.bias

    def probabilities(self, logits: Floats) -> Floats:
        """Calibrated probabilities; a higher severity is never likelier than a lower one."""
        p = sigmoid(logits / self.temperature)
        p[:, HARM:] = np.minimum.accumulate(p[:, HARM:], 1)
        return p

    def to_bytes(self) -> bytes:
        """An .npz without pickled objects; equal heads give equal bytes."""
        arrays = {name: getattr(self, name) for name in ARRAYS}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays, facts=np.array(canonical({**self.facts, "format": FORMAT, "outputs": OUTPUTS})))
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, what: str = "the head") -> Head:
        """Raises `ModelError` for a file that is damaged, of another format, or of another taxonomy."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in ARRAYS}
                facts = json.loads(str(stored["facts"]))
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ModelError(f"{what} is damaged or no head", got=error, fix="make it again: solon safety train") from error
        if facts.pop("format", None) != FORMAT or tuple(facts.pop("outputs", ())) != OUTPUTS:
            raise ModelError(f"{what} was made for another taxonomy", fix="make it again: solon safety train")
        width = arrays["weight"].shape[-1]
        shapes: dict[str, tuple[int, ...]] = {name: (len(OUTPUTS),) for name in ARRAYS}
        shapes |= {"weight": (len(OUTPUTS), width), "centre": (width,), "scale": (width,)}
        wrong = [name for name in ARRAYS if arrays[name].shape != shapes[name] or not np.isfinite(arrays[name]).all()]
        if wrong:
            raise ModelError(f"{what} is damaged", got=f"{wrong[0]} {arrays[wrong[0]].shape}", expected=shapes[wrong[0]])
        return cls(**arrays, facts=facts)

    @classmethod
    def from_file(cls, path: str | Path) -> Head:
        path = Path(path)
        if not path.is_file():
            raise MissingError(f"there is no head at {path}", fix="make one: solon safety train --out FILE")
        return cls.from_bytes(path.read_bytes(), path.name)


ARRAYS = ("weight", "bias", "centre", "scale", "temperature", "threshold")


def sigmoid(x: Floats) -> Floats:
    return np.exp(-np.logaddexp(0, -x))


def fit(
    features: NDArray[Any], known: Floats, families: Sequence[str], weights: Floats,
    facts: Mapping[str, Any] | None = None, progress: Callable[[int], None] | None = None,
) -> Head:  # fmt: skip
    """A head from `[n, features]` and `[n, outputs]` (nan unknown); not calibrated yet.

    One strength of regularisation for all outputs, by the mean log loss over folds that keep families together. Raises
    `TrainingError` where features are not finite, `DataError` where an output has too few texts of a kind."""
    if not np.isfinite(features).all():
        raise TrainingError("a feature is not a number", fix="look at the encoder's weights")
    features = features.astype(np.float64)
    centre = features.mean(0)
    scale = np.maximum(features.std(0), 1e-6)
    turn = _directions((features - centre) / scale)
    scaled = ((features - centre) / scale) @ turn
    fold = fold_of(families)
    losses = np.zeros(len(STRENGTHS))
    for i, strength in enumerate(STRENGTHS):
        losses[i] = np.mean([_held_out_loss(scaled, known[:, j], fold, weights, strength) for j in range(len(OUTPUTS))])
        if progress:
            progress(1)
    strength = STRENGTHS[int(np.argmin(losses))]
    rows = [regression(scaled, known[:, j], weights, strength, OUTPUTS[j]) for j in range(len(OUTPUTS))]
    ones = np.ones(len(OUTPUTS), np.float32)
    told = dict(facts or {}) | {"strength": strength, "fold_loss": round(float(losses.min()), 6)}
    low = np.float32
    return Head(
        np.array([turn @ row[0] for row in rows], low), np.array([row[1] for row in rows], low), centre.astype(low),
        scale.astype(low), ones, ones / low(2), told,
    )  # fmt: skip


def _directions(scaled: Floats) -> Floats:
    """The main directions of the texts as columns, `[features, at most COMPONENTS]`."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        _, vectors = np.linalg.eigh(scaled.T @ scaled)
    return vectors[:, -COMPONENTS:]


def fold_of(families: Sequence[str]) -> NDArray[np.int64]:
    """The fold of each text, from its family's name alone."""
    from solon.core.keys import seed_of

    return np.array([seed_of("fold", family) % FOLDS for family in families])


def regression(x: Floats, y: Floats, weights: Floats, strength: float, name: str) -> tuple[Floats, float]:
    """Weight and bias of one output, from the texts whose label is known."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    given = np.isfinite(y)
    few = min(int((y[given] == kind).sum()) for kind in (0, 1))
    if few < FEWEST:
        raise DataError(f"too few labelled texts to learn {name!r}", got=few, expected=f"{FEWEST} of each kind")
    with threadpool_limits(1):  # sums in one order, so that the same data give the same bytes
        model = LogisticRegression(C=strength, max_iter=1000, tol=1e-5)
        model.fit(x[given], y[given].astype(int), sample_weight=weights[given])
    return model.coef_[0], float(model.intercept_[0])


def _held_out_loss(x: Floats, y: Floats, fold: NDArray[Any], weights: Floats, strength: float) -> float:
    total = count = 0.0
    for number in range(FOLDS):
        inside = (fold == number) & np.isfinite(y)
        try:
            weight, bias = regression(x, np.where(fold == number, np.nan, y), weights, strength, "")
        except DataError:
            continue  # a rare output whose few texts all fell into this fold
        losses = log_loss(y[inside], x[inside] @ weight + bias)
        total, count = total + float((losses * weights[inside]).sum()), count + float(weights[inside].sum())
    return total / max(count, 1e-9)


def log_loss(y: Floats, logits: Floats) -> Floats:
    """-log p of what is true, nats, one a text."""
    return np.logaddexp(0, np.where(y == 1, -logits, logits))


def calibrated(head: Head, features: NDArray[Any], known: Floats) -> Head:
    """The head with temperatures that make the validation texts likeliest, and thresholds with the best F1 on them.

    An output with too few validation texts keeps temperature 1 and threshold one half."""
    logits = head.logits(features)
    temperature, threshold = head.temperature.copy(), head.threshold.copy()
    for j in range(len(OUTPUTS)):
        given = np.isfinite(known[:, j])
        y, z = known[given, j], logits[given, j]
        if min((y == 1).sum(), (y == 0).sum()) < FEWEST:
            continue
        temperature[j] = best_temperature(y, z)
        threshold[j] = best_threshold(y, sigmoid(z / temperature[j]))
    return replace(head, temperature=temperature, threshold=threshold)


def best_temperature(y: Floats, logits: Floats) -> float:
    """The temperature (0.2 to 20) with the least mean log loss; labels are smoothed a little, as Platt did."""
    from scipy.optimize import minimize_scalar

    soft = (1 + 1 / len(y), 1 / len(y))
    target = (y + soft[1]) / (soft[0] + soft[1])

    def loss(log_t: float) -> float:
        z = logits / np.exp(log_t)
        return float((target * np.logaddexp(0, -z) + (1 - target) * np.logaddexp(0, z)).mean())

    found = minimize_scalar(loss, bounds=(np.log(0.2), np.log(20)), method="bounded")
    return float(np.exp(found.x)) if loss(float(found.x)) < loss(0.0) else 1.0


def best_threshold(y: Floats, p: Floats) -> float:
    """The threshold with the best F1, half-way to the next lower score; of equals the highest."""
    order = np.argsort(-p, kind="stable")
    hits = np.cumsum(y[order])
    score = 2 * hits / (np.arange(1, len(y) + 1) + y.sum())
    ends = np.r_[p[order][1:] != p[order][:-1], True]
    best = int(np.argmax(np.where(ends, score, -1.0)))
    below = p[order][best + 1] if best + 1 < len(p) else 0.0
    return float((p[order][best] + below) / 2)
