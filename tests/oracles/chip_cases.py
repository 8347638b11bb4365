"""Random small questions for the search on the cores of a chip.

One to seven cores, with and without a level between DRAM and them, multicast and not; the level to
fuse at given or open; cascades of two products, attention whose softmax goes over the keys once or
three times, under a mask or with its keys in parts.
"""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
from oracles.brute_force import Case
from oracles.small_cases import prices

from flat_mapper.arch.values import Architecture, ComputeUnit, Fanout, MemoryLevel, Platform
from flat_mapper.mapping.space import Fusion, Mapspace
from flat_mapper.mapping.values import Policy
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.graph import Softmax, Workload
from flat_mapper.workload.mask import Mask
from flat_mapper.workload.notation import parse_einsum

PRODUCTS = ("Y[b,i,j] = A[b,i,k] * B[k,j]", "Z[b,i,l] = Y[b,i,j] * C[j,l]")
MASKS = (Mask(causal=True), Mask(window=2), Mask(causal=True, window=2))


def chip_question(seed: int) -> Case:
    """A workload, a chip of several cores, prices and a mapspace, all small, drawn by chance."""
    rng = random.Random(seed)
    kind = ("products", "row", "online", "masked")[seed % 4]
    workload = _products(rng) if kind == "products" else _attention(rng, kind)
    inside = rng.random() < 0.8  # else the level of all cores may be the one to fuse at
    platform = _chip(rng, deaf=inside and rng.random() < 0.6)
    fusion = Fusion(
        groups=(tuple(e.name for e in workload.einsums) if kind == "products" else
                ("QK", "softmax", "AV"),),
        staging=rng.choice(("any", "all", "none")),
        schedule="interleaved",
        level="GLB" if inside else rng.choice(("any", platform.matrix.levels[1].name)),
        cores="any",
    )  # fmt: skip
    policy = Policy(buffering=rng.choice((1.0, 2.0, 2.0)), in_place=rng.random() < 0.7)
    return Case(
        workload=workload,
        platform=platform,
        ert=prices(np.random.default_rng(rng.randrange(1 << 32)), platform),
        mapspace=Mapspace(name="cores", fusion=fusion, policy=policy),
    )


def prime_question(seed: int) -> Case:
    """A chip question with three to seven queries and keys, or rows and columns: mostly primes."""
    case, rng = chip_question(seed), random.Random(f"prime {seed}")
    rows, columns = rng.choice((3, 5, 7)), rng.choice((3, 5, 6, 7))
    pair = ("I", "J") if seed % 4 == 0 else ("P", "M")
    sizes = dict(zip(pair, (rows, 7 if case.workload.mask else columns), strict=True))
    if seed % 4:
        sizes |= {"B": 1, "H": 1}
    return replace(case, workload=case.workload.with_ranks(sizes))


def ports_question(seed: int) -> Case:
    """A chip question whose level outside the cores has ports of one way or of both."""
    case, rng = chip_question(seed), random.Random(seed)

    def path(arch: Architecture) -> Architecture:
        return replace(arch, nodes=tuple(level if n.name == "MID" else n for n in arch.nodes))

    rates = {port: rng.choice((None, 0.25, 0.5, 1.0, 2.0)) for port in ("read", "write", "shared")}
    ports = {f"{port}_words_per_cycle": rate for port, rate in rates.items()}
    matrix, vector = case.platform.matrix, case.platform.vector
    assert vector is not None
    mid = [lv for lv in matrix.levels if lv.name == "MID"]
    if not mid:
        return case
    level = replace(mid[0], **ports)  # type: ignore[arg-type]
    return replace(case, platform=replace(case.platform, matrix=path(matrix), vector=path(vector)))


def core_ports_question(seed: int) -> Case:
    """A chip question whose cores have ports of one way, or one for each."""
    case, rng = chip_question(seed), random.Random(f"core {seed}")
    read, write = rng.choice(((0.5, None), (2, None), (8, None), (None, 0.5), (4, 1), (1, 4)))
    ports = {"core_read_bytes_per_cycle": read, "core_write_bytes_per_cycle": write}
    ports = {name: rate for name, rate in ports.items() if rate is not None}

    def path(arch: Architecture) -> Architecture:
        said = {n: v for n, v in arch.variables.items() if n != "core_stream_bytes_per_cycle"}
        return replace(arch, variables={**said, **ports})

    matrix, vector = case.platform.matrix, case.platform.vector
    assert vector is not None
    return replace(case, platform=replace(case.platform, matrix=path(matrix), vector=path(vector)))


def streaming_question(seed: int) -> Case:
    """Two products on one core that streams, below a level that keeps its inputs: DRAM is slow."""
    rng = random.Random(seed)
    sizes = {r: rng.choice((1, 2, 2)) for r in "JKL"}
    sizes |= {"B": rng.choice((1, 1, 2)), "I": rng.choice((2, 3, 4))}
    workload = replace(_products(rng), rank_sizes=sizes)

    def level(name: str, words: int | None, *rates: float | None) -> MemoryLevel:
        return MemoryLevel(
            name=name,
            component_class="DRAM" if words is None else "SRAM",
            capacity_words=words,
            word_bits=16,
            row_words=1,
            shared_words_per_cycle=rng.choice(rates),
        )

    units = rng.choice((1, 2))
    top = (
        level("DRAM", None, 0.25, 0.5, 1.0),
        level("MID", 500, 1.0, 2.0, 4.0, None),
        Fanout(name="core"),
        level("GLB", rng.choice((16, 24, 40, 80)), None, None, 1.0, 2.0),
    )
    inner = level("RF", rng.choice((3, 4, 6, 8)), None, None, 2.0)
    matrix = (*top, Fanout(name="PE", fanout_x=units), replace(inner, instances=units))
    platform = Platform(
        name="chip",
        matrix=_path("chip", matrix, units, {}),
        vector=_path("chip.sfu", top, 1, {}),
    )
    fusion = Fusion(
        groups=(tuple(e.name for e in workload.einsums),),
        staging=rng.choice(("none", "none", "any")),
        schedule="interleaved",
        level="GLB",
        cores="any",
    )
    return Case(
        workload=workload,
        platform=platform,
        ert=prices(np.random.default_rng(seed), platform),
        mapspace=Mapspace(name="cores", fusion=fusion, policy=Policy(buffering=2.0)),
    )


def _products(rng: random.Random) -> Workload:
    einsums = tuple(replace(parse_einsum(line), unit="matrix") for line in PRODUCTS)
    sizes = {r: rng.choice((1, 1, 2)) for r in "JKL"} | {
        "B": rng.choice((1, 2, 3)),
        "I": rng.choice((1, 2, 4)),
    }
    return Workload(name="products", rank_sizes=sizes, einsums=einsums)


def _attention(rng: random.Random, kind: str) -> Workload:
    """Attention of a head or a few."""
    form: Softmax = "row" if kind == "row" or rng.random() < 0.2 else "online"
    sizes = {"E": 1, "F": 1, "P": rng.choice((1, 2, 3)), "M": rng.choice((2, 2, 4))}
    sizes |= {"H": rng.choice((1, 1, 2)), "B": rng.choice((1, 1, 2))}
    if kind == "masked":
        sizes |= {"P": 2 if sizes["M"] == 2 else rng.choice((2, 3)), "B": 1}
    found = attention(**sizes, softmax=form)
    return replace(found, mask=rng.choice(MASKS)) if kind == "masked" else found


def _chip(rng: random.Random, *, deaf: bool) -> Platform:
    """One to seven cores around a buffer, perhaps with a level outside them."""
    x = rng.randint(1, 7)
    cores = Fanout(
        name="core",
        fanout_x=x,
        constraints={"spatial": {"no_multicast_no_reduction": ["*"]}} if deaf else {},
    )

    def level(name: str, words: int | None, count: int = 1) -> MemoryLevel:
        return MemoryLevel(
            name=name,
            component_class="DRAM" if words is None else "SRAM",
            capacity_words=words,
            word_bits=16,
            row_words=rng.choice((1, 1, 2)),
            instances=count,
            shared_words_per_cycle=rng.choice((None, 0.5, 1.0, 2.0, 4.0)),
        )

    top: list[MemoryLevel | Fanout] = [level("DRAM", None)]
    if rng.random() < 0.5:
        top.append(level("MID", rng.choice((24, 48, 500))))
    top += [cores, level("GLB", rng.choice((16, 24, 40, 80)), x)]
    units = rng.choice((1, 1, 2))
    matrix = [*top, Fanout(name="PE", fanout_x=units), level("RF", rng.randint(2, 5), units * x)]
    facts = {
        "core_tile_cycles": rng.choice((0, 5)),
        "core_step_cycles": rng.choice((0, 3)),
        "launch_seconds": rng.choice((0, 7e-9)),
        **({"core_stream_bytes_per_cycle": rng.choice((1, 4))} if rng.random() < 0.3 else {}),
    }
    return Platform(
        name="chip",
        matrix=_path("chip", tuple(matrix), units * x, facts),
        vector=_path("chip.sfu", tuple(top), x, facts),
    )


def _path(
    name: str, nodes: tuple[MemoryLevel | Fanout, ...], units: int, facts: dict[str, float]
) -> Architecture:
    return Architecture(
        name=name,
        nodes=nodes,
        compute=ComputeUnit(name=f"{name}-unit", component_class="alu", instances=units),
        cycle_seconds=1e-9,
        variables=facts,
    )
