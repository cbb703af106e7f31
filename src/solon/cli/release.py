"""`solon release`: review everything that decides a release, write it down, and check what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from solon.cli.show import Json, Runs, clean, emit, epilog, note, store, table
from solon.core.errors import ConfigError

ORDER = ("missed", "not shown", "waived", "not measured", "pass")


def attach(app: typer.Typer) -> None:
    """Hang this part's command into the tree."""
    examples = epilog(
        "solon release latest",
        "solon release latest --classify",
        "solon release latest --waive people --name 'A. Turing' --reason 'No raters before the pilot ends'",
        "solon release --new-key ~/keys/release.pem",
        "solon release latest --reviewer 'A. Turing' --key ~/keys/release.pem --out releases/first",
        "solon release --verify releases/first --public-key release.pem.pub",
    )
    app.command("release", epilog=examples)(release)


def release(
    run: Annotated[str | None, typer.Argument(help="A run's id, the beginning of one, or latest.", metavar="[RUN]")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FOLDER", help="Where the release is written; else the run's folder.")] = None,
    waive: Annotated[list[str] | None, typer.Option("--waive", metavar="CONDITION", help="Answer for a condition that is not met; may be repeated.")] = None,
    withdraw: Annotated[list[str] | None, typer.Option("--withdraw", metavar="CONDITION", help="Take a waiver back; it stays visible.")] = None,
    name: Annotated[str, typer.Option("--name", help="Who waives or withdraws.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why.")] = "",
    reviewer: Annotated[str, typer.Option("--reviewer", metavar="NAME", help="Who reviewed the safety evidence; needs --key.")] = "",
    key: Annotated[Path | None, typer.Option("--key", metavar="FILE", help="Sign the manifest with this private key.")] = None,
    classify: Annotated[bool, typer.Option("--classify", help="First ask the safety classifier about the replies and the training's rows (fetches MiniLM).")] = False,
    new_key: Annotated[Path | None, typer.Option("--new-key", metavar="FILE", help="Make a key pair, FILE and FILE.pub, and stop.")] = None,
    verify: Annotated[Path | None, typer.Option("--verify", metavar="FOLDER", help="Check a release instead.")] = None,
    public_key: Annotated[Path | None, typer.Option("--public-key", metavar="FILE", help="With --verify: who must have signed.")] = None,
    runs: Runs = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Review every condition of a release, write model card, report and manifest, and say whether the model is released.

    Exit code 0 only if it is: every condition met, or waived by someone with a name and a reason. 1 if it is not, or if what
    --verify looks at was changed; 2 for a mistake in the call. Conditions that nobody measured count as not met.
    """
    _one_job(run, new_key, verify, waive, withdraw, reviewer, public_key)
    if new_key:
        _new_key(new_key, json)
    elif verify:
        _verify(verify, public_key, runs, json)
    else:
        _review(run or "latest", out, list(waive or ()), list(withdraw or ()), name, reason, reviewer, key, classify, runs, json)


def _one_job(run: Any, new_key: Any, verify: Any, waive: Any, withdraw: Any, reviewer: str, public_key: Any) -> None:
    """Refuse options that do not belong together."""
    if run is None and not new_key and not verify:
        raise ConfigError("name a run", fix="solon release latest, or solon release --help")
    if (new_key and verify) or (run is not None and (new_key or verify)):
        raise ConfigError("--new-key and --verify stand alone", got="more than one of RUN, --new-key, --verify")
    if (new_key or verify) and (waive or withdraw or reviewer):
        raise ConfigError("--waive, --withdraw and --reviewer need a run", fix="solon release RUN --waive CONDITION ...")
    if public_key and not verify:
        raise ConfigError("--public-key goes with --verify", fix="to sign, give --key FILE")


def _new_key(path: Path, json: bool) -> None:
    from solon.stages.release_manifest import new_key

    name = new_key(path)
    value = {"private": str(path), "public": f"{path}.pub", "fingerprint": name}
    emit(value, json, lambda: typer.echo(f"{path} (keep it to yourself)\n{path}.pub (pass it on)\nfingerprint {name}"))


def _verify(folder: Path, public_key: Path | None, runs: Path | None, json: bool) -> None:
    from solon.stages.release_manifest import verify

    found = verify(folder, store(_runs_of(folder, runs), quiet=True), public_key)
    emit(found, json, lambda: _told(folder, found))
    if not found["ok"]:
        raise typer.Exit(1)


def _runs_of(folder: Path, runs: Path | None) -> Path | None:
    """The store that a release lies in, where it lies in its run's folder; else what --runs or SOLON_RUNS says."""
    above = folder.resolve().parent.parent
    return runs if runs is not None or not (above / "artifacts").is_dir() else above


def _told(folder: Path, found: dict[str, Any]) -> None:
    from solon.stages.release_manifest import fingerprint

    for fault in found["faults"]:
        typer.echo(clean(f"refused: {fault}"))
    if not found["ok"]:
        return
    signed = f"signed by {fingerprint(found['signed_by'])}" if found["signed_by"] else "not signed: whoever can write the folder could have rewritten all of it"
    typer.echo(clean(f"{folder} is as it was written: {found['run']}, {'released' if found['release'] else 'not released'}; {signed}"))
    typer.echo(f"{found['artifacts']} artifacts re-hashed, {found['absent']} not here; head {found['head'][:16]}")


def _review(
    name_of_run: str, out: Path | None, waive: list[str], withdraw: list[str], name: str, reason: str, reviewer: str, key: Path | None, classify: bool,
    runs: Path | None, json: bool,
) -> None:  # fmt: skip
    from solon.stages import evidence, release_folder, release_review, report
    from solon.stages.runs import find

    place = store(runs, quiet=json)
    found = find(place, name_of_run)
    if reviewer and not key:
        raise ConfigError("a review counts only under a signature", got="--reviewer without --key", fix="add --key FILE (solon release --new-key FILE makes one)")
    if (name or reason) and not (waive or withdraw):
        raise ConfigError("--name and --reason go with --waive or --withdraw", fix="name the condition: --waive CONDITION")
    if classify:
        evidence.classified(place, found)
    verdict = release_review.review(place, found, reviewer=reviewer)
    for many, back in ((waive, False), (withdraw, True)):
        if many:
            release_review.waive(found, verdict, many, name, reason, back)
            verdict = release_review.review(place, found, reviewer=reviewer)
    folder = out or release_folder.default(found)
    value: dict[str, Any] = {"run": found.id, "folder": "", "head": "", **verdict}
    if release_folder.sound(verdict):
        content = report.assemble(place, found, reviewer)
        value["head"] = release_folder.publish(place, found, content, folder, key, reviewer)
        report.save(found, content)
        value |= {"folder": str(folder), **{part: content["verdict"][part] for part in verdict}}
    emit(value, json, lambda: _human(value))
    if not value["release"]:
        raise typer.Exit(1)


def _human(value: dict[str, Any]) -> None:
    rows = sorted(value["conditions"], key=lambda one: ORDER.index(one["status"]))
    table(("condition", "key", "required", "measured", "status"), ((r["name"], r["key"], r["required"], _measured(r), r["status"]) for r in rows))
    commands: dict[str, list[str]] = {one["command"]: [] for one in rows if one["status"] == "not measured" and one["command"]}
    for one in rows:
        if one["command"] in commands and one["status"] == "not measured":
            commands[one["command"]].append(one["key"])
    for command, keys in commands.items():
        typer.echo(clean(f"measures {', '.join(keys)}: {command}"))
    counts = ", ".join(f"{sum(one['status'] == status for one in rows)} {status}" for status in ORDER if any(one["status"] == status for one in rows))
    typer.echo(f"release: {'yes' if value['release'] else 'no'} ({counts})")
    if value["folder"]:
        typer.echo(f"written: {value['folder']}")
        note(f"check it: solon release --verify {value['folder']}")
    else:
        typer.echo("nothing was written: the evidence is not what it was")


def _measured(one: dict[str, Any]) -> str:
    """What was measured, and who answers for a condition that was waived."""
    waiver = one.get("waiver")
    return one["measured"] + (f" [waived by {waiver['name']}, {waiver['date']}: {waiver['reason']}]" if waiver else "")
