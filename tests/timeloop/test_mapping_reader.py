"""Timeloop mappings read into loop nests: the recorded cases, and what is written in other ways."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from timeloop_cases import architecture_of, cases, with_remainders, workload_of

from flat_mapper.arch.values import Architecture, Fanout
from flat_mapper.base.errors import MappingError, SpecError
from flat_mapper.mapping.check import check_mapping
from flat_mapper.mapping.values import EinsumMapping, Loop, Slot, rank_extent
from flat_mapper.timeloop.mapping_reader import read_chip, read_mapping
from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.graph import Workload

WORKLOAD = workload_of(next(c for c in cases() if c["einsum"] == "QK" and c["kind"] == "shared_rf"))
EINSUM = WORKLOAD.einsums[0]
ARCH = architecture_of(next(c for c in cases() if c["kind"] == "shared_rf"))
TWO = architecture_of(next(c for c in cases() if c["kind"] == "two_fanouts"))
SPLIT = architecture_of(next(c for c in cases() if c["kind"] == "split_regs"))


def read(*entries: dict[str, Any], arch: Architecture = ARCH, **sizes: int) -> EinsumMapping:
    return read_mapping(list(entries), arch, EINSUM, "map.yaml", sizes or None)


def loops(mapping: EinsumMapping) -> dict[str, list[tuple[str, int, int]]]:
    return {
        slot.node if slot.axis == "temporal" else f"{slot.node}.{slot.axis}": [
            (loop.rank, loop.factor, loop.final) for loop in at
        ]
        for slot, at in mapping.loops
    }


def test_every_recorded_mapping_covers_its_ranks() -> None:
    for case in cases():
        workload, arch = workload_of(case), architecture_of(case)
        einsum = workload.einsums[0]
        mapping = read_mapping(with_remainders(case), arch, einsum, case["id"], workload.rank_sizes)
        check_mapping(workload, arch, mapping)
        for rank in einsum.ranks:
            assert rank_extent(mapping, rank) == workload.rank_sizes[rank], (case["id"], rank)
        if "refused" not in case["timeloop"]:
            for level, said in case["timeloop"]["levels"].items():
                assert set(mapping.kept_at(level)) == set(said["tensors"]), (case["id"], level)


def test_a_remainder_is_read() -> None:
    case = next(c for c in cases() if c.get("remainders"))
    level, rank, factor, last = case["remainders"][0]
    workload, arch = workload_of(case), architecture_of(case)
    mapping = read_mapping(with_remainders(case), arch, workload.einsums[0])
    assert Loop(rank, factor, last) in mapping.at(Slot(level, "temporal"))


@pytest.mark.parametrize(
    "factors",
    [
        ["P=2", "M=4"],
        ["P=2 M=4"],
        "P=2 M=4",
        "P=2,M=4",
        "P = 2, M = 4",
        "P2 M4",
        "P=2 M=4 # a comment",
        "B1 H1 P2 M4 E1",
        {"P": 2, "M": 4},
    ],
)
@pytest.mark.parametrize(
    "permutation", [["P", "M"], "PM", "P M", "P,M", "P, M", "PM # inner first"]
)
def test_factors_and_permutations_in_every_notation(factors: object, permutation: object) -> None:
    mapping = read(
        {"target": "GLB", "type": "temporal", "factors": factors, "permutation": permutation}
    )
    assert loops(mapping) == {"GLB": [("M", 4, 4), ("P", 2, 2)]}


@pytest.mark.parametrize("factors", ["P=32,5", ["P=32,5"], "P32,5 M=1", {"P": "32,5"}])
def test_remainders_in_every_notation(factors: object) -> None:
    mapping = read({"target": "GLB", "type": "temporal", "factors": factors})
    assert loops(mapping) == {"GLB": [("P", 32, 5)]}


def test_ranks_missing_in_a_permutation_stand_outside_in_the_problems_order() -> None:
    entry = {"target": "RF", "type": "temporal", "factors": "H=2 P=3 M=4 E=5", "permutation": "M"}
    assert [r for r, _, _ in loops(read(entry))["RF"]] == ["E", "P", "H", "M"]
    swapped = read(entry, B=1, E=5, H=2, P=3, M=4)
    assert [r for r, _, _ in loops(swapped)["RF"]] == ["P", "H", "E", "M"]


def test_zero_is_what_remains() -> None:
    entries = (
        {"target": "DRAM", "type": "temporal", "factors": "P=0 M=0"},
        {"target": "GLB", "type": "temporal", "factors": "P=4"},
        {"target": "RF", "type": "temporal", "factors": "P=2"},
    )
    found = loops(read(*entries, B=1, H=1, P=24, M=5, E=1))
    assert found["DRAM"] == [("M", 5, 5), ("P", 3, 3)]
    with pytest.raises(MappingError, match=r"map.yaml: 0: P=0: expected other factors that divide"):
        read(*entries, B=1, H=1, P=25, M=5, E=1)
    with pytest.raises(MappingError, match=r"P=0: expected a factor, got 0; write the number"):
        read(*entries)
    with pytest.raises(MappingError, match=r"QK.P: expected at most one factor 0, got 'two'"):
        read(*entries[:2], {"target": "RF", "type": "temporal", "factors": "P=0"}, P=24)


@pytest.mark.parametrize("target", ["PE", "inter_PE_spatial", "GLB"])
def test_spatial_targets(target: str) -> None:
    entry = {"target": target, "type": "spatial", "factors": "P=4 M=8", "permutation": "MP"}
    split = read({**entry, "split": 1})
    assert loops(split) == {"PE.y": [("P", 4, 4)], "PE.x": [("M", 8, 8)]}
    assert loops(read(entry)) == {"PE.x": [("P", 4, 4), ("M", 8, 8)]}
    assert loops(read({**entry, "split": 0})) == {"PE.y": [("P", 4, 4), ("M", 8, 8)]}
    assert loops(read({**entry, "split": 9})) == loops(read(entry))


def test_a_level_above_two_fanouts_does_not_say_which() -> None:
    entry = {"target": "GLB", "type": "spatial", "factors": "P=4"}
    with pytest.raises(SpecError, match=r"0.target: expected one of the fanouts PE_col, PE, got"):
        read(entry, arch=TWO)


def test_keep_is_the_default() -> None:
    entry = {"target": "GLB", "type": "dataspace", "keep": ["Q"], "bypass": ["K"]}
    mapping = read(entry, {"target": "RF", "type": "bypass", "bypass": ["*"]})
    assert mapping.kept_at("DRAM") == ("Q", "K", "QK")
    assert mapping.kept_at("GLB") == ("Q", "QK")
    assert mapping.kept_at("RF") == ()


def test_entries_of_one_node_add_up() -> None:
    mapping = read(
        {"target": "GLB", "type": "temporal", "factors": "P=2"},
        {"target": "GLB", "type": "temporal", "factors": "M=4", "permutation": "MP"},
        {"target": "GLB", "type": "datatype", "keep": ["Q"]},
        {"target": "GLB", "type": "datatype", "bypass": ["K"]},
    )
    assert loops(mapping) == {"GLB": [("P", 2, 2), ("M", 4, 4)]}
    assert mapping.kept_at("GLB") == ("Q", "QK")


def test_the_mapping_that_timeloop_mapper_writes() -> None:
    """Its dialect: data types first, no equals signs, the front end's empty level with its ones."""
    document = {
        "mapping": [
            {"target": "RF", "type": "datatype", "keep": ["QK"], "bypass": ["Q", "K"]},
            {"target": "inter_PE_spatial", "type": "datatype", "keep": [], "bypass": ["Q", "K"]},
            {"target": "RF", "type": "temporal", "factors": "B1 E64", "permutation": "EBHPM"},
            {
                "target": "inter_PE_spatial",
                "type": "spatial",
                "factors": "B1 P4 M8",
                "permutation": "MPBHE",
                "split": 1,
            },
            {"target": "inter_PE_spatial", "type": "temporal", "factors": "B1", "no_reuse": []},
        ]
    }
    mapping = read_mapping(document, ARCH, EINSUM)
    assert loops(mapping) == {
        "PE.y": [("P", 4, 4)],
        "PE.x": [("M", 8, 8)],
        "RF": [("E", 64, 64)],
    }
    assert mapping.kept_at("RF") == ("QK",)


def test_under_parallel_what_one_branch_keeps_bypasses_the_others() -> None:
    einsum = workload_of(next(c for c in cases() if c["kind"] == "split_regs")).einsums[0]
    first, second, output = (a.tensor for a in einsum.accesses)
    keeps = [
        {"target": f"reg{i}", "type": "dataspace", "keep": [tensor]}
        for i, tensor in enumerate((first, second, output))
    ]
    mapping = read_mapping(keeps, SPLIT, einsum)
    assert [mapping.kept_at(f"reg{i}") for i in range(3)] == [(first,), (second,), (output,)]
    with pytest.raises(SpecError, match=f"the one of reg0, reg1, reg2 that keeps {output}, got"):
        read_mapping(keeps[:2], SPLIT, einsum, "map.yaml")


def constrained(**constraints: object) -> Architecture:
    """ARCH with constraints on GLB or PE."""
    nodes = [
        replace(node, constraints=constraints.get(node.name, {}))  # type: ignore[arg-type]
        for node in ARCH.nodes
    ]
    return replace(ARCH, nodes=tuple(nodes), path="arch.yaml")


def test_constraints_of_the_nodes_count_as_entries() -> None:
    arch = constrained(
        GLB={
            "dataspace": {"keep_only": ["Q"]},
            "temporal": {"factors": ["P=2"], "permutation": ["P"]},
        },
        PE={"spatial": {"factors_only": ["M=4"], "split": 5}},
    )
    entry = {"target": "GLB", "type": "temporal", "factors": "M=3", "permutation": "PM"}
    mapping = read(entry, arch=arch)
    assert loops(mapping) == {"GLB": [("M", 3, 3), ("P", 2, 2)], "PE.x": [("M", 4, 4)]}
    assert mapping.kept_at("GLB") == ("Q",)
    with pytest.raises(
        SpecError,
        match=r"map.yaml: 0: expected P=2 as at arch.yaml: GLB.constraints.temporal, got P=3; "
        "remove one",
    ):
        read({"target": "GLB", "type": "temporal", "factors": "P=3"}, arch=arch)


def test_what_a_constraint_maximizes_a_mapping_says_by_its_factors() -> None:
    """timeloop-mapper's mappings have the factors that its front end chose."""
    arch = constrained(PE={"spatial": {"maximize_dims": [["P"]], "maximize_dims_capacity": 4}})
    entry = {"target": "PE", "type": "spatial", "factors": "P=4"}
    assert loops(read(entry, arch=arch)) == {"PE.x": [("P", 4, 4)]}


def test_constraints_that_a_mapping_cannot_hold_are_named() -> None:
    arch = constrained(GLB={"temporal": {"no_reuse": ["Q"]}})
    with pytest.raises(
        SpecError, match=r"GLB.constraints.temporal: expected keys among .*got 'no_reuse'"
    ):
        read(arch=arch)
    arch = constrained(PE={"temporal": {"factors": ["P=1"]}})
    with pytest.raises(SpecError, match=r"PE.constraints.temporal: expected constraints on spat"):
        read(arch=arch)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"type": "temporal"}, r"map.yaml: 0: expected the key 'target' \(a word\), got the keys"),
        ({"target": "GLB"}, "map.yaml: 0: expected the key 'type'"),
        ({"target": "GLB", "type": "tmporal"}, "0.type: expected one of temporal, spatial"),
        ({"target": "GLB", "type": "skew"}, "got 'skew'"),
        (
            {"target": "L2", "type": "temporal"},
            "0.target: expected one of the levels DRAM, GLB, RF",
        ),
        ({"target": "RF", "type": "spatial"}, "expected one of the fanouts PE, got 'RF'"),
        ({"target": 2, "type": "temporal"}, "0.target: expected a word, got 2"),
        ({"factors": "X=2"}, "0.factors: expected ranks among B, H, P, M, E, got 'X'"),
        ({"factors": "P<=2"}, "expected factors such as P=4, each fixed to one number, got 'P<=2'"),
        ({"factors": "P=-2"}, "got 'P=-2'"),
        ({"factors": "P=2.5"}, "got 'P=2.5'"),
        ({"factors": "P=2 P=3"}, "expected one factor of P, got 'two'"),
        ({"factors": ["P=2", 5]}, "a remainder from 1 to its factor, got 'P=2,5'"),
        ({"factors": "P=4,5"}, "expected a remainder from 1 to its factor, got 'P=4,5'"),
        ({"factors": "P=4,0"}, "expected a remainder from 1 to its factor"),
        ({"factors": "P=" + "9" * 5000}, "expected factors such as P=4"),
        ({"factors": 3}, "0.factors: expected a list, got 3"),
        (
            {"permutation": "PQ"},
            "0.permutation: expected ranks of the problem, B, H, P, M, E, got 'Q'",
        ),
        ({"permutation": ["P", "P"]}, "0.permutation: expected each rank once, got 'P, P'"),
        ({"permutation": [1]}, "0.permutation: expected a word, got 1"),
        ({"split": 1}, "0: expected keys among target, type, factors.*got 'split'"),
        ({"permuation": "P"}, "keys among .*got 'permuation'.*did you mean 'permutation'"),
        (
            {"type": "dataspace", "keep": ["W"]},
            "0.keep: expected tensors of the problem, Q, K, QK, got 'W'",
        ),
        ({"type": "dataspace", "keep": "Q"}, "expected a list, got 'Q'; write"),
        ({"type": "dataspace", "keep": ["Q"], "bypass": ["*"]}, "expected Q kept or bypassed, got"),
        ({"type": "spatial", "target": "PE", "split": -1}, "0.split: expected a number of ranks"),
        ({"type": "temporal", "target": "PE", "factors": "P=2"}, "nothing kept at PE, no storage"),
        ({"type": "dataspace", "target": "PE", "keep": ["Q"]}, "nothing kept at PE, no storage"),
    ],
)
def test_what_cannot_be_read_is_named(entry: dict[str, Any], message: str) -> None:
    whole = entry if "target" in entry or "type" in entry else None
    entry = whole if whole is not None else {"target": "GLB", "type": "temporal", **entry}
    if entry.get("type") == "dataspace":
        entry = {"target": "GLB", **entry}
    with pytest.raises(SpecError, match=message) as caught:
        read(entry)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"factors": "P=3"}, "map.yaml: 1: expected P=2 as at map.yaml: 0, got P=3; remove one"),
        ({"permutation": "MP"}, "1: expected the order P M as at map.yaml: 0, got M P; remove one"),
        ({"split": 1}, "1: expected the split 0 as at map.yaml: 0, got 1; remove one"),
    ],
)
def test_entries_that_contradict_each_other(second: dict[str, Any], message: str) -> None:
    base = {"target": "PE", "type": "spatial"}
    first = {**base, "factors": "P=2 M=2", "permutation": "PM", "split": 0}
    with pytest.raises(SpecError, match=message):
        read(first, {**base, **second})


def test_orders_need_agree_on_real_loops_only() -> None:
    """timeloop-mapper writes the ranks without a loop in an order of its own."""
    base = {"target": "PE", "type": "spatial", "factors": "P=2 M=2"}
    first = {**base, "permutation": "EPM", "split": 1}
    with pytest.raises(SpecError, match="expected the split 1"):
        read(first, {**base, "permutation": "PEM", "split": 1})
    mapping = read(first, {**base, "permutation": "PME", "split": 0})
    assert mapping == read({**base, "permutation": "PME", "split": 0})


@pytest.mark.parametrize("document", [None, 3, "mapping", {"mapping": 3}, {}, [3], [[]]])
def test_what_is_no_mapping(document: object) -> None:
    with pytest.raises(SpecError, match=r"map\.yaml: "):
        read_mapping(document, ARCH, EINSUM, "map.yaml")


def test_a_fanout_may_share_its_name_with_a_level() -> None:
    """A component with a spatial of its own: its spatial entry means its own fanout."""
    nodes = (*ARCH.nodes[:2], Fanout(name="RF", fanout_x=4), ARCH.nodes[-1])
    arch = replace(ARCH, nodes=nodes)
    mapping = read(
        {"target": "RF", "type": "spatial", "factors": "P=4"},
        {"target": "RF", "type": "temporal", "factors": "M=2"},
        arch=arch,
    )
    assert loops(mapping) == {"RF.x": [("P", 4, 4)], "RF": [("M", 2, 2)]}


def test_values_are_plain() -> None:
    """Names come out as they are in the workload, whatever kind of string the file had."""
    workload: Workload = WORKLOAD
    einsum: Einsum = workload.einsums[0]
    entry = {"target": "GLB", "type": "dataspace", "keep": ["Q"], "bypass": ["K", "QK"]}
    keep = read_mapping([entry], ARCH, einsum).kept_at("GLB")
    assert keep == ("Q",)
    assert type(keep[0]) is str


def test_a_remainder_that_yaml_split_at_its_comma() -> None:
    """`factors: [P=32,5, M=2]` is a list of three items; the number belongs to P."""
    split = read({"target": "GLB", "type": "temporal", "factors": ["P=32", 5, "M=2"]})
    assert split == read({"target": "GLB", "type": "temporal", "factors": ["P=32,5", "M=2"]})
    assert ("P", 32, 5) in loops(split)["GLB"]


def test_words_are_handed_on_unless_a_spatial_entry_says_no_link_transfer() -> None:
    arch = replace(ARCH, nodes=(*ARCH.nodes[:1], Fanout(name="PE", fanout_x=2)))
    entry = {"target": "PE", "type": "spatial", "factors": ["M=2"]}
    names = [access.tensor for access in EINSUM.accesses]
    for listed, apart in ((None, False), (names, True), (["*"], True)):
        said = entry if listed is None else {**entry, "no_link_transfer": listed}
        assert read_chip([said], arch, EINSUM)[1] is apart
    with pytest.raises(SpecError, match="no_link_transfer: expected all of the tensors Q, K, QK"):
        read_chip([{**entry, "no_link_transfer": names[:1]}], arch, EINSUM)
