"""`solon eval`: benchmarks of a model, and models compared on the same items."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from solon.cli.show import Json, Quantise, Runs, clean, emit, epilog, note, store, table
from solon.core.errors import ConfigError, StorageError


def attach(app: typer.Typer) -> None:
    """Hang this part's command into the tree."""
    app.command(
        "eval",
        epilog=epilog(
            "solon eval --list",
            "solon eval smollm2-135m-instruct truthfulqa,mmlu --limit 200",
            "solon eval latest:aligned capability --limit 100",
            "solon eval latest:aligned mmlu --limit 200 --quantise int4",
            "solon eval latest:base latest:aligned --suite ifeval",
            "solon eval latest:base latest:aligned --suite bias --limit 50",
            "solon eval latest:base latest:sl latest:aligned --suite capability --limit 100",
            "solon eval latest:aligned uncertainty --limit 200",
            "solon eval latest:aligned mt_bench --judge latest:base",
            "solon eval latest:aligned dated_programs --since 2026-11-01",
            "solon eval targets",
            "solon eval power mmlu,gsm8k --limit 200 --difference 0.05",
        ),
    )(evaluate)


def evaluate(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="MODEL SUITE[,SUITE], or with --suite one model or several to compare, or `targets`, or `power SUITE`.", metavar="MODEL SUITE"),
    ] = None,
    suite: Annotated[
        str | None, typer.Option("--suite", metavar="SUITE", help="Suites by name, with commas; `capability`, `bias`, `uncertainty`, `own` and `all` are several.")
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="The suites: source, licence, how each is asked and scored.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="That many items, chosen by the seed.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Chooses items and examples, and draws replies.")] = 0,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Draws an item, for pass@k.")] = 1,
    temperature: Annotated[float, typer.Option("--temperature", min=0.0, help="Of draws where the suite fixes none.")] = 0.0,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", min=1, help="At most so many tokens a reply.")] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="DATE", help="Only items written on that day or later, where a suite has dates.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="DATE", help="Only items written on that day or earlier.")] = None,
    judge: Annotated[str | None, typer.Option("--judge", metavar="MODEL", help="Grades open answers (mt_bench), never quantised.")] = None,
    difference: Annotated[float | None, typer.Option("--difference", metavar="SHARE", help="With `power`: how many items show it (0.05 is 5 points).")] = None,
    quantise: Quantise = "none",
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Ask a model the items of benchmarks in their official form. Results are artifacts: a second call finds them."""
    if listing:
        return _list(json)
    given = list(names or [])
    if given == ["targets"]:
        return _targets(runs, json)
    if given[:1] == ["power"]:
        return _power(given[1:], limit, difference, seed, json)
    if difference is not None:
        raise ConfigError("--difference goes with `power`", fix="solon eval power SUITE --difference SHARE")
    models, suites = _who(given, suite)
    from solon.core.config import build
    from solon.stages.benchmark import Benchmark

    given_options = {"limit": limit, "seed": seed, "samples": samples, "temperature": temperature, "max_tokens": max_tokens, "since": since, "until": until}
    config = build(Benchmark, given_options, "solon eval")
    _run(models, suites, config, judge, quantise, runs, json)


def _who(given: list[str], suite: str | None) -> tuple[list[str], list[str]]:
    """Models and suites from what was typed."""
    from solon.stages.benchmark import chosen_suites

    if suite is None:
        if len(given) != 2:
            fix = "solon eval MODEL SUITE, or solon eval A B --suite SUITE; solon eval --list names the suites"
            raise ConfigError("name a model and a suite", got=" ".join(given) or "nothing", fix=fix)
        return given[:1], chosen_suites(given[1])
    if not given or len(set(given)) < len(given):
        raise ConfigError("name one model, or two different ones or more to compare", got=" ".join(given) or "nothing")
    return given, chosen_suites(suite)


def _run(models: list[str], suites: list[str], config: Any, judge: str | None, quantise: str, runs: Any, json: bool) -> None:
    from solon.stages._benchmark_tables import (
        DOMAINS,
        across_suites,
        capability,
        every_pair,
        every_pair_by_group,
        largest_drop,
        ranking,
    )
    from solon.stages.benchmark import Subject, benchmark

    place = store(runs, quiet=json)
    grader = Subject(judge, place) if judge else None
    made: dict[str, dict[str, Any]] = {suite: {} for suite in suites}
    for name in models:
        subject = Subject(name, place, quantise)
        for suite in suites:
            one = made[suite][name] = _sound(benchmark(place, config, suite, subject, grader, capped=len(suites) > 1))
            if one.reused and not json:
                note(f"{suite}: found {one.id}")
    several = made if len(models) > 1 else {}
    changes = {suite: every_pair(of) for suite, of in several.items()}
    groups = {suite: every_pair_by_group(of) for suite, of in several.items()}
    rankings = [ranking(of) for of in made.values()] if len(models) > 2 else []
    mains = across_suites(changes)
    drop = largest_drop(mains)
    domains = {name: capability({suite: of[name] for suite, of in made.items()}) for name in models}
    told = [{"model": name, "quantise": quantise, "suites": {suite: _told(of[name]) for suite, of in made.items()}} for name in models]

    def human() -> None:
        for one in told:
            _figures(one)
        for suite, rows in changes.items():
            _changes(suite, rows)
            _group_changes(suite, groups[suite])
        for one in rankings:
            _ranking(one)
        if changes:
            _across(mains, drop)
        if sum(any(cells[domain] for cells in domains.values()) for domain in DOMAINS) > 1:
            _domains(domains)

    found = {"models": told, "changes": changes, "group_changes": groups, "rankings": rankings, "across_suites": mains, "largest_drop": drop, "domains": domains}
    emit(found, json, human)


def _sound(artifact: Any) -> Any:
    """The artifact, if it is as it was made: what was found and edited since is no result."""
    fault = artifact.unsound() if artifact.reused else ""
    if fault:
        fix = f"delete the folder artifacts/{artifact.id} and run the same command again: it is made anew"
        raise StorageError(f"the stored result {artifact.id} cannot be shown", got=fault, expected="the artifact as it was made", fix=fix)
    return artifact


def _told(artifact: Any) -> dict[str, Any]:
    """One suite's result, as `--json` gives it."""
    drawn = [str(path) for path in sorted(artifact.path.glob("*.svg"))]
    figures, card = artifact.read("figures.json"), artifact.read("card.json")
    return {"artifact": artifact.id, "reused": artifact.reused, **figures, "card": card, "pictures": drawn}


def _figures(one: dict[str, Any]) -> None:
    typer.echo(clean(one["model"]))
    rows = []
    for suite, told in one["suites"].items():
        for name, figure in told["figures"].items():
            share = figure["share"]
            chance = "" if figure["chance"] is None else _number(figure["chance"], share)
            target = "" if figure["target"] is None else f"{_number(figure['target'], share)} {_met(figure)}"
            rows.append((suite, name, figure["n"], _number(figure["value"], share), _interval(figure["ci"], share), chance, target))
        if not told["figures"]:
            rows.append((suite, "not graded", told["counts"]["items"], "", "", "", ""))
    table(("suite", "figure", "n", "value", "95 % interval", "by chance", "target"), rows, right=("n", "value", "by chance"))
    for suite, told in one["suites"].items():
        _groups(suite, told.get("groups", []))
        for line in _remarks(told["counts"]):
            typer.echo(f"{suite}: {line}")
        typer.echo(f"{suite}: {' '.join([told['artifact'], *told['pictures']])}")


def _groups(suite: str, rows: list[dict[str, Any]]) -> None:
    """A suite's scores by group; p is that there is no bias, corrected over the groups of one score."""
    if not rows:
        return
    cells = [
        (
            row["figure"], row["slice"], row["n"], _number(row["value"], row["share"]), _interval(row["ci"], row["share"]),
            "" if row["p_holm"] is None else f"{row['p_holm']:.3g}",
        )
        for row in rows
    ]  # fmt: skip
    typer.echo(f"{suite}, by group")
    table(("figure", "group", "n", "value", "95 % interval", "p (Holm)"), cells, right=("n", "value", "p (Holm)"))


def _met(figure: dict[str, Any]) -> str:
    return "met" if figure["ci"][0] >= figure["target"] else "not shown" if figure["value"] >= figure["target"] else "missed"


def _remarks(counts: dict[str, Any]) -> list[str]:
    """What the figures are not of."""
    lines = [f"{count} of {counts['items']} items dropped: {reason}" for reason, count in counts["dropped"].items()]
    lines += [f"{count} of {counts['items']} items {reason}" for reason, count in counts["missing"].items()]
    if counts["cut"]:
        lines.append(f"{counts['cut']} of {counts['items']} replies ended at the token limit")
    return lines


def _changes(suite: str, rows: list[dict[str, Any]]) -> None:
    for pair, part in _by_pair(rows):
        typer.echo(clean(f"{suite}: {pair}"))
        cells = [
            (
                row["figure"], row["n"], _number(row["a"], row["share"]), _number(row["b"], row["share"]), f"{row['p']:.3g}",
                f"{row['p_holm']:.3g}", row["plain"] + (f"; {row['left_out']} left out" if row["left_out"] else ""),
            )
            for row in part
        ]  # fmt: skip
        table(("figure", "n", "before", "after", "p", "p (Holm)", "finding"), cells, right=("n", "before", "after", "p", "p (Holm)"))
        for row in part:
            ends = row["effect_ci"]
            effect = f"{row['effect']:.2f}" + (f" (95 % CI {ends[0]:.2f} to {ends[1]:.2f})" if ends else "")
            typer.echo(f"{row['figure']}: {row['test']}; {row['effect_name']} {effect}")


def _group_changes(suite: str, rows: list[dict[str, Any]]) -> None:
    for pair, part in _by_pair(rows):
        cells = [
            (
                row["figure"], row["slice"], row["n"], _number(row["a"], row["share"]), _number(row["b"], row["share"]),
                _interval([row["low"], row["high"]], row["share"]), "" if row["p_holm"] is None else f"{row['p_holm']:.3g}",
            )
            for row in part
        ]  # fmt: skip
        typer.echo(clean(f"{suite}, by group: {pair}"))
        columns = ("figure", "group", "n", "before", "after", "change, 95 %", "p (Holm)")
        table(columns, cells, right=("n", "before", "after", "p (Holm)"))


def _by_pair(rows: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Rows of the same two models, under a heading that names them."""
    parts: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        parts.setdefault(f"from {row['from']} to {row['to']}", []).append(row)
    return list(parts.items())


def _ranking(one: dict[str, Any]) -> None:
    """Who does better item by item, where there are more than two models."""
    if one["why"]:
        typer.echo(f"{one['suite']}: no strengths by {one['figure']}: {one['why']}")
        return
    typer.echo(f"{one['suite']}: strengths by {one['figure']}, item by item (Bradley-Terry, log-odds against the average model)")
    ranked = sorted(one["models"].items(), key=lambda pair: -pair[1]["value"])
    table(("model", "n", "strength", "95 % interval"), [(name, it["n"], _number(it["value"], False), _interval(it["ci"], False)) for name, it in ranked], right=("n", "strength"))


def _across(mains: list[dict[str, Any]], drop: dict[str, Any] | None) -> None:
    """Main figures of all suites as one family, and the largest drop among them."""
    if len(mains) > 1:
        cells = [(row["suite"], row["figure"], f"{row['from']} to {row['to']}", row["n"], f"{row['p']:.3g}", f"{row['p_holm']:.3g}", f"{row['q']:.3g}", row["plain"]) for row in mains]
        typer.echo(f"main figures, as one family of {len(mains)} comparisons (q: Benjamini-Hochberg)")
        table(("suite", "figure", "models", "n", "p", "p (Holm)", "q", "finding"), cells, right=("n", "p", "p (Holm)", "q"))
    told = "none"
    if drop:
        pair = f", {drop['from']} to {drop['to']}" if len({(row["from"], row["to"]) for row in mains}) > 1 else ""
        told = f"{drop['suite']} {drop['figure']}{pair}, {100 * drop['lost']:.1f} % of what it was ({drop['plain']}; p {drop['p_holm']:.3g} by Holm, q {drop['q']:.3g})"
    typer.echo(clean(f"largest drop: {told}"))


def _domains(domains: dict[str, Any]) -> None:
    columns = list(next(iter(domains.values())))
    cell = lambda one: f"{one['suite']} {one['figure']} {_number(one['value'], one['share'])} {_interval(one['ci'], one['share'])} n {one['n']}"  # noqa: E731
    rows = [(name, *("\n".join(map(cell, cells[column])) for column in columns)) for name, cells in domains.items()]
    table(("model", *columns), rows)


def _list(json: bool) -> None:
    from dataclasses import asdict

    from solon.evals.asking import load, names
    from solon.stages.benchmark import BUNDLES

    cards = {name: load(name).CARD for name in names()}

    def human() -> None:
        rows = ((name, one.title, one.domain, one.licence, one.split, one.asked, one.scored) for name, one in cards.items())
        table(("suite", "what", "domain", "licence", "items", "asked", "scored"), rows)
        for name, several in BUNDLES.items():
            typer.echo(f"{name}: {', '.join(several) or 'every suite'}.")

    emit({name: asdict(one) for name, one in cards.items()}, json, human)


def _targets(runs: Any, json: bool) -> None:
    from solon.stages._benchmark_tables import targets

    rows = targets(store(runs, quiet=True), note)

    def human() -> None:
        cells = (
            (
                row["goal"] + (f", by {row['stand_in']}" if row["stand_in"] else ""), _number(row["target"], True), row["model"] or "", row["n"] or "",
                "" if row["value"] is None else f"{_number(row['value'], True)} {_interval(row['ci'], True)}",
                "" if row["gap"] is None else f"{100 * row['gap']:+.1f}", row["verdict"],
            )
            for row in rows
        )  # fmt: skip
        table(("goal", "target", "model", "n", "measured", "gap", "verdict"), cells, right=("target", "n", "gap"))

    emit(rows, json, human)


def _power(given: list[str], limit: int | None, difference: float | None, seed: int, json: bool) -> None:
    from solon.stages.benchmark import chosen_suites
    from solon.stages.power import CHANGED, power

    if len(given) != 1:
        raise ConfigError("name the suites", got=" ".join(given) or "nothing", fix="solon eval power SUITE[,SUITE] [--limit N]")
    rows = power(chosen_suites(given[0]), limit, difference, seed)
    shares = [f"{share:g}" for share in CHANGED]

    def human() -> None:
        columns = [f"{100 * share:g} % change" for share in CHANGED]
        cells = ((row["suite"], row["n"] or "not here", *(f"{100 * row['detectable'][one]:.1f} points" if row["detectable"] else "" for one in shares)) for row in rows)
        typer.echo("smallest difference between two models that is found in four of five runs (McNemar), if so many answers change either way:")
        table(("suite", "items", *columns), cells, right=("items", *columns))
        if difference is not None:
            needed = rows[0]["needed"]
            told = ", ".join(f"{needed[one]:,} ({column})" if needed[one] else f"no number ({column})" for one, column in zip(shares, columns, strict=True))
            typer.echo(f"items that show {100 * difference:g} points: {told}")

    emit(rows, json, human)


def _number(value: float, share: bool) -> str:
    return f"{100 * value:.1f} %" if share else f"{value:.3f}"


def _interval(ends: list[float], share: bool) -> str:
    low, high = (f"{100 * end:.1f}" if share else f"{end:.3f}" for end in ends)
    return f"[{low}, {high}]"
