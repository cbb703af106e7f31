"""AI feedback: a judge earns a certificate on held-out labelled pairs, then labels the sampled pairs, softly.

The recipe sets the bar. Judges are tried in the recipe's order; the first that reaches the bar labels. If none does, the
run stops, or goes on with the best one where the recipe says so, and the report shows it either way.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from pydantic import Field

from solon.constitution import store as books
from solon.constitution.certificate import Certificate
from solon.constitution.certificate import certify as measure
from solon.constitution.judging import Judge, Labelled, Question, judge_by
from solon.constitution.store import Book
from solon.core.artifacts import Artifact, Draft, Record, Store
from solon.core.config import Config
from solon.core.errors import ConfigError, SolonError
from solon.core.records import LabelledPair, as_messages
from solon.models.load import Model

VERSION = 3  # a fitted judge knows the pillar of a principle
LESS_SURE = "another pair of this prompt is clearer"
# Which pillars a kind of labelled pair is about; other kinds are judged by a principle drawn from the whole book.
PILLARS = {
    "harm_refused": ("harm",), "bare_refusal": ("help",), "over_refusal": ("help",), "helpful": ("help",),
    "honesty": ("honesty",), "privacy_fairness_autonomy": ("privacy", "fairness", "autonomy"),
}  # fmt: skip


class JudgeChoice(Config):
    """A judge by the name of its file, and its options."""

    kind: str
    options: dict[str, Any] = {}


class Feedback(Config):
    """`bar` is the accuracy a judge must reach on held-out pairs; `below` says what happens when none does. A judge that
    learns sees at most `fit_pairs` labelled pairs and is measured on at most `certify_pairs` others."""

    judges: tuple[JudgeChoice, ...] = Field((JudgeChoice(kind="self"), JudgeChoice(kind="probe")), min_length=1)
    bar: float = Field(0.75, gt=0.5, le=1)
    below: Literal["stop", "best"] = "stop"
    fit_pairs: int = Field(300, ge=20)
    certify_pairs: int = Field(200, ge=20)


def certify(
    store: Store, config: Feedback, book: Book, model: Model, train: Sequence[LabelledPair],
    held_out: Sequence[LabelledPair], inputs: dict[str, str], seed: int,
) -> Artifact:  # fmt: skip
    """`certificates.json` of the judges tried, and which of them labels (`facts`); a fitted one is kept."""
    settings = {**config.model_dump(mode="json"), "seed": seed, "book": book.hash}
    build = partial(_certify, config, book, model, train, held_out, seed)
    return store.make("certify", VERSION, settings, inputs, build)


def _certify(
    config: Feedback, book: Book, model: Model, train: Sequence[LabelledPair], held_out: Sequence[LabelledPair],
    seed: int, draft: Draft,
) -> None:  # fmt: skip
    known = [by_principle(book, pair, seed) for pair in train[: config.fit_pairs]]
    test = [by_principle(book, pair, seed) for pair in held_out[: config.certify_pairs]]
    certificates: list[Certificate] = []
    judges: list[Judge] = []
    with draft.progress.task("judges", len(config.judges), "judge") as advance:
        for choice in config.judges:
            judge = judge_by(choice.kind, book, choice.options, model, known)
            certificate = measure(judge, test, config.bar)
            judges.append(judge)
            certificates.append(certificate)
            advance(1, f"{choice.kind}: {certificate.accuracy.value:.2f}")
            if certificate.accepted:
                break
    draft.write("certificates.json", [one.as_json() for one in certificates])
    best = max(range(len(judges)), key=lambda i: (certificates[i].accepted, certificates[i].accuracy.value))
    if not certificates[best].accepted and config.below == "stop":
        got = ", ".join(f"{one.judge} {one.accuracy.value:.2f} (n {one.n})" for one in certificates)
        fix = "add a better judge to feedback.judges, lower feedback.bar, or set feedback.below to best"
        raise SolonError("no judge reached the bar, so no labels were made", got=got, expected=config.bar, fix=fix)
    accuracy = certificates[best].accuracy
    draft.metric("judge_accuracy", accuracy.value, n=accuracy.n, ci=list(accuracy.ci), unit="share",
                 how=f"{certificates[best].judge} on held-out labelled pairs")  # fmt: skip
    save = getattr(judges[best], "save", None)
    if save:  # a judge that was fitted is kept, so that it can judge again
        save(draft.path / "judge.npz")
    draft.facts |= {"place": best, "judge": certificates[best].judge, "accepted": certificates[best].accepted}


def judge_of(config: Feedback, book: Book, model: Model, certified: Artifact) -> Judge:
    """The judge that the certificate is about, ready to judge again."""
    choice = config.judges[certified.evidence["facts"]["place"]]
    head = certified.path / "judge.npz"
    return judge_by(choice.kind, book, {**choice.options, **({"head": str(head)} if head.exists() else {})}, model)


def feedback(store: Store, judge: Judge, certified: Artifact, book: Book, pairs: Artifact) -> Artifact:
    """Rows of `pairs` with `p_first`, `p_forward`, `p_backward` and the judge's name."""
    inputs = {"judge": certified.id, "pairs": pairs.id}
    build = partial(_label, judge, book, list(pairs.rows("rows")))
    return store.make("feedback", VERSION, {"book": book.hash}, inputs, build)


def _label(judge: Judge, book: Book, rows: Sequence[Record], draft: Draft) -> None:
    asked = [row for row in rows if not row.get("dropped")]
    questions = [
        Question(row["id"], as_messages(row["prompt"]), row["first"], row["second"], book.principle(row["principle"]))
        for row in asked
    ]
    opinions = dict(zip((row["id"] for row in asked), judge.prefer(questions), strict=True))
    out: list[Record] = []
    for row in rows:
        opinion = opinions.get(row["id"])
        if opinion is None:
            out.append(row)
        elif opinion.p_first is None:
            out.append({**row, "dropped": f"the judge abstained: {opinion.note}"})
        else:
            label = {"p_first": opinion.p_first, "p_forward": opinion.p_forward, "p_backward": opinion.p_backward}
            out.append({**row, **label, "judge": judge.name})
    draft.write_rows("rows", surest(out))


def surest(rows: Sequence[Record]) -> list[Record]:
    """Of several pairs of one prompt the one whose label is furthest from one half; the others are dropped. Ties go to the
    first."""
    best: dict[str, Record] = {}
    for row in rows:
        if not row.get("dropped"):
            prompt = row["prompt_id"]
            if prompt not in best or abs(row["p_first"] - 0.5) > abs(best[prompt]["p_first"] - 0.5):
                best[prompt] = row
    kept = {row["id"] for row in best.values()}
    return [row if row.get("dropped") or row["id"] in kept else {**row, "dropped": LESS_SURE} for row in rows]


def by_principle(book: Book, pair: LabelledPair, seed: int) -> Labelled:
    """A labelled pair with a principle of its kind's pillar, drawn by the pair's name."""
    outside = books.outside(book, PILLARS.get(pair.kind, ()))
    try:
        principle = books.draw(book, seed, pair.id, "label", exclude=outside)
    except ConfigError:  # a book without that pillar
        principle = books.draw(book, seed, pair.id, "label")
    return Labelled(pair.id, pair.prompt, pair.chosen, pair.rejected, pair.kind, principle)
