"""Keys that no query sees, against every pair looked at, and against attention in numpy."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from flat_mapper.api.calls import search
from flat_mapper.backends.agreement import compare_run
from flat_mapper.execution.run import execute
from flat_mapper.explore.generation import Generation, generate
from flat_mapper.reports.answers import SearchResult
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.mask import LayerKind, Mask
from flat_mapper.workload.notation import parse_einsum
from flat_mapper.workload.problem_file import at_keys, seen
from flat_mapper.workload.reader import load_workload

PROBLEM = """problem:
  ranks: {B: 1, H: 2, P: 16, M: P, E: 4, F: 4}
  attention: {}
  layers: [{count: 2, mask: {window: 4, causal: true}}, {count: 1, mask: causal}]
"""


def visible(mask: Mask, queries: int, keys: int) -> np.ndarray:
    """Which key each of the last queries may see, pair by pair."""
    window = mask.window if mask.window is not None else keys
    first = keys - queries
    return np.array(
        [
            [
                abs(first + p - m) < window and (m <= first + p or not mask.causal)
                for m in range(keys)
            ]
            for p in range(queries)
        ]
    )


@pytest.mark.parametrize("seed", range(40))
def test_what_is_left_out_no_query_sees(seed: int) -> None:
    rng = random.Random(seed)
    rows, keys = rng.randint(1, 9), rng.randint(9, 60)
    mask = Mask(causal=rng.random() < 0.5, window=rng.randint(1, 30))
    whole = replace(attention(B=1, H=1, P=rows, M=keys, E=4, F=3), mask=mask)
    left = seen(whole)
    pairs = visible(mask, rows, keys)
    kept = left.rank_sizes["M"]
    assert kept + left.unseen == keys
    assert not pairs[:, : left.unseen].any()
    unseen = int(pairs.any(axis=0).argmax())
    assert 0 <= unseen - left.unseen < rows  # all of them, but for whole tiles of queries
    assert (visible(mask, rows, kept) == pairs[:, left.unseen :]).all()
    assert seen(left) == left
    assert at_keys(left, keys) == left
    # The same values come out.
    data = np.random.default_rng(seed)
    q, k, v = (data.normal(size=(n, d)) for n, d in ((rows, 4), (keys, 4), (keys, 3)))
    scores = np.exp(np.where(pairs, q @ k.T, -np.inf))
    rest = scores[:, left.unseen :]
    out = rest / rest.sum(axis=1, keepdims=True) @ v[left.unseen :]
    assert np.allclose(out, scores / scores.sum(axis=1, keepdims=True) @ v)


@pytest.mark.parametrize("softmax", ["row", "online"])
@pytest.mark.parametrize("scope", ["attention", "block"])
def test_a_decode_step_under_a_window_costs_what_the_window_costs(softmax: str, scope: str) -> None:
    def step(keys: int, mask: str) -> SearchResult:
        workload = load_workload(
            PROBLEM, scope, sizes={"M": keys}, phase="decode", softmax=softmax, mask=mask
        )
        found = search(workload, "edge", "flat")
        assert isinstance(found, SearchResult)
        return found

    long, short = step(32, "causal,window=4"), step(4, "none")
    assert long.workload.unseen == 28
    assert long.result.macs == short.result.macs
    assert (long.result.cycles, long.result.energy_pj) == (
        short.result.cycles,
        short.result.energy_pj,
    )
    assert step(32, "causal").result.macs > long.result.macs
    done = execute(long.workload, long.platform, long.mapping)
    assert compare_run(done, long.result) == ()
    assert "the first 28 of 32 keys, which no query sees, are left out" in str(long)


def test_each_kind_of_layers_leaves_out_what_it_does_not_see() -> None:
    whole = load_workload(PROBLEM, "model", sizes={"M": 32}, phase="decode")
    assert (whole.rank_sizes["M"], whole.unseen) == (32, 0)
    found = search(whole, "edge", "flat")
    assert isinstance(found, SearchResult)
    assert [part.workload.rank_sizes["M"] for part in found.layers] == [4, 32]
    one = load_workload(PROBLEM, "model", sizes={"M": 32}, phase="decode", layers="causal,window=4")
    assert (one.rank_sizes["M"], one.unseen, one.repeat) == (4, 28, 2)


def test_generation_keeps_the_cache_and_works_on_the_window() -> None:
    found = {}
    for mask in ("causal,window=4", "causal"):
        one = generate(PROBLEM, "edge", prefill=32, decode=40, mask=mask)
        assert isinstance(one, Generation)
        found[mask] = one
    window, causal = found["causal,window=4"], found["causal"]
    assert window.cache_bytes == causal.cache_bytes
    costs = {r.cycles for s in window.segments for _, r in s.results.values()}
    assert len(costs) == 1  # whatever the length of the cache
    assert len({r.cycles for s in causal.segments for _, r in s.results.values()}) > 1


def test_keys_that_count_without_queries_stay() -> None:
    whole = replace(attention(B=1, H=1, P=1, M=16, E=4, F=4), mask=Mask(causal=True, window=4))
    extra = parse_einsum("T[b,h,e] = sum(K[b,h,m,e])")
    assert seen(whole).unseen == 12
    assert seen(replace(whole, einsums=(*whole.einsums, extra))).unseen == 0
    projected = parse_einsum("K[b,h,m,e] = XK[b,h,m,d] * W[d,e]")
    made = replace(
        whole, einsums=(projected, *whole.einsums), rank_sizes={**whole.rank_sizes, "D": 4}
    )
    assert seen(made).unseen == 12
    kinds = (LayerKind(count=1, mask=whole.mask), LayerKind(count=1, mask=None))
    assert seen(replace(whole, layers=kinds)).unseen == 0
