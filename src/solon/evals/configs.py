"""Whether a Dockerfile or a workflow of GitHub Actions is well formed: read by a parser, then held against the rules of its
reference (docs.docker.com/reference/dockerfile, docs.github.com: workflow syntax). Nothing is built, run or looked up."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

INSTRUCTIONS = frozenset(
    "ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER ONBUILD RUN SHELL STOPSIGNAL USER VOLUME WORKDIR".split()
)
JSON_FORM = frozenset("CMD ENTRYPOINT RUN SHELL VOLUME".split())
FROM = re.compile(r"(--platform=\S+\s+)?\S+(\s+as\s+[a-z][\w.-]*)?", re.IGNORECASE)
PORT = re.compile(r"(\d+(-\d+)?|\$\{?\w+\}?)(/(tcp|udp|sctp))?", re.IGNORECASE)
PAIRS = re.compile(r"""\s*[^\s=]+=("(?:[^"\\]|\\.)*"|'[^']*'|(?:[^\s"'\\]|\\.)*)(?=\s|$)""")
TOP = frozenset("name run-name on permissions env defaults concurrency jobs".split())
STEP = frozenset("id if name uses run working-directory shell with env continue-on-error timeout-minutes".split())
JOB = frozenset(
    "name permissions needs if runs-on environment concurrency outputs env defaults steps timeout-minutes strategy continue-on-error "
    "container services uses with secrets".split()
)
EVENTS = frozenset(
    "branch_protection_rule check_run check_suite create delete deployment deployment_status discussion discussion_comment fork gollum "
    "issue_comment issues label merge_group milestone page_build public pull_request pull_request_review pull_request_review_comment "
    "pull_request_target push registry_package release repository_dispatch schedule status watch workflow_call workflow_dispatch "
    "workflow_run".split()
)


def instructions(text: str) -> list[tuple[str, str]]:
    """A Dockerfile as (instruction in capitals, argument on one line): comments left out, continued lines joined, here-documents
    kept with the instruction that they belong to. Raises `ValueError` where a line or here-document is not ended."""
    found: list[tuple[str, str]] = []
    lines = iter(text.splitlines())
    for line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        whole = line.strip()
        while whole.endswith("\\"):
            more = next((one for one in lines if one.strip() and not one.lstrip().startswith("#")), None)
            if more is None:
                raise ValueError("the last line goes on with \\ into nothing")
            whole = f"{whole[:-1].rstrip()} {more.strip()}"
        name, rest = (*whole.split(None, 1), "")[:2]
        if name.upper() in ("RUN", "COPY", "ADD"):
            for end in re.findall(r"<<-?[\"']?([A-Za-z_]\w*)", rest):
                if not any(one.strip() == end for one in lines):
                    raise ValueError(f"the here-document {end} has no end")
        found.append((name.upper(), rest.strip()))
    return found


def dockerfile(text: str) -> list[str]:
    """What is wrong with a Dockerfile, in words; an empty list if nothing is."""
    try:
        read = instructions(text)
    except ValueError as error:
        return [str(error)]
    wrong = [f"there is no instruction {name}" for name, _ in read if name not in INSTRUCTIONS]
    stages = [name for name, _ in read if name != "ARG"]
    if not stages or stages[0] != "FROM":
        wrong.append("the first instruction is not FROM")
    return wrong + [f"{name} {rest}: {why}" for name, rest in read if (why := _argument(name, rest))]


def _argument(name: str, rest: str) -> str:
    """What is wrong with an instruction's argument, or ''."""
    if not rest:
        return "no argument"
    words = [word for word in rest.split() if not word.startswith("--")]
    if name in JSON_FORM and rest.startswith("["):
        return "" if _texts(rest) else "no JSON list of texts"
    if name == "SHELL":
        return "no JSON list of texts"
    if name == "FROM" and not FROM.fullmatch(rest):
        return "not IMAGE or IMAGE AS NAME"
    if name in ("COPY", "ADD") and not rest.startswith("[") and len(words) < 2:
        return "no source and destination"
    if name == "EXPOSE" and not all(PORT.fullmatch(word) for word in words):
        return "no port"
    if (name == "LABEL" or (name == "ENV" and "=" in words[0])) and PAIRS.sub("", rest).strip():
        return "not KEY=VALUE"
    if name == "ENV" and "=" not in words[0] and len(words) < 2:
        return "no value"
    if name == "HEALTHCHECK" and (not words or words[0].upper() not in ("CMD", "NONE")):
        return "neither CMD nor NONE"
    return ""


def _texts(rest: str) -> bool:
    try:
        found = json.loads(rest)
    except ValueError:
        return False
    return isinstance(found, list) and bool(found) and all(isinstance(one, str) for one in found)


def loaded(text: str) -> Any:
    """YAML, safely; a key that stands twice is an error here. Raises `ValueError`."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses a mapping's second key of one name, which YAML forbids and PyYAML lets pass."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [key.value for key, _ in node.value]
            if len(set(map(str, keys))) < len(keys):
                raise ValueError("a key stands twice in one mapping")
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"no YAML: {' '.join(str(error).split())}") from error


def workflow(text: str) -> list[str]:
    """What is wrong with a workflow of GitHub Actions, in words; an empty list if nothing is."""
    try:
        read = loaded(text)
    except ValueError as error:
        return [str(error)]
    if not isinstance(read, dict):
        return ["no mapping"]
    read = {"on" if key is True else key: value for key, value in read.items()}  # YAML 1.1 reads `on` as yes
    wrong = [f"unknown key {key}" for key in read if key not in TOP] + _events(read.get("on"))
    jobs = read.get("jobs")
    if not isinstance(jobs, dict) or not jobs:
        return [*wrong, "no jobs"]
    for name, job in jobs.items():
        wrong += [f"job {name}: {why}" for why in (_job(job) if isinstance(job, dict) else ["no mapping"])]
    return wrong + _order(jobs)


def _events(given: Any) -> list[str]:
    if not given:
        return ["no event under on"]
    names = [given] if isinstance(given, str) else list(given) if isinstance(given, (list, dict)) else [str(given)]
    wrong = [f"unknown event {name}" for name in names if name not in EVENTS]
    times = given.get("schedule") if isinstance(given, dict) else None
    if "schedule" in names and not (
        isinstance(times, list) and times and all(isinstance(one, dict) and len(str(one.get("cron", "")).split()) == 5 for one in times)
    ):
        wrong.append("schedule without cron of five fields")
    return wrong


def _job(job: Mapping[str, Any]) -> list[str]:
    wrong = [f"unknown key {key}" for key in job if key not in JOB]
    if "uses" in job:
        return wrong
    if not job.get("runs-on"):
        wrong.append("no runs-on")
    steps = job.get("steps")
    if not isinstance(steps, list) or not steps:
        return [*wrong, "no steps"]
    for step in steps:
        if not isinstance(step, dict) or ("run" in step) == ("uses" in step):
            wrong.append("a step has not one of run and uses")
            continue
        wrong += [f"unknown key {key} of a step" for key in step if key not in STEP]
        used = step.get("uses")
        if "uses" in step and not (isinstance(used, str) and ("@" in used or used.startswith(("./", "docker://")))):
            wrong.append(f"{used} names no version")
    return wrong


def _order(jobs: Mapping[str, Any]) -> list[str]:
    """Jobs that need what is not there, or wait for each other."""
    needs = {name: job.get("needs") or [] for name, job in jobs.items() if isinstance(job, dict)}
    needs = {name: [one] if isinstance(one, str) else one for name, one in needs.items()}
    wrong = [f"job {name} needs {one}, which is not there" for name, some in needs.items() for one in some if one not in jobs]
    left = dict(needs)
    while free := [name for name, some in left.items() if not set(some) & set(left)]:
        left = {name: some for name, some in left.items() if name not in free}
    return wrong + ([f"{', '.join(left)} wait for each other"] if left else [])
