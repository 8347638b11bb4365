"""What one core takes in and gives out, through the door: hand-counted on a chip of four cores."""

from __future__ import annotations

from pathlib import Path

import pytest

import flat_mapper as fm
from flat_mapper.backends.ports import overdrawn
from flat_mapper.base.errors import SpecError
from flat_mapper.reports.answers import SearchResult
from flat_mapper.workload.cascade import attention

CHIP = """
variables: {{version: 0.4, global_cycle_seconds: 1e-9, {facts}}}
architecture:
  version: 0.4
  nodes:
  - !Component {{name: DRAM, class: DRAM, attributes: {{width: 64, datawidth: 16, shared_bandwidth: 1000}}}}
{mid}  - !Container {{name: core, spatial: {{meshX: 4}}, constraints: {{spatial: {{no_reuse: ["*"]}}}}}}
  - !Component {{name: GLB, class: SRAM, attributes: {{width: 16, depth: 4096, datawidth: 16}}}}
  - !Container {{name: PE, spatial: {{meshX: 8}}}}
  - !Component {{name: {unit}, class: intmac, attributes: {{multiplier_width: 16, adder_width: 16}}}}
"""  # noqa: E501
SPACE = """
mapspace:
  fusion: {{groups: {groups}, level: any, cores: any, granularity: any, staging: any}}
  policy: {{buffering: 2, in_place: true, softmax: charged}}
"""
PRODUCT = """
problem:
  ranks: {I: 8, J: 4, K: 2}
  word_bits: 16
  einsums: ["Y[i,k] = A[i,j] * B[j,k]"]
"""
UNKNOWN = "what one core takes in is unknown on chip: no tile is slowed by it"


def chip(folder: Path, facts: str, mid: str = "") -> Path:
    """The file of four cores of eight lanes each, with a vector path; mid: a level outside."""
    for name, unit in (("chip.yaml", "MAC"), ("chip.sfu.yaml", "VALU")):
        (folder / name).write_text(CHIP.format(facts=facts, unit=unit, mid=mid))
    return folder / "chip.yaml"


def best(folder: Path, facts: str, problem: object = PRODUCT, groups: str = "any") -> SearchResult:
    """The fastest mapping of a problem on it, which does what its answer says."""
    (folder / "space.yaml").write_text(SPACE.format(groups=groups))
    found = fm.search(  # type: ignore[call-overload]
        problem, chip(folder, facts), folder / "space.yaml", objective="latency"
    )
    assert isinstance(found, SearchResult)
    assert overdrawn(found.result, found.platform) == ()
    ran = fm.execute(found, check=True)
    assert ran.executed.right
    assert ran.agrees
    return found


@pytest.mark.parametrize(
    ("facts", "cycles", "said"),
    [
        # A word of two bytes a cycle. Two rows a core: 8 words of A and 8 of B.
        ("core_read_bytes_per_cycle: 2", 16, False),
        # And 4 of Y.
        ("core_stream_bytes_per_cycle: 2", 20, False),
        # These alone, each in four cycles.
        ("core_write_bytes_per_cycle: 0.5", 16, True),
        # 16 words come while 4 go, one each in two cycles.
        ("core_read_bytes_per_cycle: 2, core_write_bytes_per_cycle: 1", 16, False),
        # 16 products a core on eight lanes.
        ('core_read_bytes_per_cycle: "unknown"', 2, True),
    ],
)
def test_words_pass_the_ports_of_a_core(
    facts: str, cycles: int, said: bool, tmp_path: Path
) -> None:
    """said: the answer says that nothing is known of what one core takes in."""
    found = best(tmp_path, facts)
    assert found.result.cycles == cycles
    assert found.certificate.gap == 0
    assert (UNKNOWN in found.result.notes) == said


def test_a_decode_gives_keys_to_several_cores_where_one_takes_in_little(tmp_path: Path) -> None:
    """Of 64 keys and values, 8 words each: 512 words past one core, or 128 and what they merge."""
    workload = attention(B=1, H=1, P=1, M=64, E=4, F=4, softmax="online")
    slow = best(tmp_path, "core_read_bytes_per_cycle: 2", workload, "[[QK, softmax, AV]]")
    free = best(tmp_path, "core_tile_cycles: 0", workload, "[[QK, softmax, AV]]")
    assert max(g.cores.tiles for g in slow.result.groups if g.cores) == 4
    assert 128 <= slow.result.cycles < 256
    assert free.result.cycles < 128
    assert UNKNOWN in free.result.notes


def test_a_rate_is_a_number_or_unknown(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"core_read_bytes_per_cycle: expected .*bytes per cycle"):
        best(tmp_path, "core_read_bytes_per_cycle: 0")
    with pytest.raises(SpecError, match=r"core_stream_bytes_per_cycle alone"):
        best(tmp_path, "core_read_bytes_per_cycle: 2, core_stream_value_cycles: 1")


def test_a_group_fused_outside_the_cores_is_not_slowed(tmp_path: Path) -> None:
    """40 words of A and B, and 4 of C, past one core of four would take 20 cycles or more."""
    size = "{width: 16, depth: 4096, datawidth: 16}"
    mid = f"  - !Component {{name: MID, class: SRAM, attributes: {size}}}\n"
    space = tmp_path / "space.yaml"
    space.write_text(SPACE.format(groups="[[T, Y]]").replace("level: any", "level: MID"))
    problem = PRODUCT.replace('"Y[i,k] = A', '"T[i,k] = A').replace(
        'k]"]', 'k]", "Y[i,l] = T[i,k] * C[k,l]"]'
    )
    found = fm.search(  # type: ignore[call-overload]
        problem.replace("K: 2", "K: 2, L: 2"),
        chip(tmp_path, "core_read_bytes_per_cycle: 2", mid),
        space,
        objective="latency",
    )
    assert isinstance(found, SearchResult)
    assert found.result.cycles < 20
    said = "fused at MID, outside the cores: what one core takes in slows nothing"
    assert said in found.result.notes
    assert fm.execute(found, check=True).agrees
