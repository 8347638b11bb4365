"""Small questions for AccelForge's mapper and for our search, drawn from a seed.

A chain of products or attention's two, on a chip of two or three levels: of one array, of cells
that keep whatever they like, or of arrays that keep inputs and outputs. Some fanouts multicast,
some serve each instance for itself. A second has 1 cycle, prices are pJ of a word. Our chips name
a part of the shared level, as AccelForge brings pieces of what streams past its intermediates.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import flat_mapper as fm
from flat_mapper.values import edit_platform, energies
from studies.accelforge.choice import PARTS, Chip, Objective, Question, cost_to_lower

WORD_BITS = 8
CHIP = Chip(mapspace="cells")
SHARED, PART = "GLB", "GLB part"


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A memory: words, pJ of a word read and written, words a cycle both ways (0: no limit).

    cells: instances that a fanout of its own feeds, each for itself if `alone`.
    keeps: operands that it keeps, no others; none: any that it likes.
    """

    name: str
    words: int
    read: float
    write: float
    rate: float = 0.0
    cells: int = 1
    alone: bool = False
    keeps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A question.

    products: of each Einsum its output, input and weights, each with its ranks.
    array:    multipliers inside the innermost level; those along x share no input's rank and those
              along y no output's, if `fixed`.
    """

    products: tuple[Mapping[str, str], ...]
    sizes: Mapping[str, int]
    levels: tuple[Level, ...]
    array: tuple[int, int]
    fixed: bool
    fused: bool
    objective: Objective

    def __str__(self) -> str:
        ranks = " ".join(f"{rank}{size}" for rank, size in self.sizes.items())
        chip = "/".join(
            f"{lv.name}{lv.words or ''}"
            + (f"x{lv.cells}{' alone' * lv.alone}" if lv.cells > 1 else "")
            for lv in self.levels
        )
        fused = "fused" if self.fused else "unfused"
        x, y = self.array
        return f"{len(self.products)} products {ranks} on {chip} {x}x{y}, {fused}, {self.objective}"


def drawn(seed: int) -> Drawn:
    """The question of a seed."""
    rng = random.Random(f"accelforge {seed}")
    kind = rng.choice(("array", "cells", "arrays"))
    count = rng.choice((1, 2, 2) if kind != "array" else (1, 2, 3))
    if rng.random() < 0.3:
        sizes = {"H": 2, "M": rng.choice((4, 8)), "P": 8, "E": 4, "F": 4}
        products = (
            {"QK": "HMP", "Q": "HME", "K": "HPE"},
            {"AV": "HMF", "QK": "HMP", "V": "HPF"},
        )
    else:
        sizes = {"M": rng.choice((4, 8, 16))} | {
            rank: rng.choice((4, 8, 16)) for rank in "ABCD"[: count + 1]
        }
        products = tuple(
            {f"T{i + 1}": "M" + "ABCD"[i + 1], f"T{i}": "M" + "ABCD"[i], f"W{i}": "ABCD"[i : i + 2]}
            for i in range(count)
        )
    dram = Level(name="DRAM", words=0, read=64, write=64, rate=rng.choice((1.0, 2.0, 8.0)))
    room, rate = rng.choice((32, 64, 128, 1024)), rng.choice((0.0, 4.0, 16.0))
    glb = Level(name=SHARED, words=room, read=8, write=9, rate=rate)
    alone, cells = rng.random() < 0.6, rng.choice((2, 4))
    array, inner = ((2, 2), ()) if kind == "array" else ((1, 1), ())
    if kind == "cells":
        room = rng.choice((8, 32))
        inner = (Level(name="LB", words=room, read=1, write=1.2, cells=cells, alone=alone),)
    if kind == "arrays":
        keeps, array = ("Inputs", "Outputs"), (2, 2)
        own = Level(name="LB", words=16, read=1, write=1.2, cells=cells, alone=alone, keeps=keeps)
        inner = (own,)
    return Drawn(
        products=products,
        sizes=sizes,
        levels=(dram, glb, *inner),
        array=array,
        fixed=kind == "arrays",
        fused=rng.random() < 0.7,
        objective=rng.choice(("energy", "edp", "latency")),
    )


def ours(one: Drawn) -> float:
    """What our search finds, by AccelForge's rules: pJ, s, or their product."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("chip", _chip(one)), ("ert", _prices(one)), ("problem", _problem(one))):
            Path(folder, f"{name}.yaml").write_text(text, encoding="utf-8")
        workload = fm.load_problem(Path(folder, "problem.yaml"))
        platform = edit_platform(Path(folder, "chip.yaml"), {"variables.parts": PARTS}, {})
        prices = energies(platform, Path(folder, "ert.yaml"))[0]
    question = Question(
        chip=CHIP, workload=workload, platform=platform, prices=prices, objective=one.objective
    )
    return min(answer.cost for answer in question.answers(one.fused))


def theirs(one: Drawn) -> float:
    """What AccelForge's mapper finds: pJ, s, or their product."""
    from accelforge import Spec, set_n_parallel_jobs
    from accelforge.frontend.mapper.metrics import Metrics
    from accelforge.mapper.FFM.mappings import Mappings

    set_n_parallel_jobs(1)
    metrics = {
        "energy": Metrics.ENERGY,
        "latency": Metrics.LATENCY,
        "edp": Metrics.ENERGY_DELAY_PRODUCT,
    }
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "spec.yaml").write_text(_spec(one), encoding="utf-8")
        os.chdir(folder)  # it draws its mapping there
        Mappings.render = lambda *_, **__: ""  # without graphviz
        try:
            spec = Spec.from_yaml(Path(folder, "spec.yaml"))
            spec.mapper.metrics = metrics[one.objective]
            found = spec.map_workload_to_arch(print_progress=False).data.iloc[0]
        finally:
            os.chdir(before)
    energy, latency = (float(found[f"Total<SEP>{name}"]) for name in ("energy", "latency"))
    return cost_to_lower(one.objective, energy, latency)


def _problem(one: Drawn) -> str:
    """The workload as a file of ours."""
    roles, einsums = [], []
    for product in one.products:
        output, source, weights = product
        roles.append(f"    {output}: {{Inputs: {source}, Weights: {weights}, Outputs: {output}}}")
        told = [f"{t}[{','.join(ranks.lower())}]" for t, ranks in product.items()]
        einsums.append(f"  - {told[0]} = {told[1]} * {told[2]}")
    ranks = ", ".join(f"{rank}: {size}" for rank, size in one.sizes.items())
    head = (
        f"problem:\n  name: drawn\n  ranks: {{{ranks}}}\n  word_bits: {WORD_BITS}\n  data_spaces:"
    )
    return "\n".join([head, *roles, "  einsums:", *einsums, ""])


def _chip(one: Drawn) -> str:
    """The chip as a file of ours."""
    lines = [
        'variables: {version: 0.4, technology: "45nm", parts: 1, global_cycle_seconds: 1 / parts,'
        " mul_cycles: parts}\narchitecture:\n  version: 0.4\n  nodes:",
        "  - !Container {name: system}",
    ]
    for level in one.levels:
        if level.cells > 1:
            rule = ', constraints: {spatial: {no_reuse: ["*"]}}' if level.alone else ""
            lines.append(f"  - !Container {{name: cells, spatial: {{meshX: {level.cells}}}{rule}}}")
        has = [f"width: {WORD_BITS}, datawidth: {WORD_BITS}"]
        has += [f"depth: {level.words}"] if level.words else ['type: "LPDDR4"']
        has += [f"shared_bandwidth: {level.rate} / parts"] if level.rate else []
        rule = f", constraints: {{dataspace: {{keep_only: {_list(level.keeps)}}}}}" * bool(
            level.keeps
        )
        kind = "SRAM" if level.words else "DRAM"
        for name in (level.name, *[PART] * (level.name == SHARED)):
            told = ", ".join([*has, *[f"part_of: {SHARED}"] * (name == PART)])
            who = f"name: {name}, class: {kind}"
            lines.append(f"  - !Component {{{who}, attributes: {{{told}}}{rule}}}")
    for mesh, name, count, operand in zip(
        ("meshX", "meshY"), ("column", "row"), one.array, ("Inputs", "Outputs"), strict=True
    ):
        rule = (
            f", constraints: {{spatial: {{no_iteration_over_dataspaces: [{operand}]}}}}" * one.fixed
        )
        if count > 1:
            lines.append(f"  - !Container {{name: {name}, spatial: {{{mesh}: {count}}}{rule}}}")
    bits = f"multiplier_width: {WORD_BITS}, adder_width: 32"
    return "\n".join(
        [*lines, f"  - !Component {{name: MAC, class: intmac, attributes: {{{bits}}}}}", ""]
    )


def _prices(one: Drawn) -> str:
    """The energies as a file of ours."""
    said = {lv.name: f"{{read: {lv.read}, write: {lv.write}}}" for lv in one.levels}
    levels = [f"{name}: {told}" for name, told in {**said, PART: said[SHARED]}.items()]
    return "\n".join([*levels, "MAC: {compute: 1}", ""])


def _spec(one: Drawn) -> str:
    """The chip and the workload as a file of AccelForge's."""
    lines = ["arch:", "  nodes:"]
    for level in one.levels:
        outermost = level is one.levels[0]
        kept = "keep: ~Intermediates, may_keep: All" if one.fused else "keep: All"
        if not outermost:
            kept = "keep: ~DRAM.tensors, may_keep: All" if level.name == "GLB" else "may_keep: All"
        if level.keeps:
            kept = "keep: " + " | ".join(name.lower()[:-1] for name in level.keeps)
        size = level.words * WORD_BITS or "inf"
        lines += [
            f"  - !Memory\n    name: {level.name}\n    size: {size}",
            "    leak_power: 0\n    area: 0",
            f"    tensors: {{{kept}}}\n    values_per_action: {{All: 1}}",
            "    total_latency: sum(a.n_calls / a.throughput for a in actions)\n    actions:",
        ]
        for action, energy in (("read", level.read), ("write", level.write)):
            rate = level.rate or "inf"
            lines.append(f"    - {{name: {action}, energy: {energy}, throughput: {rate}}}")
        if level.cells > 1:
            rule = ", may_reuse: Nothing" if level.alone else ""
            lines.append(f"    spatial: [{{name: Z, fanout: {level.cells}{rule}}}]")
    spatial = []
    for axis, count, operand in zip("XY", one.array, ("input", "output"), strict=True):
        rule = f", reuse: {operand}" * one.fixed
        if count > 1:
            spatial.append(f"    - {{name: {axis}, fanout: {count}{rule}}}")
    if spatial:
        lines += ["  - !Container\n    name: PE\n    spatial:", *spatial]
    lines += [
        "  - !Compute\n    name: MAC\n    leak_power: 0\n    area: 0\n    actions:",
        "    - {name: compute, energy: 1, throughput: 1}",
        "workload:",
        f"  rank_sizes: {{{', '.join(f'{rank}: {size}' for rank, size in one.sizes.items())}}}",
        f"  bits_per_value: {{All: {WORD_BITS}}}\n  einsums:",
    ]
    for product in one.products:
        output, source, weights = product
        told = [f"{t}[{', '.join(ranks.lower())}]" for t, ranks in product.items()]
        lines.append(f'  - einsum: "{told[0]} = {told[1]} * {told[2]}"')
        lines.append(f"    renames: {{input: {source}, weight: {weights}, output: {output}}}")
    return "\n".join([*lines, ""])


def _list(names: Sequence[str]) -> str:
    return f"[{', '.join(names)}]"
