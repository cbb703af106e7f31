"""`solon data`: which sources there are, and what one of them gives a model to learn."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from solon.cli.show import Json, Runs, console, emit, epilog, group, store, table


def attach(app: typer.Typer) -> None:
    """Hang this part's commands into the tree."""
    data = group("Data sources, as a model will see them.")
    data.command("list", epilog=epilog("solon data list"))(listing)
    data.command(
        "preview",
        epilog=epilog(
            "solon data preview starter:demonstrations --model smollm2-135m-instruct",
            "solon data preview mine.jsonl --kind demonstrations --model smollm2-135m-instruct --length 1024 --rows 5",
        ),
    )(preview)
    app.add_typer(data, name="data")


def listing(json: Json = False) -> None:
    """The sources that have a name, and what each holds."""
    from solon.curate import catalogue

    rows = [{"name": name, "kind": catalogue.kind_of(name)} for name in catalogue.names()]

    def human() -> None:
        table(("source", "holds"), ((row["name"], row["kind"]) for row in rows))
        typer.echo("starter: sets come with Solon; shared: sets lie in the folder that SOLON_DATA names. Files and hub names work too.")

    emit(rows, json, human)


def preview(
    source: Annotated[str, typer.Argument(help="starter:NAME, shared:NAME, a file, or a hub data set.", metavar="SOURCE")],
    model: Annotated[str, typer.Option("--model", metavar="MODEL", help="Whose chat template and tokens are used.")],
    kind: Annotated[
        str | None, typer.Option("--kind", metavar="KIND", help="What a file holds: demonstrations, prompts, preferences, ...")
    ] = None,
    split: Annotated[str, typer.Option("--split", metavar="SIDE", help="train, heldout or all.")] = "all",
    length: Annotated[int, typer.Option("--length", min=8, help="Tokens of a training line.")] = 512,
    rows: Annotated[int, typer.Option("--rows", min=0, help="How many rows to show.")] = 3,
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Rows of a source as a model sees them, the tokens that it learns marked, and what training would lose or mislearn."""
    from solon.curate import catalogue
    from solon.curate import preview as sight
    from solon.curate.splits import checked

    seen = sight.preview(catalogue.source(source, checked(split), kind), _tokenizer(model, runs), length, rows)
    emit(seen, json, lambda: console().print(sight.renderable(seen)))


def _tokenizer(name: str, runs: Any) -> Any:
    """A model's vocabulary and template; of a published model its weights are not read."""
    from solon.stages.models import resolve
    from solon.text.template import DEFAULT_TEMPLATE

    if ":" in name:
        return resolve(name, store(runs, quiet=True)).tokenizer
    from solon.models.formats import read
    from solon.models.hub import locate

    tokenizer = read(locate(name)).tokenizer
    return tokenizer if tokenizer.template else tokenizer.with_template(DEFAULT_TEMPLATE)
