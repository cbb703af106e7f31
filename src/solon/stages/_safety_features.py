"""Features of many texts, read once and kept in the draft, so that a stopped run goes on where it was."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from solon.core.artifacts import Draft, digest
from solon.safety.head import Head
from solon.safety.readers import Reader, Reading
from solon.safety.replies import Read

SHARD = 200


class Features:
    """The readings of a reader by text. `add` reads what is not there yet."""

    def __init__(self, reader: Reader, draft: Draft):
        self.reader, self.draft = reader, draft
        self.readings: dict[str, Reading] = {}
        self.folder = draft.path / ".features"
        self.folder.mkdir(exist_ok=True)

    def add(self, texts: Iterable[str]) -> None:
        """Read texts in shards; a finished shard is a file, named by the texts in it."""
        new = [text for text in dict.fromkeys(texts) if text not in self.readings]
        with self.draft.progress.task("reading texts", len(new), "texts") as advance:
            for start in range(0, len(new), SHARD):
                part = new[start : start + SHARD]
                path = self.folder / f"{digest(part)}.npz"
                if not path.exists():
                    self._write(path, [self.reader.read(text) for text in part])
                self._load(path, part)
                advance(len(part))

    def _write(self, path: Path, readings: list[Reading]) -> None:
        aside = self.folder / "shard.part"
        with aside.open("wb") as file:
            np.savez(
                file, features=np.concatenate([one.features for one in readings]),
                windows=np.array([len(one.features) for one in readings]),
                truncated=np.array([one.truncated for one in readings]),
            )  # fmt: skip
        aside.replace(path)

    def _load(self, path: Path, texts: list[str]) -> None:
        with np.load(path, allow_pickle=False) as stored:
            features, windows, truncated = stored["features"], stored["windows"], stored["truncated"]
        ends = np.cumsum(windows)
        for i, text in enumerate(texts):
            self.readings[text] = Reading(features[ends[i] - windows[i] : ends[i]], bool(truncated[i]))

    def first(self, texts: Iterable[str]) -> np.ndarray:
        """The first windows' features, `[n, width]`: what heads are fitted on."""
        return np.stack([self.readings[text].features[0] for text in texts])

    def read(self, head: Head, texts: Iterable[str]) -> dict[str, Read]:
        """For each text the largest logit of each output over its windows, and the windows' features."""
        kept = {text: self.readings[text].features for text in dict.fromkeys(texts)}
        return {text: (head.logits(features).max(0), features) for text, features in kept.items()}
