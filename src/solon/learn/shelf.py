"""Several adapters over one model in memory, chosen for each row of a batch: one for every principle, user or variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from solon.core.adapters import Choice, Several, is_several, mixed
from solon.core.dense import LoRA, is_adapter, is_leaf, kept
from solon.core.errors import MissingError, ModelError, nearest
from solon.core.weights import Tree, named, path_name


@dataclass(frozen=True)
class Shelf:
    """A model with `names` adapters over it, in the order of their places."""

    names: tuple[str, ...]
    params: Tree

    def choose(self, rows: Sequence[Choice]) -> Tree:
        """The weights for a batch of `len(rows)` rows, each with its own choice; one choice alone serves any batch.

        The result has the same form whatever is chosen, so a compiled program goes on with it.
        """
        return mixed(self.params, jnp.asarray(self.mixture(rows)))

    def mixture(self, rows: Sequence[Choice]) -> np.ndarray:
        """How much of each adapter each row gets, `[rows, names]` float32."""
        return np.stack([self._weights(choice) for choice in rows])

    def _weights(self, choice: Choice) -> np.ndarray:
        parts = {} if choice is None else {choice: 1.0} if isinstance(choice, str) else choice
        out = np.zeros(len(self.names), np.float32)
        for name, weight in parts.items():
            out[self._place(name)] = weight
        return out

    def _place(self, name: str) -> int:
        if name not in self.names:
            raise MissingError(f"no adapter on the shelf is called {name!r}", fix=nearest(name, self.names))
        return self.names.index(name)

    def swap(self, name: str, adapted: Tree, new_name: str | None = None) -> Shelf:
        """Another adapter in the place of one. Programs go on without being compiled anew, so it must fit: at most the
        shelf's rank, and on no matrix that the shelf left out."""
        place, leaves = self._place(name), _pairs(adapted)
        room = {path for path, w in named(self.params, is_leaf=is_several).items() if is_several(w)}
        if not leaves.keys() <= room:
            fix = "make the shelf anew with this adapter on it"
            raise ModelError("the adapter has matrices that the shelf left out", got=sorted(leaves.keys() - room)[0], fix=fix)

        def one(path: Any, w: Any) -> Any:
            return _put(w, place, leaves.get(path_name(path))) if is_several(w) else w

        names = tuple(new_name or name if i == place else old for i, old in enumerate(self.names))
        return Shelf(names, jax.tree_util.tree_map_with_path(one, self.params, is_leaf=is_several))


def shelf(base: Tree, adapted: Mapping[str, Tree], rank: int = 0) -> Shelf:
    """The outermost LoRAs of several models over the base that they share, with room for `rank` columns (default: as many
    as the largest needs). Ranks and targets may differ; missing ones are zero."""
    pairs = {name: _pairs(tree) for name, tree in adapted.items()}
    every: dict[str, list[LoRA]] = {}
    for leaves in pairs.values():
        for path, leaf in leaves.items():
            every.setdefault(path, []).append(leaf)

    def one(path: Any, leaf: Any) -> Any:
        here = path_name(path)
        if here not in every:
            return leaf
        first, width = every[here][0], max(rank, *(w.a.shape[-1] for w in every[here]))
        stacked = first.a.ndim - 1 - first.n_in
        lead, count = first.a.shape[:stacked], len(pairs)
        out = Several(
            leaf, jnp.zeros((*first.a.shape[:-1], count, width)), jnp.zeros((*lead, count, width, *first.b.shape[stacked + 1 :])),
            jnp.zeros((*lead, count)), jnp.zeros((*lead, 1, count)), first.n_in,
        )  # fmt: skip
        for place, leaves in enumerate(pairs.values()):
            out = _put(out, place, leaves.get(here))
        return out

    whole = {path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(base, is_leaf=is_leaf)}
    if not every.keys() <= whole:
        raise ModelError("an adapter lies on a matrix that the base has not", got=sorted(every.keys() - whole)[0])
    return Shelf(tuple(pairs), jax.tree_util.tree_map_with_path(one, base, is_leaf=is_leaf))


def joined(trees: Sequence[Tree]) -> Tree:
    """Adapters that were trained on top of each other, each given over the same base, as one: their pairs side by side, so
    that the rank is the sum of theirs and the change is exact."""
    if len(trees) == 1:
        return trees[0]
    found: dict[str, list[LoRA]] = {}
    for tree in trees:
        for path, leaf in _pairs(tree).items():
            found.setdefault(path, []).append(leaf)

    def one(path: Any, leaf: Any) -> Any:
        many = found.get(path_name(path))
        return leaf if many is None else _beside(many)

    return jax.tree_util.tree_map_with_path(one, trees[0], is_leaf=is_leaf)


def _beside(many: Sequence[LoRA]) -> LoRA:
    stacked = many[0].a.ndim - 1 - many[0].n_in
    strength = lambda w: jnp.asarray(w.strength, jnp.float32).reshape(-1, *(1,) * (w.a.ndim - 1) if w.gain is not None else ())  # noqa: E731
    a = jnp.concatenate([w.a * strength(w) for w in many], -1)
    return replace(many[0], a=a, b=jnp.concatenate([w.b for w in many], stacked), gain=None, scale=1.0)


def _pairs(tree: Tree) -> dict[str, LoRA]:
    """The outermost LoRA of every matrix that has one."""
    out = {}
    for path, leaf in named(tree, is_leaf=is_leaf).items():
        if isinstance(leaf, LoRA) and kept(leaf.base) is None:
            out[path] = leaf
        elif is_adapter(leaf):
            fix = "merge it into a model of its own"
            raise ModelError(f"the adapter on {path} cannot stand on a shelf", got=type(leaf).__name__, expected="LoRA", fix=fix)
    return out


def _put(w: Several, place: int, leaf: LoRA | None) -> Several:
    """One adapter's arrays in its place, filled up with zeros; `None` clears the place."""
    stacked, room = w.scale.ndim - 1, w.a.shape[-1]
    if leaf is None:
        return replace(w, scale=w.scale.at[..., place].set(0.0))
    spare = room - leaf.a.shape[-1]
    if spare < 0:
        fix = "make the shelf anew with room for this rank"
        raise ModelError("the adapter's rank does not fit the shelf", got=leaf.a.shape[-1], expected=f"at most {room}", fix=fix)
    a = jnp.pad(leaf.a, [(0, 0)] * (leaf.a.ndim - 1) + [(0, spare)])
    b = jnp.pad(leaf.b, [(0, spare) if i == stacked else (0, 0) for i in range(leaf.b.ndim)])
    lead = (slice(None),) * stacked
    return replace(
        w, a=w.a.at[..., place, :].set(a), b=w.b.at[(*lead, place)].set(b),
        scale=w.scale.at[..., place].set(jnp.asarray(leaf.strength, jnp.float32)),
    )  # fmt: skip
