"""Random small questions about fused Einsums, whose answers are held against an execution.

They go over what a group may be: forms of the softmax, masks, grouped heads, decode, cascades of
one's own; every schedule, one copy of what crosses DRAM to two; two to five levels, private ones so
small that what stays there matters, and a bandwidth that binds on any of them; widths of tensors.
"""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
from oracles.brute_force import Case
from oracles.small_cases import prices

from flat_mapper.arch.values import Architecture, ComputeUnit, Fanout, MemoryLevel, Platform
from flat_mapper.energy.tables import Ert
from flat_mapper.mapping.space import Fusion, Mapspace
from flat_mapper.mapping.values import Policy, Schedule
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.graph import Softmax, Workload
from flat_mapper.workload.mask import Mask
from flat_mapper.workload.notation import parse_einsum

CASCADES = (
    ("Y[i,j] = A[i,k] * B[k,j]", "Z[i,l] = Y[i,j] * C[j,l]"),
    ("Y[b,i,j] = A[b,i,k] * B[b,k,j]", "Z[b,i,l] = Y[b,i,j] * C[b,j,l]"),
    ("T[i,j] = A[i,k] * W[k,j]", "G[i,j] = exp(T[i,j])", "Y[i,j] = G[i,j] * T[i,j]"),
    ("T[i,j] = A[i,k] * W[k,j]", "G[i,j] = silu(T[i,j])", "Y[i,l] = G[i,j] * C[j,l]"),
    ("T[b,i,j] = A[b,i,k] * W[k,j]", "G[b,i,j] = exp(T[b,i,j])", "Y[b,i,l] = G[b,i,j] * C[j,l]"),
    ("T[i,j] = A[i,k] * W[k,j]", "S[i] = sum(T[i,j])", "Y[i,j] = T[i,j] / S[i]"),
    ("U[i,j] = A[i,k] * W[k,j]", "V[i,j] = A[i,k] * X[k,j]", "Y[i,j] = U[i,j] * V[i,j]"),
)
FORMS: tuple[Softmax, ...] = ("row", "online", "online", "online-2pass", "any")
RATES = (0.25, 0.5, 1.0, 2.0, 4.0)


def fused_question(seed: int) -> Case:
    """A workload, an architecture, prices and a mapspace, all small, all drawn by chance."""
    rng = random.Random(seed)
    own = rng.random() < 0.3
    deep = rng.choices((2, 3, 4, 5), (4, 8, 3, 1))[0]
    workload = _cascade(rng, deep) if own else _attention(rng, deep)
    platform = _platform(rng, deep)
    names = tuple(e.name for e in workload.einsums)
    free = not own and workload.softmax in ("row", "online") and rng.random() < 0.25
    schedules: tuple[Schedule, ...] = ("sequential", "interleaved", "overlapped")
    fusion = Fusion(
        groups=(names if own else ("QK", "softmax", "AV"),),
        optional=rng.random() < 0.1,
        staging=rng.choice(("any", "all", "none")),
        schedule=rng.choice((*schedules[1:], *schedules, "any")),
    )
    policy = Policy(
        buffering=rng.choice((1.0, 1.5, 2.0)),
        in_place=rng.random() < 0.7,
        softmax="free" if free else "charged",
    )
    return Case(
        workload=workload,
        platform=platform,
        ert=_prices(rng, platform),
        mapspace=Mapspace(name="fused", fusion=fusion, policy=policy),
    )


def _prices(rng: random.Random, platform: Platform) -> Ert:
    return prices(np.random.default_rng(rng.randrange(1 << 32)), platform)


def _cascade(rng: random.Random, deep: int) -> Workload:
    einsums = tuple(parse_einsum(line) for line in rng.choice(CASCADES))
    ranks = dict.fromkeys(r for e in einsums for r in e.ranks)
    some = (2, 2, 3, 4) if deep < 4 else (1, 2, 2)
    sizes = {r: rng.choice(some) if r != "B" else rng.choice((1, 2)) for r in ranks}
    return _with_widths(rng, Workload(name="own", rank_sizes=sizes, einsums=einsums))


def _attention(rng: random.Random, deep: int) -> Workload:
    """Attention of one head or a few, by grouped keys and values; the more levels, the smaller."""
    small = deep > 3
    heads = rng.choice((1, 1, 2) if small else (1, 1, 2, 4))
    kv = rng.choice((None, *(n for n in (1, 2) if n < heads)))
    mask = rng.random() < 0.35
    sizes = {r: rng.choice((1, 1, 2)) for r in ("E", "F")}
    sizes |= {"P": rng.choice((1, 2) if small or heads > 1 else (1, 2, 2, 4))}
    sizes |= {"M": rng.choice((2, 3, 4) if small else (4, 4, 6))}
    form = rng.choice(("row", "online", "online", "any") if mask else FORMS)
    batch = 2 if heads == 1 and not small and rng.random() < 0.3 else 1
    found = attention(B=batch, H=heads, **sizes, kv_heads=kv, softmax=form)
    if mask:
        masks = (Mask(causal=True), Mask(window=2), Mask(causal=True, window=3))
        found = replace(found, mask=rng.choice((*masks, Mask(causal=True, window=3, parts=2))))
    return _with_widths(rng, found)


def _with_widths(rng: random.Random, workload: Workload) -> Workload:
    """A quarter of the workloads has tensors of 8, 32 or 64 bits among those of 16."""
    if rng.random() > 0.25:
        return workload
    names = sorted(workload.tensor_ranks)
    some = rng.sample(names, k=min(2, len(names)))
    return replace(workload, tensor_bits={t: rng.choice((8, 32, 64)) for t in some})


def _platform(rng: random.Random, deep: int) -> Platform:
    """A matrix path of so many levels, and a vector path of two or three."""
    binds = rng.random() < 0.7

    def level(name: str, words: int | None, instances: int = 1) -> MemoryLevel:
        def rate() -> float | None:
            return rng.choice(RATES) if binds and rng.random() < 0.4 else None

        return MemoryLevel(
            name=name,
            component_class="DRAM" if words is None else "SRAM",
            capacity_words=words,
            word_bits=16,
            row_words=rng.choice((1, 1, 2, 4)),
            instances=instances,
            read_words_per_cycle=rate(),
            write_words_per_cycle=rate(),
            shared_words_per_cycle=rate(),
        )

    top = (level("DRAM", None), level("GLB", rng.choice((24, 32, 48, 64, 96, 160))))
    x, y = rng.choice((1, 2, 2, 4)), rng.choice((1, 1, 2))
    inner: list[MemoryLevel | Fanout] = []
    if deep >= 4:
        inner.append(level("L2", rng.randrange(4, 24)))
    inner.append(Fanout(name="PE", fanout_x=x, fanout_y=y))
    if deep >= 5:
        inner.append(level("L1", rng.randrange(3, 12), x * y))
    if deep >= 3:
        inner.append(level("RF", rng.randrange(2, 10), x * y))
    lanes = rng.choice((1, 2, 4))
    side: list[MemoryLevel | Fanout] = [Fanout(name="lane", fanout_x=lanes)]
    if rng.random() < 0.7:
        side.append(level("VRF", rng.randrange(2, 7), lanes))
    return Platform(
        name="small",
        matrix=_path("small", (*top, *inner), x * y),
        vector=_path("small.sfu", (*top, *side), lanes),
    )


def _path(name: str, nodes: tuple[MemoryLevel | Fanout, ...], units: int) -> Architecture:
    compute = ComputeUnit(name=f"{name}-unit", component_class="alu", instances=units)
    return Architecture(name=name, nodes=nodes, compute=compute, cycle_seconds=1e-9)
