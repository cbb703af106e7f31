"""Group relative policy optimisation: replies drawn from the model in training, rewarded by a function, trained on at once.

A round draws `group` replies to each of some prompts, at temperature 1 and without truncation, since only then what draws is
the policy whose log-probabilities the loss compares; `updates` steps of the trainer follow. The sampler reads the weights
with the adapter merged into them. What it gave each token is kept, and its distance to the trainer's reading is in the
history (`sampler_gap`); the ratio is always made with the trainer's own reading, and `cap` adds importance weights for the
rest (Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy RL training").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from solon.core.artifacts import Artifact, Draft, Record, Store, digest
from solon.core.dense import without_adapter
from solon.core.errors import DataError
from solon.core.keys import seed_of
from solon.core.records import as_messages
from solon.core.weights import Tree
from solon.evals.statistics import clustered_mean
from solon.generate.engine import Engine, Request
from solon.generate.score import token_scores
from solon.learn import lora
from solon.learn.objectives import grpo as objective
from solon.learn.objectives.grpo import Normalise, Rollouts, Scale, Terms
from solon.learn.order import order
from solon.models.load import Model
from solon.stages._gradient_figures import tell
from solon.stages.fit import Course, Diary, Fit, usable, write_result
from solon.stages.rewards import Rewards, name_of
from solon.text.batches import Batch, Shape, batch, in_groups, line_length
from solon.text.packing import lines_of
from solon.text.template import Tokens, encode_chat

VERSION = 1
SLOTS = 64  # replies drawn at once
PLACES = ("tokens", "sampled", "old")  # one entry for each token of a reply: kept while a run may be resumed, not in the artifact

Make = Callable[[Sequence[int]], list[Record]]
Kept = Callable[[str, Sequence[int], Make], list[Record]]  # makes rows of places, or finds what was made of them before


class Grpo(Fit):
    """`batch` counts the replies of a round, `group` those to one prompt. `epochs` counts how often each prompt is asked, or
    `steps` the rounds; each is followed by `updates` steps of the optimiser. The rest is `Terms` and `advantages` of
    `learn/objectives/grpo.py`, with the defaults of TRL 1.16; an `epsilon_high` of 0 is that of `epsilon`."""

    group: int = Field(8, ge=2)
    updates: int = Field(1, ge=1)
    max_tokens: int = Field(256, ge=1)
    scale: Scale = "group"
    normalise: Normalise = "dapo"
    epsilon: float = Field(0.2, gt=0, lt=1)
    epsilon_high: float = Field(0.0, ge=0)
    beta: float = Field(0.0, ge=0)
    weigh_kl: bool = True
    cap: float = Field(0.0, ge=0)
    batch: int = Field(64, ge=2)
    learning_rate: float = Field(1e-4, gt=0)
    schedule: Literal["cosine", "constant"] = "constant"
    warmup: float = Field(0.0, ge=0, lt=1)
    epochs: float = Field(1.0, gt=0)

    @model_validator(mode="after")
    def _sound(self) -> Grpo:
        if self.batch % self.group:
            raise ValueError(f"a round's {self.batch} replies (batch) are no whole number of groups of {self.group}")
        if self.dropout or self.early.patience:
            raise ValueError("GRPO knows neither dropout, which would make ratios of noise, nor early stopping on rows laid aside")
        if self.keep or self.token_weights:
            raise ValueError("`keep` and `token_weights` belong to supervised fine-tuning; here `beta` holds the model back")
        return self

    @property
    def terms(self) -> Terms:
        high = self.epsilon_high or self.epsilon
        return Terms(self.epsilon, high, self.beta, self.weigh_kl, self.normalise, self.max_tokens, self.cap)


def train(
    store: Store, config: Grpo, model: Model, inputs: dict[str, str], prompts: Sequence[Record], rewards: Rewards, seed: int
) -> Artifact:
    """An adapter on top of `model`, which is also the reference. `prompts` are rows `{"id", "prompt": turns, ...}`; what else
    they hold is for `rewards`. `inputs` names what the model and the prompts were made from."""
    settings = {**config.model_dump(mode="json"), "seed": seed, "rewards": name_of(rewards), "rows": digest(list(prompts))}
    return store.make("grpo", VERSION, settings, inputs, partial(_build, config, model, prompts, rewards, seed))


def _build(config: Grpo, model: Model, prompts: Sequence[Record], rewards: Rewards, seed: int, draft: Draft) -> None:
    marked = [mark(config, model, row) for row in prompts]
    usable(marked)
    model = replace(model, params=config.frozen(model))
    kept = lambda name, asked, make: draft.in_shards(name, asked, len(asked), make)  # noqa: E731
    rounds = Rounds(config, model, [row for row in marked if not row.get("dropped")], rewards, seed, kept)
    course = rounds.course()
    with draft.progress.task("training", course.steps, "step") as advance:
        result = course.run(
            draft.path / ".checkpoints", watch=Diary(draft, course.steps), policy=rounds.policy,
            report=lambda step, row: advance(1, f"reward {rounds.means[step // config.updates]:.3f}"),
            resumed=lambda done: advance(done, before=True),
        )  # fmt: skip
    write_result(draft, config, result)
    every = [rounds.rollouts(number) for number in range(len(rounds.asked))]
    draft.tokens += sum(len(row["tokens"]) for rows in every for row in rows)
    dropped = [row for row in marked if row.get("dropped")]
    draft.write_rows("rows", dropped + [_shown(row, rounds.rows) for rows in every for row in rows])
    draft.write("rounds.json", [summary(rows) for rows in every])
    tenth = max(len(every) // 10, 1)
    for name, part in (("reward_first", every[:tenth]), ("reward_last", every[-tenth:])):
        rows = [row for one in part for row in one]
        mean = clustered_mean([row["reward"] for row in rows], [row["id"] for row in rows])
        draft.metric(name, mean.value, n=mean.n, ci=[mean.low, mean.high], unit="reward", how=f"a tenth of the rounds; {mean.how}")
    tell(draft, result)


def mark(config: Grpo, model: Model, row: Record) -> Record:
    """The row, or the reason why it is not asked."""
    if row.get("dropped"):
        return dict(row)
    if len(asked(model, row)) + config.max_tokens > config.length:
        return {**row, "dropped": "longer than the training length"}
    return dict(row)


def asked(model: Model, row: Record) -> list[int]:
    """The tokens of a row's prompt, ready for a reply."""
    return encode_chat(model.tokenizer, as_messages(row["prompt"]), add_generation_prompt=True)


def _shown(row: Record, rows: Sequence[Record]) -> Record:
    """A rollout as the artifact keeps it: the prompt in words, and no lists by token."""
    kept = {name: value for name, value in row.items() if name not in PLACES}
    return {**kept, "prompt": rows[row["prompt"]]["prompt"], "tokens": len(row["tokens"])}


def summary(rows: Sequence[Record]) -> Record:
    """One round in figures. `silent` is the share of replies without an advantage: their group's rewards are all equal."""
    rewards = np.array([row["reward"] for row in rows])
    return {
        "round": rows[0]["round"], "n": len(rows), "reward": float(rewards.mean()), "deviation": float(rewards.std()),
        "tokens": float(np.mean([len(row["tokens"]) for row in rows])),
        "ended": float(np.mean([row["finish"] == "stop" for row in rows])),
        "silent": float(np.mean([row["advantage"] == 0 for row in rows])),
    }  # fmt: skip


class Rounds:
    """What every round asks, the rollouts drawn for it, and their batches.

    `kept` finds the rollouts of a round that a stopped call had drawn, or keeps new ones, so that a training goes on in the
    middle of a round with the very replies that it had begun to learn from.
    """

    def __init__(
        self, config: Grpo, model: Model, rows: Sequence[Record], rewards: Rewards, seed: int,
        kept: Kept = lambda name, asked, make: make(asked),
    ):  # fmt: skip
        self.config, self.model, self.rows, self.rewards, self.seed, self.kept = config, model, rows, rewards, seed, kept
        self.prompts = [asked(model, row) for row in rows]
        self.requests = [Request(prompt, max_tokens=config.max_tokens) for prompt in self.prompts]
        several = config.batch // config.group
        count = config.steps or max(round(config.epochs * len(rows) / several), 1)
        drawn = order(len(rows), count * several / len(rows), seed_of("order", seed))
        self.asked = [drawn[i * several : (i + 1) * several] for i in range(count)]
        self.shape = room(config, [len(prompt) for prompt in self.prompts])
        self.adapted = lora.emptied(config.attached(model, seed), config.targets)
        self.current, self.groups, self.means = -1, list[Rollouts](), dict[int, float]()

    def course(self) -> Course:
        """The training on these rounds; `policy` has to see its arrays."""
        arch, terms, remat = self.model.arch, self.config.terms, self.config.remat

        def loss(params: Tree, rollouts: Rollouts) -> Any:
            return objective.loss(arch, params, rollouts, terms, remat)

        steps = len(self.asked) * self.config.updates
        # A loss around zero has no usual size, so a spike of it means nothing.
        return Course(self.model, self.config, self.seed, steps, loss, lambda step: self.groups, [1] * steps, spike=math.inf)

    def policy(self, step: int, trained: Tree) -> None:
        """Make the batches of a step: drawn anew at the first update of a round."""
        number = step // self.config.updates
        if number == self.current:
            return
        rows = self.rollouts(number, trained)
        self.groups, self.current = [self._with_reference(one) for _, one in self.packed(rows)], number
        self.means[number] = float(np.mean([row["reward"] for row in rows]))

    def rollouts(self, number: int, trained: Tree | None = None) -> list[Record]:
        """The rollouts of a round as rows, replies to one prompt next to each other. `prompt` is the place among the rows."""
        name = f"round-{number:06d}"
        return self.kept(name, self.asked[number], lambda places: self._drawn(number, places, trained))

    def _drawn(self, number: int, places: Sequence[int], trained: Tree | None) -> list[Record]:
        assert trained is not None, "a finished round lost its rollouts"
        config, whole = self.config, lora.put(self.adapted, trained)
        engine = Engine(replace(self.model, params=whole), min(SLOTS, config.batch))
        # By place and not by id, since a round may ask the same prompt twice.
        keys = [("grpo", number, place, one) for place in range(len(places)) for one in range(config.group)]
        prompts = [i for i in places for _ in range(config.group)]
        requests = [Request(self.prompts[i], key=key, max_tokens=config.max_tokens) for i, key in zip(prompts, keys, strict=True)]
        replies = engine.sample(requests, seed=self.seed, others=self.requests)
        del engine
        rewards = self._rewarded([self.rows[i] for i in prompts], [reply.text for reply in replies])
        gains = objective.advantages(np.reshape(rewards, (-1, config.group)), config.scale).reshape(-1)
        made: list[Record] = [
            {"id": self.rows[i]["id"], "round": number, "prompt": i, "reply": reply.text, "finish": reply.finish, "reward": reward,
             "advantage": float(gain), "tokens": list(reply.tokens), "sampled": list(reply.logprobs)}
            for i, reply, reward, gain in zip(prompts, replies, rewards, gains, strict=True)
        ]  # fmt: skip
        if config.updates > 1:
            for group, one in self.packed(made):
                logp = np.asarray(token_scores(self.model.arch, whole, one.rows))
                for place, i in enumerate(group):
                    made[i]["old"] = logp[_own(one.rows, place)].tolist()
        return made

    def _rewarded(self, rows: Sequence[Record], replies: Sequence[str]) -> list[float]:
        given = [float(one) for one in self.rewards(rows, replies)]
        if len(given) != len(replies):
            raise DataError("the reward function gave another number of rewards than there are replies", got=len(given), expected=len(replies))
        return given

    def packed(self, rows: Sequence[Record]) -> list[tuple[list[int], Rollouts]]:
        """Rollouts in batches of one shape, each with the places of its rows: as many batches as their tokens need."""
        every = []
        for row in rows:
            prompt, reply = self.prompts[row["prompt"]], row["tokens"]
            weight = self.config.weight_of(self.rows[row["prompt"]])
            every.append(Tokens([*prompt, *reply], [False] * len(prompt) + [True] * len(reply), weight))
        out = []
        for group in in_groups([[one] for one in every], self.shape.length, self.shape.lines):
            here = batch([every[i] for i in group], self.shape)
            gains = np.zeros(self.shape.rows, np.float32)
            gains[: len(group)] = [rows[i]["advantage"] for i in group]
            old = _beside(here, [rows[i]["old"] for i in group]) if "old" in rows[group[0]] else None
            out.append((group, Rollouts(here, gains, _beside(here, [rows[i]["sampled"] for i in group]), old)))
        return out

    def _with_reference(self, one: Rollouts) -> Rollouts:
        if not self.config.beta:
            return one
        return one._replace(reference_n=token_scores(self.model.arch, without_adapter(self.adapted), one.rows))


def room(config: Grpo, prompts: Sequence[int]) -> Shape:
    """The one shape of all batches, from the lengths of the prompts alone: lines for `micro` replies of full length to prompts
    short and long, and room for whatever shorter ones fit in there. Rounds of short replies then take fewer batches, and no
    other program."""
    full = sorted(length + config.max_tokens for length in prompts)
    length = line_length([Tokens([0] * full[-1], [])], config.length)
    micro = min(config.micro, config.batch)
    lines = len(lines_of([full[(2 * i + 1) * len(full) // (2 * micro)] for i in range(micro)], length))
    rows = min(config.batch, lines * (length // (min(prompts) + 1)))
    # A line holds whole rows, so the share of reply in it is at most that of the shortest prompt with the longest reply.
    learned = min(rows * config.max_tokens, lines * (length * config.max_tokens // full[0]))
    return Shape(lines, length, -(-learned // 128) * 128, rows)


def _own(rows: Batch, number: int) -> np.ndarray:
    """Which scored places of a batch belong to a row."""
    return (rows.sequence_n == number) & (rows.weight_n > 0)


def _beside(rows: Batch, values: Sequence[Sequence[float]]) -> np.ndarray:
    """One number for each learned token of each row, as they lie in the batch `[n]`; 0 at filling."""
    out = np.zeros(rows.weight_n.shape, np.float32)
    for number, own in enumerate(values):
        out[_own(rows, number)] = own
    return out
