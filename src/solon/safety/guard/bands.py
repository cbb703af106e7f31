"""Thresholds: below which score a tier lets a text pass, from which it stops it, and where it decides when left alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solon.core.artifacts import digest
from solon.core.errors import ConfigError, DataError, MissingError
from solon.safety.guard.rulings import Outcome

FORMAT = 1
NEVER = 2.0
"""A threshold that no score reaches."""


@dataclass(frozen=True)
class Band:
    """A text passes below `pass_below` and is stopped from `stop_from` on; in between the next tier is asked. Where there
    is none to ask, it is stopped from `strict` on, which lies between the two."""

    pass_below: float
    stop_from: float
    strict: float

    def __post_init__(self) -> None:
        numbers = (self.pass_below, self.strict, self.stop_from)
        if not all(isinstance(one, int | float) and 0 <= one <= NEVER for one in numbers) or sorted(numbers) != list(numbers):
            expected = "0 <= pass_below <= strict <= stop_from"
            raise ConfigError("the thresholds of a tier are out of order", got=numbers, expected=expected)

    def outcome(self, score: float) -> Outcome:
        return "pass" if score < self.pass_below else "stop" if score >= self.stop_from else "ask"

    def alone(self, score: float) -> Outcome:
        """What is decided of a doubtful text when nobody else can be asked."""
        return "stop" if score >= self.strict else "pass"


ASK_ALWAYS = Band(0.0, NEVER, 0.0)
"""Of a tier without thresholds of its own: it decides nothing, and when left alone stops everything."""
Bands = Mapping[str, Mapping[str, Band]]
"""By side (`input`, `output`, `retrieved`) and tier."""


@dataclass(frozen=True)
class Chosen:
    """Thresholds with what they were chosen for: `card` is the classifier's, `probe` the digest of the probe's model."""

    bands: Bands
    card: str
    probe: str
    facts: Mapping[str, Any]

    @property
    def version(self) -> str:
        """A name for these thresholds and what they were chosen for: the hash of all that decides."""
        bands = {side: {tier: asdict(band) for tier, band in tiers.items()} for side, tiers in self.bands.items()}
        return digest([bands, self.card, self.probe])

    def band(self, side: str, tier: str) -> Band:
        return self.bands.get(side, {}).get(tier, ASK_ALWAYS)


def load(path: str | Path | None = None) -> Chosen:
    """The thresholds that come with Solon, or those of a file that `solon guard measure` wrote."""
    place: Any = Path(path) if path else files("solon") / "safety" / "guard" / "thresholds.json"
    if not place.is_file():
        raise MissingError(f"there is no file {place}", fix="make one: solon guard measure MODEL --out FILE")
    try:
        return read(json.loads(place.read_text("utf-8")))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{place.name} holds no thresholds", got=error, fix="make it again: solon guard measure MODEL --out FILE") from error


def read(content: Mapping[str, Any]) -> Chosen:
    """Thresholds from their JSON form."""
    if content.get("format") != FORMAT:
        raise ConfigError("the thresholds are of another format", got=content.get("format"), expected=FORMAT)
    bands = {side: {tier: Band(**band) for tier, band in tiers.items()} for side, tiers in content["bands"].items()}
    return Chosen(bands, content["card"], content["probe"], {k: v for k, v in content.items() if k not in ("bands", "format")})


def choose(harmful: Sequence[bool], scores: Sequence[float], pass_harm: float, stop_false: float, strict_false: float) -> Band:
    """The band of a tier from labelled scores.

    `pass_below` is the highest threshold below which at most the share `pass_harm` of the harmful lies; `stop_from` and
    `strict` are the lowest from which at most `stop_false` and `strict_false` of the harmless lie. Where one threshold
    keeps both budgets, the band has no middle. Raises `DataError` without texts of both kinds."""
    y, p = np.asarray(harmful, bool), np.asarray(scores, float)
    if y.all() or not y.any():
        raise DataError("thresholds need harmful and harmless texts", got=f"{int(y.sum())} of {len(y)} harmful")
    low = _highest(p[y], pass_harm)
    high, strict = (_lowest(p[~y], share) for share in (stop_false, max(strict_false, stop_false)))
    if low >= high:  # the two kinds lie so far apart that nothing is doubtful: of the thresholds between, the strictest
        low = strict = high
    return Band(*(round(float(one), 6) for one in (low, high, min(max(strict, low), high))))


def _highest(harmful: NDArray[np.float64], share: float) -> float:
    """The highest threshold below which at most this share lies: the first harmful score that would be too many."""
    ordered = np.sort(harmful)
    return float(min(ordered[min(int(share * len(ordered)), len(ordered) - 1)], 1.0))


def _lowest(harmless: NDArray[np.float64], share: float) -> float:
    """The lowest threshold from which at most this share lies: just above the score that would be one too many."""
    ordered = np.sort(harmless)[::-1]
    allowed = int(share * len(ordered))
    return float(np.nextafter(ordered[allowed], 2)) + 1e-6 if allowed < len(ordered) else 0.0
