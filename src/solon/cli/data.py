"""`solon data`: see what a data source gives a model to learn."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from solon.cli.show import Json, Runs, clean, console, emit, epilog, group, store


def attach(app: typer.Typer) -> None:
    """Hang this part's commands into the tree."""
    data = group("Data sources, as a model will see them.")
    data.command(
        "preview",
        epilog=epilog(
            "solon data preview starter/demonstrations --model smollm2-135m-instruct",
            "solon data preview mine.jsonl --model latest:sl --rows 5",
        ),
    )(preview)
    app.add_typer(data, name="data")


def preview(
    source: Annotated[str, typer.Argument(help="A data source: starter/NAME, a file, or a catalogue name.", metavar="SOURCE")],
    model: Annotated[str, typer.Option("--model", metavar="MODEL", help="Whose chat template and tokens are used.")],
    rows: Annotated[int, typer.Option("--rows", min=1, help="How many rows.")] = 3,
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Rows of a source rendered by a model's chat template, with the tokens that the model learns in colour."""
    from solon.curate import preview as shown

    value = shown.preview(source, tokenizer(model, runs), rows)
    emit(value, json, lambda: _human(value))


def tokenizer(name: str, runs: Any) -> Any:
    """A model's vocabulary and template without its weights."""
    if ":" in name:
        from solon.stages.models import resolve

        return resolve(name, store(runs, quiet=True)).tokenizer
    from solon.models.formats import read
    from solon.models.hub import locate

    return read(locate(name)).tokenizer


def _human(value: Any) -> None:
    from rich.text import Text

    out = console()
    out.print(clean(str(value)) if isinstance(value, str) else Text(str(value)))
