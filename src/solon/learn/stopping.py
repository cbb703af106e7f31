"""Early stopping: when a training ends before its last step, and which of its arrays are kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from solon.core.weights import Tree


@dataclass
class Stopping:
    """Reads `loss(trained)`, a loss on rows that are not trained on, after every `every` steps and after the last one.

    Training is over when `patience` readings in a row were not lower than the lowest before them by more than `gain`. `best`
    holds the arrays of the lowest reading; they are what the training comes to. What `also(trained)` says is written into each
    reading beside the loss and decides nothing.
    """

    loss: Callable[[Tree], float]
    every: int
    patience: int
    gain: float = 0.0
    readings: list[dict[str, Any]] = field(default_factory=list)
    best: Tree = None
    also: Callable[[Tree], dict[str, Any]] = lambda trained: {}

    @property
    def lowest(self) -> int:
        """The place among the readings of the one whose arrays are kept."""
        best = 0
        for place, one in enumerate(self.readings):
            if one["loss"] < self.readings[best]["loss"] - self.gain:
                best = place
        return best

    @property
    def over(self) -> bool:
        return len(self.readings) - 1 - self.lowest >= self.patience

    def look(self, done: int, steps: int, trained: Tree) -> None:
        """Read the loss if it is time to, `done` of `steps` steps being done."""
        if done % self.every and done != steps:
            return
        self.readings.append({"step": done, "loss": self.loss(trained), **self.also(trained)})
        if self.lowest == len(self.readings) - 1:
            self.best = trained

    def arrays(self, trained: Tree) -> dict[str, Any]:
        """What a checkpoint has to hold; before the first reading there is no best yet, and what is trained stands for it."""
        return {"best": trained if self.best is None else self.best}

    def restored(self, arrays: dict[str, Any], readings: list[dict[str, Any]]) -> None:
        """Go on from a checkpoint."""
        self.readings = readings
        self.best = arrays["best"] if readings else None
