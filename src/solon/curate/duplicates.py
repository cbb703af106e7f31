"""Rows that say the same thing: within a set, and between what is trained on and what is measured with.

A leak makes a model look better than it is, so every near match counts: too many rows are named rather than too few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from solon.curate.splits import normalised

if TYPE_CHECKING:
    from datasketch import MinHash, MinHashLSH

Match = Literal["exact", "normalised", "near"]
PERMUTATIONS = 128
NEAR = 0.6
"""Jaccard similarity of character 4-grams from which two rows count as the same. Short questions that differ in one word
of six lie at about 0.6, chance likenesses of short ones at 0.5."""
SLACK = 0.2
"""The index looks this far below the threshold, because its estimates are off by up to about 0.1; what it finds is then
compared exactly."""


@dataclass(frozen=True)
class Leak:
    """Row `train` of the one side is row `heldout` of the other, in the same or nearly the same words."""

    train: int
    heldout: int
    match: Match
    similarity: float


def similarity(first: str, second: str) -> float:
    """Jaccard similarity of the character 4-grams of the normalised texts, in [0, 1]."""
    one, other = _grams(normalised(first)), _grams(normalised(second))
    return len(one & other) / len(one | other)


def near_duplicates(texts: Sequence[str], threshold: float = NEAR) -> list[tuple[int, int, float]]:
    """Pairs of rows at least as similar as the threshold, and how similar they are: `(earlier, later, similarity)`.

    Candidates come from MinHash and banding (Broder 1997; datasketch), so the work grows with the rows and not with their
    pairs; every candidate is then compared exactly. Rows of fewer than four characters match only equal ones."""
    grams = [_grams(normalised(text)) for text in texts]
    index, sketches = _index(grams, threshold)
    pairs = []
    for later, sketch in enumerate(sketches):
        for earlier in sorted(index.query(sketch)):
            if earlier < later and (found := _jaccard(grams[earlier], grams[later])) >= threshold:
                pairs.append((earlier, later, found))
    return pairs


def distinct(texts: Sequence[str], threshold: float = NEAR) -> list[int]:
    """The rows to keep: the first of every group of near duplicates, in order."""
    repeated = {later for _, later, _ in near_duplicates(texts, threshold)}
    return [row for row in range(len(texts)) if row not in repeated]


def leaks(train: Sequence[str], heldout: Sequence[str], threshold: float = NEAR) -> list[Leak]:
    """Every row of `train` that is also in `heldout`: letter for letter, but for case and punctuation, or nearly."""
    plain = [normalised(text) for text in heldout]
    grams = [_grams(text) for text in plain]
    index, _ = _index(grams, threshold)
    found = []
    for row, text in enumerate(train):
        own = normalised(text)
        own_grams = _grams(own)
        for other in sorted(index.query(_sketch(own_grams))):
            alike = _jaccard(own_grams, grams[other])
            if alike >= threshold:
                match: Match = "exact" if text == heldout[other] else "normalised" if own == plain[other] else "near"
                found.append(Leak(row, other, match, alike))
    return found


def _grams(text: str) -> frozenset[str]:
    return frozenset(text[start : start + 4] for start in range(max(1, len(text) - 3)))


def _jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    return len(first & second) / len(first | second)


def _sketch(grams: frozenset[str]) -> MinHash:
    from datasketch import MinHash

    sketch = MinHash(num_perm=PERMUTATIONS, seed=1)
    sketch.update_batch([gram.encode() for gram in sorted(grams)])
    return sketch


def _index(grams: Sequence[frozenset[str]], threshold: float) -> tuple[MinHashLSH, list[MinHash]]:
    from datasketch import MinHashLSH

    index = MinHashLSH(threshold=max(0.1, threshold - SLACK), num_perm=PERMUTATIONS, weights=(0.2, 0.8))
    sketches = [_sketch(row) for row in grams]
    for row, sketch in enumerate(sketches):
        index.insert(row, sketch)
    return index, sketches
