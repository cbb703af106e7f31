"""`solon distill`: a student learns from a teacher's distributions or from its replies."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from solon.cli.show import Json, Runs, emit, epilog, store, table


def attach(app: typer.Typer) -> None:
    """Hang this part's command into the tree."""
    app.command(
        "distill",
        epilog=epilog(
            "solon distill smollm2-360m-instruct smollm2-135m-instruct",
            "solon distill latest:aligned smollm2-135m-instruct temperature=2 hard=0.1 fit.epochs=1",
            "solon distill latest:aligned smollm2-135m-instruct level=sequences samples=2 --data mine.jsonl",
        ),
    )(distill)


def distill(
    teacher: Annotated[str, typer.Argument(help="The model that is learned from, by any of its names.", metavar="TEACHER")],
    student: Annotated[str, typer.Argument(help="The model that learns: a published one, RUN:role or an artifact.", metavar="STUDENT")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="level=logits or sequences, temperature, hard, samples, draw.max_tokens, rows, heldout, fit.epochs, ...", metavar="[KEY=VALUE]..."),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="SOURCE", help="Demonstrations, whose held-out side is only read; `a + b` is both.")
    ] = None,
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Teach a student what a teacher does, and say what held-out replies became by it.

    The result is an artifact with an adapter; its id works wherever a model is named. The same command after a stop goes on.
    """
    from solon.core.config import build, override
    from solon.stages import distill as stage

    content = override(stage.Distill().model_dump(mode="json"), list(overrides or []))
    if data is not None:
        content["data"]["demonstrations"] = data
    config = build(stage.Distill, content, "settings")
    made, compared = stage.distill(store(runs, quiet=json), config, teacher, student)
    rows = compared.read("table.json")
    result = {"model": made.id, "artifact": compared.id, "level": config.level, "figures": rows}
    emit(result, json, lambda: _human(made, compared, rows))


def _human(made: Any, compared: Any, rows: list[dict[str, Any]]) -> None:
    words = {"loss": "-log p of held-out replies", "kl": "KL(teacher || student)"}
    cells = (
        (words[row["figure"]], row["change"]["n"], _number(row["before"]), _number(row["after"]), _number(row["change"], "+"), f"{row['change']['p_holm']:.2g}")
        for row in rows
    )
    table(("nats a token", "n", "before", "after", "change", "p (Holm)"), cells, right=("n", "p (Holm)"))
    kept, dropped = (made.evidence["data"][name] for name in ("kept", "dropped"))
    lost = "".join(f", {count} dropped: {reason}" for reason, count in dropped.items())
    typer.echo(f"trained on {kept} rows{lost}; n counts held-out replies, intervals are 95 %, changes are paired")
    typer.echo(compared.id)
    typer.echo(f"solon chat {made.id}")


def _number(one: dict[str, Any], sign: str = "") -> str:
    return f"{one['value']:{sign}.4g} [{one['ci'][0]:{sign}.4g}, {one['ci'][1]:{sign}.4g}]"
