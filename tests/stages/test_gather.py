"""Joined sources share the places evenly."""

from __future__ import annotations

from solon.stages.gather import evenly


def test_a_large_source_does_not_crowd_out_a_small_one() -> None:
    large, small = [f"l{i}" for i in range(6)], ["s0", "s1"]
    joined = evenly([large, small])
    assert joined[:4] == ["l0", "s0", "l1", "s1"]
    assert sorted(joined) == sorted([*large, *small])
    assert evenly([large]) == large and evenly([]) == []
