"""`solon failures`: how, on what and how often a model of a run fails."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from solon.cli.show import Json, Runs, clean, emit, epilog, store, table

SLICES = 8  # shown of each kind


def attach(app: typer.Typer) -> None:
    """Hang this part's command into the tree."""
    examples = epilog("solon failures latest", "solon failures latest --role sl", "solon failures latest --kind over_refused --by meaning", "solon failures latest --json")
    app.command("failures", epilog=examples)(failures)


def failures(
    run: Annotated[str, typer.Argument(help="A run's id, the beginning of one, or latest.", metavar="RUN")] = "latest",
    role: Annotated[str, typer.Option("--role", help="Which model of the run.")] = "aligned",
    kind: Annotated[str, typer.Option("--kind", metavar="KIND", help="Show one kind of failure in full.")] = "",
    by: Annotated[Literal["words", "meaning"], typer.Option("--by", help="Group failing prompts by their words, or by meaning (MiniLM).")] = "words",
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Kinds of failure with intervals, the prompts behind them in slices and groups, and what alignment mended or broke."""
    from solon.core.errors import MissingError, nearest
    from solon.stages.failures import failures
    from solon.stages.runs import find

    place = store(runs, quiet=json)
    found = find(place, run)
    made = failures(place, found, role, by)
    value = {"run": found.id, "role": role, "artifact": made.id, "rows": str((made.path / "rows.jsonl").resolve()), **made.read("failures.json")}
    known = [one["name"] for one in value["kinds"]]
    if kind and kind not in known:
        raise MissingError(f"there is no kind of failure {kind!r}", fix=nearest(kind, known))
    emit(value, json, lambda: human(value, kind))


def human(value: dict[str, Any], kind: str) -> None:
    """A table of kinds, then slices, groups and examples of those that happen; or all of one kind."""
    kinds = [one for one in value["kinds"] if not kind or one["name"] == kind]
    columns = ("kind", "what", "failed", "share", "95 %", "base", "mended", "newly broken", "p (Holm)")
    table(columns, (_row(one) for one in kinds), right=columns[2:])
    for one in kinds:
        if kind:
            _whole(one)
        else:
            _short(one)
    typer.echo(f"rows: {value['rows']}")


def _row(one: dict[str, Any]) -> list[Any]:
    low, high = one["share"]["ci"]
    cells = [one["name"], one["title"], f"{one['failed']}/{one['n']}", _percent(one["share"]["value"]), f"{100 * low:.0f} to {100 * high:.0f}"]
    return [*cells, _percent(one["base"]["value"]), one["fixed"], one["broken"], f"{one['p_holm']:.2g}"] if "base" in one else [*cells, "", "", "", ""]


def _percent(x: float) -> str:
    return f"{100 * x:.1f} %"


def _short(one: dict[str, Any]) -> None:
    """The slices that stand out, and nothing where none does."""
    found = [row for row in one["slices"] if row["p_holm"] < 0.05]
    for row in found:
        typer.echo(clean(f"{one['name']}: {row['by']} {row['value']} {row['failed']}/{row['n']} ({_percent(row['share'])}), p {row['p_holm']:.2g} against the rest"))


def _whole(one: dict[str, Any]) -> None:
    typer.echo(clean(one["how"]))
    columns = ("slice", "failed", "share", "95 %", "p (Holm)", "q (BH)")
    cells = lambda r: (f"{r['by']}: {r['value']}", f"{r['failed']}/{r['n']}", _percent(r["share"]), f"{100 * r['ci'][0]:.0f} to {100 * r['ci'][1]:.0f}", f"{r['p_holm']:.2g}", f"{r['q']:.2g}")  # noqa: E731
    table(columns, (cells(row) for row in one["slices"][:SLICES]), right=columns[1:])
    for group in one["clusters"]:
        typer.echo(clean(f"{group['n']} prompts about {', '.join(group['terms']) or 'nothing in common'} (silhouette {group['silhouette']:.2f})"))
        for row in group["examples"][:2]:
            typer.echo(clean(f"    {row['prompt']}"))
    for title, rows in (("newly broken", one.get("broken_examples", ())), ("mended", one.get("fixed_examples", ())), ("examples", one["examples"])):
        if rows:
            typer.echo(f"{title}:")
        for row in rows:
            _example(row)


def _example(row: dict[str, Any]) -> None:
    typer.echo(clean(f"  {row['id']}" + (f": {row['prompt']}" if "prompt" in row else "")))
    if row.get("base"):
        typer.echo(clean(f"    base: {row['base']}"))
    if "reply" in row:
        typer.echo(clean(f"    reply: {row['reply']}"))
