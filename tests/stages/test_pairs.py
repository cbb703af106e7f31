"""Several replies to a prompt: every two are a pair, and the surest label of a prompt is learned."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from solon.constitution import store as books
from solon.core.artifacts import Draft, Silent
from solon.core.records import Reply, Sample, user
from solon.stages import pairs
from solon.stages.feedback import surest

BOOK = books.load("core")
PROMPTS = [Sample(f"rt-{n}", user(f"ask {n}"), None, {"kind": "red_team"}) for n in range(30)]


class Speaker:
    """An engine whose replies are their keys, so that each can be told apart; one prompt gets the same reply twice."""

    def texts(self, keys: Any) -> list[str]:
        return ["same." if key[2] == "rt-3" and key[3] < 2 else "" if key[2] == "rt-4" and key[3] == 2 else f"{key[2]} {key[3]}." for key in keys]


def drawn(monkeypatch: Any, tmp_path: Any, **settings: Any) -> list[dict[str, Any]]:
    said = lambda engine, draft, asked, keys, draw, advance: [Reply(text, (), (), "stop") for text in engine.texts(keys)]  # noqa: E731
    monkeypatch.setattr(pairs, "replies", said)
    config = pairs.Pairs.model_validate(settings)
    return pairs.shard(config, BOOK, Speaker(), PROMPTS, 1, Draft("x", tmp_path, Silent()), None)  # type: ignore[arg-type]


def test_every_two_replies_are_a_pair_under_one_principle(monkeypatch: Any, tmp_path: Any) -> None:
    rows = drawn(monkeypatch, tmp_path, replies=4, pillars={"red_team": ("harm",)})
    assert len({row["id"] for row in rows}) == len(rows) == 30 * 6
    for place, prompt in enumerate(PROMPTS):
        ours = rows[6 * place : 6 * place + 6]
        assert {row["prompt_id"] for row in ours} == {prompt.id}
        assert len({row["principle"] for row in ours}) == 1 and BOOK.principle(ours[0]["principle"]).pillar == "harm"
        if place not in (3, 4):
            assert [(row["first"][-2], row["second"][-2]) for row in ours] == list(combinations("0123", 2))
    assert [row.get("dropped") for row in rows[18:24]].count("both replies are the same") == 1
    assert [row.get("dropped") for row in rows[24:30]].count("an empty reply") == 3


def test_two_replies_and_the_whole_book_are_the_paper(monkeypatch: Any, tmp_path: Any) -> None:
    rows = drawn(monkeypatch, tmp_path)
    assert [row["id"] for row in rows] == [one.id for one in PROMPTS]
    assert [row["principle"] for row in rows] == [books.draw(BOOK, 1, one.id, "pair").id for one in PROMPTS]
    assert len({BOOK.principle(row["principle"]).pillar for row in rows}) > 3


def test_the_surest_label_of_a_prompt_is_learned() -> None:
    def row(id: str, p: float, prompt: str, **more: Any) -> dict[str, Any]:
        return {"id": id, "prompt_id": prompt, "p_first": p, **more}

    rows = [row("a/01", 0.6, "a"), row("a/02", 0.1, "a"), row("a/12", 0.99, "a", dropped="the judge abstained"), row("b/01", 0.5, "b")]
    kept = surest(rows)
    assert [one["id"] for one in kept if not one.get("dropped")] == ["a/02", "b/01"]
    assert [one.get("dropped") for one in kept] == ["another pair of this prompt is clearer", None, "the judge abstained", None]
    # Two prompts of the same words are still two.
    assert not any(one.get("dropped") for one in surest([row("a", 0.6, "a"), row("b", 0.9, "b")]))
    assert surest(kept) == kept and surest([]) == []
