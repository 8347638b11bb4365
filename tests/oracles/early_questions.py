"""Random small questions for searches that end early, and what their bounds are held against.

A bound that is stated is of every mapping that the question allows, so of every answer of any other
search of it: one that goes on longer, has another objective, or ends elsewhere. Budgets are numbers
of steps, so that nothing depends on the machine.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from oracles.brute_force import Case
from oracles.small_cases import prices

import flat_mapper as fm
from flat_mapper.arch.values import Architecture, ComputeUnit, Fanout, MemoryLevel, Platform
from flat_mapper.base.budget import Budget
from flat_mapper.mapper.group.incumbent import OBJECTIVES
from flat_mapper.mapping.space import AnyGroups, Fusion, Mapspace
from flat_mapper.mapping.values import Policy
from flat_mapper.reports.answers import SearchResult
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import Mask
from flat_mapper.workload.notation import parse_einsum

CHAIN = ("T[p,c] = X[p,d] * W[d,c]", "R[p,c] = relu(T[p,c])", "Y[p,e] = R[p,c] * V[c,e]")
MASKS = (Mask(causal=True), Mask(window=2), Mask(causal=True, window=2))
LONGER = 600  # steps of a search that what ends before is held against
CLOSE = 1e-9  # relative; sums of floats


def early_question(seed: int) -> Case:
    """A cascade, a chip with one core or a few, prices and a mapspace, drawn by chance."""
    rng = random.Random(seed)
    cores = rng.choice((1, 1, 2, 3))
    workload = _chain(rng) if rng.random() < 0.15 else _attention(rng)
    groups = ("QK", "softmax", "AV") if workload.name == "attention" else ("T", "R", "Y")
    partitions = rng.random() < 0.5
    fusion = Fusion(
        groups=() if partitions else (groups,),
        anything=AnyGroups() if partitions else None,
        optional=not partitions and cores == 1 and rng.random() < 0.3,
        staging=rng.choice(("any", "any", "all")),
        schedule=rng.choice(("interleaved", "interleaved", "any")),
        cores="any" if cores > 1 else (),
        level="SMEM" if cores > 1 else "",
    )
    free = not partitions and cores == 1 and workload.mask is None and rng.random() < 0.1
    policy = Policy(
        buffering=rng.choice((1.0, 2.0)),
        in_place=rng.random() < 0.7,
        softmax="free" if free else "charged",
    )
    platform = _chip(rng, cores)
    return Case(
        workload=workload,
        platform=platform,
        ert=prices(np.random.default_rng(seed), platform),
        mapspace=Mapspace(name="early", fusion=fusion, policy=policy),
    )


def _chain(rng: random.Random) -> Workload:
    einsums = tuple(parse_einsum(line) for line in CHAIN)
    sizes = {r: rng.choice((1, 2, 4)) for r in "PCDE"}
    return Workload(name="chain", rank_sizes=sizes, einsums=einsums)


def _attention(rng: random.Random) -> Workload:
    """Attention of a head or a few, under a mask at times."""
    form = rng.choice(("any", "any", "online", "row"))
    sizes = {r: rng.choice((1, 1, 2)) for r in "BHEF"}
    sizes |= {"P": rng.choice((1, 2, 4)), "M": rng.choice((2, 4))}
    found = attention(**sizes, softmax=form)
    if form == "online" and sizes["P"] <= sizes["M"] and rng.random() < 0.5:
        return replace(found, mask=rng.choice(MASKS))
    return found


def _chip(rng: random.Random, cores: int) -> Platform:
    """DRAM, perhaps a level outside the cores, a buffer in each, registers and units."""

    def level(name: str, words: int | None, count: int, *rates: float | None) -> MemoryLevel:
        return MemoryLevel(
            name=name,
            component_class="DRAM" if words is None else "SRAM",
            capacity_words=words,
            word_bits=16,
            row_words=rng.choice((1, 1, 2)),
            instances=count,
            shared_words_per_cycle=rng.choice(rates),
        )

    deaf = {"spatial": {"no_reuse": ["*"]}} if rng.random() < 0.5 else {}
    top: list[MemoryLevel | Fanout] = [level("DRAM", None, 1, 0.5, 1.0, 2.0)]
    if cores > 1:
        if rng.random() < 0.5:
            top.append(level("L2", rng.choice((64, 256)), 1, 2.0, 4.0))
        top.append(Fanout(name="SM", fanout_x=cores, constraints=deaf))
    top.append(level("SMEM", rng.choice((24, 48, 96, 400)), cores, None, 2.0, 4.0))
    units, lanes = rng.choice((1, 2, 4)), rng.choice((1, 2))
    inner = level("RF", rng.choice((3, 4, 8)), cores * units, None)

    def path(name: str, count: int, *rest: MemoryLevel | Fanout) -> Architecture:
        return Architecture(
            name=name,
            nodes=(*top, *rest),
            compute=ComputeUnit(name=name, component_class="alu", instances=cores * count),
            cycle_seconds=1e-9,
        )

    matrix = path("chip", units, Fanout(name="PE", fanout_x=units), inner)
    vector = path("chip.sfu", lanes, Fanout(name="lane", fanout_x=lanes))
    return Platform(name="chip", matrix=matrix, vector=vector)


def answers(case: Case, seed: int, ends: int) -> Iterator[SearchResult]:
    """Answers of searches that end after so many random numbers of steps, and of one that does not.

    For each objective the longer one comes last.
    """
    rng = random.Random(seed)
    what = case.workload, case.platform, case.mapspace, case.ert
    steps = [(rng.choice(OBJECTIVES), int(1.6 ** rng.uniform(0, 11)) - 1) for _ in range(ends)]
    for objective, most in [*steps, *((o, LONGER) for o in OBJECTIVES)]:
        found = fm.search(*what, objective=objective, budget=Budget(steps=most))
        if isinstance(found, SearchResult):
            yield found


def faults(found: list[SearchResult]) -> list[str]:
    """What is stated to be below no mapping, and is above one that is found."""
    costs = [
        {
            "latency": one.result.latency_s,
            "energy": one.result.energy_pj,
            "edp": one.result.edp_js,
            "cycles": one.result.cycles,
            "bytes": one.result.offchip_bytes,
        }
        for one in found
    ]
    least = {name: min(own[name] for own in costs) for name in costs[0]}
    stated = {one.result.bound for one in found}
    said = [f"one question, and bounds {stated}"] if len(stated) > 1 else []
    for one, own in zip(found, costs, strict=True):
        proof, bound = one.certificate, one.result.bound
        known = own[one.objective]
        bounds = [
            ("proven", one.objective, proof.proven_bound),
            ("lower", one.objective, proof.lower_bound),
            ("bound", "cycles", bound.cycles),
            ("bound", "energy", bound.energy_pj),
            ("bound", "bytes", bound.offchip_bytes),
        ]
        said += [
            f"{kind} {name} of {one.objective}: {value} > {least[name]}"
            for kind, name, value in bounds
            if value > least[name] * (1 + CLOSE)
        ]
        if proof.optimal and known > least[one.objective] * (1 + CLOSE):
            said.append(f"{one.objective}: the best is {known}, not {least[one.objective]}")
        if abs(known / proof.proven_bound - 1 - proof.gap) > CLOSE:
            said.append(f"{one.objective}: a gap of {proof.gap} from {proof.proven_bound}")
    return said
