"""The law of ports: no answer takes less time than its own words take through any port."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from execution.random_cores import random_cores_case
from execution.random_fused import random_case
from execution.tiny import fused, nest, products, with_group
from records import record_text

from flat_mapper.arch.reader import load_platform
from flat_mapper.arch.values import Architecture, MemoryLevel, Platform
from flat_mapper.backends.agreement import compare_run
from flat_mapper.backends.ports import overdrawn, overdrawn_in_run
from flat_mapper.cli.main import main
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.energy.tables import unpriced
from flat_mapper.execution.run import execute
from flat_mapper.mapping.values import FusedMapping, GroupMapping, Loop, Policy
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.notation import parse_einsum

NODES = """
variables: {technology: "22nm", global_cycle_seconds: 1e-9}
architecture:
  version: 0.4
  nodes:
  - !Component {name: DRAM, class: DRAM, attributes: {datawidth: 16, width: 16, type: "LPDDR4"}}
  - !Component {name: L2, class: SRAM, attributes: {datawidth: 16, width: 16, depth: 64, PORTS}}
  - !Container
    name: core
    spatial: {meshX: 2}
    constraints: {spatial: {no_reuse: ["*"]}}
  - !Component {name: GLB, class: SRAM, attributes: {datawidth: 16, width: 16, depth: 100}}
  - !Component {name: RF, class: regfile, attributes: {datawidth: 16, width: 16, depth: 10}}
  - !Component {name: MAC, class: intmac, attributes: {datawidth: 16}}
"""


def a_row_a_core() -> FusedMapping:
    """A row of Y = A B and of Z = Y C on each of two cores, whose inputs come by way of L2."""
    mapping = fused()
    nests = []
    for one in mapping.groups[0].einsums:
        inside = tuple((s, at) for s, at in one.loops if s.node != "DRAM")
        (dram, moved), *rest = one.keep
        here = tuple(t for t in moved if t != "Z")
        nests.append(replace(one, loops=inside, keep=((dram, moved), ("L2", here), *rest)))
    cores = (("DRAM", (Loop("I", 2),)),)
    return with_group(mapping, einsums=tuple(nests), shared=(), level="GLB", cores=cores)


def chip(folder: Path, ports: str) -> Path:
    """The file of a chip with so many words a cycle through L2's ports."""
    for name in ("chip.yaml", "chip.sfu.yaml"):
        (folder / name).write_text(NODES.replace("PORTS", ports))
    return folder / "chip.yaml"


def recorded(folder: Path, ports: str, mapping: FusedMapping) -> Path:
    """The file of a mapping on that chip."""
    chip(folder, ports)
    path = folder / "fused-mapping.yaml"
    path.write_text(record_text(products(), mapping, ("chip.yaml", "chip.sfu.yaml")))
    return path


# A is 2 words a row and comes once; B and C are 4 words each, come once, and are read twice: 12
# words come to L2 and 20 leave it. Whatever is first to come stands beside nothing.
@pytest.mark.parametrize(
    ("ports", "words", "rate"),
    [
        ("shared_bandwidth: 2", 12 + 20, 2),
        ("read_bandwidth: 0.5", 20, 0.5),
        ("write_bandwidth: 0.5", 12, 0.5),
        ("read_bandwidth: 4, write_bandwidth: 0.25, shared_bandwidth: 8", 12, 0.25),
        ("read_bandwidth: 8, write_bandwidth: 8, shared_bandwidth: 1", 32, 1),
    ],
)
def test_what_comes_to_a_level_between_loads_its_ports(
    ports: str, words: int, rate: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = recorded(tmp_path, ports, a_row_a_core())
    assert main(["evaluate", str(record), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["cycles"] >= words / rate
    assert main(["evaluate", "--execute", str(record), "--check"]) == 0
    assert "the model agrees" in capsys.readouterr().out


def test_a_price_below_a_port_is_found(tmp_path: Path) -> None:
    """The rule of before, by which only what leaves L2 took time: 10 cycles, and 5 to begin."""
    platform = load_platform(chip(tmp_path, "shared_bandwidth: 2"))
    result = evaluate(products(), platform, a_row_a_core(), unpriced(platform))
    assert isinstance(result, Result)
    assert overdrawn(result, platform) == ()
    executed = execute(products(), platform, a_row_a_core())
    assert executed.cycles >= 16
    assert overdrawn_in_run(executed, result, platform) == ()
    low = replace(result, groups=(replace(result.groups[0], cycles=15),))
    (over,) = overdrawn(low, platform)
    assert (over.where, over.level) == ("Y + Z", "L2")
    assert over.quantity == "model's cycles, by words at its shared port"
    assert (over.executed, over.model) == (16, 15)  # 32 words, 2 a cycle
    (said,) = overdrawn_in_run(executed, low, platform)
    assert said.quantity == "model's cycles, by words at its shared port"
    fast = replace(executed, groups=(replace(executed.groups[0], cycles=15.5),))
    (said,) = overdrawn_in_run(fast, result, platform)
    assert (said.quantity, said.model) == ("executed cycles, by words at its shared port", 15.5)


def gated() -> tuple[Workload, FusedMapping]:
    """T = A B and U = A C, then Z = T U, a row a core: A comes by way of L2, B and C do not."""
    lines = ("T[i,j] = A[i,k] * B[k,j]", "U[i,j] = A[i,k] * C[k,j]", "Z[i,j] = T[i,j] * U[i,j]")
    einsums = tuple(parse_einsum(line, unit="matrix") for line in lines)
    workload = Workload(name="gated", rank_sizes=dict.fromkeys("IJK", 2), einsums=einsums)
    keeps = {"T": ("A", "B"), "U": ("A", "C"), "Z": ("Z",)}
    nests = [
        nest(
            name,
            {
                "DRAM": moved,
                "L2": tuple(t for t in moved if t == "A"),
                "GLB": tuple(t for t in "TUZ" if t == name or name == "Z"),
                "RF": (),
            },
            *("", "J2" if name == "Z" else "J2 K2"),
        )
        for name, moved in keeps.items()
    ]
    cores = (("DRAM", (Loop("I", 2),)),)
    group = GroupMapping(
        einsums=tuple(nests),
        shared=(),
        staged=("T", "U", "Z"),
        schedule="interleaved",
        level="GLB",
        cores=cores,
    )
    return workload, FusedMapping(groups=(group,), policy=Policy(buffering=2.0))


def test_what_several_einsums_read_comes_to_a_level_between_once(tmp_path: Path) -> None:
    """A's four words come once, and are read by two Einsums twice each."""
    workload, mapping = gated()
    platform = load_platform(chip(tmp_path, "shared_bandwidth: 0.25"))
    result = evaluate(workload, platform, mapping, unpriced(platform))
    assert isinstance(result, Result), result
    executed = execute(workload, platform, mapping)
    assert compare_run(executed, result) == ()
    fills = [m.fills for m in executed.counts if (m.level, m.tensor) == ("L2", "A")]
    reads = [m.reads for m in executed.counts if (m.level, m.tensor) == ("DRAM", "A")]
    assert (sum(fills), sum(reads)) == (4, 4)


def with_ports(platform: Platform, seed: int) -> Platform:
    """The chip, with ports of one way and of both at the level outside the cores."""
    rng = random.Random(seed)
    rates = [rng.choice((None, 0.5, 1.0, 3.0)) for _ in range(3)]

    def limited(level: MemoryLevel) -> MemoryLevel:
        read, write, shared = rates
        return replace(
            level,
            read_words_per_cycle=read,
            write_words_per_cycle=write,
            shared_words_per_cycle=shared,
        )

    def path(arch: Architecture) -> Architecture:
        nodes = (
            limited(n) if isinstance(n, MemoryLevel) and n.name == "MID" else n for n in arch.nodes
        )
        return replace(arch, nodes=tuple(nodes))

    assert platform.vector is not None
    return replace(platform, matrix=path(platform.matrix), vector=path(platform.vector))


def obeys(seed: int) -> None:
    """A random mapping on cores: executed, the model's latency the run's, and the law of both."""
    workload, platform, mapping = random_cores_case(seed)
    platform = with_ports(platform, seed)
    executed = execute(workload, platform, mapping)
    result = evaluate(workload, platform, mapping, unpriced(platform))
    assert isinstance(result, Result), f"seed {seed}: {result}"
    assert compare_run(executed, result) == (), f"seed {seed}"
    assert overdrawn(result, platform) == (), f"seed {seed}"
    assert overdrawn_in_run(executed, result, platform) == (), f"seed {seed}"


@pytest.mark.parametrize("seed", range(20))
def test_random_mappings_on_cores_obey_the_law(seed: int) -> None:
    obeys(seed)


@pytest.mark.parametrize("case", [0, 1, 2, 312, 434, 498, 836, 1053, 1856])
def test_random_mappings_obey_the_law(case: int) -> None:
    """From 312 on with remainders, of which Timeloop's counts have some last passes as full."""
    workload, platform, mapping = random_case(case)
    result = evaluate(workload, platform, mapping, unpriced(platform))
    assert isinstance(result, Result)
    assert overdrawn(result, platform) == ()


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(20, 400))
def test_hundreds_of_random_mappings_on_cores_obey_the_law(seed: int) -> None:
    obeys(seed)
