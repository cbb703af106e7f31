"""`solon align`: run a recipe from the model to the report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from solon.cli.show import Json, Runs, emit, epilog, note, store


def attach(app: typer.Typer) -> None:
    """Hang this part's commands into the tree."""
    examples = epilog(
        "solon align recipes/quickstart.yaml",
        "solon align recipes/quickstart.yaml helpful.rank=32 seed=1",
        "solon align recipes/gemma-270m.yaml --runs /data/runs --json",
    )
    app.command("align", epilog=examples)(align)


def align(
    recipe: Annotated[Path, typer.Argument(help="A YAML recipe.", metavar="RECIPE")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Any field of the recipe, as key=value.", metavar="KEY=VALUE...")
    ] = None,
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Align a model by a recipe and write the report that decides its release.

    Finished stages are kept: the same command after a stop, a crash or a change goes on from what is there.
    """
    from solon import pipeline

    place = store(runs, quiet=json)
    run = pipeline.align(str(recipe), list(overrides or []), place, place.progress)
    emit(summary(run), json, lambda: human(run))


def summary(run: Any) -> dict[str, Any]:
    """What a machine wants to know of a finished run."""
    from solon.cli.runs import report_path

    page = report_path(run)
    return {
        "run": run.id, "verdict": run.verdict, "models": run.models, "reused": list(run.reused), "report": str(page),
        "report_json": str(page.with_suffix(".json")),
    }  # fmt: skip


def human(run: Any) -> None:
    """The last lines of a run: the decision, what was missed, where the report is, and what to do next."""
    said = summary(run)
    reused = f" ({len(run.reused)} of {len(run.artifacts)} parts were there already)" if run.reused else ""
    note(f"run {run.id}{reused}")
    if run.verdict:
        typer.echo("release: " + ("yes" if run.verdict["release"] else "no"))
        for one in run.verdict["conditions"]:
            if one["status"] != "pass":
                measured = f", measured {one['measured']}" if one["measured"] else ""
                typer.echo(f"  {one['status']}: {one['name']} (required {one['required']}{measured})")
    typer.echo(f"report: {said['report']}")
    note("next: solon chat latest:aligned")
