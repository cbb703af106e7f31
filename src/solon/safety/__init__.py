"""Keeping harm out and finding where it still gets in: classifiers, guards and the red team.

`score(texts)` is the one question asked of data, in training and in serving.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from solon.safety.classifier import Item, Score


def score(items: Sequence[Item], head: str = "minilm") -> list[Score]:
    """How harmful each text is, or each conversation by its last turn: probability of every harm category and of any,
    severity from 0 to 3, whether it is flagged, and the id of the model card.

    `head` is `minilm` (an encoder, fetched on first use) or the path of a card that `solon safety train` wrote. No score
    depends on the items beside it. Raises `DataError` for an item that is neither a text nor a conversation."""
    from solon.safety import classifier

    return classifier.score(items, head)
