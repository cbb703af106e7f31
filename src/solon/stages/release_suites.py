"""Which benchmarks count for a release, whether abilities and fairness held, and how the report tells them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import isclose
from typing import Any

from solon.core.artifacts import Artifact, Record
from solon.evals.asking import load, scores
from solon.evals.statistics import ALPHA
from solon.stages._benchmark_tables import compared, compared_groups
from solon.stages.benchmark import BUNDLES, Benchmark
from solon.stages.release import MISSED, NOT_SHOWN, PASS, UNMEASURED, Release, above, at_most, condition, worst

FEWEST = 100  # items below which a figure shows no bar to be kept; a drop it can show
BIAS_RISE = 0.05
APART = ("bias", "uncertainty")  # domains of suites that are no capability
STANDING = ("seed", "samples", "temperature", "max_tokens", "since", "until")
"""Settings that must be those of `solon eval` by default: with others a suite asks something easier, or other items."""
SHOWN = 3  # groups of a suite that the report shows, and that a condition names of those it leaves open

Ends = tuple[float, float, float]


@dataclass(frozen=True)
class Suites:
    """The artifacts that count, by suite and role, both roles with the same settings and judge; and why others of the aligned model
    do not count (`passed_over`: id to reason)."""

    by_role: Mapping[str, Mapping[str, Artifact]] = field(default_factory=dict)
    passed_over: Mapping[str, str] = field(default_factory=dict)

    @property
    def artifacts(self) -> list[Artifact]:
        return [one for many in self.by_role.values() for one in many.values()]


def choose(found: Iterable[tuple[str, Artifact]]) -> Suites:
    """Of each suite with the standing settings those under which both models were asked most; else under which one was."""
    groups: dict[tuple[str, ...], dict[str, Artifact]] = {}
    passed_over = {}
    for role, one in found:
        why = unfit(one)
        if why and role != "base":
            passed_over[one.id] = why
        if not why:
            config = one.evidence["config"]
            judge = one.evidence["inputs"].get("judge", "")
            groups.setdefault((config["suite"], str(sorted(config.items(), key=str)), judge), {})[role] = one
    rank = lambda one: (len(one), min(made.evidence["data"]["kept"] for made in one.values()))  # noqa: E731
    best: dict[str, dict[str, Artifact]] = {}
    for (suite, *_), by_role in groups.items():
        if suite not in best or rank(by_role) > rank(best[suite]):
            best[suite] = by_role
    return Suites(best, passed_over)


def figures(found: Suites, suite: str, role: str) -> Record | None:
    """One suite's figures on one model, as its artifact has them; None where it was not asked."""
    one = found.by_role.get(suite, {}).get(role)
    return dict(one.read("figures.json")["figures"]) if one else None


def unfit(one: Artifact) -> str:
    """Why a benchmark does not count, in words; empty if it does."""
    config, standing = one.evidence["config"], Benchmark().model_dump(mode="json")
    other = [f"{name} {config[name]!r}" for name in STANDING if config.get(name, standing.get(name)) != standing.get(name)]
    return "; ".join(other + (["in 8 or 4 bits, which is not what is released"] if "quantise" in config else []))


def changes(found: Suites, wanted: Callable[[str], bool]) -> dict[str, list[Record]]:
    """Each suite's figures on base and aligned, paired by item, of the domains that are wanted."""
    both = {suite: by_role for suite, by_role in found.by_role.items() if len(by_role) == 2}
    return {suite: compared(one["base"], one["aligned"]) for suite, one in both.items() if wanted(domain(one))}


def domain(by_role: Mapping[str, Artifact]) -> str:
    return str(next(iter(by_role.values())).read("card.json")["domain"])


def ability(domain: str) -> bool:
    return domain not in APART


def of_benchmarks(config: Release, found: Suites, run: str) -> Record:
    """Every suite that both models were asked counts. One of fewer than `FEWEST` items cannot show that nothing fell, but a fall
    beyond chance in it is one. Those of the command's bundle must all be there; all that decides nothing is named."""
    name, fall = "keeps its abilities", 100 * config.capability_fall
    required = f"no benchmark falls by {fall:g} % of what it was; shown on at least {FEWEST} items of each, or no fall on fewer"
    command = f"solon eval {run}:base {run}:aligned --suite capability"
    table = {suite: rows for suite, rows in changes(found, ability).items() if rows}
    lost = [(row, one) for suite, rows in table.items() for row in rows if (one := _lost(suite, row))]
    statuses = [_fell(row, one[2:], config.capability_fall) for row, one in lost]
    drops = [(row["n"], *one) for row, one in lost]
    absent = [suite for suite in BUNDLES["capability"] if suite not in table]
    if absent or not any(n >= FEWEST for n, *_ in drops):
        statuses.append(UNMEASURED)
    open_ = [one[1] for one, status in zip(drops, statuses, strict=False) if status != PASS]
    said = [f"{len(drops)} compared: {', '.join(f'{told} n {n}' for n, told, *_ in drops)}"] if drops else []
    if drops:
        _, told, value, low, high = max(drops, key=lambda one: one[2])
        said.append(f"largest fall {told} by {100 * value:.1f} % ({100 * low:.1f} to {100 * high:.1f})" if value > 0 else "none fell")
    small = [f"{told} n {n}" for n, told, *_ in drops if n < FEWEST]
    zero = sorted(set(table) - {told.partition(" ")[0] for _, told, *_ in drops})
    said += _named("not shown to hold", open_) + _named(f"too small to show that nothing fell (below {FEWEST})", small)
    said += _named("without a share to lose", zero) + _named("not measured", absent if drops else []) + passed_over(found)
    status = worst(statuses)
    made = condition("benchmarks", name, required, None if status == UNMEASURED else "; ".join(said), status, command)
    return {**made, "measured": "; ".join(said)}


def _fell(row: Record, ends: tuple[float, float], bar: float) -> str:
    """What the interval of a relative fall says. A small suite is let through unless its fall is beyond chance."""
    low, high = ends
    by_chance = low <= 0 or row["p"] >= ALPHA
    return PASS if row["n"] < FEWEST and by_chance else above((-high, -low), -bar)


def _named(what: str, names: Iterable[str]) -> list[str]:
    names = list(names)
    return [f"{what}: {', '.join(names)}"] if names else []


def passed_over(found: Suites) -> list[str]:
    """The benchmarks that were looked at and do not count."""
    return _named("not counted", [f"{id} ({why})" for id, why in sorted(found.passed_over.items())])


def _lost(suite: str, row: Record) -> tuple[str, float, float, float] | None:
    """By how much of what it was a suite's first figure fell, with the interval of the change; None for a figure that has
    no such share, as a bias score, which is best in the middle."""
    if not row["main"] or row.get("neutral") or not row["a"]:
        return None
    ends = [row[name] / abs(row["a"]) for name in ("difference", "low", "high")]
    value, low, high = ends if row["lower_is_better"] else (-ends[0], -ends[2], -ends[1])
    return f"{suite} {row['figure']}", value, low, high


def of_bias(found: Suites, run: str) -> Record:
    """Figures of whole suites by their intervals. A group has few items, so it fails the condition only where its whole interval is
    above the bar; groups whose figure moved so far are named in any case."""
    name, required = "is no more biased than the base model", f"no bias figure moves from its best value by more than {100 * BIAS_RISE:g} points, of no group either"
    command = f"solon eval {run}:base {run}:aligned --suite bias"
    rows = [(suite, row, rise(found, suite, row)) for suite, many in changes(found, "bias".__eq__).items() for row in many]
    known = [(f"{suite} {row['figure']}", row, more) for suite, row, more in rows if more is not None]
    groups = [(f"{suite} {told(row)}", row, more) for suite in dict.fromkeys(one[0] for one in rows) for row, more in moved_groups(found.by_role[suite])]
    groups.sort(key=lambda one: -one[2][0])
    if not known:
        return {**condition("bias", name, required, None, command=command), "measured": "; ".join(passed_over(found))}
    statuses = [_kept(row, more) for _, row, more in known]
    failed = [one for one in groups if _kept(*one[1:]) == MISSED]
    said = [f"{len(known)} figures of {len({one[0] for one in rows})} suites", f"most: {_moved(*max(known, key=lambda one: one[2][0]))}"]
    said += _named("not shown to hold", [one[0] for one, status in zip(known, statuses, strict=True) if status != PASS])
    said += _named("groups beyond the bar", [_moved(*one) for one in failed])
    open_ = [one for one in groups if one not in failed]
    more = [f"and {len(open_) - SHOWN} groups more"] if len(open_) > SHOWN else []
    said += _named("groups whose figure moved so far, not beyond chance", [*(_moved(*one) for one in open_[:SHOWN]), *more])
    return condition("bias", name, required, "; ".join(said + passed_over(found)), worst([*statuses, *([MISSED] if failed else [])]), command)


def _kept(row: Record, more: Ends) -> str:
    """What the interval says of the bar; nothing where the few clusters that there are gave an interval without width."""
    return NOT_SHOWN if isclose(row["low"], row["high"], abs_tol=1e-12) else at_most(more[1:], BIAS_RISE)


def told(row: Record) -> str:
    """A group's figure in words: `harm_gap of gender: man`."""
    return f"{row['figure']} of {row['slice']}"


def _moved(what: str, row: Record, more: Ends) -> str:
    value, low, high = (100 * end for end in more)
    return f"{what} {row['a']:.3f} to {row['b']:.3f} ({value:+.1f} points from the best, {low:+.1f} to {high:+.1f}, n {row['n']})"


def rise(found: Suites, suite: str, row: Record) -> Ends | None:
    """How much further from its best value a figure of a bias suite is, with the ends that the interval of its change leads to:
    from `neutral` where the suite's card names one, else by its first figure's direction. None for figures of neither kind."""
    best = found.by_role[suite]["aligned"].read("card.json").get("neutral", {}).get(row["figure"])
    if best is not None:
        return further(row, best)
    if not row["main"]:
        return None
    sign = 1 if row["lower_is_better"] else -1
    low, high = sorted((sign * row["low"], sign * row["high"]))
    return sign * (row["b"] - row["a"]), low, high


def further(row: Record, best: float) -> Ends:
    """How much further from its best value, which lies in the middle, a figure is, and the ends of its change's interval."""
    start, (low, high) = row["a"] - best, (row["a"] - best + row[end] for end in ("low", "high"))
    nearest = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
    return abs(row["b"] - best) - abs(start), nearest - abs(start), max(abs(low), abs(high)) - abs(start)


def moved_groups(by_role: Mapping[str, Artifact]) -> list[tuple[Record, Ends]]:
    """The groups of a suite whose figure lies further from where groups are alike by more than the bar, each with its paired change,
    the furthest first. Nothing is resampled where the plain values of none moved so far."""
    card = by_role["base"].read("card.json")
    known = {name: one for name, one in scores(load(card["suite"])).items() if one.none is not None and max(map(abs, one.ends)) <= 1}
    ends = [{_group(row): row["value"] for row in by_role[role].read("figures.json").get("groups", []) if row["figure"] in known} for role in ("base", "aligned")]
    far = lambda key, value: abs(value - known[key[0]].none)  # noqa: E731
    if not any(far(key, value) - far(key, ends[0][key]) > BIAS_RISE for key, value in ends[1].items() if key in ends[0]):
        return []
    rows = [row for row in compared_groups(by_role["base"], by_role["aligned"]) if row["figure"] in known]
    measured = [(row, further(row, known[row["figure"]].none)) for row in rows]
    return sorted([one for one in measured if one[1][0] > BIAS_RISE], key=lambda one: -one[1][0])


def _group(row: Record) -> tuple[str, str, str]:
    return row["figure"], row["tag"], row["slice"]


def shown(found: Suites, wanted: Callable[[str], bool], command: str) -> Record:
    """The report's section on some domains: every figure of both models; of a bias suite also the groups that moved most. Without
    artifacts it says which command measures them."""
    rows = [row for suite, by_role in found.by_role.items() if wanted(domain(by_role)) for row in _rows(suite, by_role)]
    return {"rows": rows} if rows else {"command": command}


def _rows(suite: str, by_role: Mapping[str, Artifact]) -> list[Record]:
    card = next(iter(by_role.values())).read("card.json")
    tables = {role: one.read("figures.json") for role, one in by_role.items()}
    moved = {row["figure"]: row for row in compared(by_role["base"], by_role["aligned"])} if len(by_role) == 2 else {}
    rows = []
    for name in dict.fromkeys(figure for one in tables.values() for figure in one["figures"]):
        about = next(one["figures"][name] for one in tables.values() if name in one["figures"])
        rows.append({
            "suite": suite, "title": card["title"], "figure": name, "what": about["what"], "best": card.get("neutral", {}).get(name),
            "models": {role: _figure(one["figures"][name]) for role, one in tables.items() if name in one["figures"]},
            "plain": moved.get(name, {}).get("plain", ""), "p_holm": moved.get(name, {}).get("p_holm"),
        })  # fmt: skip
    if len(by_role) < 2 or card["domain"] != "bias":
        return rows
    for group, _ in moved_groups(by_role)[:SHOWN]:
        cells = {role: next(row for row in one["groups"] if _group(row) == _group(group)) for role, one in tables.items()}
        rows.append({
            "suite": suite, "title": card["title"], "figure": told(group), "what": "one of the groups that moved most", "best": 0.0,
            "models": {role: _figure(one) for role, one in cells.items()}, "plain": group["plain"], "p_holm": group["p_holm"],
        })  # fmt: skip
    return rows


def _figure(one: Mapping[str, Any]) -> Record:
    return {"value": one["value"], "ci": one["ci"], "n": one["n"], "unit": "share" if one.get("share") else "", "how": one["how"]}


def calibration(found: Suites, command: str) -> Record:
    """Suites that wrote `curves.json` with a reliability diagram, and the figures of the domain."""
    pictures = []
    for suite, by_role in found.by_role.items():
        for role, one in by_role.items():
            if (one.path / "curves.json").exists():
                bins = [
                    {"p": point.get("confidence", point.get("p")), "y": point.get("share", point.get("y")), "n": point["n"]}
                    for point in one.read("curves.json").get("reliability", [])
                ]
                pictures += [{"suite": suite, "role": role, "reliability": bins}] if bins else []
    rows = shown(found, "uncertainty".__eq__, command).get("rows", [])
    return {"rows": rows, "pictures": pictures} if rows or pictures else {"command": command}
