"""`solon align`: run a recipe from the model to the report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from solon.cli.show import Json, Runs, emit, epilog, note, size, store, table
from solon.core.errors import ConfigError


def attach(app: typer.Typer) -> None:
    """Hang this part's commands into the tree."""
    examples = epilog(
        "solon align recipes/quickstart.yaml",
        "solon align recipes/quickstart.yaml helpful.rank=32 seed=1",
        "solon align recipes/gemma-270m.yaml --runs /data/runs --json",
        "solon align recipes/gemma-7b-spec.yaml --plan --devices 8",
    )
    app.command("align", epilog=examples)(align)


def align(
    recipe: Annotated[Path, typer.Argument(help="A YAML recipe.", metavar="RECIPE")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Any field of the recipe, as key=value.", metavar="KEY=VALUE...")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Check the recipe, say what its trainings hold in memory and what it can show, and run nothing.")] = False,
    devices: Annotated[int, typer.Option("--devices", min=1, help="With --plan: over so many devices.")] = 1,
    parts: Annotated[
        int, typer.Option("--split", min=1, help="With --plan: matrices are split over so many of them, rows over the others.")
    ] = 1,
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Align a model by a recipe and write the report that decides its release.

    Finished stages are kept: the same command after a stop, a crash or a change goes on from what is there. A plan is made
    from shapes alone: it needs neither the weights nor the devices.
    """
    if plan:
        return planned(recipe, list(overrides or []), devices, parts, json)
    from solon import pipeline
    from solon.stages import recipe as recipes
    from solon.stages.plan import outside

    if trainings := outside(recipes.load(recipe, list(overrides or []))):
        note(f"{', '.join(trainings)}: some settings lie outside the ranges of the 7B specification; --plan names them")
    place = store(runs, quiet=json)
    run = pipeline.align(str(recipe), list(overrides or []), place, place.progress)
    emit(summary(run), json, lambda: human(run))


def planned(recipe: Path, overrides: list[str], devices: int, parts: int, json: bool) -> None:
    """Print what each training of a recipe holds on a device."""
    if devices % parts:
        raise ConfigError("the devices do not divide into parts", got=f"{devices} devices, {parts} parts", expected="a divisor")
    import jax

    if devices > 1:  # before JAX looks for devices; they are only planned for
        jax.config.update("jax_platforms", "cpu")
        try:
            jax.config.update("jax_num_cpu_devices", devices)
        except RuntimeError as error:
            raise ConfigError("this process has its devices already", got=error, fix="plan in a process of its own") from error
    from solon.stages import recipe as recipes
    from solon.stages.plan import plan

    made = plan(recipes.load(recipe, overrides), devices // parts, parts)
    emit(made, json, lambda: _planned(made))


def _planned(made: dict[str, Any]) -> None:
    names = list(made["stages"][0]["bytes"])
    typer.echo(f"{made['model']}, {made['parameters']:,} parameters, over {made['devices']} device(s); bytes on each")
    rows = (
        (one["stage"], f"{one['trained_parameters']:,}", *(size(one["bytes"][name], "B") for name in names), size(one["total"], "B"))
        for one in made["stages"]
    )
    table(("training", "trained", *names, "in all"), rows, right=("trained", *names, "in all"))
    for one in made["stages"]:
        lines, length = one["micro_batch"]
        typer.echo(f"{one['stage']}: micro-batches of {lines} x {length} tokens, {one['micro_batches']} a step")
        for remark in one["remarks"]:
            typer.echo(f"{one['stage']}: {remark}")
    for line in made["asked_for"]:
        typer.echo(line)
    for one in made["detectable"]:
        typer.echo(f"{one['figure']}: n {one['n']} shows {_points(one['points'])} in four of five runs")
    typer.echo("activations are XLA's figure for this machine's kind of processor; all else follows from the shapes")


def _points(points: dict[str, float]) -> str:
    """`a change of 12 points (if 10 % of the answers change), 16 (20 %)`."""
    told = [f"{100 * value:.0f} points" + (f" (if {100 * float(share):g} % of the answers change)" if share else "") for share, value in points.items()]
    return "a change of " + ", ".join(told)


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
            if one["status"] in ("missed", "not shown", "waived"):
                typer.echo(f"  {one['status']}: {one['name']} (required {one['required']}, measured {one['measured']})")
        open_ = sum(one["status"] == "not measured" for one in run.verdict["conditions"])
        if open_:
            typer.echo(f"  not measured: {open_} more; `solon release {run.id}` lists them with the commands that do")
    typer.echo(f"report: {said['report']}")
    note("next: solon chat latest:aligned")
