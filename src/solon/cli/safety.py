"""`solon safety`: training, measuring and asking the safety text classifier, also about what a run was trained on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from solon.cli.show import Json, Runs, clean, emit, epilog, group, note, store, table

HeadFile = Annotated[str, typer.Option("--head", metavar="NAME|FILE", help="The shipped head, minilm, or the .json card that training wrote beside its head.")]  # fmt: skip


def attach(app: typer.Typer) -> None:
    """Hang this part's commands into the tree."""
    safety = group("The safety text classifier: how harmful is a text, or a reply where it was given?")
    safety.command("train", epilog=epilog(
        "solon safety train", "solon safety train --encoder latest:aligned --out mine", "solon safety train --out src/solon/safety/heads",
    ))(train)  # fmt: skip
    safety.command("eval", epilog=epilog("solon safety eval", "solon safety eval --head mine/own.json --json"))(evaluate)
    safety.command("score", epilog=epilog(
        "solon safety score 'How do I kill a Python process?'", "solon safety score 'How do I pick a lock?' --head mine/own.json", "cat texts.txt | solon safety score -",
    ))(score)  # fmt: skip
    safety.command("screen", epilog=epilog("solon safety screen latest", "solon safety screen latest --json"))(screen)
    app.add_typer(safety, name="safety")


def train(
    encoder: Annotated[
        str, typer.Option("--encoder", metavar="minilm|MODEL", help="What reads the texts: MiniLM, or the hidden states of a model by any of its names.")
    ] = "minilm",
    layers: Annotated[str, typer.Option("--layers", metavar="N,N", help="Layers whose mean states are read.")] = "",
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Also put head and card into this folder.")] = None,
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Fit a head on the labelled texts (set SOLON_DATA for the public ones), calibrate it and measure it on held-out texts."""
    from solon.stages import safety

    config = safety.Training(encoder=encoder, layers=_numbers(layers))
    made = safety.train(config, store(runs, quiet=json))
    if out is not None:
        _copy(made, safety.name_of(config), out)
    card = made.read(f"{safety.name_of(config)}.json")
    value = {"artifact": made.id, "path": made.path, "card": card["id"], "figures": card["figures"]}
    emit(value, json, lambda: _figures(value["figures"], f"{card['id']} in {made.path}"))


def _numbers(text: str) -> tuple[int, ...]:
    from solon.core.errors import ConfigError

    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise ConfigError("layers are whole numbers", got=text, expected="for example 2,4,6") from None


def _copy(made: Any, name: str, out: Path) -> None:
    """The head's files and cards into a folder, each whole or not at all."""
    from solon.core.errors import StorageError

    try:
        out.mkdir(parents=True, exist_ok=True)
        for file in sorted(made.path.glob(f"{name}*")):
            aside = out / f"{file.name}.part"
            aside.write_bytes(file.read_bytes())
            aside.replace(out / file.name)
    except OSError as error:
        raise StorageError(f"the folder {out} cannot be written", got=error) from error


def evaluate(head: HeadFile = "minilm", runs: Runs = None, json: Json = False) -> None:
    """Measure a head on the held-out texts: ranking, decisions, calibration, categories and groups, with intervals."""
    from solon.stages import safety

    place = store(runs, quiet=json)
    found = safety.opened(head, place)
    made = safety.evaluate(found, place)
    rows = made.read("figures.json")
    emit({"card": found.card, "artifact": made.id, "figures": rows}, json, lambda: _figures(rows, f"{found.card} in {made.path}"))


def _figures(rows: list[dict[str, Any]], said: str) -> None:
    def number(x: float | None) -> str:
        return "" if x is None or x != x else f"{x:.3f}"

    table(
        ("set", "slice", "figure", "value", "95 % interval", "n", "harmful"),
        (
            (
                row["set"], row["slice"], row["figure"], number(row["value"]), f"{number(row['low'])} to {number(row['high'])}",
                row["n"], row["positives"],
            )
            for row in rows
        ),
        right=("value", "n", "harmful"),
    )  # fmt: skip
    matrices = [row for row in rows if "confusion" in row]
    if matrices:
        columns = list(matrices[0]["confusion"])
        table(("set", "slice", *columns), ((row["set"], row["slice"], *row["confusion"].values()) for row in matrices), right=columns)
    typer.echo(said)


def score(
    texts: Annotated[list[str], typer.Argument(help="Texts, or - for one a line on standard input.", metavar="TEXT...")],
    head: HeadFile = "minilm",
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Score texts: the chance of any harm, the likeliest categories, the severity from 0 to 3."""
    from solon.stages import safety

    given = [line.rstrip("\n") for line in sys.stdin] if texts == ["-"] else texts
    scores = safety.opened(head, store(runs, quiet=True)).score(given)

    def human() -> None:
        table(
            ("harm", "severity", "flagged", "likeliest", "text"),
            (
                (
                    f"{one.harm:.3f}", f"{one.severity:.2f}", "yes" if one.flagged else "",
                    ", ".join(f"{name} {p:.2f}" for name, p in sorted(one.categories.items(), key=lambda kv: -kv[1])[:3] if p >= 0.05),
                    clean(text[:70]),
                )
                for one, text in zip(scores, given, strict=True)
            ),
            right=("harm", "severity"),
        )  # fmt: skip
        if any(one.truncated for one in scores):
            note("a text was longer than the classifier reads; its end was left out")

    emit([{"text": text, **vars(one)} for text, one in zip(given, scores, strict=True)], json, human)


def screen(
    run: Annotated[str, typer.Argument(help="A run's id, the beginning of one, or latest.", metavar="RUN")] = "latest",
    head: HeadFile = "minilm",
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Score every row that a finished run was trained on: how many were screened and flagged, and which are the worst.

    Nothing is changed. Of preference pairs the chosen and the rejected replies are told apart."""
    from solon.stages import safety, screened
    from solon.stages.runs import find

    place = store(runs, quiet=json)
    made = screened.screened(place, find(place, run), safety.opened(head, place))
    found = made.read("figures.json")
    emit({"artifact": made.id, "path": made.path, **found}, json, lambda: _screened(found, made.id))


def _screened(found: dict[str, Any], id: str) -> None:
    def share(one: dict[str, Any] | None) -> tuple[str, str]:
        return (f"{one['value']:.1%}", f"{one['low']:.1%} to {one['high']:.1%}") if one else ("", "")

    table(
        ("training", "side", "screened", "flagged", "95 % exact", "severity", "worst rows"),
        (
            (
                one["training"], one["side"], one["screened"], *share(one["flagged"]), f"{one['severity']['value']:.2f}" if one["severity"] else "",
                ", ".join(f"{row['id']} {row['harm']:.2f}" for row in one["worst"][:3]),
            )
            for one in found["trainings"]
        ),
        right=("flagged", "severity"),
    )  # fmt: skip
    typer.echo(clean(f"screened {found['screened']} rows by {found['classifier']} in {id}"))
