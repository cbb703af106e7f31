"""`solon gate`: whether a phase of a run is complete, what lacks, and a frozen baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from solon.cli.show import Json, Runs, clean, emit, epilog, store, table
from solon.core.errors import ConfigError


def attach(app: typer.Typer) -> None:
    """Hang this part's command into the tree."""
    examples = epilog(
        "solon gate sft latest", "solon gate sl", "solon gate rl latest --json", "solon gate sft latest --freeze baseline.json",
        "solon gate rl latest --against baseline.json",
    )  # fmt: skip
    app.command("gate", epilog=examples)(gate)


def gate(
    phase: Annotated[str, typer.Argument(help="sft (the helpful model), sl (the revised one) or rl (the aligned one).", metavar="PHASE")],
    run: Annotated[str, typer.Argument(help="A run's id, the beginning of one, or latest.", metavar="RUN")] = "latest",
    freeze: Annotated[Path | None, typer.Option("--freeze", metavar="FILE", help="Also write the base model's figures to a new file, with their hash.")] = None,
    against: Annotated[Path | None, typer.Option("--against", metavar="FILE", help="Also show the run beside a frozen baseline.")] = None,
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Say whether a phase is ready: every stage finished and unchanged, and what it has to show shown. Exit code 1 if not.

    For sft that is also every acceptance figure of fine-tuning, decided by its interval; a run goes on past one that is missed. The readiness score is the share of the declared components that are met; what was not measured is not met."""
    from solon.stages import readiness
    from solon.stages.runs import find

    if freeze and against:
        raise ConfigError("a baseline is either made or compared with", got="--freeze and --against", fix="give one of them")
    place = store(runs, quiet=json)
    found = find(place, run)
    value = readiness.readiness(place, found, phase)
    if freeze:
        value["frozen"] = {"file": str(freeze), "sha256": readiness.freeze(place, found, freeze)["sha256"]}
    if against:
        value["against"] = readiness.against(place, found, against)
    emit(value, json, lambda: _human(value))
    if not value["ready"]:
        raise typer.Exit(1)


def _human(value: dict[str, Any]) -> None:
    rows = value["components"]
    table(("component", "required", "measured", "status"), ((one["name"], one["required"], one["measured"], one["status"]) for one in rows))
    lacking = [one["name"] for one in rows if one["status"] != "pass"]
    typer.echo(clean(f"{value['phase']} of {value['run']}: " + ("ready" if value["ready"] else f"not ready, as these lack: {'; '.join(lacking)}")))
    typer.echo(f"readiness: {value['met']} of {value['declared']} components ({100 * value['score']:.0f} %)")
    for one in rows:
        if one["status"] == "not measured" and one["command"]:
            typer.echo(clean(f"measures {one['name']}: {one['command']}"))
    if "frozen" in value:
        typer.echo(f"frozen: {value['frozen']['file']}, SHA-256 {value['frozen']['sha256']}")
    if "against" in value:
        told = value["against"]
        typer.echo(clean(f"baseline {told['baseline'][:16]}: " + ("the same model and data" if told["comparable"] else f"not comparable: {told['why']}")))
        roles = list(dict.fromkeys(role for one in told["figures"].values() for role in one))
        table(("figure", *roles), ((name, *(_cell(one.get(role)) for role in roles)) for name, one in told["figures"].items()), right=roles)


def _cell(one: dict[str, Any] | None) -> str:
    return f"{one['value']:.3f} ({one['ci'][0]:.3f} to {one['ci'][1]:.3f}, n {one['n']})" if one else ""
