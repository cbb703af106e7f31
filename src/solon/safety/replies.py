"""Harm of a reply in its context: harmful in itself, or going along with a harmful request.

Two small regressions. `complies` reads the features of the reply and of the request and says whether the reply does what
was asked. `harm` weighs four numbers: the harm logits of request and reply as texts, the logit of complying, and the
product of the probabilities of a harmful request and of complying. The second is fitted on replies with labels and on
pairs of which only the order is known (Bradley-Terry), so it never sees a whole text again.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solon.core.artifacts import canonical
from solon.core.errors import DataError, ModelError
from solon.safety.head import (
    FEWEST,
    FOLDS,
    HARM,
    Floats,
    best_temperature,
    best_threshold,
    fold_of,
    regression,
    sigmoid,
)
from solon.safety.texts import Reply

FORMAT = 1
STRENGTH = 1e-3
"""Inverse regularisation of `complies`; features outnumber its labelled replies."""
ARRAYS = ("weight", "bias", "centre", "scale", "mix", "numbers")
Read = tuple[Floats, NDArray[Any]]
"""Of a text: the largest logit of each output over its windows, and the features of its windows."""


@dataclass(frozen=True)
class ReplyHead:
    """`weight [2 * features]`, `bias [1]` of `complies` on centred and scaled features; `mix [5]` of `harm`; `numbers`
    are temperature and threshold."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    centre: NDArray[np.float32]
    scale: NDArray[np.float32]
    mix: NDArray[np.float32]
    numbers: NDArray[np.float32]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def threshold(self) -> float:
        return float(self.numbers[1])

    def complies(self, request: Read, reply: Read) -> float:
        """The logit of doing what was asked."""
        joined = _joined(request, reply)
        if joined.shape != self.weight.shape:
            raise ModelError("the reply head does not fit these features", got=joined.shape, expected=self.weight.shape)
        return float(((joined - self.centre) / self.scale) @ self.weight.astype(np.float64) + self.bias[0])

    def probability(self, request: Read, reply: Read) -> float:
        """The calibrated probability that the reply does harm."""
        mixed = _mixed(request, reply, self.complies(request, reply)) @ self.mix.astype(np.float64)
        return float(sigmoid(np.array(mixed / float(self.numbers[0]))))

    def to_bytes(self) -> bytes:
        """An .npz without pickled objects; equal heads give equal bytes."""
        buffer = io.BytesIO()
        arrays = {name: getattr(self, name) for name in ARRAYS}
        np.savez(buffer, **arrays, facts=np.array(canonical({**self.facts, "format": FORMAT})))
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> ReplyHead:
        """Raises `ModelError` for a damaged file or another format."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in ARRAYS}
                facts = json.loads(str(stored["facts"]))
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ModelError("the reply head is damaged or none", got=error, fix="make it again: solon safety train") from error
        width = arrays["weight"].shape
        fits = arrays["centre"].shape == arrays["scale"].shape == width and arrays["mix"].shape == (5,)
        if facts.pop("format", None) != FORMAT or not fits or not all(np.isfinite(one).all() for one in arrays.values()):
            raise ModelError("the reply head is damaged or of another format", fix="make it again: solon safety train")
        return cls(**arrays, facts=facts)


def _joined(request: Read, reply: Read) -> Floats:
    """The first windows: a refusal is said at the beginning."""
    return np.concatenate([reply[1][0], request[1][0]]).astype(np.float64)


def _mixed(request: Read, reply: Read, complies: float) -> Floats:
    asked, said = float(request[0][HARM]), float(reply[0][HARM])
    goes_along = float(sigmoid(np.array(asked)) * sigmoid(np.array(complies)))
    return np.array([asked, said, complies, 8 * goes_along, 1.0])


def fit_replies(rows: Sequence[Reply], read: Mapping[str, Read], facts: Mapping[str, Any]) -> ReplyHead:
    """A head from labelled replies and ordered pairs; `read` holds every text of theirs. Not calibrated yet."""
    labelled = [row for row in rows if row.complies is not None]
    joined = np.array([_joined(read[row.prompt], read[row.text]) for row in labelled])
    if len(labelled) < FEWEST:
        raise DataError("too few replies to learn from", got=len(labelled), expected=FEWEST)
    centre, scale = joined.mean(0), np.maximum(joined.std(0), 1e-6)
    scaled, complied = (joined - centre) / scale, np.array([float(bool(row.complies)) for row in labelled])
    ones, fold = np.ones(len(labelled)), fold_of([row.family for row in labelled])
    apart = np.zeros(len(labelled))  # logits of replies whose family was not seen, as `harm` will meet them
    for number in range(FOLDS):
        weight, bias = regression(scaled, np.where(fold == number, np.nan, complied), ones, STRENGTH, "complies")
        apart[fold == number] = scaled[fold == number] @ weight + bias
    weight, bias = regression(scaled, complied, ones, STRENGTH, "complies")
    low = np.float32
    head = ReplyHead(
        weight.astype(low), np.array([bias], low), centre.astype(low), scale.astype(low), np.zeros(5, low),
        np.array([1.0, 0.5], low), dict(facts),
    )  # fmt: skip
    return replace(head, mix=_fit_mix(head, rows, read, dict(zip(map(id, labelled), apart, strict=True))).astype(low))


def _fit_mix(head: ReplyHead, rows: Sequence[Reply], read: Mapping[str, Read], apart: Mapping[int, float]) -> Floats:
    """Labelled replies count as they are, pairs by the difference of worse and better, in which the constant goes out."""
    x, y = [], []
    for i, row in enumerate(rows):
        asked, said = read[row.prompt], read[row.text]
        if row.worse:
            other = read[row.worse]
            gap = _mixed(asked, other, head.complies(asked, other)) - _mixed(asked, said, head.complies(asked, said))
            sign = 1 if i % 2 else -1
            x.append(sign * gap)
            y.append(float(sign > 0))
        elif row.harmful is not None:
            x.append(_mixed(asked, said, apart.get(id(row), head.complies(asked, said))))
            y.append(float(row.harmful))
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        model = LogisticRegression(C=1.0, fit_intercept=False, max_iter=1000, tol=1e-6).fit(np.array(x), np.array(y).astype(int))
    return model.coef_[0]


def calibrated_replies(head: ReplyHead, rows: Sequence[Reply], read: Mapping[str, Read]) -> ReplyHead:
    """The head with the temperature that makes the validation replies likeliest and the threshold with the best F1."""
    given = [row for row in rows if row.harmful is not None]
    y = np.array([float(bool(row.harmful)) for row in given])
    if min(y.sum(), (1 - y).sum()) < FEWEST:
        return head
    logits = []
    for row in given:
        asked, said = read[row.prompt], read[row.text]
        logits.append(float(_mixed(asked, said, head.complies(asked, said)) @ head.mix.astype(np.float64)))
    z = np.array(logits)
    temperature = best_temperature(y, z)
    numbers = np.array([temperature, best_threshold(y, sigmoid(z / temperature))], np.float32)
    return replace(head, numbers=numbers)
