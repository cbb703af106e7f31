"""A harm probe for one model: a linear head on its own hidden states that knows harm only, fitted in a minute.

`solon safety train --encoder MODEL` fits all categories on all public texts and takes longer. This one is fitted on requests
and labelled replies, read without a chat template, as `solon.safety.stream` reads a reply while it is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from solon.core.artifacts import Draft
from solon.models.load import Model
from solon.safety.head import (
    FOLDS,
    HARM,
    OUTPUTS,
    STRENGTHS,
    Floats,
    Head,
    best_temperature,
    fold_of,
    log_loss,
    regression,
)
from solon.safety.readers import ModelReader
from solon.stages._guard_data import Labelled
from solon.stages._safety_features import Features

UNKNOWN = -30.0
"""The logit of the outputs that this head does not know: never."""


def fit_probe(model: Model, rows: Sequence[Labelled], checking: Sequence[Labelled], draft: Draft) -> Head:
    """The probe, with the temperature that makes the checking rows likeliest."""
    reader = ModelReader(model)
    features = Features(reader, draft)
    features.add(row.text for row in (*rows, *checking))
    x, z = (features.first(row.text for row in side) for side in (rows, checking))
    y, told = (np.array([float(row.harmful) for row in side]) for side in (rows, checking))
    head = harm_head(x, y, [row.kind or row.id for row in rows], {"reader": reader.name, "digest": reader.digest, "settings": dict(reader.settings)})
    temperature = head.temperature.copy()
    temperature[HARM] = best_temperature(told, head.logits(z)[:, HARM])
    return Head(head.weight, head.bias, head.centre, head.scale, temperature, head.threshold, head.facts)


def harm_head(features: NDArray[np.float32], harmful: Floats, families: Sequence[str], facts: dict[str, object]) -> Head:
    """A head whose one output is harm; its strength is the one with the least loss on families that were left out."""
    centre, scale = features.mean(0), np.maximum(features.std(0), 1e-6)
    scaled = ((features - centre) / scale).astype(np.float64)
    ones, fold = np.ones(len(harmful)), fold_of(families)
    losses = [_left_out(scaled, harmful, ones, fold, strength) for strength in STRENGTHS]
    strength = STRENGTHS[int(np.argmin(losses))]
    weight, bias = regression(scaled, harmful, ones, strength, OUTPUTS[HARM])
    low = np.float32
    rows = np.zeros((len(OUTPUTS), len(centre)), low)
    rows[HARM] = weight
    biases = np.full(len(OUTPUTS), UNKNOWN, low)
    biases[HARM] = bias
    plain = np.ones(len(OUTPUTS), low)
    return Head(rows, biases, centre.astype(low), scale.astype(low), plain, plain / low(2), facts | {"strength": strength, "knows": "harm"})


def _left_out(x: Floats, y: Floats, weights: Floats, fold: NDArray[np.int64], strength: float) -> float:
    losses = []
    for number in range(FOLDS):
        weight, bias = regression(x, np.where(fold == number, np.nan, y), weights, strength, OUTPUTS[HARM])
        losses.append(log_loss(y[fold == number], x[fold == number] @ weight + bias))
    return float(np.concatenate(losses).mean())
