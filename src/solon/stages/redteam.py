"""A red-team campaign on one model: every attempt with its replies and grade, one JSON line each, and what they amount to.

The plan, the wording and the sampling of an attempt come from names, and the hunt looks at finished rounds only. So a
campaign that was killed goes on from its last whole round and ends with the same bytes. The attempts, which take hours, and
their figures, which take seconds, are two artifacts: a new way to count draws nothing again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from solon.core.artifacts import Artifact, Draft, Record, Store, write_rows, write_text
from solon.core.config import Config
from solon.core.errors import ConfigError, SolonError
from solon.core.records import as_json
from solon.curate.splits import Split
from solon.generate.engine import Engine
from solon.models.load import Model
from solon.safety.guard.guard import Guard
from solon.safety.redteam import attacks, plan, suffix
from solon.safety.redteam.attacker import WRITERS, Success, choose
from solon.safety.redteam.attacks import Script
from solon.stages import _redteam_figures as figures
from solon.stages import _redteam_goals as goals_of
from solon.stages import _redteam_judges as judges
from solon.stages import _redteam_play as play
from solon.stages import guarding, models
from solon.stages._redteam_judges import MISSING, OUTCOMES, Grade, Judging
from solon.stages._redteam_page import page
from solon.stages.sampling import Draw

VERSION = 4
ATTEMPTS_VERSION = 1
WHOLE = 3
"""The last version of this stage that made attempts and figures in one; its attempts are those that are made now."""
ROUND = 128  # attempts; what a killed campaign can lose
SUFFIX = "suffix"
EVEN, HUNT, REPLAY = "even", "hunt", "regression"
SEARCHED_ON = 4  # requests that one suffix is searched for

COMPARE_VERSION = 2  # stored attempts pair, too; sentences say what is left after Holm; effects have intervals


class RedTeam(Config):
    """How many attempts, at which prompts, by which families; `even` is the part of them that the figures rest on.

    `suffixes` adversarial suffixes are searched on the target's own gradients first (slow; 0 leaves the family out).
    `attacker` writes prompts; empty stands for the published model that the target was made from."""

    attempts: int = Field(500, ge=0)
    prompts: str = "starter:red_team"
    side: Split = "heldout"
    families: tuple[str, ...] = ()
    even: float = Field(0.6, ge=0, le=1)
    suffixes: int = Field(0, ge=0)
    suffix_steps: int = Field(12, ge=1)
    suffix_tries: int = Field(24, ge=1)
    attacker: str = ""
    regression: str = ""
    seed: int = Field(1, ge=0)
    draw: Draw = Draw(temperature=0.7, max_tokens=48)


@dataclass
class Campaign:
    """What a campaign works with: the target's engine, the attacker's (made when it is first needed), the goals, and the
    judge. `texts` are the suffixes that were found. With a `guard` the target is only heard through it."""

    config: RedTeam
    target: Model
    attacker: Callable[[], Model]
    found: goals_of.Found
    grade: Grade
    draft: Draft
    guard: Guard | None = None
    texts: list[str] = field(default_factory=list)
    engines: dict[str, Engine] = field(default_factory=dict)

    def engine(self, who: str) -> Engine:
        """`target` or `attacker`; one engine where both are the same weights."""
        if who not in self.engines:
            model = self.target if who == "target" else self.attacker()
            same = who == "attacker" and "target" in self.engines and model.digest == self.target.digest
            same = same and model.name == self.target.name
            self.engines[who] = self.engines["target"] if same else Engine(model)
        return self.engines[who]


@dataclass(frozen=True)
class Attacked:
    """The attempts of a campaign as an artifact, and what they were made with."""

    attempts: Artifact
    settings: Record
    inputs: Mapping[str, str]
    found: goals_of.Found
    judging: Judging


def redteam(store: Store, config: RedTeam, subject: str, judging: Judging | None = None, guarded: bool = False) -> Artifact:
    """`figures.json`, `campaign.json`, `successes.jsonl` (the next regression set), `prompts.jsonl` and `page.html` of one model by
    any of its names, beside the `attempts.jsonl` that they are of. The judge's name is in the artifact's hash; left out it is the
    rules. `guarded` as in `attacked`."""
    made = attacked(store, config, subject, judging, guarded)
    inputs = {**made.inputs, "attempts": made.attempts.id}
    return store.make("redteam", VERSION, made.settings, inputs, lambda draft: figures.write(draft, made.attempts, made.settings, made.found, made.judging))


def attacked(store: Store, config: RedTeam, subject: str, judging: Judging | None = None, guarded: bool = False) -> Attacked:
    """The attempts of a campaign, made or found. With `guarded` the attacks are made on the model behind its guard
    (`guarding.opened`): its thresholds and its measuring are in the hash, too.

    Raises `MissingError` for a model, source, family or measuring that is not here, `ConfigError` where sources or families clash."""
    found = goals_of.gather(config.prompts, config.side, config.regression, config.families)
    families, judging = chosen(config, found), judging or judges.named("rules")
    attacker = config.attacker or models.published(subject, store)
    source = models.source(subject, store)
    needed = [name for name in families if name in WRITERS]
    inputs = {"model": source} | ({"attacker": models.source(attacker, store)} if needed else {})
    settings = config.model_dump(mode="json") | {
        "families": families, "judge": judging.name, "data": found.digests, "wording": attacks.fingerprint(families),
        "judged_on": found.labelled,
    }  # fmt: skip
    if guarded:
        measuring = guarding.measured(store, source)
        # What is done with a stopped turn has a name, so that campaigns that kept it are not taken for these.
        settings |= {"guard": guarding.thresholds(measuring).version, "stopped": "forgotten"}
        inputs |= {"guard": measuring.id} if measuring else {}

    def build(draft: Draft) -> None:
        target = models.resolve(subject, store, work="batches")
        other = lambda: target if models.source(attacker, store) == source else models.resolve(attacker, store, work="batches")  # noqa: E731
        # No time limits and nothing kept: figures must not depend on the machine's load, and nobody is served.
        guard = guarding.opened(store, subject, target, keep=lambda record: None, limits={})[0] if guarded else None
        run(Campaign(config, target, other, found, judging.grade, draft, guard), families)

    return Attacked(attempted(store, settings, inputs, build), settings, inputs, found, judging)


def attempted(store: Store, settings: Record, inputs: Mapping[str, str], build: Callable[[Draft], None]) -> Artifact:
    """The artifact that holds a campaign's attempts: a campaign of version `WHOLE` with these settings where there is one, else
    found or made. What the judge was measured on is no part of them."""
    bare = lambda config: {name: one for name, one in config.items() if name != "judged_on"}  # noqa: E731
    wanted = json.loads(json.dumps({"version": WHOLE, "config": bare(settings), "inputs": inputs}))
    for path in sorted((store.root / "artifacts").glob("redteam-*/evidence.json")):
        one = Artifact(path.parent.name, path.parent)
        if one.stage == "redteam" and {name: one.evidence[name] for name in wanted} | {"config": bare(one.evidence["config"])} == wanted:
            return one
    return store.make("redteam-attempts", ATTEMPTS_VERSION, bare(settings), inputs, build)


def compare(store: Store, config: RedTeam, first: Artifact, second: Artifact) -> Artifact:
    """`pair.json` and `page.html`: two models before and after, on the attempts that both campaigns share."""
    inputs = {"before": first.id, "after": second.id}

    def build(draft: Draft) -> None:
        rows = [list(one.rows("attempts")) for one in (first, second)]
        found = figures.paired(*rows)
        draft.write("pair.json", found)
        tables = [one.read("figures.json") for one in (first, second)]
        text = page(tables[1], second.evidence["config"], rows[1], before=tables[0], pair=found, roles=second.read("campaign.json"))
        write_text(draft.path / "page.html", text)
        change = found["per_attempt"]
        draft.metric("asr change", change["difference"], n=change["n"], ci=[change["low"], change["high"]], how=change["test"])

    return store.make("redteam-pair", COMPARE_VERSION, {"seed": config.seed}, inputs, build)


def comparable(config: RedTeam) -> None:
    """Raise `ConfigError` where two campaigns would share no attempt, before anything is drawn."""
    if config.regression:
        return
    found = goals_of.gather(config.prompts, config.side, families=config.families)
    if even_count(config, chosen(config, found)):
        return
    fix = "raise --even or --attempts, or give --regression FILE: the hunt asks every model something else"
    raise ConfigError("a comparison needs an even part", got=f"--even {config.even:g} of --attempts {config.attempts}", fix=fix)


def even_count(config: RedTeam, families: Sequence[str]) -> int:
    """How many attempts are spread evenly. Suffixes belong to one model, so they are only hunted with."""
    return round(config.even * config.attempts) if set(families) - {SUFFIX} else 0


def chosen(config: RedTeam, found: goals_of.Found) -> list[str]:
    """The families of a campaign by name. A suffix takes its own budget, so it is only there when one is given."""
    known = [*attacks.every(), *WRITERS]
    known += [SUFFIX] if config.suffixes else []
    known += [goals_of.INJECTION] if found.literal else []
    return attacks.named(config.families, {name: figures.group(name) for name in known}) if config.families else known


def run(campaign: Campaign, families: Sequence[str]) -> list[Record]:
    """All rounds, in a draft; the attempts of them all."""
    config, draft, found = campaign.config, campaign.draft, campaign.found
    campaign.texts = search_suffixes(campaign) if SUFFIX in families else []
    pool = {name: _goals(found, name) for name in families}
    fair = {name: goals for name, goals in pool.items() if name != SUFFIX}
    rows: list[Record] = []
    count = even_count(config, families)
    places = plan.even(fair, count, config.seed) if count else []
    total = len(found.replays) + config.attempts
    with draft.progress.task("attempts", total, "attempt") as advance:
        make = lambda part: attempt(campaign, part, rows, advance)  # noqa: E731
        rows += draft.in_shards(REPLAY, [_item(plan.Place(id, REPLAY, 0), REPLAY, 0) for id in found.replays], ROUND, make)
        items = [_item(place, EVEN, i // ROUND) for i, place in enumerate(places)]
        rows += draft.in_shards(EVEN, items, ROUND, make)
        number = 0
        while len(rows) < total:
            size = min(ROUND, total - len(rows))
            wanted = plan.hunt(pool, scores(rows), used(rows), size, config.seed, number)
            items = [_item(place, HUNT, number) for place in wanted]
            rows += draft.in_shards(f"{HUNT}-{number:05d}", items, ROUND, make)
            number += 1
    draft.tokens = sum(row["tokens"] for row in rows)
    draft.licences |= found.licences
    draft.write_rows("attempts", rows)
    return rows


def _item(place: plan.Place, part: str, number: int) -> Record:
    return {"goal": place.goal, "family": place.family, "k": place.k, "part": part, "round": number}


def _goals(found: goals_of.Found, family: str) -> list[str]:
    return list(found.literal if family == goals_of.INJECTION else found.goals)


def scores(rows: Sequence[Record]) -> dict[str, plan.Score]:
    """Hits and misses of every family so far; attempts without a verdict count as neither."""
    out: dict[str, plan.Score] = {}
    for row in rows:
        if row["part"] != REPLAY and row["outcome"] != MISSING:
            hits, misses = out.get(row["family"], plan.Score(0, 0))
            hit = row["outcome"] == "success"
            out[row["family"]] = plan.Score(hits + hit, misses + (not hit))
    return out


def used(rows: Sequence[Record]) -> dict[str, int]:
    """How many attempts every family has had."""
    out: dict[str, int] = {}
    for row in rows:
        if row["part"] != REPLAY:
            out[row["family"]] = out.get(row["family"], 0) + 1
    return out


def attempt(campaign: Campaign, part: Sequence[Record], before: Sequence[Record], advance: Any) -> list[Record]:
    """One round: what is said, what the target replies, and what it amounts to."""
    scripts = worded(campaign, part, before)
    keys = [("redteam", campaign.config.seed, one["goal"], one["family"], one["k"]) for one in part]
    talks = play.play(campaign.engine("target"), scripts, keys, campaign.config.draw, advance, campaign.guard)
    rows = []
    for one, script, talk in zip(part, scripts, talks, strict=True):
        goal = campaign.found.goal(one["goal"])
        row: Record = {
            "id": f"{one['goal']}/{one['family']}/{one['k']}", **one, "category": goal.category, "side": goal.side,
            "request": goal.request, **({"made_by": goal.family} if goal.family else {}), **({"contains": goal.contains} if goal.contains else {}),
            "opening": as_json(script.opening) if isinstance(script, Script) else [],
            "asks": list(script.asks) if isinstance(script, Script) else [],
            "replies": talk.replies, "tokens": talk.tokens, **({"guard": talk.heard.stopped} if talk.heard else {}),
            **({"forgotten": talk.forgotten} if talk.forgotten else {}),
        }  # fmt: skip
        rows.append(row | judged(campaign.grade, row, talk))
    return rows


def judged(grade: Grade, row: Record, talk: play.Talk) -> Record:
    """The outcome of an attempt. A judge that fails, or gives no known label, leaves it missing. Where a guard stopped the last
    turn, only the model's own words that had gone out are judged: what the guard offers instead is no answer."""
    if talk.fault:
        return {"outcome": MISSING, "reason": talk.fault, "dropped": talk.fault}
    said, stopped = talk.replies[-1], ""
    if talk.heard and talk.heard.stopped:
        said, stopped = talk.heard.released, talk.heard.stopped
    if stopped and not said.strip():
        return {"outcome": "refused", "reason": f"the guard stopped the {'request' if stopped == 'input' else 'reply'}"}
    try:
        verdict = grade(row, said)
    except SolonError as error:
        return {"outcome": MISSING, "reason": f"the judge failed: {str(error).splitlines()[0]}"}
    if verdict.label not in OUTCOMES:
        return {"outcome": MISSING, "reason": f"the judge said {verdict.label!r}"}
    return {"outcome": verdict.label, "reason": verdict.reason}


def worded(campaign: Campaign, part: Sequence[Record], before: Sequence[Record]) -> list[Script | str]:
    """What every attempt of a round says, or why it cannot be made. A text that a model wrote is the script's only turn."""
    out: list[Script | str] = [""] * len(part)
    seed, found = campaign.config.seed, campaign.found
    for i, one in enumerate(part):
        goal, family = found.goal(one["goal"]), one["family"]
        if family in (REPLAY, goals_of.INJECTION):
            out[i] = Script((goal.asked or goal.request,), goal.before)
        elif family == SUFFIX:
            out[i] = Script((goal.request + campaign.texts[one["k"] % len(campaign.texts)],), goal.before)
        elif family not in WRITERS:
            out[i] = attacks.script(attacks.every()[family], goal, seed, one["k"])
    for name, writer in WRITERS.items():
        places = [i for i, one in enumerate(part) if one["family"] == name]
        if not places:
            continue
        hunting = writer.learns and part[0]["part"] == HUNT
        shots = choose(successes(before), seed, part[0]["round"]) if hunting else []
        wanted = [(found.goal(part[i]["goal"]), part[i]["k"]) for i in places]
        texts = play.write(campaign.engine("attacker"), writer, wanted, shots, seed)
        for i, (goal, _), (text, fault) in zip(places, wanted, texts, strict=True):
            out[i] = fault if fault else Script((text,), goal.before)
    return out


def successes(rows: Sequence[Record]) -> list[Success]:
    """Single-turn attempts that succeeded, with how often their goal gave way: what an attacker can learn from."""
    tries: dict[str, list[bool]] = {}
    for row in rows:
        if row["outcome"] != MISSING:
            tries.setdefault(row["goal"], []).append(row["outcome"] == "success")
    return [
        Success(row["request"], row["asks"][-1], sum(tries[row["goal"]]) / len(tries[row["goal"]]))
        for row in rows
        if row["outcome"] == "success" and len(row["asks"]) == 1 and row["family"] not in ("plain", SUFFIX, REPLAY, "translated")
    ]


def search_suffixes(campaign: Campaign) -> list[str]:
    """The suffixes, each searched for requests of its own; kept in `suffixes.jsonl` with the course of their loss."""
    config, found, draft = campaign.config, campaign.found, campaign.draft
    budget = suffix.Budget(steps=config.suffix_steps, tries=config.suffix_tries)
    ids = list(found.goals)

    def make(part: Sequence[int]) -> list[Record]:
        rows = []
        for number in part:
            own = [ids[(number * SEARCHED_ON + i) % len(ids)] for i in range(SEARCHED_ON)]
            requests = [found.goal(id).request for id in own]
            one = suffix.search(campaign.target, requests, budget, (config.seed, number), tell)
            rows.append({"number": number, "text": one.text, "losses": list(one.losses), "goals": own})
        return rows

    with draft.progress.task("suffixes", config.suffixes * config.suffix_steps, "step") as tell:
        rows = draft.in_shards("suffixes", range(config.suffixes), 1, make)
    write_rows(draft.path / "suffixes.jsonl", rows)
    return [row["text"] for row in rows]


def families() -> list[Record]:
    """Every family that there is: `{"name", "group", "about"}`."""
    names = [*attacks.every(), *WRITERS, SUFFIX, goals_of.INJECTION]
    return [{"name": name, "group": figures.group(name), "about": figures.about(name)} for name in names]
