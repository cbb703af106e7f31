"""A/A runs: two samples of one and the same model are compared, again and again. A test that is right says "different" as
often as its level allows, one time in twenty; one that says so more often would find improvements that are not there.

    python benchmarks/aa_runs.py [--trials 2000] [--json]

Every trial draws from its name, so the figures are the same on every machine. Tests marked "naive" are not Solon's: they
show what the same data do to the usual shortcuts, and that these simulations can fail a test at all.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from solon.core.keys import rng
from solon.evals import statistics as st
from solon.evals.sequential import ab, betting, normal_mixture, running_difference
from solon.evals.statistics.figures import ALPHA

Draw = np.random.Generator


@dataclass(frozen=True)
class Case:
    """One test on data without a difference. `expected` is its rate of false alarms: exactly, or (`most`) an upper bound.
    `naive` ones are expected to lie above it."""

    name: str
    rejects: Callable[[Draw], bool]
    expected: float = ALPHA
    most: bool = False
    naive: bool = False


@dataclass(frozen=True)
class Result:
    """How often a test gave a false alarm, with Wilson's interval."""

    name: str
    rate: float
    low: float
    high: float
    trials: int
    expected: str
    verdict: str


def shares(n: int, p: float, flip: float) -> Callable[[Draw], tuple[np.ndarray, np.ndarray]]:
    """Answers of one model to n prompts, sampled twice: most prompts are answered alike both times."""

    def draw(generator: Draw) -> tuple[np.ndarray, np.ndarray]:
        usual = generator.random(n) < p
        again = lambda: usual ^ (generator.random(n) < flip)  # noqa: E731
        return again(), again()

    return draw


def families(generator: Draw, count: int = 25, size: int = 8) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Two samples of scores in families of wordings: what a family's score does, it does in all its wordings."""
    group = np.repeat(np.arange(count), size)
    one, two = (generator.normal(size=count)[group] + generator.normal(size=count * size) for _ in range(2))
    return one, two, group.tolist()


def family_of_tests(adjust: Callable[[list[float]], list[float]], tests: int = 20) -> Callable[[Draw], bool]:
    """Whether any of many comparisons is called different."""
    draw = shares(200, 0.5, 0.15)
    return lambda g: min(adjust([st.paired_proportions(*draw(g)).p for _ in range(tests)])) < ALPHA


def settled(generator: Draw, n: int = 80) -> np.ndarray:
    """Wins, losses and ties of a model against itself."""
    return generator.choice([0.0, 0.5, 1.0], size=n, p=[0.35, 0.3, 0.35])


def arms(generator: Draw, n: int = 600, p: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Traffic of an experiment whose arms are the same."""
    return np.where(generator.random(n) < 0.5, "b", "a"), (generator.random(n) < p).astype(float)


def peeked_z(generator: Draw) -> bool:
    """The usual z test, looked at after every answer from the hundredth on."""
    difference, variance = running_difference(*arms(generator), "a", "b", least=50)
    return bool((np.abs(difference) / np.sqrt(variance) > st.Z).any())


def excludes(low: float, high: float, value: float = 0.0) -> bool:
    """Whether an interval leaves the truth out."""
    return not low <= value <= high


def cases() -> list[Case]:
    """All tests, Solon's and the naive ones."""
    few, many = shares(40, 0.4, 0.1), shares(200, 0.4, 0.2)
    size = lambda n, flip: st.power_of_shares(n, flip * (1 - flip), flip * (1 - flip))  # noqa: E731
    normal = lambda n: lambda g: g.normal(size=(2, n))  # noqa: E731
    skewed = lambda g: g.gamma(0.7, size=(2, 60))  # noqa: E731
    return [
        Case("McNemar exact, 40 prompts", lambda g: st.paired_proportions(*few(g)).p < ALPHA, size(40, 0.1)),
        Case("McNemar mid-p, 200 prompts", lambda g: st.paired_proportions(*many(g)).p < ALPHA, size(200, 0.2)),
        Case("Tango's interval, 200 prompts", lambda g: excludes(*_ends(st.paired_proportions(*many(g))))),
        Case("sign flips exact, 12 prompts", lambda g: st.sign_flip(np.subtract(*normal(12)(g)), "aa")[0] < ALPHA),
        Case("sign flips, 60 prompts", lambda g: st.sign_flip(np.subtract(*normal(60)(g)), "aa")[0] < ALPHA),
        Case("sign flips, 60 prompts, skewed", lambda g: st.sign_flip(np.subtract(*skewed(g)), "aa")[0] < ALPHA),
        Case("BCa interval of changes, 60 prompts", lambda g: excludes(*_ends(st.mean(np.subtract(*normal(60)(g)))))),
        Case("BCa interval of changes, skewed", lambda g: excludes(*_ends(st.mean(np.subtract(*skewed(g)))))),
        Case("families flip as a whole", lambda g: _flipped(g) < ALPHA),
        Case("t interval over families", lambda g: excludes(*_ends(_by_family(g)))),
        Case("naive: families ignored", lambda g: st.sign_flip(np.subtract(*families(g)[:2]), "aa")[0] < ALPHA, naive=True),
        Case("sign test of wins", lambda g: st.win_comparison(settled(g)).p < ALPHA, st.power_of_shares(80, 0.35, 0.35)),
        Case("Holm over 20 comparisons, any", family_of_tests(st.holm), most=True),
        Case("Benjamini-Hochberg over 20, any", family_of_tests(st.benjamini_hochberg), most=True),
        Case("naive: 20 comparisons, unadjusted", family_of_tests(list), naive=True),
        Case("betting, looked at after every answer", lambda g: betting(g.random(500) < 0.3, null=0.3, grid=50).p[-1] <= ALPHA, most=True),
        Case("A/B on traffic, after every answer", lambda g: ab(*arms(g), "a", "b").p[-1] <= ALPHA, most=True),
        Case("normal mixture, after every answer", lambda g: _mixed(g) <= ALPHA, most=True),
        Case("naive: z test after every answer", peeked_z, naive=True),
    ]  # fmt: skip


def run(case: Case, trials: int) -> Result:
    """One test's false alarms over named trials. It fails if the interval (99.9 %) lies beyond what is expected."""
    hits = [case.rejects(rng("aa", case.name, trial)) for trial in range(trials)]
    found = st.proportion(hits)
    error = 3.29 * math.sqrt(case.expected * (1 - case.expected) / trials)
    if case.naive:
        verdict = "wrong, as expected" if found.low > ALPHA else "NOT SEEN TO BE WRONG"
    elif found.value > case.expected + error:
        verdict = "TOO OFTEN"
    else:
        verdict = "as expected" if case.most or found.value >= case.expected - error else "TOO RARELY"
    told = f"above {ALPHA}" if case.naive else f"at most {case.expected:.3g}" if case.most else f"{case.expected:.3g}"
    return Result(case.name, found.value, found.low, found.high, trials, told, verdict)


def _ends(found: st.Figure | st.Comparison) -> tuple[float, float]:
    return found.low, found.high


def _flipped(generator: Draw) -> float:
    one, two, group = families(generator)
    return st.paired_means(one, two, group).p


def _by_family(generator: Draw) -> st.Figure:
    one, two, group = families(generator)
    return st.clustered_mean(two - one, group)


def _mixed(generator: Draw) -> float:
    difference, variance = running_difference(*arms(generator), "a", "b")
    return float(normal_mixture(difference, variance, scale=0.1).p[-1])


def main() -> None:
    """Run all tests, one line each as it is done."""
    parser = argparse.ArgumentParser(description="How often tests call a model different from itself.")
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = []
    for case in cases():
        one = run(case, options.trials)
        found.append(one)
        if not options.json:
            print(f"{one.name:38} {one.rate:.4f}  [{one.low:.4f}, {one.high:.4f}]  n={one.trials}  expected {one.expected:13} {one.verdict}", flush=True)
    if options.json:
        print(json.dumps([asdict(one) for one in found], indent=2))


if __name__ == "__main__":
    main()
