"""Configuration files: each good one is well formed and as asked, each wrong one is caught for its one fault."""

from __future__ import annotations

import pytest

from solon.curate import starter
from solon.evals.asking import Means, Room, Said
from solon.evals.configs import dockerfile, instructions, workflow
from solon.evals.suites import configs

ROWS = starter.load("configs")
ITEMS = {item.id: item for item in configs.items({configs.FILES[0]: ROWS}, 0, Room(512, len))}
JOB = "jobs:\n  a:\n    runs-on: x\n    steps:\n      - run: y\n"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_good_files_are_met_and_wrong_ones_are_not_valid(row):
    found = [configs.grade(ITEMS[row.id], Said(((f"Here:\n```{row.tags['kind']}\n{row.reference[key]}```",),)), Means()) for key in ("good", "wrong")]
    assert found[0].figures == {"met": 1.0, "valid": 1.0}, found[0].facts
    assert found[1].figures == {"met": 0.0, "valid": 0.0} and len(found[1].facts["wrong"][0]) == 1
    other = next(one.reference["good"] for one in ROWS if one.tags["kind"] == row.tags["kind"] and one.id != row.id)
    assert configs.grade(ITEMS[row.id], Said(((other,),)), Means()).figures == {"met": 0.0, "valid": 1.0}


def test_twelve_of_each_kind():
    assert [sum(row.tags["kind"] == kind for row in ROWS) for kind in ("dockerfile", "workflow")] == [12, 12]


def test_lines_are_joined_and_documents_kept():
    text = '# syntax=x\nFROM a\n\nrun\tone \\\n  # between\n\n  two\nCOPY <<X <<-"Y" /to/\nFROM b\nX\n\tCMD\n\tY\ncmd ["c"]\n'
    assert instructions(text) == [("FROM", "a"), ("RUN", "one two"), ("COPY", '<<X <<-"Y" /to/'), ("CMD", '["c"]')]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not FROM"), ("FROM a\nFOO b", "no instruction FOO"), ("FROM a b", "not IMAGE"), ("FROM a\nCMD [1]", "JSON"), ("FROM a\nCMD []", "JSON"),
        ("FROM a\nCOPY --from=x y", "source"), ("FROM a\nENV A", "no value"), ("FROM a\nLABEL a", "KEY"), ("FROM a\nSHELL sh", "JSON"),
    ],
)  # fmt: skip
def test_dockerfiles_that_docker_refuses(text, said):
    assert len(dockerfile(text)) == 1 and said in dockerfile(text)[0]


@pytest.mark.parametrize("line", ["CMD echo a", "EXPOSE 80/tcp 90-99 $P", "ENV A b c", "ENV A=b\\ c D='e f'", "HEALTHCHECK NONE", "COPY --chown=a:b x y /z/", 'VOLUME ["/a"]'])
def test_dockerfiles_that_docker_takes(line):
    assert dockerfile(f"ARG P=1\nFROM --platform=linux/amd64 a:1 AS b.c\n{line}\n") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a", "no mapping"), ("on: push\n", "no jobs"), (JOB, "no event"), ("on: [push, pushed]\n" + JOB, "unknown event pushed"),
        ("on: push\njobs: {a: {runs-on: x, steps: []}}", "no steps"), ("on: push\njobs: {a: 1}", "no mapping"), ("on: push\nfoo: 1\n" + JOB, "unknown key foo"),
        ("on: push\n" + JOB + "    needs: [a]\n", "wait for each other"), ("x: [", "no YAML"), ("!!python/object:os.x {}", "no YAML"),
        ("on: {schedule: [{cron: '1 2'}]}\n" + JOB, "five fields"), ("on: push\n" + JOB + "      - {run: a, uses: b@c}\n", "one of run and uses"),
    ],
)  # fmt: skip
def test_workflows_that_github_refuses(text, said):
    assert len(workflow(text)) == 1 and said in workflow(text)[0]
    assert workflow("on: push\n" + JOB) == workflow("on: {push: {}}\njobs: {a: {uses: o/r/.github/workflows/w.yml@v1}}") == []
