"""`solon runs`, `verify`, `trace` and `report`: looking back at what was made, and checking it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from solon.cli.show import Json, Runs, clean, clock, console, emit, epilog, facts, group, plain, size, store, table
from solon.core.errors import MissingError

SOME, SHORT = 5, 90  # rows of a model that are shown to choose from, and characters of a request
Run = Annotated[str, typer.Argument(help="A run's id, the beginning of one, or latest.", metavar="RUN")]


def attach(app: typer.Typer) -> None:
    """Hang this part's commands into the tree."""
    runs = group("Finished and unfinished runs.")
    runs.command("list", epilog=epilog("solon runs list", "solon runs list --json"))(listing)
    runs.command("show", epilog=epilog("solon runs show latest"))(show)
    runs.command("graph", epilog=epilog("solon runs graph latest"))(graph)
    runs.command("compare", epilog=epilog("solon runs compare latest quickstart-3f2a"))(compare)
    runs.command("gc", epilog=epilog("solon runs gc", "solon runs gc --drop quick-1111 --delete"))(gc)
    runs.command("rewards", epilog=epilog("solon runs rewards grpo-11aa grpo-22bb grpo-33cc grpo-44dd grpo-55ee"))(rewards)
    app.add_typer(runs, name="runs")
    app.command("verify", epilog=epilog("solon verify latest", "solon verify latest --steps 4 --samples 16"))(verify)
    app.command("trace", epilog=epilog("solon trace latest", "solon trace latest rt-0007"))(trace)
    app.command("report", epilog=epilog("solon report latest", "solon report latest --path"))(report)


def report_path(run: Any) -> Path:
    """The page of a run."""
    path = Path(run.path) / "report.html"
    if not path.exists():
        raise MissingError(f"the run {run.id} has no report yet", fix="run its recipe again: it goes on where it stopped")
    return path.resolve()


def listing(runs: Runs = None, json: Json = False) -> None:
    """All runs, the newest first."""
    from solon.stages.runs import list_runs

    found = list_runs(store(runs, quiet=True))

    def human() -> None:
        if not found:
            typer.echo("no runs yet; begin with: solon align recipes/quickstart.yaml")
            return
        table(
            ("run", "model", "constitution", "started (UTC)", "ended (UTC)", "release"),
            (
                (run.id, run.recipe["model"], f"{run.recipe['constitution']} {run.book}", run.started, run.ended_at, decision(run))
                for run in found
            ),
        )

    emit(found, json, human)


def decision(run: Any) -> str:
    """The verdict in a word or two."""
    if not run.verdict:
        return "" if run.ended_at else "not finished"
    open_ = sum(one["status"] not in ("pass", "waived") for one in run.verdict.get("conditions", []))
    return "yes" if run.verdict.get("release") else f"no ({open_} conditions not met)"


def show(run: Run = "latest", runs: Runs = None, json: Json = False) -> None:
    """What went into a run and what came out of it."""
    from solon.stages import _gradient_figures, _safety_readings
    from solon.stages.runs import find

    place = store(runs, quiet=True)
    found = find(place, run)
    parts = [_part(place, role, id) for role, id in found.artifacts.items()]

    def human() -> None:
        head = {"run": found.id, "model": found.recipe["model"], "constitution": f"{found.recipe['constitution']} {found.book}"}
        head |= {"seed": found.recipe["seed"], "started": found.started, "ended": found.ended_at or "not finished", "folder": found.path}
        facts(head | ({"release": decision(found)} if found.verdict else {}))
        conditions = found.verdict.get("conditions", [])
        if conditions:
            names = ("name", "required", "measured", "status")
            table(("condition", *names[1:]), ([one[name] for name in names] for one in conditions))
        for one in parts:
            gradients = _gradient_figures.lines(one["gradients"]) if "gradients" in one else []
            for line in gradients + _safety_readings.lines(one.get("readings", [])):
                typer.echo(f"{one['role']}: {line}")
        columns = ("part", "artifact", "rows", "dropped", "tokens", "time")
        rows = ((p["role"], p["id"], p["kept"], p["dropped"], f"{p['tokens']:,}", clock(p["seconds"])) for p in parts)
        table(columns, rows, right=columns[2:])

    emit({**plain(found), "parts": parts}, json, human)


def _part(place: Any, role: str, id: str) -> dict[str, Any]:
    """One artifact of a run: what it kept and what it cost."""
    artifact = place.get(id)
    data, cost = artifact.evidence["data"], artifact.evidence["cost"]
    read = {name: artifact.read(f"{name}.json") for name in ("gradients", "readings") if (artifact.path / f"{name}.json").exists()}
    return {
        "role": role, "id": id, "kept": data["kept"], "dropped": sum(data["dropped"].values()), "tokens": cost["tokens"],
        "seconds": cost["seconds"], **read,
    }  # fmt: skip


def graph(run: Run = "latest", runs: Runs = None, json: Json = False) -> None:
    """Which artifact was made from which."""
    from solon.stages import runs as stage

    place = store(runs, quiet=True)
    nodes = stage.graph(place, stage.find(place, run))

    def human() -> None:
        names = {node["id"]: node["role"] for node in nodes}
        for node in nodes:
            typer.echo(f"{node['role']}  {node['id']}")
            for source in node["inputs"]:
                known = names.get(source["id"])
                typer.echo(clean(f"  <- {source['role']}: " + (f"{known}  {source['id']}" if known else str(source["id"]))))

    emit(nodes, json, human)


def compare(
    first: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, the beginning of one, or latest.")],
    second: Annotated[str, typer.Argument(metavar="RUN", help="The run to hold beside it.")],
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Where two runs differ: recipe, artifacts and figures."""
    from solon.stages import runs as stage

    place = store(runs, quiet=True)
    value = stage.compare(place, stage.find(place, first), stage.find(place, second))

    def human() -> None:
        a, b = value["runs"]
        if not value["recipe"]:
            typer.echo("the recipes are the same")
        else:
            table(("recipe", a, b), ((key, *pair) for key, pair in value["recipe"].items()))
        typer.echo("shared parts: " + (", ".join(value["shared_artifacts"]) or "none"))
        if value["figures"]:
            table(("figure", a, b), ((name, one.get(a), one.get(b)) for name, one in value["figures"].items()))

    emit(value, json, human)


def gc(
    drop: Annotated[list[str] | None, typer.Option("--drop", help="A run, artifact or draft that is no longer wanted; may be repeated.")] = None,
    days: Annotated[float, typer.Option("--days", min=0, help="Artifacts younger than this stay, unless a dropped run used them.")] = 7.0,
    delete: Annotated[bool, typer.Option("--delete", help="Delete them; without this they are only listed.")] = False,
    runs: Runs = None,
    json: Json = False,
) -> None:
    """List the variants that no run refers to and nothing kept was made from, or delete them.

    Red teaming, sweeps, benchmarks and what else was asked for by itself stay until they are dropped by name. While a run has not
    ended, nothing that it may need is freed.
    """
    from solon.stages import gc as stage

    place = store(runs, quiet=True)
    made = stage.plan(place, list(drop or []), days)
    if delete:
        stage.collect(place, made)

    def human() -> None:
        if made["free"]:
            table(("what", "name", "bytes"), ((one["kind"], one["id"], size(one["bytes"], "B")) for one in made["free"]), right=("bytes",))
        lineage = sum(" was made from it" in reason for reason in made["kept"].values())
        for reason, count in Counter(one for one in made["kept"].values() if " was made from it" not in one).most_common():
            typer.echo(f"kept: {count} artifacts, {reason}")
        typer.echo(f"kept: {lineage} more that those were made from")
        done = "deleted" if delete else "nothing was deleted; --delete does it"
        typer.echo(f"{len(made['free'])} folders, {size(made['bytes'], 'B')}: {done}" if made["free"] else "nothing to free")

    emit({**made, "deleted": delete}, json, human)


def verify(
    run: Run = "latest",
    steps: Annotated[int, typer.Option("--steps", min=0, help="Training steps to replay.")] = 2,
    samples: Annotated[int, typer.Option("--samples", min=0, help="Generations to draw again.")] = 8,
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Replay a part of a run and compare it with what was kept, byte for byte. Exit code 1 when something differs."""
    from solon.stages.runs import find
    from solon.stages.verify import verify

    place = store(runs, quiet=json)
    value = plain(verify(place, find(place, run), steps, samples))
    emit(value, json, lambda: _tree(value))
    if isinstance(value, dict) and not value.get("ok", True):
        raise typer.Exit(1)


def trace(
    run: Run,
    row: Annotated[str, typer.Argument(help="The id of a row that a model was trained on; some are shown when left out.", metavar="[ROW]")] = "",
    runs: Runs = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Walk from a trained row back to its prompt, response, critique, principle and label."""
    from solon.stages.runs import find
    from solon.stages.trace import trace, trained_rows

    place = store(runs, quiet=True)
    found = find(place, run)
    if not row:
        rows = trained_rows(place, found)
        emit(rows, json, lambda: _some(rows))
        return
    value = trace(place, found, row)
    emit(value, json, lambda: _tree(plain(value)))


def _some(rows: list[dict[str, Any]]) -> None:
    """A few rows of every model, spread over its training, to choose from."""
    roles = list(dict.fromkeys(row["role"] for row in rows))
    for role in roles:
        own = [row for row in rows if row["role"] == role]
        chosen = own[:: max(len(own) // SOME, 1)][:SOME]
        typer.echo(f"{role}: {len(own)} rows, for instance")
        table(("row", "from", "request"), ((row["id"], row["source"], clean(" ".join(row["request"].split()))[:SHORT]) for row in chosen))
    typer.echo("solon trace RUN ROW walks back from one; --json lists all")


def report(
    run: Run = "latest",
    path: Annotated[bool, typer.Option("--path", help="Print where it is and do not open it.")] = False,
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Open the report of a run in the browser, or print where it is."""
    from solon.stages.runs import find

    found = find(store(runs, quiet=True), run)
    page = report_path(found)
    emit({"run": found.id, "report": str(page), "report_json": str(page.with_suffix(".json"))}, json, lambda: typer.echo(str(page)))
    if not path and not json and _has_screen():
        import webbrowser

        webbrowser.open(page.as_uri())


def _has_screen() -> bool:
    import os
    import sys

    desktop = sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return sys.stdout.isatty() and bool(desktop)


def _tree(value: Any) -> None:
    """Any record as an indented outline."""
    console().print(clean("\n".join(outline(value))), markup=False, soft_wrap=True)


def outline(value: Any, depth: int = 0) -> list[str]:
    """The lines of a nested record: names, values, and lists with a dash."""
    pad = "  " * depth
    if isinstance(value, dict):
        lines = []
        for name, one in value.items():
            nested = isinstance(one, dict | list) and bool(one)
            lines.append(f"{pad}{name}:" if nested else f"{pad}{name}: {_word(one, depth)}")
            lines += outline(one, depth + 1) if nested else []
        return lines
    if isinstance(value, list):
        lines = []
        for one in value:
            inner = outline(one, depth + 1)
            lines += [f"{pad}- {inner[0].strip()}", *inner[1:]] if inner else []
        return lines
    return [f"{pad}{_word(value, depth)}"]


def _word(value: Any, depth: int) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return str("" if value is None or value in ([], {}) else value).replace("\n", "\n" + "  " * (depth + 1))


def rewards(
    artifacts: Annotated[list[str], typer.Argument(help="Artifacts of grpo that differ in the seed alone; five or more say most.", metavar="ARTIFACT...")],
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Average reward over seeds: its curve, its rise, the round at which 95 % of the rise was made, the spread, the worst seed."""
    from solon.stages.seeds import rewards

    found = rewards(store(runs, quiet=True), artifacts)

    def told(one: Any) -> str:
        return f"{one.value:.4g} ({one.low:.4g} to {one.high:.4g}; {one.n} seeds)"

    def human() -> None:
        every = sorted({round(i * (len(found.curve) - 1) / 9) for i in range(10)})
        table(("round", "average reward"), ((i + 1, told(found.curve[i])) for i in every), right=("round",))
        lines = {"first tenth": told(found.first), "last tenth": told(found.final), "improvement per 100 rounds": told(found.improvement)}
        reached = ", ".join(f"{seed}: {'never' if at is None else at}" for seed, at in found.converged.items())
        lines |= {"round of 95 % of the rise, by seed": reached, "deviation between seeds": f"{found.deviation:.4g}"}
        facts(lines | {"worst seed": f"{found.worst[0]} ({found.worst[1]:.4g})"})
        typer.echo(found.plain)

    emit(found, json, human)
