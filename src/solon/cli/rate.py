"""`solon rate`: blind rating of pairs of replies, from drawing a batch to preferences that recipes can learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from solon.cli.show import Json, Runs, emit, epilog, facts, group, note, store, table

Folder = Annotated[Path, typer.Argument(help="A folder made by `solon rate draw`.", metavar="BATCH")]
MARKS = "a_helpfulness, b_helpfulness, a_informativeness, b_informativeness, a_accuracy, b_accuracy"
ROWS = f"Ratings: rows of task, rater, kind (human or model:NAME), choice (a, b or tie), and marks from 1 to 5 if you like: {MARKS}."
Files = Annotated[list[Path], typer.Argument(help=ROWS, metavar="RATINGS...")]
Partial = Annotated[bool, typer.Option("--partial", help="Allow raters that have not rated every task.")]


def attach(app: typer.Typer) -> None:
    """Hang this part's commands into the tree."""
    rate = group("Blind rating: who wrote what is hidden, and agreement decides whether a batch counts.")
    rate.command(
        "draw",
        epilog=epilog(
            "solon rate draw latest:base latest:aligned --kind helpful --out ratings/july --count 100",
            "solon rate draw mine.jsonl --out ratings/mine --seed 7 --raters human",
        ),
    )(draw)
    rate.command("judge", epilog=epilog("solon rate judge ratings/july --judge smollm2-1.7b-instruct --out model.jsonl"))(judge)
    rate.command(
        "check", epilog=epilog("solon rate check ratings/july anna.jsonl ben.csv", "solon rate check ratings/july anna.jsonl ben.csv --keep")
    )(check)
    rate.command(
        "export",
        epilog=epilog(
            "solon rate export ratings/july anna.jsonl ben.csv --out preferences.jsonl",
            "solon rate export ratings/july anna.jsonl ben.csv --as ratings --out all.csv",
        ),
    )(export)
    app.add_typer(rate, name="rate")


def draw(
    source: Annotated[str, typer.Argument(help="A file or set of pairs, an artifact of pairs, or RUN:role.", metavar="SOURCE")],
    other: Annotated[
        str | None, typer.Argument(help="RUN:role of the model whose replies stand against the first's.", metavar="[OTHER]")
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder for the batch.")] = Path("ratings"),
    seed: Annotated[int, typer.Option("--seed", help="What is drawn and how it is shuffled; kept in the batch.")] = 1,
    count: Annotated[int | None, typer.Option("--count", min=1, help="How many pairs are shown; all by default.")] = None,
    repeats: Annotated[float, typer.Option("--repeats", min=0, max=0.5, help="Share of pairs shown twice, sides swapped; three at least.")] = 0.1,
    checks: Annotated[float, typer.Option("--checks", min=0, max=0.5, help="Share of attention checks; three at least, none if 0.")] = 0.1,
    kind: Annotated[str | None, typer.Option("--kind", help="Of evaluated replies: red_team, benign, helpful.")] = None,
    raters: Annotated[str, typer.Option("--raters", help="Who may rate: any, human or model.")] = "any",
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Draw tasks from pairs of replies, sides shuffled and names hidden, with hidden repeats and attention checks."""
    from solon.core.errors import ConfigError
    from solon.stages import rating

    if raters not in ("any", "human", "model"):
        raise ConfigError("who may rate?", got=raters, expected="any, human or model")
    given, about = rating.pairs(store(runs, quiet=True), source, other, kind)
    batch = rating.draw(out, given, about, seed, count=count, repeats=repeats, checks=checks, raters=raters)
    found = {
        "folder": out, "seed": seed, "tasks": len(batch.tasks), "repeats": sum(bool(key.repeats) for key in batch.keys),
        "checks": sum(bool(key.check) for key in batch.keys), "settled": batch.settled, **about,
    }  # fmt: skip

    def human() -> None:
        hidden = f"{found['repeats']} repeats and {found['checks']} attention checks among them"
        typer.echo(f"{out}: {found['tasks']} tasks, {hidden}, seed {seed}")
        if batch.settled:
            told = ", ".join(f"{often} {'ties' if who == 'tie' else f'won by the {who}'}" for who, often in batch.settled.items())
            typer.echo(f"Shown to nobody, as their replies are equal or one is empty: {told}. They count in the preference.")
        typer.echo(f"Give raters {out / 'tasks.jsonl'}, and keep {out / 'key.jsonl'} from them.")
        typer.echo('They return rows such as {"task": "t-...", "rater": "anna", "kind": "human", "choice": "a"} (a, b or tie).')
        typer.echo(f"Marks from 1 to 5 may stand beside the choice: {MARKS}.")

    emit(found, json, human)


def judge(
    batch: Folder,
    name: Annotated[str, typer.Option("--judge", metavar="MODEL", help="The model that rates, never quantised.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="A .jsonl or .csv file for its ratings.")],
    constitution: Annotated[str, typer.Option("--constitution", metavar="NAME", help="Whose principle and worked comparisons it is asked with.")] = "core",
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Have a model rate a batch: each task in both orders, a tie where they disagree. `check` tests it as it tests people."""
    from solon.constitution import store as books
    from solon.constitution.judging import judge_by
    from solon.stages import models, rating

    drawn, book = rating.load(batch), books.load(constitution)
    rows, silent = rating.judged(drawn, judge_by("self", book, {}, models.resolve(name, store(runs, quiet=json))), name, book)
    rating.write(out, rows)
    told = f"{out}: {len(rows)} ratings of kind model:{name}" + (f"; {silent} tasks without an opinion, so check them with --partial" if silent else "")
    emit({"file": out, "rows": len(rows), "silent": silent, "kind": f"model:{name}"}, json, lambda: typer.echo(told))


def check(
    batch: Folder,
    ratings: Files,
    partial: Partial = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the verdict on an accepted batch beside the runs, for solon release.")] = False,
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Whether the ratings of a batch may be believed: attention, consistency, agreement. Exit code 1 if not."""
    verdict = _judged(batch, ratings, partial)[2]
    if keep and verdict.accepted:
        from solon.stages import rating

        note(f"kept: {rating.keep(store(runs, quiet=json), batch, ratings, verdict).id}")
    emit(verdict, json, lambda: _show(verdict))
    if not verdict.accepted:
        raise typer.Exit(1)


def export(
    batch: Folder,
    ratings: Files,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="A .jsonl or .csv file.")],
    form: Annotated[str, typer.Option("--as", help="preferences (what recipes learn from) or ratings (all of them).")] = "preferences",
    partial: Partial = False,
    json: Json = False,
) -> None:
    """Write an accepted batch as preference pairs, or the single ratings of any batch."""
    from solon.stages import rating

    drawn, given, verdict = _judged(batch, ratings, partial)
    made = rating.exported(drawn, given, verdict, form)
    rating.write(out, made)
    found = {"file": out, "as": form, "rows": len(made), "rater_kind": verdict.rater_kind, "accepted": verdict.accepted}
    emit(found, json, lambda: typer.echo(f"{out}: {len(made)} {form}, rated by: {verdict.rater_kind or 'nobody that counts'}"))


def _judged(folder: Path, files: list[Path], partial: bool) -> tuple[Any, Any, Any]:
    from solon.evals.rating import judge
    from solon.stages import rating

    drawn = rating.load(folder)
    given = rating.ratings(files)
    return drawn, given, judge(drawn, given, partial)


def _show(verdict: Any) -> None:
    def told(figure: Any) -> str:
        return "not measured" if figure is None else f"{figure.value:.2f} ({figure.low:.2f} to {figure.high:.2f}, n {figure.n})"

    table(
        ("rater", "kind", "rated", "attention checks passed", "repeats answered alike", "not counted because"),
        ((one.name, one.kind, one.rated, told(one.attention), told(one.consistency), one.excluded) for one in verdict.raters),
        right=("rated",),
    )
    lines = {"agreement": told(verdict.agreement)}
    if verdict.agreement:
        lines["measured by"] = verdict.agreement.how
    lines["Gwet's AC1 (decides nothing)"] = told(verdict.ac1)
    lines |= {f"among {kind} raters": told(figure) for kind, figure in verdict.by_kind.items()}
    if verdict.preference:
        lines["the second writer"] = verdict.preference.plain
        lines["by"] = verdict.preference.test
    if verdict.powered:
        lines["people's, sharpened by models"] = f"{told(verdict.powered)}; {verdict.powered.how}"
    lines |= {f"agreement on {name} (ordinal alpha)": told(figure) for name, figure in verdict.scale_agreement.items()}
    lines |= {name: told(figure) for name, figure in verdict.scales.items()}
    facts(lines)
    typer.echo(f"accepted; labels of kind: {verdict.rater_kind}" if verdict.accepted else "rejected")
    for reason in verdict.reasons:
        note(reason)
