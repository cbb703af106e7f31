"""Word overlap of a reply with a reference, and of replies with each other.

Overlap is not correctness: a right answer in other words scores low. It is shown next to graded figures, never alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any

from solon.core.errors import DataError
from solon.evals.answers import answer_type
from solon.evals.consistency import same

EMPTY = "empty"
"""The kind of an answer that is none (`evals.answers`)."""


@dataclass(frozen=True)
class Consistency:
    """Do replies to paraphrases of one request agree: the same kind of answer (share of pairs), the same words (mean
    ROUGE-L over pairs)? `empty` of the `n` replies say nothing, and agree with none."""

    same_type: float
    rouge_l: float
    n: int
    empty: int = 0


def overlap(reply: str, reference: str) -> dict[str, float]:
    """`bleu`, `chrf` and `rouge_l` (F1, unstemmed) of one reply, each in [0, 1].

    Sentence BLEU is smoothed by exponential decay and uses the orders that the reply is long enough for (sacrebleu).
    """
    bleu, chrf = _sacrebleu()
    return {
        "bleu": bleu.sentence_score(reply, [reference]).score / 100,
        "chrf": chrf.sentence_score(reply, [reference]).score / 100,
        "rouge_l": rouge_l(reply, reference),
    }


def corpus_overlap(replies: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """`bleu` and `chrf` over all replies together, as papers report them, and the mean `rouge_1`, `rouge_2`, `rouge_l`;
    each in [0, 1]."""
    if len(replies) != len(references) or not replies:
        raise DataError(
            "corpus overlap needs one reference per reply",
            got=f"{len(replies)} replies, {len(references)} references",
            expected="equal numbers above 0",
        )
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    rouges = [rouge(*both) for both in zip(replies, references, strict=True)]
    return {
        "bleu": BLEU().corpus_score(list(replies), [list(references)]).score / 100,
        "chrf": CHRF().corpus_score(list(replies), [list(references)]).score / 100,
        **{name: sum(one[name] for one in rouges) / len(rouges) for name in rouges[0]},
    }


def rouge_l(reply: str, reference: str) -> float:
    """F1 of the longest common subsequence of words, in [0, 1] (Lin 2004); symmetric in its arguments."""
    return float(_rouge("rougeL").score(reference, reply)["rougeL"].fmeasure)


def rouge(reply: str, reference: str) -> dict[str, float]:
    """F1 of common words, common pairs of words and the longest common subsequence (Lin 2004), each in [0, 1]."""
    found = _rouge("rouge1", "rouge2", "rougeL").score(reference, reply)
    return {f"rouge_{kind}": float(found[f"rouge{kind.upper()}"].fmeasure) for kind in ("1", "2", "l")}


def agreement(replies: Sequence[str], prompts: Sequence[str] | None = None) -> Consistency:
    """Consistency over the replies to paraphrases of one request (`prompts`, in the same order), or to one prompt with
    several seeds (no prompts).

    Two refusals of different kinds are both refusals: the kind compared is help, partial help or refusal. An empty reply (or
    one that repeats itself without end) is no answer, so that it agrees with nothing, not with another empty one either.
    """
    asked = list(prompts) if prompts is not None else [""] * len(replies)
    if len(replies) < 2 or len(asked) != len(replies):
        raise DataError(
            "agreement needs at least two replies, and as many prompts where prompts are given",
            got=f"{len(replies)} replies, {len(asked)} prompts",
        )
    pairs = list(combinations(replies, 2))
    kinds = [_kind(prompt, reply) for prompt, reply in zip(asked, replies, strict=True)]
    said = [kind != EMPTY for kind in kinds]
    both = [one and other for one, other in combinations(said, 2)]
    words = sum(rouge_l(*pair) for pair, here in zip(pairs, both, strict=True) if here) / len(pairs)
    told = [kind if here else f"{EMPTY} {place}" for place, (kind, here) in enumerate(zip(kinds, said, strict=True))]
    return Consistency(same(told), words, len(replies), said.count(False))


def _kind(prompt: str, reply: str) -> str:
    verdict = answer_type(prompt, reply)
    return "refusal" if verdict.value == 1.0 else verdict.label


@cache
def _sacrebleu() -> tuple[Any, Any]:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    return BLEU(effective_order=True), CHRF()


@cache
def _rouge(*kinds: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(kinds)
