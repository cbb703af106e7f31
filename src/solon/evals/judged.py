"""Figures from a judge that errs, corrected by what is known of its errors on items that people have labelled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from solon.core.errors import DataError
from solon.evals.statistics.figures import Figure, Z, column, only, pair


def corrected_share(
    flagged: Sequence[Any], caught: Sequence[Any], passed: Sequence[Any]
) -> Figure:
    """The true share behind the share that a judge flags (Rogan and Gladen 1978).

    `flagged` are the judge's verdicts on the items in question; `caught` its verdicts on items known to be positive
    (their mean is its sensitivity), `passed` whether it let items known to be negative go (their mean is its
    specificity). The interval is Lang and Reiczigel's (2014), which counts the uncertainty of all three. Raises
    `DataError` for a judge that is no better than chance: nothing can be concluded from it.
    """
    said, hits, quiet = (only(column(name, values), (0.0, 1.0), name) for name, values in (
        ("flagged", flagged), ("caught", caught), ("passed", passed)))  # fmt: skip
    skill = float(hits.mean() + quiet.mean()) - 1
    if skill <= 0:
        got = f"sensitivity {hits.mean():.3g}, specificity {quiet.mean():.3g}"
        raise DataError("the judge is no better than chance, so its figures cannot be corrected", got=got, expected="a sum above 1")
    value = min(1.0, max(0.0, (float(said.mean()) + float(quiet.mean()) - 1) / skill))
    low, high = _lang_reiczigel(said, hits, quiet)
    how = f"share corrected for the judge (sensitivity {hits.mean():.3f}, n {len(hits)}; specificity {quiet.mean():.3f}, "
    return Figure(value, low, high, len(said), how + f"n {len(quiet)}), Rogan-Gladen, Lang-Reiczigel 95 %")


def _lang_reiczigel(said: Any, hits: Any, quiet: Any) -> tuple[float, float]:
    n, z2 = len(said), Z * Z
    share = (float(said.sum()) + z2 / 2) / (n + z2)
    sensitivity, specificity = ((float(one.sum()) + 1) / (len(one) + 2) for one in (hits, quiet))
    skill = sensitivity + specificity - 1
    if skill <= 0:  # it was better than chance by less than one item
        return 0.0, 1.0
    true = (share + specificity - 1) / skill
    miss = sensitivity * (1 - sensitivity) / (len(hits) + 2)
    alarm = specificity * (1 - specificity) / (len(quiet) + 2)
    middle = true + 2 * z2 * (true * miss - (1 - true) * alarm)
    error = math.sqrt(share * (1 - share) / (n + z2) + true**2 * miss + (1 - true) ** 2 * alarm) / skill
    low, high = (min(1.0, max(0.0, end)) for end in (middle - Z * error, middle + Z * error))
    return low, high


def prediction_powered_mean(
    labels: Sequence[float], judged: Sequence[float], judged_only: Sequence[float], tuned: bool = True
) -> Figure:
    """The mean of labels, sharpened by a judge's scores of many more items (Angelopoulos et al. 2023, arXiv 2301.09633).

    `labels` and `judged` are of the same items, drawn at random from those in question; `judged_only` are the judge's
    scores of the rest. The judge may be wrong in any way: its mean error is measured on the labelled items and taken
    out, so the interval is right even where the judge is bad, and narrower than the labels' own where it is good.
    `tuned` leans on the judge only as far as it helps (arXiv 2311.01453); else it is leaned on wholly.
    """
    truth, score = pair(labels, judged)
    rest = column("judged_only", judged_only)
    n, many = len(truth), len(rest)
    if n < 2 or many < 2:
        raise DataError("a prediction-powered mean needs two items of each sort", got=f"{n} labelled, {many} judged only")
    lean = 1.0
    if tuned:
        spread = float(np.concatenate([score, rest]).var(ddof=1))
        lean = float(np.cov(truth, score)[0, 1]) / ((1 + n / many) * spread) if spread > 0 else 0.0
        lean = min(1.0, max(0.0, lean))
    value = lean * float(rest.mean()) + float((truth - lean * score).mean())
    error = math.sqrt(lean**2 * rest.var(ddof=1) / many + (truth - lean * score).var(ddof=1) / n)
    how = f"prediction-powered mean, normal 95 %; {n} labelled, {many} judged only, weight of the judge {lean:.2f}"
    return Figure(value, value - Z * error, value + Z * error, n + many, how)
