"""`solon ab`: experiments on live traffic."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from solon.cli.show import Json, emit, epilog, facts, group, note, table

LOG = 'Assignment log in order of arrival: rows of {"unit", "arm", "satisfaction"} and other numbers.'


def attach(app: typer.Typer) -> None:
    """Hang this part's command into the tree."""
    own = group("Experiments on live traffic: a control and a treatment.")
    own.command("report", epilog=epilog("solon ab report log.jsonl", "solon ab report log.jsonl --control old --metric thumbs_up --json"))(report)
    app.add_typer(own, name="ab")


def report(
    log: Annotated[str, typer.Argument(help=LOG, metavar="FILE")],
    metric: Annotated[str, typer.Option("--metric", help="The outcome that is tested, in [0, 1].")] = "satisfaction",
    control: Annotated[str, typer.Option("--control", metavar="ARM", help="The arm that the other is compared with.")] = "control",
    share: Annotated[float, typer.Option("--share", help="What part of units was meant to get the control.")] = 0.5,
    json: Json = False,
) -> None:
    """The metrics of both arms, and a test of their difference that may be looked at as often as one likes."""
    from solon.curate import rows
    from solon.evals.experiments import UNEVEN, experiment

    found = experiment(rows.read(log), metric, control, share)
    emit(found, json, lambda: _show(found))
    if found.split_p < UNEVEN:
        note("the assignment is in doubt; look for rows that were lost on one side")


def _show(found: Any) -> None:
    cells = [
        (arm.name, arm.assigned, name, one.n if one else 0, *((f"{one.value:.4g}", f"{one.low:.4g} to {one.high:.4g}") if one else ("", "")))
        for arm in found.arms for name, one in arm.metrics.items()
    ]  # fmt: skip
    table(("arm", "assigned", "metric", "n", "mean", "95 %, if looked at once"), cells, right=("assigned", "n", "mean"))
    told = {
        "difference": f"{found.difference.value:+.4f} ({found.difference.low:+.4f} to {found.difference.high:+.4f})",
        "p, at all times": f"{found.p:.3g}", "units divided as planned": f"p {found.split_p:.3g}",
        "later outcomes of a unit left out": found.repeated,
    }  # fmt: skip
    facts(told)
    typer.echo(found.plain)
