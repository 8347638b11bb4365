"""Every form of attention, and cascades of one's own, computed tile by tile."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from execution.random_fused import random_mapping, random_platform

import flat_mapper as fm
from flat_mapper.arch.values import Platform
from flat_mapper.base.errors import SpecError
from flat_mapper.execution.reference import evaluated, random_inputs
from flat_mapper.execution.run import execute
from flat_mapper.mapping.resize import resized_mapping
from flat_mapper.mapping.space import Mapspace
from flat_mapper.mapping.values import Policy
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.graph import Softmax, Workload
from flat_mapper.workload.mask import Mask
from flat_mapper.workload.notation import parse_einsum
from flat_mapper.workload.roles import Roles

SIZES = {"B": 2, "H": 4, "P": 4, "M": 8, "E": 2, "F": 2}
CAUSAL, WINDOW = Mask(causal=True), Mask(causal=True, window=3)


def runs(workload: Workload, count: int = 6) -> None:
    """Random mappings of a workload on random chips compute what it says."""
    for seed in range(count):
        rng = random.Random(seed)
        platform = random_platform(rng)
        done = execute(workload, platform, random_mapping(rng, workload, platform), seed=seed)
        assert done.right, f"seed {seed}: {done.errors}"


@pytest.mark.parametrize("softmax", ["row", "online", "online-2pass"])
@pytest.mark.parametrize("mask", [None, CAUSAL, WINDOW])
def test_softmax_under_masks(softmax: Softmax, mask: Mask | None) -> None:
    runs(replace(attention(**SIZES, softmax=softmax), mask=mask))


@pytest.mark.parametrize("softmax", ["row", "online"])
def test_grouped_heads_and_decode(softmax: Softmax) -> None:
    runs(attention(**SIZES, kv_heads=2, softmax=softmax))
    runs(attention(**{**SIZES, "P": 1}, kv_heads=1, softmax=softmax))


@pytest.mark.parametrize("softmax", ["row", "online"])
def test_a_free_softmax_computes_what_it_does_not_count(softmax: Softmax) -> None:
    """Without its nests the numbers of the products are the same, and nobody counts the rest."""
    workload = attention(**SIZES, softmax=softmax)
    for seed in range(6):
        rng = random.Random(seed)
        platform = random_platform(rng)
        mapping = random_mapping(rng, workload, platform)
        (group,) = mapping.groups
        products = tuple(n for n in group.einsums if n.einsum in ("QK", "AV"))
        leaves = {
            lv: tuple({*kept, "AV"}) if lv == "DRAM" else kept for lv, kept in products[1].keep
        }
        products = (products[0], replace(products[1], keep=tuple(leaves.items())))
        left = replace(mapping, groups=(replace(group, einsums=products),))
        free = replace(left, policy=replace(left.policy, softmax="free"))
        # What leaves is the numerator: the quotient runs after the loops.
        done = execute(workload, Platform(name="no sfu", matrix=platform.matrix), free)
        assert done.right, f"seed {seed}: {done.errors}"
        assert [e.tensor for e in done.errors] == ["AV"]
        assert {m.einsum for m in done.counts} == {"QK", "AV"}
        with pytest.raises(SpecError, match="expected a nest for every Einsum where the softmax"):
            execute(workload, platform, left)


def test_a_free_softmax_between_groups_reads_what_the_first_made() -> None:
    space = Mapspace(name="apart", policy=Policy(softmax="free"))
    found = fm.search("tiny", "edge", space)
    assert [group.names for group in found.mapping.groups] == [("QK",), ("AV",)]
    done = execute(found.workload, found.platform, found.mapping)
    assert done.right, done.errors


@pytest.mark.parametrize("softmax", ["row", "online"])
def test_remainders(softmax: Softmax) -> None:
    workload = attention(**SIZES, softmax=softmax)
    for seed in range(6):
        rng = random.Random(seed)
        platform = random_platform(rng)
        mapping = random_mapping(rng, workload, platform)
        smaller = resized_mapping(mapping, workload, "M", 7)
        done = execute(workload.with_ranks({"M": 7}), platform, smaller)
        assert done.right, f"seed {seed}: {done.errors}"


@pytest.mark.parametrize(
    "lines",
    [
        ("Y[i,j] = A[i,k] * B[k,j]", "Z[i,l] = Y[i,j] * C[j,l]"),
        ("T[i,j] = A[i,k] * W[k,j]", "G[i,j] = exp(T[i,j])", "Y[i,j] = G[i,j] * T[i,j]"),
        ("T[i,j] = A[i,k] * W[k,j]", "G[i,j] = silu(T[i,j])", "Y[i,l] = G[i,j] * C[j,l]"),
        ("S[i] = sum(X[i,j] * X2[i,j])", "R[i] = rsqrt(S[i])", "Y[i,j] = X[i,j] * R[i]"),
    ],
)
def test_cascades_of_ones_own(lines: tuple[str, ...]) -> None:
    einsums = tuple(parse_einsum(line) for line in lines)
    sizes = {r: 4 for e in einsums for r in e.ranks}
    workload = Workload(name="own", rank_sizes=sizes, einsums=einsums)
    for seed in range(6):
        rng = random.Random(seed)
        platform = random_platform(rng)
        mapping = random_mapping(rng, workload, platform)
        policy = replace(mapping.policy, in_place=True)
        done = execute(workload, platform, replace(mapping, policy=policy))
        assert done.right, f"seed {seed}: {done.errors}"


BIAS = "T[p,m] = S[p,m] + W[p,m]"
SOFTMAX = (
    "X[p] = max(T[p,m])",
    "G[p,m] = exp(T[p,m] - X[p])",
    "N[p] = sum(G[p,m])",
    "Y[p,f] = G[p,m] * V[m,f]",
    "Z[p,f] = Y[p,f] / N[p]",
)


@pytest.mark.parametrize("mask", [CAUSAL, WINDOW])
@pytest.mark.parametrize(
    "lines",
    [
        (BIAS, *SOFTMAX),
        ("T[p,m] = S[p,m] * W[p,m]", *SOFTMAX),  # some of W are negative
        ("U[p,m] = S[p,m] + W[p,m]", "T[p,m] = relu(U[p,m])", *SOFTMAX),
        (*(BIAS, SOFTMAX[0], "D[p,m] = T[p,m] - X[p]", "G[p,m] = exp(D[p,m])"), *SOFTMAX[2:]),
        ("G[p,m] = sigmoid(S[p,m])", "Z[p,f] = G[p,m] * V[m,f]"),
        ("N[p] = min(S[p,m])",),
    ],
    ids=["bias", "scale", "relu", "in two steps", "sigmoid", "min"],
)
def test_what_is_masked_counts_nowhere(lines: tuple[str, ...], mask: Mask) -> None:
    """However many Einsums stand between the scores and what joins them: held to plain numpy."""
    einsums = tuple(map(parse_einsum, ("S[p,m] = Q[p,e] * K[m,e]", *lines)))
    sizes = {"P": 4, "M": 4, "E": 2, "F": 2}
    sizes = {r: sizes[r] for r in sizes if any(r in e.ranks for e in einsums)}
    roles = Roles(queries="P", keys="M")
    workload = Workload(name="own", rank_sizes=sizes, einsums=einsums, mask=mask, roles=roles)
    runs(workload)
    inputs = random_inputs(workload, 0)
    with np.errstate(all="ignore"):
        found = evaluated(workload, inputs)
    position = np.arange(4)
    behind = position[:, None] - position[None, :]
    seen = (behind >= 0) & (behind < (mask.window or 4))
    scores = inputs["Q"] @ inputs["K"].T
    if lines[0].startswith("N"):
        np.testing.assert_allclose(found["N"], np.where(seen, scores, np.inf).min(axis=1))
        return
    if lines[0].startswith("G"):
        weights = np.where(seen, 1 / (1 + np.exp(-scores)), 0)
    else:
        scores = scores * inputs["W"] if "*" in lines[0] else scores + inputs["W"]
        scores = np.maximum(scores, 0) if "relu" in lines[1] else scores
        raised = np.where(seen, np.exp(scores), 0)
        weights = raised / raised.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found["Z"], weights @ inputs["V"])
