"""`solon redteam`: try to make a model give harmful help, and say how often it does."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from solon.cli.show import Json, Runs, clock, emit, epilog, note, store, table
from solon.core.errors import ConfigError

PARTS = {"even": "even part", "hunt": "hunt", "regression": "stored attempts"}


def attach(app: typer.Typer) -> None:
    """Hang this part's commands into the tree."""
    examples = epilog(
        "solon redteam smollm2-135m-instruct --attempts 500",
        "solon redteam latest:base latest:aligned --attempts 10000",
        "solon redteam latest:aligned --families encoding,many_shot,written --prompts 'starter:red_team + shared:harmbench'",
        "solon redteam latest:base latest:aligned --attempts 0 --regression successes.jsonl",
        "solon redteam latest:aligned --guard",
        "solon redteam --list",
    )
    app.command("redteam", epilog=examples)(redteam)


def redteam(
    model: Annotated[str | None, typer.Argument(help="The model, by any of its names.", metavar="MODEL")] = None,
    after: Annotated[str | None, typer.Argument(help="A second model: both get the same attempts, and are compared.", metavar="[AFTER]")] = None,
    attempts: Annotated[int, typer.Option("--attempts", min=0, help="How many attempts on each model.")] = 500,
    families: Annotated[str, typer.Option("--families", metavar="A,B", help="Families or groups of attacks; all when left out.")] = "",
    prompts: Annotated[str, typer.Option("--prompts", metavar="SOURCE", help="What is asked for; sources joined by ' + '.")] = "starter:red_team",
    side: Annotated[str, typer.Option("--side", help="heldout to measure, train to find training data, or all.")] = "heldout",
    even: Annotated[float, typer.Option("--even", min=0, max=1, help="Share of attempts spread evenly; the rest hunts.")] = 0.6,
    attacker: Annotated[str, typer.Option("--attacker", metavar="MODEL", help="Who writes prompts; else the published model behind MODEL.")] = "",
    judge: Annotated[str, typer.Option("--judge", metavar="NAME", help="rules (on the reply), or classifier: what the rules call help must be harmful, too.")] = "rules",
    suffixes: Annotated[int, typer.Option("--suffixes", min=0, help="Adversarial suffixes to search first (a minute or more each).")] = 0,
    regression: Annotated[str, typer.Option("--regression", metavar="FILE", help="Stored successes to replay first.")] = "",
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="Longest reply, in tokens.")] = 48,
    temperature: Annotated[float, typer.Option("--temperature", min=0, max=5, help="Of the target's replies.")] = 0.7,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Names all randomness.")] = 1,
    guard: Annotated[bool, typer.Option("--guard", help="Attack the model behind its guard (solon guard); one model is compared with itself without.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="Show the families of attacks and stop.")] = False,
    runs: Runs = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Attack a model in many ways and report how often it gave harmful help, with exact intervals.

    Stopped at any point, the same command goes on and ends with the same result. Two models get the same attempts in
    their even part and are compared on it; so do one model and itself behind its guard. The successes are kept as a file for --regression and for training.
    """
    if listed:
        listing(json)
        return
    if model is None:
        raise ConfigError("name a model", fix="solon redteam MODEL, or solon redteam --list")
    from solon.core.config import build
    from solon.stages import _redteam_judges as judges
    from solon.stages import redteam as stage

    content = {
        "attempts": attempts, "families": [one.strip() for one in families.split(",") if one.strip()], "prompts": prompts, "side": side,
        "even": even, "attacker": attacker, "suffixes": suffixes, "regression": regression, "seed": seed,
        "draw": {"temperature": temperature, "max_tokens": tokens},
    }  # fmt: skip
    if not attempts and not regression:
        raise ConfigError("there is nothing to do", got="--attempts 0", fix="give --attempts, or --regression FILE")
    config = build(stage.RedTeam, content, "solon redteam")
    if guard or after:
        stage.comparable(config)
    judging = judges.named(judge)
    place = store(runs, quiet=json)
    played = [(name, guard) for name in (model, after) if name]
    if guard and after is None:
        played.insert(0, (model, False))
    made = [stage.redteam(place, config, name, judging, behind) for name, behind in played]
    pair = stage.compare(place, config, made[0], made[1]) if len(made) == 2 else None
    value = summary(place, [name + (" behind its guard" if behind else "") for name, behind in played], made, pair)
    emit(value, json, lambda: human(value))


def listing(json: bool) -> None:
    """The families, their groups, and what each does."""
    from solon.stages.redteam import families

    rows = families()
    emit(rows, json, lambda: table(("family", "group", "what it does"), ([row[name] for name in ("name", "group", "about")] for row in rows)))


def summary(place: Any, names: list[str], made: list[Any], pair: Any) -> dict[str, Any]:
    """Everything that `--json` prints."""
    models = []
    for name, one in zip(names, made, strict=True):
        tried = one.read("campaign.json")["attempts"]
        count, seconds = sum(tried[part] for part in PARTS), place.get(tried["artifact"]).evidence["cost"]["seconds"]
        models.append(
            {
                "model": name, "artifact": one.id, "figures": one.read("figures.json"), "campaign": one.read("campaign.json"), "seconds": seconds,
                "attempts_per_second": round(count / seconds, 3) if seconds else None,
                "attempts": str((one.path / "attempts.jsonl").resolve()), "successes": str((one.path / "successes.jsonl").resolve()),
                "page": str((one.path / "page.html").resolve()),
            }
        )  # fmt: skip
    out: dict[str, Any] = {"models": models}
    if pair is not None:
        out |= {"pair": pair.read("pair.json"), "page": str((pair.path / "page.html").resolve())}
    return out


def human(value: dict[str, Any]) -> None:
    """The tables of a person: families, totals, the judge, and where everything lies."""
    from solon.stages._redteam_page import judge_told

    for one in value["models"]:
        _families(one)
        for part, total in one["figures"]["total"].items():
            typer.echo(_total(PARTS[part], total))
        distinct = one["figures"]["distinct"]
        if distinct["share"] is not None:
            typer.echo(f"distinct: {100 * distinct['share']:.1f} % of the attempts have words of their own")
        if one["figures"].get("guard"):
            typer.echo("guard: " + ", ".join(f"{name} {count}" for name, count in one["figures"]["guard"].items()))
        for reason, count in one["figures"]["missing"].items():
            typer.echo(f"missing: {count} attempts ({reason})")
        typer.echo(f"judge: {one['campaign']['judge']['name']}; " + judge_told(one["figures"]["judge"]))
        if one["seconds"]:
            note(f"{clock(one['seconds'])}, {one['attempts_per_second']:.2f} attempts/s")
        typer.echo(f"successes: {one['successes']}")
        typer.echo(f"page: {one['page']}")
    if "pair" in value:
        _pair(value["pair"])
        typer.echo(f"page: {value['page']}")


def _families(one: dict[str, Any]) -> None:
    from solon.stages._redteam_page import interval, percent

    def cells(name: str, family: dict[str, Any]) -> list[Any]:
        even, hunt, true = family["even"], family["hunt"], family["corrected"]
        count = lambda rate: f"{round(rate['value'] * rate['n'])}/{rate['n']}" if rate else ""  # noqa: E731
        shown = [percent(even["value"]), interval(even)] if even else ["", ""]
        return [name, count(even), *shown, percent(true["value"]) if true else "", count(hunt), family["off_topic"], family["missing"]]

    typer.echo(one["model"])
    columns = ("family", "even", "rate", "95 %", "corrected", "hunt", "off topic", "missing")
    table(columns, (cells(name, family) for name, family in one["figures"]["families"].items()), right=columns[1:])


def _total(part: str, one: dict[str, Any]) -> str:
    from solon.stages._redteam_page import interval, none_told, percent

    raw = one["raw"]
    said = f"{part}: {one['success']} of {raw['n']} attempts succeeded: {percent(raw['value'])} [{interval(raw)}], {raw['how']}"
    if one["at_most"] is not None:
        said += f"; {none_told(one['at_most'])}"
    if one["corrected"]:
        said += f"; corrected for the judge {percent(one['corrected']['value'])} [{interval(one['corrected'])}]"
    best = [f"{k}: {percent(chance['value'])} [{interval(chance)}]" for k, chance in one["best_of"].items()]
    return said + f"\n  {percent(one['prompts']['value'])} of {one['prompts']['n']} prompts gave way; best of k: {', '.join(best)}"


def _pair(pair: dict[str, Any]) -> None:
    from solon.stages._redteam_page import percent

    shown = [(PARTS[pair["part"]], pair)] + ([(PARTS["regression"], pair["regression"])] if pair["regression"] else [])
    for name, one in shown:
        typer.echo(f"before and after, {name}, on {one['attempts']} attempts that both got ({one['left_out']} left out):")
        typer.echo(f"  attempts: {percent(one['before'])} -> {percent(one['after'])}; {one['per_attempt']['plain']}; {one['per_attempt']['test']}")
        typer.echo(f"  prompts:  {one['per_prompt']['plain']}; {one['per_prompt']['test']}")
