"""Overlap scores: identities, direction and consistency."""

import pytest

from solon.core.errors import DataError
from solon.evals.overlap import agreement, corpus_overlap, overlap, rouge_l


def test_identical_text_scores_one_and_disjoint_text_nearly_zero():
    text = "The judge reads both replies before she decides."
    assert overlap(text, text) == pytest.approx({"bleu": 1.0, "chrf": 1.0, "rouge_l": 1.0})
    assert max(overlap("pumpkin", text).values()) < 0.1


def test_rouge_l_is_the_longest_common_subsequence():
    # "a b d" of "a b c d" and "a x b d": precision 3/4, recall 3/4
    assert rouge_l("a b c d", "a x b d") == pytest.approx(0.75)


def test_corpus_bleu_is_not_the_mean_of_sentences():
    replies = ["the cat sat on the mat today", "a dog barked"]
    references = ["the cat sat on the mat today", "some birds sang loudly in the tree"]
    corpus = corpus_overlap(replies, references)
    assert 0 < corpus["bleu"] < 1
    with pytest.raises(DataError, match="one reference per reply"):
        corpus_overlap(replies, references[:1])


def test_agreement_sees_kind_and_words():
    same = agreement(["I can't help with that.", "I cannot help with that."])
    assert same.same_type == 1.0 and same.n == 2
    mixed = agreement(["I can't help with that.", "Boil the water first.", "Boil the water first."])
    assert mixed.same_type == pytest.approx(1 / 3)
    assert mixed.rouge_l == pytest.approx((1.0 + 2 * rouge_l("I can't help with that.", "Boil the water first.")) / 3)
    with pytest.raises(DataError):
        agreement(["alone"])


def test_empty_replies_agree_with_nothing():
    """A model that says nothing is not consistent."""
    silent = agreement(["", " ", ""])
    assert (silent.same_type, silent.rouge_l, silent.n, silent.empty) == (0.0, 0.0, 3, 3)
    endless = agreement(["the the " * 40, "the the " * 40])
    assert (endless.same_type, endless.rouge_l, endless.empty) == (0.0, 0.0, 2)
    some = agreement(["Boil the water first.", "Boil the water first.", ""])
    assert some.same_type == pytest.approx(1 / 3) and some.empty == 1
