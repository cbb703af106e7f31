"""The folder of a release and the command: nothing in it can be changed unseen."""

from __future__ import annotations

import json
import shutil
import stat

import pytest

from solon.core.artifacts import Store
from solon.core.errors import ConfigError, MissingError
from solon.stages import release_folder, release_integrity, release_manifest, report
from solon.stages.release_review import WAIVERS, review, waive
from solon.stages.runs import load


@pytest.fixture(scope="module")
def released(tmp_path_factory, templates):
    """A released run with a signed folder; tests copy it before they change it."""
    pytest.importorskip("cryptography", reason="signatures need the extra 'sign'")
    place = tmp_path_factory.mktemp("released")
    store = Store(place / "runs")
    shutil.copytree(templates[1][0], store.root)
    run = load(store.root / templates[1][1])
    verdict = review(store, run, reviewer="R. Person")
    waive(run, verdict, [one["key"] for one in verdict["conditions"] if one["status"] != "pass"], "A. Person", "a <b>pilot</b> | no *more*")
    release_manifest.new_key(place / "key.pem")
    content = report.assemble(store, run, "R. Person")
    release_folder.publish(store, run, content, store.root / run.id / "release", place / "key.pem", "R. Person")
    return place


@pytest.fixture
def copy(released, tmp_path):
    shutil.copytree(released, tmp_path / "copy")
    place = tmp_path / "copy"
    run = next(path.parent for path in (place / "runs").glob("*/run.json"))
    return place, Store(place / "runs"), run / "release"


def test_an_untouched_release_is_accepted(copy):
    place, store, folder = copy
    found = release_manifest.verify(folder, store, place / "key.pem.pub")
    assert found["ok"] and found["release"] and found["absent"] == 0 and found["artifacts"] >= 11
    away = release_manifest.verify(folder, None)
    assert away["ok"] and away["artifacts"] == 0 and away["absent"] == found["artifacts"]


def every_file(place):
    folders = [next((place / "runs").glob("*/release")), *sorted((place / "runs" / "artifacts").iterdir())]
    return [path for folder in folders for path in sorted(folder.iterdir()) if not path.parent.name.startswith("failures-")]


def test_every_single_changed_file_is_refused_and_named(copy):
    place, store, folder = copy
    files = every_file(place)
    assert len(files) > 25
    for path in files:
        kept = path.read_bytes()
        middle = len(kept) // 2
        path.write_bytes(kept[:middle] + bytes([kept[middle] ^ 1]) + kept[middle + 1 :])
        found = release_manifest.verify(folder, store, place / "key.pem.pub")
        path.unlink()
        gone = release_manifest.verify(folder, store) if path.name != "manifest.json" else {"ok": False, "faults": [path.name]}
        path.write_bytes(kept)
        assert not found["ok"] and any(path.name in one or "manifest.json" in one for one in found["faults"]), path
        assert not gone["ok"] and any(path.name in one for one in gone["faults"]), path
    assert release_manifest.verify(folder, store)["ok"]


def forge(folder, change):
    """A whole new chain without a signature, as someone who can write the folder would make it."""
    manifest = json.loads((folder / "manifest.json").read_text())
    entries = [{name: one for name, one in entry.items() if name not in ("n", "previous", "hash")} for entry in manifest["chain"]]
    change(entries)
    linked = release_manifest.chain(entries)
    (folder / "manifest.json").write_text(json.dumps(manifest | {"chain": linked, "head": linked[-1]["hash"]}))


def test_a_forged_chain_is_refused_by_its_signature(copy):
    place, store, folder = copy
    forge(folder, lambda entries: entries[0]["waivers"].clear())
    found = release_manifest.verify(folder, store)
    assert found["faults"] == ["manifest.sig: it does not belong to this manifest.json"]
    (folder / "manifest.sig").unlink()
    assert "manifest.sig: it is missing" in release_manifest.verify(folder, store)["faults"][0]
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"signed_by": ""}))
    assert release_manifest.verify(folder, store)["ok"], "nothing but a trusted key can see a forgery as a whole"
    assert "not signed" in release_manifest.verify(folder, store, place / "key.pem.pub")["faults"][0]


def test_another_key_is_refused_where_one_is_trusted(copy):
    place, store, folder = copy
    release_manifest.new_key(place / "other.pem")
    found = release_manifest.verify(folder, store, place / "other.pem.pub")
    assert len(found["faults"]) == 1 and "not by" in found["faults"][0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda entries: entries[0].update(release=False), "does not follow"),
        (lambda entries: next(one for one in entries[0]["conditions"] if one["key"] == "bias")["waiver"].update(name=""), "no name"),
        (lambda entries: next(one for one in entries[0]["conditions"] if one["key"] == "lineage").update(status="waived", waiver={"name": "A", "reason": "b"}), "cannot be waived"),
        (lambda entries: entries.append({"kind": "file", "path": "../../run.json", "sha256": "0"}), "no file of this folder"),
    ],
)  # fmt: skip
def test_a_manifest_that_contradicts_itself_is_refused(copy, change, told):
    _, _, folder = copy
    forge(folder, change)
    assert any(told in one for one in release_manifest.verify(folder)["faults"])


def test_added_files_and_foreign_content_are_refused(copy, tmp_path):
    _, store, folder = copy
    (folder / "weights.bin").write_text("x")
    assert release_manifest.verify(folder, store)["faults"] == ["weights.bin: it was added after the release"]
    with pytest.raises(MissingError):
        release_manifest.verify(tmp_path)
    for text in ("[]", "{}", '{"format": 1, "chain": 3, "signed_by": "", "head": ""}', '{"format": 1, "chain": [], "signed_by": "", "head": ""}', "\x00"):
        (folder / "manifest.json").write_text(text)
        assert not release_manifest.verify(folder, store)["ok"]


def test_the_card_has_the_hubs_form_and_tells_waivers(copy):
    import yaml

    _, _, folder = copy
    text = (folder / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    meta = yaml.safe_load(front)
    assert {"license", "base_model", "library_name", "pipeline_tag", "datasets", "tags", "model-index"} <= set(meta)
    assert meta["base_model"] == "nowhere/model" and "released" in meta["tags"] and meta["license"] == "unknown"
    assert {one["type"]: one["value"] for one in meta["model-index"][0]["results"][0]["metrics"]}["harmful_compliance"] == 0.2
    assert "**Released.**" in body and body.index("## Waived") < body.index("## Met") < body.index("## Limits")
    assert "A. Person" in body and "<b>" not in body and "&#60;b&#62;pilot" in body and "R. Person reviewed" in body
    assert "(18 to 22)" in body, "figures stand with their interval"
    assert "PRIVATE" not in "".join(path.read_text() for path in folder.iterdir())


def test_a_folder_with_something_else_is_not_touched(store, run, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="something else"):
        release_folder.publish(store, run, report.assemble(store, run), tmp_path / "thesis", None, "")
    assert (tmp_path / "thesis" / "chapter.tex").exists() and len(list(tmp_path.joinpath("thesis").iterdir())) == 1
    with pytest.raises(ConfigError, match="under a signature"):
        release_folder.publish(store, run, {}, tmp_path / "new", None, "R. Person")


def test_keys_are_private_and_never_overwritten(tmp_path):
    pytest.importorskip("cryptography", reason="signatures need the extra 'sign'")
    path = tmp_path / "keys" / "key.pem"
    release_manifest.new_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and "PUBLIC" in path.with_name("key.pem.pub").read_text()
    kept = path.read_bytes()
    with pytest.raises(ConfigError, match="never overwritten"):
        release_manifest.new_key(path)
    assert path.read_bytes() == kept
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="others can read") as refused:
        release_manifest.write(tmp_path, [{"kind": "verdict"}], path)
    assert kept.decode().splitlines()[1] not in str(refused.value)
    bad = tmp_path / "bad.pem"
    bad.write_text("secret text")
    bad.chmod(0o600)
    with pytest.raises(ConfigError, match="no Ed25519 key") as refused:
        release_manifest.write(tmp_path, [{"kind": "verdict"}], bad)
    assert "secret text" not in str(refused.value)


# The command.


def call(capsys, *arguments):
    from solon.cli import main

    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(one) for one in arguments])
    shown = capsys.readouterr()
    return int(ended.value.code or 0), shown.out, shown.err


def test_the_command_releases_only_what_is_met_or_waived(store, run, capsys):
    pytest.importorskip("cryptography", reason="signatures need the extra 'sign'")
    place = ("--runs", store.root)
    code, out, _ = call(capsys, "release", "latest", *place)
    assert code == 1 and "release: no (1 missed, 10 not measured, 12 pass)" in out and "measures bias: solon eval" in out
    code, out, _ = call(capsys, "release", "latest", *place, "--json")
    value = json.loads(out)
    assert code == 1 and not value["release"] and value["folder"]
    open_ = [one["key"] for one in value["conditions"] if one["status"] != "pass" and one["key"] != "review"]
    key = store.root.parent / "key.pem"
    assert call(capsys, "release", "--new-key", key)[0] == 0
    waived = [part for one in open_ for part in ("--waive", one)]
    code, out, _ = call(capsys, "release", "latest", *place, *waived, "--name", "A. Person", "--reason", "pilot", "--reviewer", "R. Person", "--key", key)
    assert code == 0 and "release: yes (10 waived, 13 pass)" in out and "[waived by A. Person" in out
    assert load(store.root / run.id).verdict["release"] is True
    report_json = json.loads((store.root / run.id / "report.json").read_text())
    assert {one["condition"] for one in report_json["verdict"]["waivers"]} == set(open_)
    folder = value["folder"]
    assert call(capsys, "release", "--verify", folder, "--public-key", f"{key}.pub")[0] == 0
    card = store.root / run.id / "release" / "README.md"
    card.write_text(card.read_text().replace("A. Person", "Nobody"))
    code, out, _ = call(capsys, "release", "--verify", folder)
    assert code == 1 and "refused: README.md: it was changed after the release" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "name a run"), (("nowhere",), "no run"), (("latest", "--waive", "bias"), "needs the name"),
        (("latest", "--waive", "lineage", "--name", "A", "--reason", "b"), "cannot be waived"), (("latest", "--name", "A"), "go with --waive"),
        (("latest", "--reviewer", "R"), "under a signature"), (("latest", "--key", "nowhere.pem"), "no key file"),
        (("latest", "--verify", "x"), "stand alone"), (("--verify", "nowhere"), "holds no release"), (("latest", "--public-key", "x"), "goes with --verify"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_refused_with_exit_code_2(store, run, capsys, arguments, told):
    code, _, err = call(capsys, "release", *arguments, "--runs", store.root)
    assert code == 2 and told in err and "Traceback" not in err
    assert not (store.root / run.id / WAIVERS).exists() and not (store.root / run.id / "release").exists()


def test_changed_evidence_is_not_even_written(store, run, capsys):
    path = store.get(run.stages["feedback"]).path / "rows.jsonl"
    path.write_text(path.read_text() + "{}\n")
    code, out, _ = call(capsys, "release", "latest", "--runs", store.root)
    assert code == 1 and run.stages["feedback"] in out and "nothing was written" in out
    assert not (store.root / run.id / "release").exists()


def test_report_and_card_say_what_lacks_and_show_abilities(store, run):
    from solon.stages.release_card import card

    content = report.assemble(store, run)
    phases = {one["phase"]: one for one in content["readiness"]["phases"]}
    assert set(phases) == {"sft", "sl", "rl"} and phases["sl"]["ready"] and not phases["sl"]["lacking"]
    ends = [one["share"]["ci"][0] for one in content["readiness"]["next"]]
    assert ends and ends == sorted(ends, reverse=True), "the surest first"
    text = card(content, release_integrity.model_of(run), [], run.recipe, "")
    assert "## Abilities\n\nNot measured. `solon eval" in text and "## Readiness" in text and "sft: " in text
