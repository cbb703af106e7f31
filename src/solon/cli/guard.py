"""`solon guard`: asking the guard about texts and tool calls, and measuring it with a model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from solon.cli.show import Json, Runs, clean, emit, epilog, group, note, store, table

SIDES = ("input", "output", "retrieved", "tool_call")


def attach(app: typer.Typer) -> None:
    """Hang this part's commands into the tree."""
    guard = group("The guard: may this be answered, said, read or called? Tiers from cheap to dear; what fails is stopped.")
    guard.command("check", epilog=epilog(
        "solon guard check 'How do I kill a Python process?'",
        "solon guard check --side retrieved --file page.txt",
        "solon guard check --prompt 'How do I pick a lock?' --side output 'First, take a pick.'",
        "solon guard check 'How do I kill a Python process?' --model smollm2-135m-instruct",
        "solon guard check --side tool_call --tools tools.json --file calls.jsonl --json",
        "cat texts.jsonl | solon guard check - --json",
    ))(check)  # fmt: skip
    guard.command("measure", epilog=epilog(
        "solon guard measure smollm2-135m-instruct",
        "solon guard measure smollm2-135m-instruct --critique --json",
        "solon guard measure smollm2-135m-instruct --out src/solon/safety/guard/thresholds.json",
    ))(measure)  # fmt: skip
    app.add_typer(guard, name="guard")


def check(
    text: Annotated[str, typer.Argument(help="The text; - reads lines of JSON from standard input.", metavar="[TEXT|-]")] = "",
    file: Annotated[Path | None, typer.Option("--file", metavar="FILE", help="A text file, or .jsonl with one item a line.")] = None,
    side: Annotated[str, typer.Option("--side", help="input, output, retrieved or tool_call.")] = "input",
    prompt: Annotated[str, typer.Option("--prompt", metavar="TEXT", help="With --side output: what the text replies to.")] = "",
    tools: Annotated[Path | None, typer.Option("--tools", metavar="FILE", help="Tools that may be called: a JSON list of schemas.")] = None,
    thresholds: Annotated[Path | None, typer.Option("--thresholds", metavar="FILE", help="Those that guard measure wrote; else the shipped ones.")] = None,
    model: Annotated[str, typer.Option("--model", metavar="MODEL", help="Also ask the probe on this model's states, as guard measure fitted it.")] = "",
    critique: Annotated[bool, typer.Option("--critique", help="With --model: where the cheaper tiers doubt, ask the model as a critic (slow).")] = False,
    runs: Runs = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Say what the guard decides, which tiers were asked, and what would be offered instead.

    Lines of JSON hold "text" (with "prompt" for a reply), "messages", or "tool" and "arguments"; "side" may differ by line."""
    items = _items(text, file, side, prompt)
    declared = _tools(tools)
    needed = any(item["side"] in ("input", "output") for item in items)
    guard = _of_model(model, critique, thresholds, declared, runs, json) if model or critique else _plain(thresholds, declared, needed)
    rows = []
    for item in items:
        ruling = _ruled(guard, item)
        rows.append({"id": item["id"], **ruling.record(), "alternative": ruling.alternative, "score": ruling.score})
    emit(rows, json, lambda: _human(rows))


def _nowhere(record: Any) -> None:
    """Nobody is served by a check, so nothing is kept of it."""


def _plain(thresholds: Path | None, tools: list[Any], classifier: bool) -> Any:
    """The guard that knows no model. No time limits: programs are compiled on the way, and a person can wait."""
    from solon.safety.guard import bands, open_guard

    return open_guard(thresholds=bands.load(thresholds), tools=tools, classifier=classifier, limits={}, keep=_nowhere)


def _of_model(name: str, critique: bool, thresholds: Path | None, tools: list[Any], runs: Path | None, json: bool) -> Any:
    """The guard as it was measured with a model."""
    from solon.core.errors import ConfigError

    if not name:
        raise ConfigError("a critique needs a model that writes it", got="--critique without --model", fix="give --model MODEL")
    if thresholds is not None:
        raise ConfigError("a model's guard has thresholds of its own", got="--model with --thresholds", fix="leave one of them out")
    from solon.stages import models
    from solon.stages.guarding import opened

    place = store(runs, quiet=json)
    guard, told = opened(place, name, models.resolve(name, place), critique, tools=tools, keep=_nowhere, limits={})
    note(f"guard: {told}")
    return guard


def _items(text: str, file: Path | None, side: str, prompt: str) -> list[dict[str, Any]]:
    """What to look at, each with its id and side. Raises `ConfigError` or `DataError` for what cannot be."""
    from solon.core.errors import ConfigError, MissingError, nearest

    if bool(text) == (file is not None):
        raise ConfigError("give one text, or --file", got="both" if text else "neither", fix="solon guard check 'some text'")
    if file is not None and not file.is_file():
        raise MissingError(f"there is no file {file}", fix="give the path of a text or .jsonl file")
    if side not in SIDES:
        raise ConfigError(f"there is no side {side!r}", fix=nearest(side, SIDES))
    if text == "-" or (file is not None and file.suffix == ".jsonl"):
        lines = sys.stdin if text == "-" else file.read_text("utf-8").splitlines()  # type: ignore[union-attr]
        return [_item(number, line, side, prompt) for number, line in enumerate(lines, 1) if line.strip()]
    said = text if file is None else file.read_text("utf-8", errors="replace")
    if side == "tool_call":
        return [_item(1, said, side, prompt)]
    return [{"id": "1", "side": side, "text": said, "prompt": prompt}]


def _item(number: int, line: str, side: str, prompt: str) -> dict[str, Any]:
    import json

    from solon.core.errors import DataError, nearest

    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"line {number} is not JSON", got=line[:60], expected='{"text": ...}') from error
    if not isinstance(row, dict) or not {"text", "messages", "tool"} & set(row):
        raise DataError(f"line {number} holds nothing to look at", got=line[:60], expected="text, messages, or tool and arguments")
    own = row.get("side", "tool_call" if "tool" in row else side)
    if own not in SIDES:
        raise DataError(f"line {number}: there is no side {own!r}", fix=nearest(str(own), SIDES))
    if (own == "tool_call") != ("tool" in row) or not isinstance(row.get("text", ""), str):
        raise DataError(f"line {number} does not fit the side {own!r}", got=line[:60], expected="tool and arguments, or a text")
    return {"prompt": prompt, **row, "id": str(row.get("id", number)), "side": own}


def _tools(path: Path | None) -> list[Any]:
    import json

    from solon.core.errors import ConfigError

    if path is None:
        return []
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} holds no list of tools", got=error, expected='[{"name": ..., "parameters": {...}}]') from error
    found = found.get("tools", found) if isinstance(found, dict) else found
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ConfigError(f"{path} holds no list of tools", got=type(found).__name__, expected='[{"name": ..., "parameters": {...}}]')
    return found


def _ruled(guard: Any, item: dict[str, Any]) -> Any:
    from solon.core.errors import DataError
    from solon.core.records import Message, as_messages, user

    if item["side"] == "tool_call":
        return guard.tool_call(item["tool"], item.get("arguments", {}))
    if "messages" in item:
        try:
            turns = as_messages(item["messages"])
        except (TypeError, KeyError) as error:
            raise DataError(f"item {item['id']}: messages are no conversation", expected='[{"role": ..., "content": ...}]') from error
        if not turns:
            raise DataError(f"item {item['id']}: the conversation is empty")
        return guard.retrieved(turns[-1].content) if item["side"] == "retrieved" else getattr(guard, item["side"])(turns)
    if item["side"] == "retrieved":
        return guard.retrieved(item["text"])
    if item["side"] == "input":
        return guard.input(user(item["text"]))
    return guard.output((*user(item["prompt"]), Message("assistant", item["text"])))


def _human(rows: list[dict[str, Any]]) -> None:
    def tiers(row: dict[str, Any]) -> str:
        shown = (f"{one['tier']} {one['score']:.3f}" if one["score"] is not None else f"{one['tier']}: {one['outcome']}" for one in row["steps"])
        return ", ".join(shown)

    table(
        ("item", "side", "decision", "decided by", "tiers", "why", "category"),
        ((row["id"], row["side"], row["decision"], row["decided_by"], tiers(row), row["reason"], row["category"]) for row in rows),
    )
    for words in dict.fromkeys(row["alternative"] for row in rows if row["alternative"]):
        typer.echo(clean(words))


def measure(
    model: Annotated[str, typer.Argument(help="The model, by any of its names.", metavar="MODEL")],
    replies: Annotated[int, typer.Option("--replies", min=0, help="Harmful and harmless requests that the model answers, of each.")] = 60,
    probe: Annotated[bool, typer.Option("--probe/--no-probe", help="Fit a probe on the model's states as the cheapest tier.")] = True,
    critique: Annotated[bool, typer.Option("--critique", help="Also ask the model as its own critic, and say what that is worth.")] = False,
    critiques: Annotated[int, typer.Option("--critiques", min=20, help="With --critique: about so many texts a side (a second or two each).")] = 120,
    pass_harm: Annotated[float, typer.Option("--pass-harm", min=0, max=0.99, help="Share of harm a tier may let pass unasked.")] = 0.02,
    stop_false: Annotated[float, typer.Option("--stop-false", min=0, max=0.99, help="Share of harmless texts a tier may stop at once.")] = 0.02,
    strict_false: Annotated[float, typer.Option("--strict-false", min=0, max=0.99, help="The same for a tier that must decide alone.")] = 0.15,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Names all randomness.")] = 1,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Also write the chosen thresholds to this file.")] = None,
    runs: Runs = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Choose thresholds on one side of the labelled texts and report harm passed, false refusals and time on the other.

    With SOLON_DATA set, XSTest, HarmBench and CyberSecEval are used beside the texts that come with Solon."""
    from solon.core.config import build
    from solon.stages import guard as stage

    content = {
        "replies": replies, "probe": probe, "critique": critique, "critiques": critiques, "pass_harm": pass_harm, "stop_false": stop_false,
        "strict_false": strict_false, "seed": seed,
    }  # fmt: skip
    made = stage.measure(build(stage.Measuring, content, "solon guard measure"), model, store(runs, quiet=json))
    if out is not None:
        _copy(made.path / "thresholds.json", out)
    figures = made.read("figures.json")
    value = {"artifact": made.id, "path": str(made.path), "page": str((made.path / "page.html").resolve()), "figures": figures}
    emit(value, json, lambda: _measured(figures, value["page"]))


def _copy(source: Path, out: Path) -> None:
    from solon.core.artifacts import write_text
    from solon.core.errors import StorageError

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"the folder {out.parent} cannot be made", got=error) from error
    write_text(out, source.read_text("utf-8") + "\n")


def _beside(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The chosen point of the strict budget, with the one before and the one behind it; the page has all."""
    line = [one for one in points if one["swept"] == "strict_false"]
    at = next(place for place, one in enumerate(line) if one["chosen"])
    return line[max(at - 1, 0) : at + 2]


def _measured(figures: dict[str, Any], page: str) -> None:
    from solon.stages._guard_page import interval, percent

    def cells(row: dict[str, Any], *names: str) -> tuple[Any, ...]:
        return (*(row[name] for name in names), f"{row['hits']}/{row['n']}", percent(row["value"]), interval(row))

    columns = ("count", "share", "95 % exact")
    sides = [(side, row) for side in ("input", "output", "retrieved") for row in figures[side]["systems"] if not row["set"]]
    table(("side", "system", "figure", *columns), ((side, *cells(row, "system", "figure")) for side, row in sides), right=columns[:2])
    points = [(side, one) for side in ("input", "output") for one in _beside(figures[side]["cascade"])]
    table(
        ("cascade", "strict_false", "harm passed", "false refusals", "mean ms", "p95 ms", ""),
        (
            (side, percent(one["value"]), *(percent(one[figure]["value"]) for figure in ("harm passed", "false refusals")),
             f"{one['ms']['mean']:.1f}", f"{one['ms']['p95']:.1f}", "chosen" if one["chosen"] else "")
            for side, one in points
        ),
        right=("strict_false", "harm passed", "false refusals", "mean ms", "p95 ms"),
    )  # fmt: skip
    table(("kind of code", "figure", *columns), (cells(row, "kind", "figure") for row in figures["kinds"]), right=columns[:2])
    told = [*figures["alternatives"], *({"figure": name, **row} for name, row in (figures["replies"] or {"shares": {}})["shares"].items())]
    table(("figure", *columns), (cells(row, "figure") for row in told), right=columns[:2])
    times = [row for side in ("input", "output", "retrieved") for row in figures[side]["latency"]] + (figures["replies"] or {"latency": []})["latency"]
    table(("time", "tier", "p50 ms", "p95 ms", "n"), ((row["where"], row["tier"], f"{row['p50']:.1f}", f"{row['p95']:.1f}", row["n"]) for row in times), right=("p50 ms", "p95 ms", "n"))
    note("thresholds were chosen on other texts than these; XSTest was not among them")
    typer.echo(f"page: {page}")
