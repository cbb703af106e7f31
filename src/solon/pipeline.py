"""Constitutional AI, start to end: the whole method as one page (Bai et al. 2022, arXiv 2212.08073).

A helpful model answers red-team requests, criticises its answers by principles of the constitution and rewrites them. The
published model is fine-tuned on the rewritten answers and on helpful ones: the SL-CAI model. It draws replies to
every prompt; a judge that has earned a certificate says, by a principle, which is better; and the model learns to prefer
what the judge prefers. All four models answer held-out prompts, and a report says whether the last may be released.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from solon.core.artifacts import Artifact, Store


def align(recipe_path: str, overrides: list[str], store: Store, progress: Any = None) -> Any:
    """Run a recipe and return its `Run`. What exists is reused; a stopped run goes on where it was."""
    from solon.stages import evidence, recipe
    from solon.stages.report import report

    plan = recipe.load(recipe_path, overrides)
    evidence.check(plan)
    run = _carried_out(plan, store)  # apart from what follows, so that its models are let go before others are loaded
    evidence.measure(store, plan.evidence, run)
    return report(store, run)


def _carried_out(plan: Any, store: Store) -> Any:
    """The run of a recipe with all its stages."""
    from solon.constitution import store as books
    from solon.stages import feasible, models, rows, runs, sft
    from solon.stages.answers import answers
    from solon.stages.compare import compare
    from solon.stages.dpo import dpo
    from solon.stages.feedback import certify, feedback, judge_of
    from solon.stages.gate import gate
    from solon.stages.gather import gather, prompts
    from solon.stages.harden import harden
    from solon.stages.pairs import pairs
    from solon.stages.revise import revise
    from solon.stages.screen import screen
    from solon.stages.sift import sift

    book = books.load(plan.constitution)
    data = gather(plan)
    published = models.identity(plan.model)
    base = models.ready(models.base(plan.model, work="training"))
    feasible.check(plan, book, base, data)
    run = runs.begin(store, plan, book)
    data, sifted = sift(store, plan, data)
    from_sift = {name: one.id for name, one in sifted.items()}

    # A helpful-only model, which also knows how to criticise and to revise.
    lessons = rows.lessons(plan.lessons, book, data)
    helpful = sft.train(store, "helpful", plan.helpful, base, {"model": published, **from_sift}, lessons, plan.seed)
    passed = gate(store, plan.gate, base, helpful, data.unseen)
    data, attacked = harden(store, plan, base, helpful, data)

    # A judge that has earned its certificate on labelled pairs that it has not seen.
    made_from = {"model": published, "labelled": data.digest_of(plan.data.labelled)}
    certified = certify(store, plan.feedback, book, base, data.labelled, data.certificate, made_from, plan.seed)
    judge = judge_of(plan.feedback, book, base, certified)

    # SL-CAI: its answers to red-team requests, criticised and revised; its helpful answers; and a model trained on both.
    revised = revise(store, plan.revise, book, helpful, data.red_team, plan.seed, attacked)
    screened = screen(store, plan.screen, judge, certified, book, revised)
    kept = answers(store, plan.answers, helpful, prompts(data, 0, plan.answers.benign, plan.answers.helpful), plan.seed)
    mixture = rows.kept(screened) + rows.kept(kept) + rows.demonstrations(data, plan.answers.demonstrations)
    start, learner = models.start(plan.sl_from, published, base, helpful)
    made_from = {**start, "revisions": screened.id, "answers": kept.id, **from_sift}
    sl = sft.train(store, "sl", plan.sl, learner, made_from, mixture, plan.seed)

    # RLAIF: pairs of replies, labels by a certified judge, preference optimisation.
    asked = prompts(data, plan.pairs.red_team, plan.pairs.benign, plan.pairs.helpful)
    drawn = pairs(store, plan.pairs, book, sl, asked, plan.seed)
    labels = feedback(store, judge, certified, book, drawn)
    aligned = dpo(store, plan.dpo, sl, labels, plan.seed)

    # Evidence: all four models on the same held-out items, and the decision.
    made = {"helpful": helpful, "sl": sl, "aligned": aligned}
    evaluations = _evaluated(plan, store, data, published, made)
    figures = compare(store, evaluations, judge, certified, book)
    stages = {"gate": passed, "certify": certified, "revise": revised, "screen": screened, "answers": kept, "pairs": drawn}
    return run.ended(made, evaluations, **sifted, **attacked, **stages, feedback=labels, compare=figures)


def _evaluated(plan: Any, store: Store, data: Any, published: str, made: Mapping[str, Artifact]) -> dict[str, Artifact]:
    """The evaluations of the base model and of those that were made, by role."""
    from solon.stages import models
    from solon.stages.evaluate import evaluate

    reader = models.ready(models.base(plan.model, work="batches"))
    evaluations = {"base": evaluate(store, plan.evaluate, reader, published, data.held, data.digests, plan.seed)}
    for role, one in made.items():
        model = models.adapted(one, work="batches")
        evaluations[role] = evaluate(store, plan.evaluate, model, one.id, data.held, data.digests, plan.seed)
    return evaluations
