"""Printed mappings: Timeloop's own loop nests, and the tree of a fused group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import small_platform as small
from timeloop_cases import architecture_of, cases, with_remainders, workload_of

from flat_mapper.mapping.values import FusedMapping, GroupMapping
from flat_mapper.reports.tree import TREE_WIDTH, fused_tree_text, loop_nest_text, tree_tile_words
from flat_mapper.timeloop.mapping_reader import read_mapping
from flat_mapper.workload.graph import Workload


def test_nests_print_as_timeloop_printed_them() -> None:
    printed = [case for case in cases() if "loop_nest" in case["timeloop"]]
    assert len(printed) == 44
    for case in printed:
        workload, arch = workload_of(case), architecture_of(case)
        mapping = read_mapping(with_remainders(case), arch, workload.einsums[0])
        assert loop_nest_text(workload, arch, mapping) == case["timeloop"]["loop_nest"], case["id"]


def test_tiles_are_timeloops_utilized_capacity() -> None:
    for case in cases():
        workload, arch = workload_of(case), architecture_of(case)
        mapping = read_mapping(with_remainders(case), arch, workload.einsums[0])
        words = tree_tile_words(workload, arch, mapping)
        for level, said in case["timeloop"].get("levels", {}).items():
            tiles = {t: counts["utilized_capacity"] for t, counts in said["tensors"].items()}
            assert words[level] == tiles, (case["id"], level)


def test_nest_of_a_lowered_run() -> None:
    """The map.txt of the recorded timeloop-model run of the same QK mapping."""
    fused = small.fused()
    text = loop_nest_text(small.workload(), small.platform().matrix, fused.einsum_mappings["QK"])
    assert text == (
        "DRAM [ Q:393216 (393216) K:393216 (393216) ] \n"
        "--------------------------------------------\n"
        "| for H in [0:12)\n"
        "|   for P in [0:8)\n"
        "\n"
        "GLB [ Q:4096 (4096) K:32768 (32768) QK:32768 (32768) ] \n"
        "------------------------------------------------------\n"
        "|     for M in [0:16)\n"
        "|       for P in [0:2)\n"
        "\n"
        "inter_PE_spatial [ ] \n"
        "--------------------\n"
        "|         for P in [0:32) (Spatial-Y)\n"
        "|           for M in [0:32) (Spatial-X)\n"
        "\n"
        "RF [ QK:1 (1) ] \n"
        "---------------\n"
        "|             for E in [0:64)\n"
        "|               << Compute >>\n"
    )


def test_fused_tree(golden: Callable[[str, str], None]) -> None:
    text = fused_tree_text(small.workload(), small.platform(), small.fused())
    golden("loop_tree/fused.txt", text)
    assert max(len(line) for line in text.splitlines()) <= TREE_WIDTH


def unfused() -> tuple[Workload, FusedMapping]:
    """QK alone and AV alone, softmax free."""
    qk, av = (small.fused().einsum_mappings[name] for name in ("QK", "AV"))
    groups = tuple(GroupMapping(einsums=(mapping,)) for mapping in (qk, av))
    fused = small.fused()
    return small.workload(), replace(
        fused, groups=groups, policy=replace(fused.policy, softmax="free", in_place=False)
    )


def test_unfused_tree(golden: Callable[[str, str], None]) -> None:
    workload, fused = unfused()
    golden("loop_tree/unfused.txt", fused_tree_text(workload, small.platform(), fused))


def test_a_remainder_shows_in_the_tree_and_the_tile() -> None:
    """500 rows in tiles of 64: eight passes, the last of 52 rows (2 and 20 of 32 in the PEs)."""
    workload = small.workload(P=500)
    mapping = small.nest(
        "QK",
        {"DRAM": ["Q", "K"], "GLB": ["Q", "K", "QK"], "RF": ["QK"]},
        DRAM="H12 P8",
        GLB="M16 P2",
        PE_y="P32,20",
        PE_x="M32",
        RF="E64",
    )
    group = GroupMapping(einsums=(mapping,), shared=small.loops("H12 P8"), granularity="row")
    text = fused_tree_text(workload, small.platform(), FusedMapping(groups=(group,)))
    assert "for P in [0:8)   one pass is a FLAT-tile: H=1 P=64" in text
    assert "for P in [0:32,20) on y" in text


def test_long_lines_are_folded_inside_the_tree() -> None:
    workload = small.workload()
    fused = small.fused()
    wide = replace(workload, name="a workload with a name that does not end " * 3)
    lines = fused_tree_text(wide, small.platform(), fused).splitlines()
    assert max(len(line) for line in lines) <= TREE_WIDTH
    assert lines[1].startswith("│     ")
