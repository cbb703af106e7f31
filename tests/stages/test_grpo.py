"""The stage that draws, rewards and trains: rewards rise, what is drawn is the policy in training, and a stop changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from solon.core.artifacts import Artifact, Record, Store
from solon.core.config import build
from solon.core.errors import ConfigError, DataError
from solon.core.keys import rng
from solon.learn import lora
from solon.models.architecture import LINEAR
from solon.models.load import Model
from solon.stages import grpo
from solon.stages.fit import Course, digest
from solon.stages.grpo import Grpo, Rounds, room
from solon.stages.rewards import instructions_followed, name_of
from solon.text.batches import batch, in_groups
from solon.text.template import Tokens

PROMPTS = [{"id": f"prompt-{n}", "prompt": [{"role": "user", "content": "say " + "ab" * n}]} for n in range(6)]
QUICK = {"rank": 4, "group": 8, "batch": 32, "micro": 16, "length": 128, "max_tokens": 12, "learning_rate": 0.02,
         "targets": (*LINEAR, "embed")}  # fmt: skip


def small_letters(rows: Sequence[Record], replies: Sequence[str]) -> list[float]:
    """The share of a reply's characters that are small letters: any model can learn to write more of them."""
    assert len(rows) == len(replies)
    return [sum("a" <= one <= "z" for one in reply) / max(len(reply), 1) for reply in replies]


def trained(place: Path, model: Model, progress: Any = None, **settings: Any) -> Artifact:
    config = build(Grpo, QUICK | settings, "test")
    return grpo.train(Store(place, progress), config, model, {"model": "tiny@0"}, PROMPTS, small_letters, seed=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_model: Model) -> Artifact:
    return trained(tmp_path_factory.mktemp("runs"), tiny_model, steps=12)


@pytest.mark.slow
def test_rewards_rise(made: Artifact) -> None:
    rounds = made.read("rounds.json")
    rewards = [one["reward"] for one in rounds]
    print("mean reward by round:", *(f"{x:.3f}" for x in rewards))
    assert np.mean(rewards[-3:]) > np.mean(rewards[:3]) + 0.2
    first, last = (next(one for one in made.evidence["metrics"] if one["name"] == name) for name in ("reward_first", "reward_last"))
    assert first["value"] == pytest.approx(rewards[0]) and last["value"] == pytest.approx(rewards[-1])
    assert first["ci"][1] < last["ci"][0] and first["n"] == last["n"] == 32


@pytest.mark.slow
def test_what_is_drawn_is_the_policy_in_training(made: Artifact) -> None:
    """Weights a step old would show as a distance between the sampler's log-probabilities and the trainer's."""
    history = made.read("history.json")
    assert len(history) == 12
    assert max(row["sampler_gap"] for row in history) < 1e-4
    assert all(row["ratio"] == pytest.approx(1) and row["clipped"] == 0 for row in history)


@pytest.mark.slow
def test_every_rollout_is_kept_with_its_reward(made: Artifact, tiny_model: Model) -> None:
    rows = list(made.rows("rows"))
    assert len(rows) == 12 * 32 == made.evidence["data"]["kept"]
    assert sum(row["tokens"] for row in rows) == made.evidence["cost"]["tokens"]
    assert small_letters(rows, [row["reply"] for row in rows]) == [row["reward"] for row in rows]
    gains = np.reshape([row["advantage"] for row in rows], (-1, 8))
    np.testing.assert_allclose(gains.sum(1), 0, atol=1e-5)
    assert all(len({row["id"] for row in rows[i : i + 8]}) == 1 for i in range(0, len(rows), 8))
    assert {row["id"]: row["prompt"] for row in rows} == {row["id"]: row["prompt"] for row in PROMPTS}
    found = lora.load_onto(tiny_model.arch, tiny_model.params, made.path)
    assert digest(lora.adapter(found)) == made.evidence["facts"]["digest"]


class Stops:
    """Progress that a step interrupts."""

    def __init__(self, step: int):
        self.left = step

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        yield

    @contextmanager
    def task(self, name: str, total: float, unit: str = "") -> Iterator[Callable[..., None]]:
        def advance(by: float = 1, note: str = "", before: bool = False) -> None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt

        yield advance


@pytest.mark.slow
def test_a_stop_in_the_middle_of_a_round_changes_nothing(tmp_path: Path, tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Course.plan.fget
    monkeypatch.setattr(Course, "plan", property(lambda self: replace(plan(self), checkpoint_seconds=0)))  # type: ignore[misc]
    how = {"steps": 3, "updates": 2, "beta": 0.05, "cap": 2.0}
    whole = trained(tmp_path / "whole", tiny_model, **how)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", tiny_model, Stops(3), **how)  # the fourth step is a round's second
    draft = next((tmp_path / "cut" / "drafts").glob("grpo-*/"))
    assert [path.name for path in sorted((draft / ".shards").iterdir())] == [f"round-00000{n}-000000.jsonl" for n in (0, 1)]
    again = trained(tmp_path / "cut", tiny_model, **how)
    assert again.id == whole.id
    for name in ("adapter.safetensors", "history.json", "rows.jsonl", "rounds.json", "early.json"):
        assert (again.path / name).read_bytes() == (whole.path / name).read_bytes(), name
    history = whole.read("history.json")
    firsts, seconds = history[::2], history[1::2]
    assert max(abs(row["ratio"] - 1) for row in firsts) < 1e-5 < min(abs(row["ratio"] - 1) for row in seconds)
    assert max(row["sampler_gap"] for row in firsts) < 1e-4 < min(row["sampler_gap"] for row in seconds)
    assert history[0]["kl"] < 1e-9 < history[-1]["kl"] and history[0]["capped"] == 0


def test_rewards_that_do_not_fit_are_refused(tmp_path: Path, tiny_model: Model) -> None:
    config = build(Grpo, QUICK | {"steps": 1}, "test")
    with pytest.raises(DataError, match="another number of rewards"):
        Rounds(config, tiny_model, PROMPTS, lambda rows, replies: [1.0] * 7, 1)._rewarded(PROMPTS * 8, ["no"] * 8)
    with pytest.raises(ConfigError, match="no name"):
        grpo.train(Store(tmp_path), config, tiny_model, {"model": "tiny@0"}, PROMPTS, lambda rows, replies: [0.0], seed=1)
    assert name_of(instructions_followed) == "solon.stages.rewards.instructions_followed"
    with pytest.raises(DataError, match="nothing to train on"):
        tight = build(Grpo, QUICK | {"length": 16}, "test")
        grpo.train(Store(tmp_path), tight, tiny_model, {"model": "tiny@0"}, PROMPTS, small_letters, seed=1)


@pytest.mark.parametrize("wrong", [{"batch": 30}, {"dropout": 0.1}, {"early": {"patience": 2}}, {"group": 1}, {"keep": 0.1}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        build(Grpo, QUICK | wrong, "test")


def test_any_replies_fit_the_one_shape() -> None:
    """Prompts and replies of any length, in as many batches as it takes; each but the last holds about what was asked for."""
    for case in range(60):
        own = rng("room", case)
        config = build(Grpo, QUICK | {"length": 256, "max_tokens": int(own.integers(1, 120)), "micro": int(own.integers(1, 40))}, "test")
        prompts = own.integers(1, 256 - config.max_tokens + 1, int(own.integers(1, 20)))
        shape = room(config, prompts.tolist())
        own_prompts = own.choice(prompts, 4).repeat(8)
        replies = own.integers(1, config.max_tokens + 1, 32)
        rows = [Tokens([1] * (p + r), [False] * p + [True] * r) for p, r in zip(own_prompts.tolist(), replies.tolist(), strict=True)]
        groups = in_groups([[row] for row in rows], shape.length, shape.lines)
        seen = [batch([rows[i] for i in group], shape) for group in groups]
        assert sum(int(one.weight_n.sum()) for one in seen) == replies.sum() and sum(map(len, groups)) == 32
    # Prompts of one length and replies of full length fill the lines: one batch a round, and no line to spare.
    config = build(Grpo, QUICK | {"max_tokens": 64, "micro": 32}, "test")
    assert room(config, [56] * 8) == (32, 128, 32 * 64, 32)


def test_a_round_asks_anew_and_depends_on_names_alone(tiny_model: Model) -> None:
    config = build(Grpo, QUICK | {"steps": 5}, "test")
    rounds = Rounds(config, tiny_model, PROMPTS, small_letters, 1)
    assert rounds.asked == Rounds(config, tiny_model, PROMPTS, small_letters, 1).asked
    assert rounds.asked != Rounds(config, tiny_model, PROMPTS, small_letters, 2).asked
    flat = [i for places in rounds.asked for i in places]
    assert [len(places) for places in rounds.asked] == [4] * 5
    assert all(sorted(flat[i : i + 6]) == list(range(6)) for i in (0, 6, 12))  # all prompts once an epoch
    assert rounds.course().steps == 5 and Rounds(build(Grpo, QUICK | {"updates": 3, "epochs": 2}, "t"), tiny_model, PROMPTS, small_letters, 1).course().steps == 9


def test_instructions_are_checked_by_ifeval() -> None:
    row = {"id": "x", "instructions": ["punctuation:no_comma", "change_case:english_lowercase"], "arguments": [{}, {}]}
    assert instructions_followed([row] * 3, ["all is well", "All, is well", "all, is well"]) == [1.0, 0.0, 0.5]
    with pytest.raises(DataError, match="no instructions"):
        instructions_followed([{"id": "y"}], ["well"])
