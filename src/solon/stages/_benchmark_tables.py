"""What benchmark artifacts say together: models on the same items, a model by domain, and targets with what is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache, wraps
from itertools import combinations
from typing import Any

from solon.core.artifacts import Artifact, Record, Store
from solon.core.errors import DataError
from solon.evals import statistics
from solon.evals.asking import gathered, load, names, scores
from solon.evals.strengths import Battle, strengths
from solon.stages._benchmark_scores import changed, group_changes

DOMAINS = ("science", "mathematics", "coding", "writing", "language")
TARGETS = (
    ("HumanEval", "humaneval", "pass@1", 0.99), ("MBPP", "mbpp", "pass@1", 0.98), ("SWE-bench Verified", "repairs", "resolved", 0.92),
    ("LiveCodeBench", "dated_programs", "pass@1", 0.88), ("GPQA Diamond", "hard_choices", "acc", 0.86), ("Consistency over wordings", "consistency", "paraphrase", 0.9),
    ("Consistency over seeds", "consistency", "seed", 0.9),
    ("Consistency over option order", "consistency", "option_order", 0.9),
)  # fmt: skip
"""Goals with the suite and figure that measure them."""
STAND_INS = ("repairs", "dated_programs", "hard_choices")
"""Suites of our own that stand where a goal's benchmark would. They are easier, so that their figures meet no goal."""


def _once(compute: Callable[[Artifact, Artifact], list[Record]]) -> Callable[[Artifact, Artifact], list[Record]]:
    """Finished artifacts do not change, and a release asks several times what two of them say together, which is resampled."""
    known = lru_cache(maxsize=128)(compute)

    @wraps(compute)
    def found(a: Artifact, b: Artifact) -> list[Record]:
        return [dict(row) for row in known(a, b)]  # who asks may write a correction into them

    return found


def units(artifact: Artifact) -> dict[str, Record]:
    """The rows that an artifact's figures are of, by id: groups where the suite makes them, else items."""
    name = "groups" if (artifact.path / "groups.jsonl").exists() else "rows"
    return {row["id"]: row for row in artifact.rows(name) if not row.get("dropped")}


def compared(a: Artifact, b: Artifact) -> list[Record]:
    """Each figure of one suite on two models, paired by item: the change from a to b, its test, Holm's correction over
    the suite's figures, and what could have been seen. Items that one of the two lacks are left out and counted."""
    found = _changes(a, b)
    statistics.correct(found)
    return found


def every_pair(artifacts: Mapping[str, Artifact]) -> list[Record]:
    """One suite on several models by name: `compared` for each two of them (`from`, `to`, in the order given), with Holm's
    correction over all figures of all pairs."""
    found = [{"from": a, "to": b, **row} for a, b in combinations(artifacts, 2) for row in _changes(artifacts[a], artifacts[b])]
    statistics.correct(found)
    return found


def every_pair_by_group(artifacts: Mapping[str, Artifact]) -> list[Record]:
    """The suite's scores by group for each two models, with Holm's correction over groups and pairs of each score."""
    found = [{"from": a, "to": b, **row} for a, b in combinations(artifacts, 2) for row in compared_groups(artifacts[a], artifacts[b])]
    for score in dict.fromkeys((row["figure"], row["tag"]) for row in found):
        statistics.correct([row for row in found if (row["figure"], row["tag"]) == score])
    return found


def across_suites(changes: Mapping[str, Sequence[Record]]) -> list[Record]:
    """The main figure of each suite, of each two models: `p_holm` and `q` (Benjamini-Hochberg) over all of them, since whoever
    looks at ten suites looks for one that changed. The sentences are told after this correction."""
    found = [dict(row) for rows in changes.values() for row in rows if row["main"]]
    statistics.correct(found)
    for row, q in zip(found, statistics.benjamini_hochberg([row["p"] for row in found]), strict=True):
        row["q"] = q
    return found


def ranking(artifacts: Mapping[str, Artifact]) -> Record:
    """Strengths of several models by who did better on an item of one suite, by its main figure (Bradley-Terry; equal values
    are ties): `models` with log-odds against the average of them, or `why` there are none."""
    card = next(iter(artifacts.values())).read("card.json")
    main = next(iter(card["figures"]))
    rows = {name: units(one) for name, one in artifacts.items()}
    battles = []
    for a, b in combinations(artifacts, 2) if main not in card.get("neutral", ()) else ():
        for id in rows[a].keys() & rows[b].keys():
            both = [rows[name][id]["figures"].get(main) for name in (a, b)]
            if None not in both:
                (first, second) = (sum(flat) / len(flat) for flat in (_flat([one])[0] for one in both))
                ahead = (first > second) - (first < second)
                battles.append(Battle(id, a, b, 0.5 + (-ahead if main in card["lower_is_better"] else ahead) / 2))
    nothing: Record = {"suite": card["suite"], "figure": main, "models": {}}
    if all(one.outcome == 0.5 for one in battles):
        return nothing | {"why": "no model did better than another on any item" if battles else "it is not one value an item"}
    try:
        made = strengths(sorted(battles, key=lambda one: (str(one.item), one.first, one.second)), position=False, name=f"{card['suite']} {main}")
    except DataError as error:
        return nothing | {"why": str(error).splitlines()[0]}
    told = {name: {"value": one.value, "ci": [one.low, one.high], "n": one.n, "how": one.how} for name, one in made.models.items()}
    return nothing | {"models": told, "why": ""}


@_once
def _changes(a: Artifact, b: Artifact) -> list[Record]:
    """Each figure of one suite on two models, before any correction."""
    if a.read("card.json")["suite"] != b.read("card.json")["suite"]:
        raise DataError("two different suites cannot be compared", got=f"{a.id} and {b.id}")
    first, second, card = units(a), units(b), a.read("card.json")
    found: list[Record] = []
    known = scores(load(card["suite"]))
    rows, lost = shared_rows(a, b) if known else (([], []), 0)
    for name, told in a.read("figures.json")["figures"].items():
        if name in known:
            found += _scored(name, known[name], told, card, rows, lost)
            continue
        both = [id for id in first if name in first[id]["figures"] and id in second and name in second[id]["figures"]]
        left_out = sum(name in row["figures"] for row in [*first.values(), *second.values()]) - 2 * len(both)
        if not both:
            continue
        values = [[rows[id]["figures"][name] for id in both] for rows in (first, second)]
        change = _change(values[0], values[1], f"{card['suite']} {name}")
        ends = [sum(flat) / len(flat) for flat in (_flat(values[0])[0], _flat(values[1])[0])]
        record = {"suite": card["suite"], "figure": name, "main": name == next(iter(card["figures"])), **asdict(change)}
        kept = {key: told[key] for key in ("what", "share", "lower_is_better")}
        neutral = name in card.get("neutral", ())
        found.append({**record, **kept, "a": ends[0], "b": ends[1], "left_out": left_out, "neutral": neutral})
    return found


def _scored(name: str, score: Any, told: Record, card: Record, rows: tuple[list[Record], list[Record]], left_out: int) -> list[Record]:
    """One score of a suite on two models; an empty list where they share no row of it."""
    one = changed(score, *rows, f"{card['suite']} {name}", told["share"])
    if one is None:
        return []
    record = {"suite": card["suite"], "figure": name, "main": name == next(iter(card["figures"])), **one}
    kept = {key: told[key] for key in ("what", "share", "lower_is_better")}
    return [{**record, **kept, "neutral": name in card.get("neutral", ()), "left_out": left_out}]


def shared_rows(a: Artifact, b: Artifact) -> tuple[tuple[list[Record], list[Record]], int]:
    """What a suite's scores are of, from the items that both models have with the same parts; and how many are left out."""
    suite = load(a.read("card.json")["suite"])
    first, second = ({row["id"]: row for row in one.rows("rows") if not row.get("dropped")} for one in (a, b))
    both = [id for id in first if id in second and _parts(first[id]) == _parts(second[id])]
    left_out = len(first) + len(second) - 2 * len(both)
    return (gathered(suite, [first[id] for id in both]), gathered(suite, [second[id] for id in both])), left_out


def _parts(row: Record) -> tuple[frozenset[str], bool]:
    return frozenset(row.get("tallies", ())), "sure" in row


@_once
def compared_groups(a: Artifact, b: Artifact) -> list[Record]:
    """The suite's scores by group, before and after, with Holm's correction over the groups of each score."""
    card = a.read("card.json")
    return group_changes(card, scores(load(card["suite"])), *shared_rows(a, b)[0])


def largest_drop(rows: Sequence[Record]) -> Record | None:
    """The suite whose first figure got worse by the largest share of what it was, of what `across_suites` gives; None where
    none got worse. A bias score, which is best in the middle, has no such share."""
    drops = []
    for row in rows:
        worse = row["difference"] if row["lower_is_better"] else -row["difference"]
        if not row.get("neutral") and worse > 0 and row["a"]:
            drops.append({**{key: row[key] for key in ("suite", "figure", "from", "to", "share", "plain", "p_holm", "q")}, "lost": worse / abs(row["a"])})
    return max(drops, key=lambda one: one["lost"], default=None)


def _change(a: Sequence[Any], b: Sequence[Any], name: str) -> statistics.Comparison:
    """McNemar for yes and no, a sign-flip test for other numbers; lists are clusters and flip as a whole."""
    (first, clusters), (second, _) = _flat(a), _flat(b)
    listed = any(isinstance(one, list) for one in a)
    if set(first) | set(second) <= {0.0, 1.0}:
        return statistics.paired_proportions(first, second, clusters if listed else None, name)
    return statistics.paired_means(first, second, clusters if listed else None, name)


def _flat(values: Sequence[Any]) -> tuple[list[float], list[int]]:
    pairs = [(x, place) for place, one in enumerate(values) for x in (one if isinstance(one, list) else [one])]
    return [x for x, _ in pairs], [place for _, place in pairs]


def capability(artifacts: Mapping[str, Artifact]) -> dict[str, list[Record]]:
    """A checkpoint by domain: the first figure of every suite that has rows in it, with interval and n. Figures of
    different suites stand beside each other and are not averaged: they do not mean the same."""
    table: dict[str, list[Record]] = {domain: [] for domain in DOMAINS}
    for suite, artifact in artifacts.items():
        card, rows = artifact.read("card.json"), units(artifact).values()
        main = next(iter(card["figures"]))
        for domain in DOMAINS:
            values = [
                row["figures"][main]
                for row in rows
                if row["tags"].get("domain", card["domain"]) == domain and main in row["figures"]
            ]
            if values:
                flat, _ = _flat(values)
                yes_no = set(flat) <= {0.0, 1.0}
                one = statistics.proportion(flat) if yes_no else statistics.mean(flat, name=f"{suite} {main} {domain}")
                cell = {"suite": suite, "figure": main, "value": one.value, "ci": [one.low, one.high], "n": one.n, "how": one.how}
                table[domain].append({**cell, "share": main not in card["numbers"]})
    return table


def targets(store: Store, left_out: Callable[[str], None] = lambda line: None) -> list[Record]:
    """Each goal with the best-attested measurement of every model: value, gap and a verdict. Met means that the whole
    interval lies at or above the target; a goal that no artifact measures is `not measured`, and one of which only a suite of
    our own is known is `own items only`, whatever its figure.

    A model is what its artifact records (the artifact that made it, or a name with the hash of its weights), in its form,
    and not what somebody typed: `latest:aligned` is another model in every run. Of equally large measurements the lower one
    is taken. Artifacts that were changed by hand, or that an earlier version of their suite made, are left out and told."""
    measured: dict[tuple[str, str], dict[str, Record]] = {}
    for path in sorted((store.root / "artifacts").glob("benchmark-*/evidence.json")):
        artifact = Artifact(path.parent.name, path.parent)
        fault = artifact.unsound() or _outdated(artifact)
        if fault:
            left_out(f"{artifact.id} is left out: {fault}")
            continue
        facts = artifact.evidence["facts"]
        suite, model = facts["suite"], " ".join(filter(None, (artifact.evidence["inputs"]["model"], facts.get("quantise"))))
        for name, figure in artifact.read("figures.json")["figures"].items():
            known = measured.setdefault((suite, name), {})
            if model not in known or (known[model]["n"], -known[model]["value"]) < (figure["n"], -figure["value"]):
                known[model] = {"model": model, **figure, "artifact": artifact.id}
    rows = []
    for goal, suite, name, target in TARGETS:
        found: list[Record] = list(measured.get((suite, name), {}).values()) or [{}]
        rows += [{"goal": goal, "target": target, "stand_in": suite if suite in STAND_INS else None, **_gap(one, target, suite in STAND_INS)} for one in found]
    return rows


def _outdated(artifact: Artifact) -> str:
    suite, version = (artifact.evidence["config"][key] for key in ("suite", "suite_version"))
    now = load(suite).VERSION if suite in names() else None
    return "" if version == now else f"it is of version {version} of {suite}, and {f'this is {now}' if now else 'there is no such suite'}"


def _gap(one: Mapping[str, Any], target: float, stand_in: bool) -> Record:
    if not one:
        return {"model": None, "value": None, "ci": None, "n": 0, "gap": None, "verdict": "not measured"}
    verdict = "met" if one["ci"][0] >= target else "not shown" if one["value"] >= target else "missed"
    verdict = "own items only" if stand_in else verdict
    kept = {key: one[key] for key in ("model", "value", "ci", "n", "artifact")}
    return {**kept, "gap": one["value"] - target, "verdict": verdict}
