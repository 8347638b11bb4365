"""The record of a fused mapping: equal after writing and reading, and its errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import get_args

import pytest
import small_platform as small
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from records import record_text

from flat_mapper.arch.values import Architecture, Fanout, Platform
from flat_mapper.base.errors import FlatMapperError, MappingError, SpecError
from flat_mapper.mapping.check import read_checked_record
from flat_mapper.mapping.values import (
    EinsumMapping,
    FusedMapping,
    Granularity,
    GroupMapping,
    Loop,
    Passing,
    Policy,
    Schedule,
    Slot,
    slots_of,
)
from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.graph import Workload

ARCH = ("small.yaml", "small.sfu.yaml")
PLATFORM = small.platform()


def round_trip(folder: Path, workload: Workload, fused: FusedMapping) -> None:
    path = folder / "fused-mapping.yaml"
    path.write_text(record_text(workload, fused, ARCH))
    record = read_checked_record(path, PLATFORM)
    assert record.mapping == fused
    assert record.workload == workload
    assert record.arch == ARCH
    assert record_text(record.workload, record.mapping, record.arch) == path.read_text()


def test_record_text(golden: Callable[[str, str], None]) -> None:
    golden("mapping_yaml/fused-mapping.yaml", record_text(small.workload(), small.fused(), ARCH))


def test_round_trip_of_a_fused_group(tmp_path: Path) -> None:
    round_trip(tmp_path, small.workload(), small.fused())


def test_round_trip_of_an_unusual_workload(tmp_path: Path) -> None:
    workload = small.workload()
    renamed = replace(workload.einsums[0], name="scores", unit="vector")
    workload = replace(
        workload,
        name='yes: a "name"',
        source="chosen: for this test",
        einsums=(renamed, *workload.einsums[1:]),
        word_bits=8,
        tensor_bits={"QK": 32},
        repeat=12,
    )
    scores = small.nest(
        "scores", {"DRAM": ["Q", "K"], "GLB": ["Q", "K", "QK"]}, DRAM="H12 P8", GLB="P64 M512 E64"
    )
    group = small.fused().groups[0]
    group = replace(group, einsums=(scores, *group.einsums[1:]))
    round_trip(tmp_path, workload, FusedMapping(groups=(group,)))


# --- random mappings -----------------------------------------------------------------------------


def covering(rank: str, size: int, factors: list[int]) -> list[Loop]:
    """Loops over a rank, innermost first, whose last passes make the factors cover the size."""
    loops, left = [], size
    for factor in factors:
        passes = -(-left // factor)
        last = left - (passes - 1) * factor
        loops.append(Loop(rank, factor, 0 if last == factor else last))
        left = passes
    assert left == 1
    return loops


@st.composite
def nests(
    draw: st.DrawFn, workload: Workload, einsum: Einsum, arch: Architecture, tiles: dict[str, int]
) -> EinsumMapping:
    """A nest with DRAM loops over tiles of the given extents and random loops inside them."""
    slots = slots_of(arch)[1:]
    room = {Slot(n.name, "x"): n.fanout_x for n in arch.nodes if isinstance(n, Fanout)}
    room |= {Slot(n.name, "y"): n.fanout_y for n in arch.nodes if isinstance(n, Fanout)}
    found: dict[Slot, list[Loop]] = {slot: [] for slot in slots_of(arch)}
    for rank in einsum.ranks:
        size, tile = workload.rank_sizes[rank], tiles.get(rank, workload.rank_sizes[rank])
        places, factors, left = [], [], tile
        for slot in reversed(slots[1:]):
            options = [f for f in divisors(left) if f <= room.get(slot, left)]
            factor = draw(st.sampled_from(options))
            room[slot] = room.get(slot, factor) // factor
            places.append(slot)
            factors.append(factor)
            left //= factor
        places += [slots[0], slots_of(arch)[0]]
        factors += [left, -(-size // tile)]
        for slot, loop in zip(places, covering(rank, size, factors), strict=True):
            found[slot] += [loop] if loop.factor > 1 else []
    dram = slots_of(arch)[0]
    order = {rank: i for i, rank in enumerate(workload.rank_sizes)}
    ordered = {
        slot: sorted(loops, key=lambda loop: order[loop.rank])
        if slot == dram
        else draw(st.permutations(loops))
        for slot, loops in found.items()
    }
    tensors = [a.tensor for a in einsum.accesses]
    outside = [t for t in tensors if t in ("Q", "K", "V", "AV")]
    register = draw(st.lists(st.sampled_from(tensors), unique=True))
    levels = [level.name for level in arch.levels]
    return EinsumMapping(
        einsum=einsum.name,
        loops=tuple((slot, tuple(loops)) for slot, loops in ordered.items() if loops),
        keep=tuple(zip(levels, (tuple(outside), tuple(tensors), tuple(register)), strict=True)),
    )


def divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


@st.composite
def fused_mappings(draw: st.DrawFn) -> tuple[Workload, FusedMapping]:
    """A workload of random sizes and one fused group over random tiles of B, H and P."""
    sizes = {rank: draw(st.integers(1, 40)) for rank in ("B", "H", "P", "M", "E", "F")}
    workload = replace(small.workload(), rank_sizes=sizes)
    tiles, shared = {}, []
    for rank in ("B", "H", "P"):
        passes = draw(st.integers(1, sizes[rank]))
        tiles[rank] = -(-sizes[rank] // passes)
        passes = -(-sizes[rank] // tiles[rank])
        shared += [Loop(rank, passes)] if passes > 1 else []
    members = tuple(
        draw(nests(workload, einsum, PLATFORM.path(einsum.unit), tiles))
        for einsum in workload.ordered
    )
    schedule = draw(st.sampled_from(get_args(Schedule)))
    names = tuple(member.einsum for member in members)
    group = GroupMapping(
        einsums=members,
        shared=tuple(shared),
        phases=tuple((n,) for n in names) if schedule == "phases" else (),
        staged=tuple(draw(st.lists(st.sampled_from(("Q", "K", "V", "AV")), unique=True))),
        schedule=schedule,
        granularity=draw(st.sampled_from(get_args(Granularity))),
    )
    policy = Policy(
        buffering=draw(st.floats(0.5, 4, allow_nan=False)),
        in_place=draw(st.booleans()),
        softmax="charged",
        passing=draw(st.sampled_from(get_args(Passing))),
    )
    return workload, FusedMapping(groups=(group,), policy=policy)


@given(fused_mappings())
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_round_trip_of_random_mappings(tmp_path: Path, case: tuple[Workload, FusedMapping]) -> None:
    round_trip(tmp_path, *case)


def test_round_trip_without_softmax(tmp_path: Path) -> None:
    nests = small.fused().einsum_mappings
    groups = tuple(GroupMapping(einsums=(nests[name],)) for name in ("QK", "AV"))
    round_trip(
        tmp_path, small.workload(), FusedMapping(groups=groups, policy=Policy(softmax="free"))
    )


# --- errors --------------------------------------------------------------------------------------


@pytest.fixture
def broken(tmp_path: Path) -> Callable[[str, str], str]:
    """The error of the record with one piece of its text replaced."""
    text = record_text(small.workload(), small.fused(), ARCH)

    def error(old: str, new: str) -> str:
        assert old in text, old
        path = tmp_path / "fused-mapping.yaml"
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(FlatMapperError) as caught:
            read_checked_record(path, PLATFORM)
        assert isinstance(caught.value, SpecError | MappingError)
        assert str(caught.value).startswith(str(path))
        return str(caught.value).replace(str(path), "record")

    return error


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "fused_mapping:",
            "fused_maping:",
            "expected keys among fused_mapping, got 'fused_maping'",
        ),
        ("  version: 2\n", "", "expected the key 'version' (int)"),
        ("version: 2", "version: 3", "fused_mapping.version: expected version 2, got 3"),
        ("version: 2", "version: 1", "expected version 2, got 1; map again"),
        ("version: 2", "version: one", "fused_mapping.version: expected int, got 'one'"),
        (
            "  policy:",
            "  polcy:",
            "expected keys among version, workload, arch, policy, groups, got 'polcy'",
        ),
        ("buffering: 2.0", "buffering: 0", "policy.buffering: expected number > 0, got 0"),
        ("buffering: 2.0", "buffering: .nan", "policy.buffering: expected number > 0"),
        ("in_place: true", "in_place: maybe", "policy.in_place: expected true or false"),
        (
            "in_place: true",
            "in_place: true\n    overflow: spill",
            "policy.overflow: expected 'reject', got 'spill'; leave it out",
        ),
        (
            "in_place: true",
            "in_place: true\n    tile_start_cycles: 3",
            "tile_start_cycles: expected 0, got 3",
        ),
        ("schedule: interleaved", "schedule: x", "expected one of sequential, interleaved"),
        ("granularity: row", "granularity: rows", "did you mean 'row'?"),
        ("H: 12", "H: -12", "workload.ranks.H: expected int > 0, got -12"),
        ("P: 512", "P: big", "workload.ranks.P: expected int > 0, got 'big'"),
        ("max(QK[b,h,p,m])", "max(QK[b,h,p,m]", "workload.einsums.1.einsum: column"),
        ("softmax: row", "softmax: column", "workload.softmax: expected one of row"),
        ("staged: [Q,", "staged: [W,", "groups.0.staged: expected tensors of the group (Q, K"),
        ("shared: [H=12,", "shared: [H;12,", "groups.0.shared"),
        (
            "shared: [H=12,",
            "shared: [H=x,",
            "shared: expected loops such as P=8, 'P=32,5' or 'P:60'",
        ),
        ("shared: [H=12,", "shared: [H=6,", "QK: DRAM loops: expected"),
        (
            "          GLB: [M=16,",
            "          L2: [M=16,",
            "nests.QK.loops: expected keys among DRAM, GLB, PE.y, PE.x, RF, got 'L2'",
        ),
        (
            "          PE.y:",
            "          PE.z:",
            "loops: expected keys among DRAM, GLB, PE.y, PE.x, RF, got 'PE.z'",
        ),
        ("GLB: [M=16, P=2]", "GLB: [M=8, P=2]", "QK.M: expected factors that cover 512, got 256"),
        ("GLB: [M=16, P=2]", "GLB: [M=16, F=2]", "GLB (temporal): expected a rank among"),
        ("GLB: [M=16, P=2]", "GLB: [M=16, P=0]", "P: expected 1 <= last <= factor"),
        ("GLB: [M=16, P=2]", "GLB: M=16", "nests.QK.loops.GLB: expected a list, got 'M=16'"),
        ("PE.y: [P=32]", "PE.y: [P=64]", "PE (y): expected spatial factors of at most 32, got 64"),
        (
            "keep:\n          DRAM: [Q, K]",
            "keep:\n          D: [Q]",
            "keep: expected keys among DRAM, GLB, RF, got 'D'",
        ),
        ("DRAM: [Q, K]", "DRAM: [Q, V]", "QK: keep at DRAM: expected tensors among"),
        (
            "      QK_max:\n        loops",
            "      QKmax:\n        loops",
            "nests: expected keys among QK, QK_max, QK_exp, QK_sum, A, AV, got 'QKmax'",
        ),
        ("einsums: [QK, QK_max", "einsums: [QK, QK, QK_max", "groups: expected each of QK, QK_max"),
        ("RF: [QK]\n", "RF: [QK]\n        stay: [W]\n", "QK: stay: expected tensors among"),
        ("RF: [QK]\n", "RF: [QK]\n        stay: [QK]\n", "stay: expected tensors that no other"),
        ("DRAM: [Q, K]", "DRAM: [Q, K, QK]", "QK: QK: expected 'a bypass of DRAM', got 'keep'"),
    ],
)
def test_errors_name_the_place(
    broken: Callable[[str, str], str], old: str, new: str, message: str
) -> None:
    said = broken(old, new)
    assert message in said.replace("expected a bypass of DRAM", "expected 'a bypass of DRAM'")
    assert "\n" not in said


def test_a_softmax_needs_a_vector_path(tmp_path: Path) -> None:
    path = tmp_path / "fused-mapping.yaml"
    path.write_text(record_text(small.workload(), small.fused(), ARCH[:1]))
    with pytest.raises(SpecError, match="expected a vector path for softmax"):
        read_checked_record(path, Platform(name="no sfu", matrix=PLATFORM.matrix))


def test_random_nests_are_whole() -> None:
    """The generator's own law: remainders make up for factors that do not divide."""
    loops = covering("P", 29, [4, 6, 2])
    assert [(p.factor, p.final) for p in loops] == [(4, 1), (6, 2), (2, 2)]
    assert prod(p.factor for p in loops) >= 29
