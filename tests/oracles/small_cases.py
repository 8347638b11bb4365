"""Random small questions for the search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import numpy as np
from oracles.brute_force import Case
from oracles.constrained import random_rules

from flat_mapper.arch.values import Architecture, ComputeUnit, Fanout, MemoryLevel, Platform
from flat_mapper.energy.tables import Ert
from flat_mapper.mapping.space import Fusion, KeepRule, Mapspace
from flat_mapper.mapping.values import Policy
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.graph import Softmax, Workload
from flat_mapper.workload.mask import Mask
from flat_mapper.workload.notation import parse_einsum

GEMM = ("Y[i,j] = A[i,k] * B[k,j]",)
GEMM_GEMM = (*GEMM, "Z[i,l] = Y[i,j] * C[j,l]")
BATCHED = ("Y[b,h,i,j] = A[b,h,i] * B[b,h,j]",)


def small_case(seed: int) -> Case:
    """A workload, an architecture, prices and a mapspace, all small, all drawn by chance."""
    rng = np.random.default_rng(seed)
    kind = ("gemm", "batched", "gemm-gemm", "softmax")[seed % 4]
    deep = kind == "batched" and rng.random() < 0.3
    workload = _workload(kind, rng)
    platform = _platform(rng, deep=deep, vector=kind == "softmax")
    return Case(
        workload=workload,
        platform=platform,
        ert=prices(rng, platform),
        mapspace=_mapspace(kind, rng),
    )


def one_product() -> Case:
    """I4 J4 K2 on two by two PEs with four registers each, free of rules."""
    rng = np.random.default_rng(0)
    (line,) = GEMM
    workload = Workload(
        name="product",
        rank_sizes={"I": 4, "J": 4, "K": 2},
        einsums=(replace(parse_einsum(line), unit="matrix"),),
        word_bits=16,
    )
    nodes = (
        _plain("DRAM", None, 1),
        _plain("GLB", 64, 1),
        Fanout(name="PE", fanout_x=2, fanout_y=2),
        _plain("RF", 4, 4),
    )
    arch = Architecture(
        name="product",
        nodes=nodes,
        compute=ComputeUnit(name="MAC", component_class="intmac", instances=4),
        cycle_seconds=1e-9,
    )
    platform = Platform(name="product", matrix=arch)
    return Case(
        workload=workload,
        platform=platform,
        ert=prices(rng, platform),
        mapspace=Mapspace(name="product"),
    )


def _plain(name: str, words: int | None, instances: int) -> MemoryLevel:
    return MemoryLevel(
        name=name,
        component_class="DRAM" if words is None else "SRAM",
        capacity_words=words,
        word_bits=16,
        row_words=1,
        instances=instances,
    )


def ruled_product(seed: int) -> Case:
    """One product, alone, under rules about any of its nodes."""
    rng = np.random.default_rng(seed)
    kind = "batched" if seed % 5 == 0 else "gemm"
    workload = _workload(kind, rng)
    sizes = {
        r: int(rng.choice((2, 2, 3, 4))) if kind == "gemm" else n
        for r, n in workload.rank_sizes.items()
    }
    workload = replace(workload, rank_sizes=sizes)
    platform = _platform(rng, deep=kind == "gemm" and rng.random() < 0.1, vector=False)
    slots, keeps = random_rules(rng, workload, platform, 5)
    mapspace = replace(_mapspace(kind, rng), slots=slots, keeps=keeps)
    return Case(workload=workload, platform=platform, ert=prices(rng, platform), mapspace=mapspace)


def ruled_group(seed: int) -> Case:
    """Two products, or a small attention, fused under rules about any of their nodes."""
    rng = np.random.default_rng(seed)
    kind = "softmax" if seed % 3 == 0 else "gemm-gemm"
    workload = _workload(kind, rng)
    while not 4 <= prod(workload.rank_sizes.values()) <= 16:
        workload = _workload(kind, rng)
    platform = _platform(rng, deep=False, vector=kind == "softmax")
    slots, keeps = random_rules(rng, workload, platform, 3)
    groups = (("QK", "softmax", "AV"),) if kind == "softmax" else (("Y", "Z"),)
    free = _mapspace(kind, rng)
    fusion = replace(free.fusion, groups=groups)
    mapspace = replace(free, fusion=fusion, slots=slots, keeps=keeps)
    return Case(workload=workload, platform=platform, ert=prices(rng, platform), mapspace=mapspace)


def online_case(seed: int) -> Case:
    """Attention whose softmax goes over the keys once or twice, or as the search likes."""
    rng = np.random.default_rng(seed)
    sizes = {name: int(rng.choice((1, 2))) for name in ("P", "E", "F")}
    sizes |= {"B": 1, "H": 1, "M": int(rng.choice((2, 3, 4)))}
    form: Softmax = ("online", "online", "online-2pass", "any")[seed % 4]
    platform = _platform(rng, deep=False, vector=True)
    free = form != "online-2pass" and rng.random() < 0.4
    mapspace = _mapspace("softmax", rng)
    groups = (("QK", "softmax", "AV"),)
    return Case(
        workload=attention(**sizes, softmax=form),
        platform=platform,
        ert=prices(rng, platform),
        mapspace=replace(
            mapspace,
            fusion=replace(mapspace.fusion, groups=groups),
            policy=replace(mapspace.policy, softmax="free" if free else "charged"),
        ),
    )


def masked_case(seed: int) -> Case:
    """An online softmax under a mask, whose tiles without a visible key are skipped."""
    case = online_case(4 * seed)
    masks = (Mask(causal=True), Mask(window=2), Mask(causal=True, window=2))
    mask = Mask(causal=True, parts=2) if seed % 4 == 3 else masks[seed % 3]
    workload = case.workload.with_ranks({"P": 2, "M": 2, "E": 1, "F": 1})
    return replace(case, workload=replace(workload, mask=mask))


def turns_case(seed: int) -> Case:
    """Two products in one group whose registers hold little, and a bandwidth that binds anywhere.

    In every third the matrix path has four levels.
    """
    rng = np.random.default_rng(seed)
    platform = _platform(rng, deep=seed % 3 == 0, vector=False)
    port = ("read", "write", "shared")[seed % 3]
    nodes = tuple(
        replace(n, **{f"{port}_words_per_cycle": float(rng.choice([0.25, 0.5, 1]))})
        if isinstance(n, MemoryLevel)
        else n
        for n in platform.matrix.nodes
    )
    platform = replace(platform, matrix=replace(platform.matrix, nodes=nodes))
    mapspace = _mapspace("gemm-gemm", rng)
    fusion = replace(
        mapspace.fusion,
        groups=(("Y", "Z"),),
        optional=False,
        schedule=("interleaved", "overlapped")[seed % 2],
    )
    return Case(
        workload=_workload("gemm-gemm", rng),
        platform=platform,
        ert=prices(rng, platform),
        mapspace=replace(mapspace, fusion=fusion),
    )


def idle_keeps_case(seed: int) -> Case:
    """Two products in one group beside a slow DRAM, whose registers have to keep every tensor.

    A level between may keep some of them for nothing but longer turns.
    """
    case = turns_case(3 * seed)
    workload = case.workload.with_ranks({"J": 1})  # or brute force takes a minute
    rng = np.random.default_rng([seed, 6])
    words = {"DRAM": None, "GLB": 200, "L1": 40, "RF": int(rng.integers(3, 7))}
    nodes = [
        replace(
            n,
            capacity_words=words[n.name],
            read_words_per_cycle=None,
            write_words_per_cycle=float(rng.choice([0.25, 0.5, 1])) if n.name != "RF" else None,
            shared_words_per_cycle=float(rng.choice([0.25, 0.5, 1])) if n.name == "DRAM" else None,
        )
        if isinstance(n, MemoryLevel)
        else n
        for n in case.platform.matrix.nodes
    ]
    kept = {"Y": ("A", "B", "Y"), "Z": ("Y", "C", "Z")}
    keeps = tuple(KeepRule(level="RF", einsum=e, keep=tensors) for e, tensors in kept.items())
    policy = replace(case.mapspace.policy, buffering=2.0)
    return replace(
        case,
        workload=workload,
        platform=replace(case.platform, matrix=replace(case.platform.matrix, nodes=tuple(nodes))),
        mapspace=replace(case.mapspace, policy=policy, keeps=keeps),
    )


def readers_case(seed: int) -> Case:
    """A cascade in one group whose intermediate has several readers, so that it keeps its place.

    Or, in every third, one whose elementwise Einsums may each overwrite what the one before made.
    """
    rng = np.random.default_rng(seed)
    lines = (
        ("T[i,j] = A[i,k] * W[k,j]", "G[i,j] = exp(T[i,j])", "Y[i,j] = G[i,j] * T[i,j]"),
        ("T[i,j] = A[i,k] * W[k,j]", "S[i] = sum(T[i,j])", "Y[i,j] = T[i,j] / S[i]"),
        ("T[i,j] = A[i,k] * W[k,j]", "G[i,j] = exp(T[i,j])", "Y[i,j] = silu(G[i,j])"),
    )[seed % 3]
    sizes = {r: int(rng.choice((1, 2, 2))) for r in "IJK"}
    einsums = tuple(parse_einsum(line) for line in lines)
    workload = Workload(name="readers", rank_sizes=sizes, einsums=einsums)
    platform = _platform(rng, deep=False, vector=True)
    mapspace = _mapspace("softmax", rng)
    return Case(
        workload=workload,
        platform=platform,
        ert=prices(rng, platform),
        mapspace=replace(
            mapspace,
            fusion=replace(mapspace.fusion, groups=(tuple(e.name for e in einsums),)),
            policy=replace(mapspace.policy, in_place=bool(rng.random() < 0.8)),
        ),
    )


def _workload(kind: str, rng: np.random.Generator) -> Workload:
    def size(*options: int) -> int:
        return int(rng.choice(options))

    if kind == "softmax":
        sizes = {"P": size(1, 2, 3), "M": size(2, 3), "E": size(1, 2), "F": size(1, 2)}
        sizes |= {"B": size(1, 1, 2), "H": 1}
        return attention(**sizes)
    lines = {"gemm": GEMM, "batched": BATCHED, "gemm-gemm": GEMM_GEMM}[kind]
    einsums = tuple(replace(parse_einsum(line), unit="matrix") for line in lines)
    ranks = list(dict.fromkeys(r for e in einsums for r in e.ranks))
    options = (2, 2, 3) if kind == "gemm" else (1, 2, 3) if kind == "gemm-gemm" else (1, 2, 2)
    return Workload(
        name=kind, rank_sizes={r: size(*options) for r in ranks}, einsums=einsums, word_bits=16
    )


def _level(rng: np.random.Generator, name: str, words: int | None, instances: int) -> MemoryLevel:
    def rate() -> float | None:
        return float(rng.choice([0.5, 1, 2, 4])) if rng.random() < 0.3 else None

    return MemoryLevel(
        name=name,
        component_class="DRAM" if words is None else "SRAM",
        capacity_words=words,
        word_bits=16,
        row_words=int(rng.choice([1, 1, 2, 4])),
        instances=instances,
        read_words_per_cycle=rate(),
        write_words_per_cycle=rate(),
        shared_words_per_cycle=rate(),
    )


def _platform(rng: np.random.Generator, *, deep: bool, vector: bool) -> Platform:
    top = (_level(rng, "DRAM", None, 1), _level(rng, "GLB", int(rng.integers(6, 60)), 1))
    x, y = int(rng.choice([1, 2, 4])), int(rng.choice([1, 1, 2]))
    inner: list[MemoryLevel | Fanout] = [Fanout(name="PE", fanout_x=x, fanout_y=y)]
    if deep:
        inner.insert(int(rng.integers(0, 2)), _level(rng, "L1", int(rng.integers(2, 20)), 1))
    inner.append(_level(rng, "RF", int(rng.integers(1, 8)), x * y))
    matrix = Architecture(
        name="small",
        nodes=(*top, *inner),
        compute=ComputeUnit(name="MAC", component_class="intmac", instances=x * y),
        cycle_seconds=1e-9,
    )
    if not vector:
        return Platform(name="small", matrix=matrix)
    lanes = int(rng.choice([1, 2]))
    side = Architecture(
        name="small.sfu",
        nodes=(*top, Fanout(name="lane", fanout_x=lanes), _level(rng, "VRF", 2, lanes)),
        compute=ComputeUnit(name="VALU", component_class="alu", instances=lanes),
        cycle_seconds=1e-9,
    )
    return Platform(name="small", matrix=matrix, vector=side)


def prices(rng: np.random.Generator, platform: Platform) -> Ert:
    """Random prices of every level and unit; in half of the tables some of them leak."""
    archs = (platform.matrix, platform.vector) if platform.vector else (platform.matrix,)
    base = {"DRAM": 100.0, "GLB": 10.0, "L1": 3.0}
    table: dict[str, dict[str, float]] = {}
    for arch in archs:
        for level in arch.levels:
            scale = base.get(level.name, 1.0)
            pj = rng.uniform(0.2, 2.0, 3) * scale
            actions = zip(("read", "write", "update"), pj, strict=True)
            table.setdefault(level.name, {a: float(pj) for a, pj in actions})
        table[arch.compute.name] = {"compute": float(rng.uniform(0.1, 2.0))}
    (leaks,) = rng.spawn(1)  # leaves what is drawn afterwards as it is
    if leaks.random() < 0.5:
        for name in table:
            table[name]["leak"] = float(leaks.choice([0, 0.1, 3, 50]) * leaks.random())
    return Ert(levels=table, source="random")


def _mapspace(kind: str, rng: np.random.Generator) -> Mapspace:
    groups: tuple[tuple[str, ...], ...] = ()
    if kind == "gemm-gemm" and rng.random() < 0.8:
        groups = (("Y", "Z"),)
    elif kind == "softmax" and rng.random() < 0.7:
        groups = (("QK", "softmax", "AV"),)
    fusion = Fusion(
        groups=groups,
        optional=bool(rng.random() < 0.3),
        staging=("any", "any", "all", "none")[int(rng.integers(4))],
        schedule=("sequential", "interleaved", "overlapped")[int(rng.integers(3))],
    )
    policy = Policy(
        buffering=float(rng.choice([1, 1.5, 2])),
        in_place=bool(rng.random() < 0.7),
        softmax="charged" if kind == "softmax" else "free",
    )
    return Mapspace(name=kind, fusion=fusion, policy=policy)


def network_case(seed: int) -> Case:
    """One of the other questions on a chip whose networks have a price, some of them a high one.

    In every twelfth a fanout of lanes stands inside the one of PEs; in every fifth DRAM is what one
    core of many sees of it, beyond a network.
    """
    kinds = (small_case, turns_case, online_case, readers_case, masked_case, small_case)
    case = kinds[seed % len(kinds)](seed)
    rng = np.random.default_rng([seed, 7])

    def priced(arch: Architecture) -> Architecture:
        if seed % 5 == 0:
            arch = replace(arch, nodes=(replace(arch.levels[0], outside_pj=9.0), *arch.nodes[1:]))
        nodes = [
            replace(n, hop_pj=float(rng.choice([0, 0.5, 3, 20]))) if isinstance(n, Fanout) else n
            for n in arch.nodes
        ]
        if seed % 12:
            return replace(arch, nodes=tuple(nodes))
        nodes.append(Fanout(name="LANE", fanout_x=2, hop_pj=1.0))
        compute = replace(arch.compute, instances=2 * arch.compute.instances)
        return replace(arch, nodes=tuple(nodes), compute=compute)

    chip = case.platform
    vector = chip.vector and priced(chip.vector)
    return replace(case, platform=replace(chip, matrix=priced(chip.matrix), vector=vector))


def apart_case(seed: int) -> Case:
    """One of the other questions, whose fanouts serve each of their instances for itself.

    Some tensors or all of them; of networks with a price every other one has.
    """
    kinds = (small_case, turns_case, online_case, readers_case, masked_case, network_case)
    case = kinds[seed % len(kinds)](seed)
    rng = np.random.default_rng([seed, 11])
    tensors = sorted(case.workload.tensor_ranks)

    def ruled(arch: Architecture) -> Architecture:
        nodes = []
        for node in arch.nodes:
            listed = ["*"] if rng.random() < 0.5 else [str(t) for t in rng.choice(tensors, 2)]
            rule = {"spatial": {"no_multicast_no_reduction": listed}}
            nodes.append(replace(node, constraints=rule) if isinstance(node, Fanout) else node)
        return replace(arch, nodes=tuple(nodes))

    chip = case.platform
    vector = chip.vector and ruled(chip.vector)
    return replace(case, platform=replace(chip, matrix=ruled(chip.matrix), vector=vector))


QUESTIONS: dict[str, Callable[[int], Case]] = {
    "small": small_case,
    "turns": turns_case,
    "online": online_case,
    "readers": readers_case,
    "masked": masked_case,
    "ruled product": ruled_product,
    "ruled group": ruled_group,
    "networks": network_case,
    "apart": apart_case,
}
