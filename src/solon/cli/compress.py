"""`solon compress`: what each way of making a model smaller costs and saves, in one table."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from solon.cli.export import Model
from solon.cli.show import Json, Runs, emit, epilog, size, store, table
from solon.core.errors import ConfigError


def attach(app: typer.Typer) -> None:
    """Hang this part's command into the tree."""
    app.command(
        "compress",
        epilog=epilog(
            "solon compress smollm2-135m-instruct --report",
            "solon compress latest:aligned --report --forms int8,int4",
            "solon compress smollm2-135m-instruct --report mend.steps=100 multiple_choice=120 --json",
        ),
    )(compress)


def compress(
    model: Model,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="How much is read and mended: passages, wikitext, multiple_choice, helpful, rounds, mend.steps, ...", metavar="[KEY=VALUE]...")
    ] = None,
    report: Annotated[bool, typer.Option("--report", help="Measure every form and print the table.")] = False,
    forms: Annotated[
        str, typer.Option("--forms", metavar="NAMES", help="Only these forms, with commas; the original is always among them.")
    ] = "",
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Bring a model into smaller forms (8 and 4 bits, pruned, fewer layers) and measure bytes, speed and quality of each.

    Every form answers the same held-out items as the original, so all changes are paired. Nothing is written but the
    artifacts; `solon export` writes models.
    """
    from solon.core.config import build, override
    from solon.stages import compress as stage

    if not report:
        fix = "give --report for the table; to write a model in 8 bits: solon export MODEL --to gguf --type q8_0 OUT"
        raise ConfigError("what should be done with the model?", fix=fix)
    config = build(stage.Compress, override(stage.Compress().model_dump(mode="json"), list(overrides or [])), "settings")
    made = stage.report(store(runs, quiet=json), config, model, stage.chosen(forms))
    rows = made.read("table.json")
    emit({"artifact": made.id, "model": model, "rows": rows}, json, lambda: _human(made, rows))


def _human(made: Any, rows: list[dict[str, Any]]) -> None:
    costs = ("form", "in memory", "in a file", "zeros", "tokens/s, 1 reply", "to the original", "tokens/s, 8 replies", "to the original, 8")
    table(costs, ((row["form"], *_cost(row)) for row in rows), right=costs[1:])
    prose = [name for name in ("passage", "wikitext") if f"{name} perplexity" in rows[0]["figures"]]
    quality = ("form", *(f"{what}{name}" for name in prose for what in ("perplexity: ", "KL: ")), "multiple choice", "-log p of replies")
    table(quality, ((row["form"], *_quality(row, prose)) for row in rows))
    changes = ("form", *(f"ratio: {name}" for name in prose), "multiple choice", "-log p of replies")
    table(changes, ((row["form"], *_changes(row, prose)) for row in rows if row["changes"]))
    for row in rows:
        mended = row.get("mended")
        typer.echo(f"{row['form']}: {row['what']}" + (f" ({mended['steps']} steps)" if mended else ""))
    load = max(one["load"] for row in rows for one in row["speed"])
    typer.echo(f"load of the machine while the speed was taken: up to {load:.1f}; a form and the original ran in turn")
    first = rows[0]["figures"]
    counts = ", ".join(f"{name} {one['n']}" + (f" ({one['tokens']} tokens)" if "tokens" in one else "") for name, one in first.items() if "kl" not in name)
    typer.echo(f"items: {counts}; intervals are 95 %; changes are paired, p after Holm over the whole table")
    typer.echo(made.id)


def _cost(row: dict[str, Any]) -> list[str]:
    speeds = [cell for one in row["speed"] for cell in (f"{one['tokens_per_second']:.1f}", f"{one['ratio']:.2f}x")]
    return [size(row["bytes"], "B"), size(row["file_bytes"], "B"), f"{100 * row['zeros']:.0f} %", *speeds]


def _quality(row: dict[str, Any], prose: list[str]) -> list[str]:
    names = [name for one in prose for name in (f"{one} perplexity", f"{one} kl")]
    cells = [_number(row["figures"][name]) for name in names]
    return [*cells, _share(row["figures"]["multiple_choice"]), _number(row["figures"]["reference_loss"])]


def _changes(row: dict[str, Any], prose: list[str]) -> list[str]:
    ratios = [row["changes"][f"{name} perplexity"] for name in prose]
    cells = [f"{_number(one)} p {one['p_holm']:.2g}" for one in [*ratios, row["changes"]["reference_loss"]]]
    choice = row["changes"]["multiple_choice"]
    return [*cells[:-1], f"{_share(choice, '+')} p {choice['p_holm']:.2g}", cells[-1]]


def _number(one: dict[str, Any]) -> str:
    return f"{one['value']:.4g} [{one['ci'][0]:.4g}, {one['ci'][1]:.4g}]"


def _share(one: dict[str, Any], sign: str = "") -> str:
    value, low, high = (f"{100 * x:{sign}.1f}" for x in (one["value"], *one["ci"]))
    return f"{value} % [{low}, {high}]"
