"""What a release asks for beyond a run's own figures, measured by the run itself: red team, suites, safety classifier, guard.

Every result is the artifact that the command in `commands` makes: a recipe that asks for it and somebody who runs the command
afterwards find each other's work.
"""

from __future__ import annotations

from solon.core.artifacts import Artifact, Store
from solon.core.errors import ConfigError
from solon.evals.asking import load
from solon.safety import classifier
from solon.stages import guard, redteam
from solon.stages.benchmark import Benchmark, Subject, benchmark, chosen_suites, digest_of
from solon.stages.power import size
from solon.stages.recipe import Recipe, Wanted
from solon.stages.release_classify import classify
from solon.stages.runs import Run
from solon.stages.screened import screened

ROLES = ("base", "aligned")


def check(plan: Recipe) -> None:
    """Raise what would otherwise be raised after the trainings: a suite that does not exist, is smaller than its limit or has no
    files here (`MissingError`, `ConfigError`), a classifier whose encoder can be had from nowhere (`MissingError`)."""
    for given, limit in plan.evidence.suites.items():
        suites = chosen_suites(given)
        for suite in suites:
            for path in load(suite).FILES:
                digest_of(path)
        if limit and len(suites) == 1 and limit > (most := size(suites[0]) or 0):
            fix = f"give at most {most}, or null for all"
            raise ConfigError(f"the suite {suites[0]!r} is smaller than evidence.suites asks", got=limit, expected=f"1 to {most}", fix=fix)
    if plan.evidence.classify or plan.evidence.guard or plan.evaluate.harm or plan.sift.bar:
        classifier.load()


def commands(wanted: Wanted, run: str) -> list[str]:
    """The commands that make the same artifacts. Raises `MissingError` for a suite that does not exist."""
    both = f"{run}:base {run}:aligned"
    told = [f"solon redteam {both} --attempts {wanted.redteam}"] if wanted.redteam else []
    for name, limit in wanted.suites.items():
        chosen_suites(name)
        told.append(f"solon eval {both} --suite {name}" + (f" --limit {limit}" if limit else ""))
    told += [f"solon guard measure {run}:aligned"] if wanted.guard else []
    return told + ([f"solon release {run} --classify"] if wanted.classify else [])


def measure(store: Store, wanted: Wanted, run: Run) -> list[Artifact]:
    """All that is wanted of a run that has ended, made or found."""
    names = [f"{run.id}:{role}" for role in ROLES]
    made = _attacked(store, wanted.redteam, names) if wanted.redteam else []
    for name in names if wanted.suites else ():
        subject = Subject(name, store)
        for given, limit in wanted.suites.items():
            suites = chosen_suites(given)
            made += [benchmark(store, Benchmark(limit=limit), suite, subject, capped=len(suites) > 1) for suite in suites]
    made += [guard.measure(guard.Measuring(), names[-1], store)] if wanted.guard else []
    return made + (classified(store, run) if wanted.classify else [])


def classified(store: Store, run: Run) -> list[Artifact]:
    """What the safety classifier says of the replies that the run drew, and of all that it was trained on."""
    judge = classifier.load()
    return [classify(store, run, judge), screened(store, run, judge)]


def _attacked(store: Store, attempts: int, names: list[str]) -> list[Artifact]:
    """The standing campaign on both models, and the two compared."""
    config = redteam.RedTeam(attempts=attempts)
    before, after = (redteam.redteam(store, config, name) for name in names)
    return [before, after, redteam.compare(store, config, before, after)]
