"""The loss and the advantages of GRPO against TRL's own code, on the same log-probabilities and rewards."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from trl import GRPOConfig, GRPOTrainer  # noqa: E402
from trl.trainer.utils import nanstd  # noqa: E402

from solon.learn.objectives.grpo import Rollouts, Terms, advantages, of_logprobs  # noqa: E402
from solon.stages.grpo import Grpo  # noqa: E402
from solon.text.batches import Shape, batch  # noqa: E402
from solon.text.template import Tokens  # noqa: E402

pytestmark = pytest.mark.parity

LENGTHS, WIDTH = (9, 4, 12, 1, 7, 12), 12
MASK = np.arange(WIDTH) < np.array(LENGTHS)[:, None]
RNG = np.random.default_rng(0)
NOW = RNG.normal(-2, 1, MASK.shape).astype(np.float32)
OLD, SAMPLED, REFERENCE = ((NOW + RNG.normal(0, 0.3, MASK.shape)).astype(np.float32) for _ in range(3))
GAINS = RNG.normal(0, 1, len(LENGTHS)).astype(np.float32)


def theirs(config: Any, first: bool, ratio: Any = None) -> tuple[float, np.ndarray]:
    """TRL's `_compute_loss` and its derivative, with a stand-in that holds the settings and gives the log-probabilities: what a
    trainer would need a model for is never asked."""
    now = torch.tensor(NOW, requires_grad=True)
    keep = lambda *given, **more: (now, torch.zeros_like(now), None)  # noqa: E731
    alone = SimpleNamespace(num_processes=1, gather=lambda x: x, reduce=lambda x, reduction="sum": x, sync_gradients=True)
    trainer = SimpleNamespace(
        args=config, beta=config.beta, epsilon_low=config.epsilon, epsilon_high=config.epsilon_high or config.epsilon,
        loss_type=config.loss_type, importance_sampling_level=config.importance_sampling_level, accelerator=alone,
        top_entropy_quantile=config.top_entropy_quantile, off_policy_mask_threshold=config.off_policy_mask_threshold,
        max_completion_length=config.max_completion_length, aux_loss_enabled=False, _entropy_bonus_enabled=False,
        use_vllm=ratio is not None, vllm_importance_sampling_correction=True, model=SimpleNamespace(training=True),
        current_gradient_accumulation_steps=1, _get_per_token_logps_and_entropies=keep, _metrics=_Metrics(),
    )  # fmt: skip
    mask = torch.tensor(MASK, dtype=torch.long)
    inputs = {
        "prompt_ids": mask[:, :1], "prompt_mask": mask[:, :1], "completion_ids": mask, "completion_mask": mask,
        "advantages": torch.tensor(GAINS), "num_items_in_batch": mask.sum(), "ref_per_token_logps": torch.tensor(REFERENCE),
        "old_per_token_logps": None if first else torch.tensor(OLD), "importance_sampling_ratio": ratio,
    }  # fmt: skip
    config.steps_per_generation = config.steps_per_generation or 1
    loss = GRPOTrainer._compute_loss(trainer, None, inputs)
    loss.backward()
    return float(loss.detach()), now.grad.numpy()


class _Metrics(dict):
    def __missing__(self, mode: str) -> Any:
        from collections import defaultdict

        return self.setdefault(mode, defaultdict(list))


def ours(terms: Terms, first: bool) -> tuple[float, np.ndarray]:
    """The same through a packed batch; the derivative as they lie in TRL's rows."""
    rows = [Tokens([0] * (1 + n), [False] + [True] * n) for n in LENGTHS]
    packed = batch(rows, Shape(3, 26, 64, len(rows)))
    places = [np.flatnonzero((packed.sequence_n == i) & (packed.weight_n > 0)) for i in range(len(rows))]

    def beside(values: np.ndarray) -> np.ndarray:
        out = np.zeros(packed.weight_n.shape, np.float32)
        for i, own in enumerate(places):
            out[own] = values[i, : len(own)]
        return out

    given = Rollouts(packed, GAINS, beside(SAMPLED), None if first else beside(OLD), beside(REFERENCE))
    mean = lambda logp: (lambda out: out[0] / out[1][0])(of_logprobs(logp, given, terms))  # noqa: E731
    value, slope = jax.value_and_grad(mean)(jnp.asarray(beside(NOW)))
    out = np.zeros(MASK.shape, np.float32)
    for i, own in enumerate(places):
        out[i, : len(own)] = np.asarray(slope)[own]
    return float(value), out


def config(**settings: Any) -> Any:
    return GRPOConfig(output_dir="unused", use_cpu=True, bf16=False, report_to="none", max_completion_length=WIDTH, **settings)


@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "dr_grpo"])
@pytest.mark.parametrize(
    "settings", [{}, {"beta": 0.04}, {"beta": 0.4, "use_bias_correction_kl": False}, {"epsilon": 0.05, "epsilon_high": 0.3}], ids=str
)  # fmt: skip
def test_loss_and_gradient_are_trls(first: bool, loss_type: str, settings: dict[str, Any]) -> None:
    made = config(loss_type=loss_type, **settings)
    terms = Terms(
        made.epsilon, made.epsilon_high or made.epsilon, made.beta, made.use_bias_correction_kl, loss_type, WIDTH  # type: ignore[arg-type]
    )  # fmt: skip
    (value, slope), (expected, slopes) = ours(terms, first), theirs(made, first)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(slope, slopes, rtol=1e-4, atol=1e-6)


def test_truncated_importance_weights_are_trls() -> None:
    ratio = torch.exp(torch.tensor((OLD - SAMPLED) * MASK)).clamp(max=1.2)
    (value, slope), (expected, slopes) = ours(Terms(beta=0.1, cap=1.2), False), theirs(config(beta=0.1), False, ratio)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(slope, slopes, rtol=1e-4, atol=1e-6)


def test_the_defaults_are_trls() -> None:
    made, own = GRPOConfig(output_dir="unused", use_cpu=True, bf16=False, report_to="none"), Grpo()
    high = made.epsilon if made.epsilon_high is None else made.epsilon_high
    assert own.terms == Terms(made.epsilon, high, made.beta, made.use_bias_correction_kl, made.loss_type, own.max_tokens)
    assert (own.scale, own.updates, own.group) == (made.scale_rewards, made.num_iterations, made.num_generations)
    assert (made.temperature, made.top_k, made.top_p, made.mask_truncated_completions) == (1.0, 0, 1.0, False)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_advantages_are_trls(scale: str) -> None:
    """TRL has no function for it: its lines (`_generate_and_score_completions`, 1.16), with its standard deviation."""
    rewards = torch.tensor(np.random.default_rng(1).normal(0, 3, (5, 4)))
    spread = nanstd(rewards) if scale == "batch" else nanstd(rewards, dim=1).unsqueeze(1)
    expected = rewards - rewards.mean(1, keepdim=True)
    expected = expected if scale == "none" else expected / (spread + 1e-4)
    np.testing.assert_allclose(advantages(rewards.numpy(), scale), expected.numpy(), rtol=1e-5, atol=1e-6)  # type: ignore[arg-type]
