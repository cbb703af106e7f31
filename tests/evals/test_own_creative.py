"""Creative writing: every good reply keeps its form, every wrong one does not."""

from __future__ import annotations

import pytest

from solon.curate import starter
from solon.evals.asking import Means, Room, Said
from solon.evals.suites import creative

ITEMS = creative.items({creative.FILES[0]: starter.load("creative")}, 0, Room(512, len))


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.id)
def test_good_replies_keep_the_form(item):
    good, wrong = item.reference["good"], item.reference["wrong"]
    assert creative.grade(item, Said(((good,), (wrong,), ("",))), Means()).figures == {"kept": pytest.approx(1 / 3)}
    assert creative.grade(item, Said(((good,),)), Means()).figures == {"kept": 1.0}
