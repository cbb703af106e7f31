"""Figures with their uncertainty, and comparisons of two models on the same items.

Everything here is paired by item: two models answered the same prompts, so the question is which answers changed. An
answer that could not be judged is missing, not a zero: drop the item on both sides before calling, and report how many.
"""

from __future__ import annotations

from solon.evals.statistics.effects import cohens_h, d_z, discordant_odds
from solon.evals.statistics.families import benjamini_hochberg, correct, holm
from solon.evals.statistics.figures import ALPHA, RESAMPLES, Comparison, Figure, Z
from solon.evals.statistics.means import bootstrap, clustered_mean, mean, standard_error
from solon.evals.statistics.paired import discordant_test, paired_means, paired_proportions, score_interval, sign_flip
from solon.evals.statistics.power import detectable, items_needed, power_of_mean, power_of_shares
from solon.evals.statistics.shares import ceiling, exact_proportion, proportion
from solon.evals.statistics.wins import settle, win_comparison, win_rate

__all__ = [
    "ALPHA",
    "RESAMPLES",
    "Comparison",
    "Figure",
    "Z",
    "benjamini_hochberg",
    "bootstrap",
    "ceiling",
    "clustered_mean",
    "cohens_h",
    "correct",
    "d_z",
    "detectable",
    "discordant_odds",
    "discordant_test",
    "exact_proportion",
    "holm",
    "items_needed",
    "mean",
    "paired_means",
    "paired_proportions",
    "power_of_mean",
    "power_of_shares",
    "proportion",
    "score_interval",
    "settle",
    "sign_flip",
    "standard_error",
    "win_comparison",
    "win_rate",
]
