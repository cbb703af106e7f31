"""Words and sentences as IFEval counts them.

The reference counts sentences by NLTK's Punkt with a list of abbreviations learned from newspapers, which has to be
downloaded. Here it is the same algorithm with a written list, so that nothing is fetched; the two may part where an
abbreviation is on one list only.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

ABBREVIATIONS = frozenset(
    "mr mrs ms messrs dr prof rev hon gen col capt cpt lt sgt maj adm gov sen rep reps sens st jr sr inc corp co cos ltd bros "
    "vs etc fig vol pp ed eds est approx dept univ assn ave blvd rd ft mt jan feb aug sept sep oct nov dec mon tue wed thu "
    "fri sat sun a.m p.m e.g i.e u.s u.k u.n u.s.a d.c n.y n.j n.c s.c ph.d m.d b.a m.a b.c a.d p.s calif fla mass conn ala "
    "ariz ark colo ga ind kan ky minn miss okla ore pa tenn tex va wash wis lb lbs oz min mph sq".split()
)


def count_words(text: str) -> int:
    """Runs of letters, digits and low lines."""
    return len(re.findall(r"\w+", text))


def count_sentences(text: str) -> int:
    return len(_splitter().tokenize(text))


def capital_words(text: str) -> int:
    """Tokens (Treebank's, sentence by sentence) whose letters are all capitals; a hyphenated word is one."""
    return sum(token.isupper() for sentence in _splitter().tokenize(text) for token in _tokens().tokenize(sentence))


@cache
def _splitter() -> Any:
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    parameters = PunktParameters()
    parameters.abbrev_types = set(ABBREVIATIONS)
    return PunktSentenceTokenizer(parameters)


@cache
def _tokens() -> Any:
    from nltk.tokenize.destructive import NLTKWordTokenizer

    return NLTKWordTokenizer()
