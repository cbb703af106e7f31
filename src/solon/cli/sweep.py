"""`solon sweep`: one setting of a fine-tuning varied, with what each value costs and what it is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from solon.cli.show import Json, Runs, emit, epilog, size, store, table


def attach(app: typer.Typer) -> None:
    """Hang this part's command into the tree."""
    app.command(
        "sweep",
        epilog=epilog(
            "solon sweep rank",
            "solon sweep rank=8,32 recipes/quickstart.yaml lessons.demonstrations=40 --full",
            "solon sweep kind=lora,dora,bottleneck,ia3 recipes/quickstart.yaml",
            "solon sweep keep=0,0.1 recipes/quickstart.yaml",
            "solon sweep learning_rate=1e-4,3e-4,1e-3 recipes/quickstart.yaml --json",
        ),
    )(sweep)


def sweep(
    what: Annotated[
        str, typer.Argument(help="A setting of the helpful stage with its values; `rank` alone is 4 to 64 and full.", metavar="KEY=V1,V2,...")
    ],
    recipe: Annotated[Path, typer.Argument(help="A YAML recipe.", metavar="[RECIPE]")] = Path("recipes/quickstart.yaml"),
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Any field of the recipe, as key=value.", metavar="[KEY=VALUE]...")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Full fine-tuning as one more point, and the measure of all costs.")] = False,
    full_rate: Annotated[
        float | None, typer.Option("--full-rate", min=0, help="Its learning rate; else a tenth of the recipe's.")
    ] = None,
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Train a recipe's helpful model once for each value, on the same rows, and compare costs and held-out figures.

    Kinds of adapters are compared at one budget: each gets the rank at which it trains as many numbers as the recipe's own.
    Each point is an artifact. The same command after a stop goes on with the point at which it stopped.
    """
    from solon.stages import sweep as stage

    plan, points = stage.points(recipe, list(overrides or []), what, full or what == "rank", full_rate)
    made = stage.sweep(store(runs, quiet=json), plan, points)
    rows = made.read("table.json")
    emit({"artifact": made.id, "rows": rows}, json, lambda: _human(made, rows))


def _human(made: Any, rows: list[dict[str, Any]]) -> None:
    trained = [row for row in rows if "costs" in row]
    against = trained[0]["against"]
    costs = ("point", "trained", "optimiser", "peak (XLA)", "resident", "FLOP a token", "s a step", "tokens/s", "stage")
    table(costs, ((row["point"], *_cost(row)) for row in trained), right=costs[1:])
    names = {"parameters": "trained", "optimiser_bytes": "optimiser", "peak_bytes": "peak (XLA)", "flops_per_token": "FLOPs", "seconds": "seconds"}
    shares = ((row["point"], *(f"{100 * row['shares'][name]:.2f} %" for name in names)) for row in trained if row["point"] != against)
    typer.echo(f"shares of what {against} costs")
    table(("point", *names.values()), shares, right=tuple(names.values()))
    quality = ("point", "held-out loss", "change", f"against {against}", "loss on prose", "multiple choice")
    table(quality, ((row["point"], *_quality(row, against)) for row in rows))
    first = rows[0]["figures"]
    counts = ", ".join(f"{name.replace('_', ' ')} {one['n']}" for name, one in first.items())
    typer.echo(f"items: {counts}; 95 % intervals; changes are paired, p after Holm over the whole table")
    typer.echo(made.id)


def _cost(row: dict[str, Any]) -> list[str]:
    cost, speed = row["costs"], row["speed"]
    resident = "" if row["resident_peak"] is None else size(row["resident_peak"], "B")
    return [
        f"{cost['parameters']:,}", size(cost["optimiser_bytes"], "B"), size(cost["peak_bytes"], "B"), resident,
        size(cost["flops_per_token"]), f"{speed['seconds']:.2f}", f"{speed['tokens_per_second']:.0f}", f"{row['training']['seconds']:.0f} s",
    ]  # fmt: skip


def _quality(row: dict[str, Any], against: str) -> list[str]:
    figures, changes = row["figures"], row.get("changes", {})
    cell = lambda of: _change(changes[of]["held_out_loss"]) if of in changes else ""  # noqa: E731
    return [
        _number(figures["held_out_loss"]), cell("untrained"), cell(against), _number(figures["passage_loss"]),
        _share(figures["multiple_choice"]),
    ]  # fmt: skip


def _number(one: dict[str, Any]) -> str:
    return f"{one['value']:.3f} [{one['ci'][0]:.3f}, {one['ci'][1]:.3f}]"


def _change(one: dict[str, Any]) -> str:
    return f"{one['value']:+.3f} [{one['ci'][0]:+.3f}, {one['ci'][1]:+.3f}] p {one['p_holm']:.2g}"


def _share(one: dict[str, Any]) -> str:
    value, low, high = (f"{100 * x:.1f}" for x in (one["value"], *one["ci"]))
    return f"{value} % [{low}, {high}]"
