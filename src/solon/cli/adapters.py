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
            ("adapter", "role", "base", "rank", "alpha", "on", "parameters", "bytes"),
            (
                (
                    row["name"], "\n".join(row["roles"]), row["base"], row["rank"], row["alpha"],
                    " ".join(row["targets"] or []), size(row["parameters"]), size(row["bytes"], "B"),
                )
                for row in rows
            ),
            right=("rank", "alpha", "parameters", "bytes"),
        )  # fmt: skip

    emit(rows, json, human)


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
    pairs = {"written": out, "base": made["base"], "rank": made["rank"], "alpha": f"{made['alpha']:g}", "on": " ".join(made["targets"])}
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
    max_kl: Most = None,
    force: Force = False,
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Add a model's adapters into its weights, as a Hugging Face folder that can be unmerged.

    OUT/unmerge.npz holds what makes the base's bits exact again. Merging one adapter twice is refused.
    """
    from solon.stages import adapters as stage
    from solon.stages.export import Order

    order = Order("hf", kind, force, max_kl)
    order.check()
    place = store(runs, quiet=json)
    made = stage.merge(model, place, out, order, place.progress)
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
    emit({**made, "path": out}, json, lambda: facts({"written": out, "base restored": made["restored"]}))


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
