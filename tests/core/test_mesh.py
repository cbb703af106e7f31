"""A LoRA training step on eight devices equals the step on one, over plain and quantised bases."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Compiling is what takes the time here, so the compiler is told not to try hard.
FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
PROGRAM = """
import jax, jax.numpy as jnp, numpy as np, optax
from jax.sharding import NamedSharding, PartitionSpec
from solon.core.mesh import mesh, placed
from solon.core.quantise import quantise
from solon.core.weights import abstract, init, named
from solon.learn import lora
from solon.models.architecture import Architecture, spec
from solon.models.block import forward

assert jax.device_count() == 8
arch = Architecture("llama", layers=2, embed=128, heads=4, kv_heads=2, head_dim=32, mlp=256, vocab=40, context=32)
plain = init(spec(arch), arch.sizes, seed=0)
tokens = np.random.default_rng(0).integers(0, 40, (4, 8), dtype=np.int32)
where = mesh(data=4, model=2)
optimise = optax.adamw(1e-2)
# One of each kind at once; compiling is the price of this test.
def stacked(base, seed, **form):
    return lora.attach(arch, base, rank=4, alpha=8.0, seed=seed, **form)

@jax.jit
def step(params, tokens):
    trained = lora.adapter(params)
    def loss(trained):
        logp = jax.nn.log_softmax(forward(arch, lora.put(params, trained), tokens)[0])
        return -jnp.mean(jnp.take_along_axis(logp[:, :-1], tokens[:, 1:, None], -1))
    value, grads = jax.value_and_grad(loss)(trained)
    updates, _ = optimise.update(grads, optimise.init(trained), trained)
    return value, grads, lora.put(params, optax.apply_updates(trained, updates))

mixed = quantise(spec(arch), plain, "int8", "blocks/(q|k|gate)$")
mixed = quantise(spec(arch), mixed, "int4", "blocks/(v|o|down)$")
first = stacked(mixed, 1, targets=("q", "v", "up"), ranks={"0/q": 2})
params = stacked(stacked(first, 2, kind="dora", targets=("k", "down")), 3, kind="bottleneck", targets=("o",))
params = stacked(params, 4, kind="ia3", targets=("gate",))
rng = np.random.default_rng(1)
params = lora.put(params, jax.tree.map(lambda x: x + jnp.asarray(rng.normal(0, 0.1, x.shape), x.dtype), lora.adapter(params)))
value, grads, after = step(params, tokens)
places = placed(spec(arch), params, where)
many = jax.device_put(params, places)
rows = jax.device_put(tokens, NamedSharding(where, PartitionSpec("data")))
other, other_grads, other_after = step(many, rows)
np.testing.assert_allclose(other, value, rtol=1e-5)
for name, grad in named(grads).items():
    np.testing.assert_allclose(named(other_grads)[name], grad, atol=2e-5 * float(jnp.abs(grad).max()), err_msg=name)
# Adam's first step is the sign of the gradient, which is anybody's guess where the gradient is nearly zero.
for name, (a, b, g) in {n: (named(lora.adapter(other_after))[n], x, named(grads)[n]) for n, x in named(lora.adapter(after)).items()}.items():
    sure = np.abs(g) > 1e-4 * np.abs(g).max()
    np.testing.assert_allclose(np.asarray(a)[sure], np.asarray(b)[sure], atol=2e-5, err_msg=name)
shapes = {k: x.addressable_shards[0].data.shape for k, x in named(many).items()}
want = {
    "blocks/q/base/q": (2, 32, 2, 32), "blocks/q/base/scale": (2, 1, 2, 32), "blocks/q/a": (2, 32, 4), "blocks/q/b": (2, 4, 2, 32),
    "blocks/v/base/codes": (2, 2, 32, 32), "blocks/down/base/codes": (2, 2, 32, 32), "blocks/down/base/largest": (2, 2, 1, 32),
    "blocks/k/m": (2, 1, 32), "blocks/o/down": (2, 32, 4), "blocks/o/up_bias": (2, 32), "blocks/gate/by": (2, 128), "blocks/q/gain": (2,),
}
assert {k: shapes[k] for k in want} == want, {k: shapes[k] for k in want}
# A 7B shape is placed without memory.
big = Architecture("gemma", layers=28, embed=3072, heads=16, kv_heads=16, head_dim=256, mlp=24576, vocab=256000, context=8192)
ghost = jax.eval_shape(lambda p: lora.attach(big, quantise(spec(big), p, "int4"), rank=16, alpha=32.0, seed=0), abstract(spec(big), big.sizes))
spots = named(placed(spec(big), ghost, where))
whole = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(ghost))
mine = sum(int(np.prod(spots[k].shard_shape(x.shape))) * x.dtype.itemsize for k, x in named(ghost).items())
assert 0.125 <= mine / whole < 0.14, mine / whole  # norms, scales and the inner side of adapters stay whole
print("largest difference of the loss", abs(float(other) - float(value)), "; share of a device", mine / whole)
"""


@pytest.mark.slow
def test_a_training_step_on_eight_devices_equals_one() -> None:
    env = os.environ | {"XLA_FLAGS": FLAGS, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    print(done.stdout)
