"""`solon adapters`: adapters brought in, listed, compared, combined, merged and taken out again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from solon.cli.export import Force, Kind, Model, Most, Out, told
from solon.cli.show import Json, Runs, emit, epilog, facts, group, size, store, table
from solon.core.errors import ConfigError


def attach(app: typer.Typer) -> None:
    """Hang this part's commands into the tree."""
    adapters = group("Adapters as things of their own.")
    adapters.command("list", epilog=epilog("solon adapters list", "solon adapters list mine/ --json"))(listing)
    adapters.command("import", epilog=epilog("solon adapters import peft-folder/ --base smollm2-135m-instruct mine/"))(bring_in)
    adapters.command("merge", epilog=epilog("solon adapters merge latest:aligned merged/"))(merge)
    adapters.command("unmerge", epilog=epilog("solon adapters unmerge merged/ latest:aligned base/"))(unmerge)
    adapters.command(
        "combine", epilog=epilog("solon adapters combine latest:sl-cai:0.5 mine/:0.5 both/", "solon adapters combine a:1 b:-1 c/ --rank 16")
    )(combine)
    adapters.command("diff", epilog=epilog("solon adapters diff latest:sl-cai latest:aligned"))(diff)
    app.add_typer(adapters, name="adapters")


def listing(
    folders: Annotated[list[Path] | None, typer.Argument(help="Adapter folders to show as well.", metavar="[FOLDER]...")] = None,
    runs: Runs = None,
    json: Json = False,
) -> None:
    """The adapters that stages made, and those of the folders named."""
    from solon.stages import adapters as stage

    rows = stage.listing(store(runs, quiet=True), folders or [])

    def human() -> None:
        if not rows:
            typer.echo("no adapters yet; a recipe makes some (solon align RECIPE), or import one (solon adapters import)")
            return
        table(
            ("adapter", "role", "base", "base in", "kind", "rank", "alpha", "on", "parameters", "bytes"),
            (
                (
                    row["name"], "\n".join(row["roles"]), row["base"], _form(row), row["kind"], row["rank"], row["alpha"],
                    " ".join(row["targets"] or []), size(row["parameters"]), size(row["bytes"], "B"),
                )
                for row in rows
            ),
            right=("rank", "alpha", "parameters", "bytes"),
        )  # fmt: skip

    emit(rows, json, human)


def _form(row: dict[str, Any]) -> str:
    """The form of the base below an adapter."""
    return "plain" if row.get("quantise", "none") == "none" else str(row["quantise"])


def bring_in(
    folder: Annotated[Path, typer.Argument(help="A folder with adapter_config.json and adapter_model.safetensors.", metavar="PEFT_FOLDER")],
    out: Out,
    base: Annotated[str, typer.Option("--base", metavar="MODEL", help="The model that the adapter was trained on.")],
    force: Force = False,
    json: Json = False,
) -> None:
    """Bring in a PEFT LoRA adapter; its folder then works wherever a model is named.

    What Solon does not represent (biases, modules_to_save, layers_to_transform, ...) is refused by name.
    """
    from solon.stages import adapters as stage

    made = stage.bring_in(folder, base, out, force)
    emit({**made, "path": out}, json, lambda: _stored(made, out))


def _stored(made: dict[str, Any], out: Path) -> None:
    pairs = {"written": out, "base": made["base"], "base in": _form(made), "rank": made["rank"], "alpha": f"{made['alpha']:g}", "on": " ".join(made["targets"])}
    if "relative_error" in made:
        worst = made["worst"]
        pairs["error"] = (
            f"{100 * made['relative_error']:.3g} % of the sum's norm lost from rank {made['rank_before']}; "
            f"most at {worst['module']}, {100 * worst['relative_error']:.3g} %"
        )
    facts(pairs)


def merge(
    model: Model,
    out: Out,
    kind: Kind = "f32",
    quantise: Annotated[
        str | None, typer.Option("--quantise", metavar="FORM", help="Round the sum to int8 or int4, and say what that costs.")
    ] = None,
    max_kl: Most = None,
    force: Force = False,
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Add a model's adapters into its weights, as a Hugging Face folder that can be unmerged.

    OUT/unmerge.npz holds what makes the base's bits exact again. Merging one adapter twice is refused. With --quantise, OUT
    holds the numbers of int8 or int4 in float32: rounding them again changes nothing, and the files are no smaller. Above
    0.01 nats a token it is refused unless --max-kl says otherwise.
    """
    from solon.stages import adapters as stage
    from solon.stages.export import Order

    order = Order("hf", kind, force, max_kl)
    order.check()
    stage.check_kind(quantise, order)
    place = store(runs, quiet=json)
    made = stage.merge(model, place, out, order, place.progress, quantise)
    emit({**made, "path": out}, json, lambda: told(made, out))


def unmerge(
    merged: Annotated[Path, typer.Argument(help="A folder that `solon adapters merge` wrote.", metavar="MERGED")],
    adapter: Annotated[str, typer.Argument(help="The adapter that was merged last.", metavar="ADAPTER")],
    out: Out,
    force: Force = False,
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Take an adapter out of a merged model again: the base, bit for bit, proven by the digest that `merge` kept."""
    from solon.stages import adapters as stage

    place = store(runs, quiet=json)
    made = stage.unmerge(merged, adapter, place, out, force, place.progress)
    emit({**made, "path": out}, json, lambda: facts({"written": out, **_restored(made)}))


def _restored(made: dict[str, Any]) -> dict[str, str]:
    """What came out of a merged model: the published weights, or rounded ones where the adapter was trained over them."""
    if not made["base_form"]:
        return {"base restored": made["restored"]}
    return {"restored": f"{made['restored']} (the base rounded to {made['base_form']}, as it was trained on; not the published weights)"}


def combine(
    parts: Annotated[list[str], typer.Argument(help="Adapters with weights, NAME:0.5, and last the folder OUT.", metavar="A:WEIGHT... OUT")],
    rank: Annotated[int | None, typer.Option("--rank", min=1, help="Cut the sum to this rank by SVD; the error is stated.")] = None,
    force: Force = False,
    runs: Runs = None,
    json: Json = False,
) -> None:
    """The weighted sum of adapters of one base. Ranks are laid side by side, which is exact, unless --rank cuts them."""
    from solon.stages import adapters as stage

    if len(parts) < 2:
        raise ConfigError("name adapters with weights, and the folder to write", fix="solon adapters combine A:0.5 B:0.5 OUT")
    *named, out = parts
    made = stage.combine([weighted(one) for one in named], store(runs, quiet=json), Path(out), rank, force)
    emit({**made, "path": out}, json, lambda: _stored(made, Path(out)))


def weighted(text: str) -> tuple[str, float]:
    """`latest:aligned:0.5` -> (`latest:aligned`, 0.5)."""
    from math import isfinite

    name, _, weight = text.rpartition(":")
    try:
        value = float(weight)
    except ValueError:
        value = float("nan")
    if not name or not isfinite(value):
        raise ConfigError("an adapter is given with its weight", got=text, expected="NAME:WEIGHT, such as latest:aligned:0.5")
    return name, value


def diff(
    a: Annotated[str, typer.Argument(help="An adapter, or a model with one.", metavar="A")],
    b: Annotated[str, typer.Argument(help="Another one on the same base.", metavar="B")],
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Two adapters weight by weight: how much each adds (Frobenius norm), and the cosine between what they add."""
    from solon.stages import adapters as stage

    value = stage.diff(a, b, store(runs, quiet=json))

    def human() -> None:
        columns = ("norm_a", "norm_b", "cosine", "difference")
        cells = lambda row: ("" if row.get(name) is None else f"{row[name]:.4g}" for name in columns)  # noqa: E731
        rows = [*value["weights"], {"module": "all", **value["total"]}]
        table(("weight", "norm of A", "norm of B", *columns[2:]), ((row["module"], *cells(row)) for row in rows), right=("norm of A", "norm of B", *columns[2:]))

    emit(value, json, human)
