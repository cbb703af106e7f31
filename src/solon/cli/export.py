"""`solon export`: a model, or its adapter alone, for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from solon.cli.show import Json, Runs, emit, epilog, facts, size, store

Model = Annotated[str, typer.Argument(help="Catalogue name, folder, .gguf file, hub name, adapter folder, or RUN:role.", metavar="MODEL")]
Out = Annotated[Path, typer.Argument(help="The folder to write.", metavar="OUT")]
Kind = Annotated[str, typer.Option("--type", metavar="TYPE", help="Numbers: f32 (exact), bf16, f16, or q8_0 (gguf only).")]
Force = Annotated[bool, typer.Option("--force", help="Replace a folder that Solon wrote before.")]
Most = Annotated[
    float | None, typer.Option("--max-kl", min=0, metavar="NATS", help="Accept this mean KL divergence from the source per token.")
]


def attach(app: typer.Typer) -> None:
    """Hang this part's command into the tree."""
    app.command(
        "export",
        epilog=epilog(
            "solon export latest:aligned --to hf aligned/",
            "solon export latest:aligned --to peft adapter/",
            "solon export latest:aligned --to gguf --type q8_0 aligned-gguf/",
            "solon export latest:aligned --to gguf-lora adapter-gguf/",
        ),
    )(export)


def export(
    model: Model,
    out: Out,
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help="hf, peft, gguf or gguf-lora.")],
    kind: Kind = "f32",
    shard: Annotated[float, typer.Option("--shard", min=0.001, metavar="GB", help="Weights of one file of the hf format.")] = 5.0,
    max_kl: Most = None,
    force: Force = False,
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Write a model as a Hugging Face folder (hf), a PEFT adapter (peft), or GGUF (gguf, gguf-lora).

    The copy is read back and its logits are compared with the source's before it is moved to OUT; the figures, the digest
    of the weights and that of the chat template are in OUT/solon.json.
    """
    from solon.core.folders import check_free
    from solon.stages import export as stage
    from solon.stages.models import published, resolve

    order = stage.Order(to, kind, force, max_kl, int(shard * 1e9))
    order.check()
    check_free(out, force)
    place = store(runs, quiet=json)
    base = published(model, place)
    made = stage.export(resolve(model, place, "float32"), base, out, order, place.progress)
    emit({**made, "path": out}, json, lambda: told(made, out))


def told(made: dict[str, Any], out: Path) -> None:
    """What was written and how it compares, for people."""
    from solon.stages.export import paid_text

    check, paid = made["check"], made.get("cost")
    facts({
        "written": f"{out} ({size(sum(path.stat().st_size for path in out.iterdir()), 'B')})",
        "format": f"{made['format']}, {made['type']}",
        "largest difference of a logit": f"{check['largest_difference']:.3g} (logits spread by {check['spread']:.3g})",
        "mean KL divergence": f"{check['mean_kl']:.3g} nats a token, {check['tokens']} tokens of a fixed text",
        "same most likely token": f"{100 * check['same_top']:.1f} %",
        **({"base in training": f"rounded to {made['base_form']}"} if made["base_form"] else {}),
        **({"cost": f"{paid_text(paid)}, for {paid['of']}"} if paid else {}),
        "weights": made["weights"],
        "chat template": made["chat_template"] or "none",
    })  # fmt: skip
