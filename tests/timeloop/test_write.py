"""Lowered files: against recorded runs of timeloop-model, against golden text, and read back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small_platform as small
from replay.cases import doubled, overfull
from small_platform import write_lowered
from timeloop_cases import architecture_of, cases, with_remainders, workload_of

from flat_mapper.arch.reader import load_architecture
from flat_mapper.arch.values import Architecture, Platform
from flat_mapper.base.errors import MappingError, SpecError
from flat_mapper.mapping.record import read_record
from flat_mapper.mapping.values import (
    EinsumMapping,
    FusedMapping,
    GroupMapping,
    Loop,
    Policy,
    Slot,
)
from flat_mapper.reports.tree import loop_nest_text
from flat_mapper.spec.document import Quoted, Tagged
from flat_mapper.spec.yamlio import load_text, load_yaml
from flat_mapper.timeloop.mapping_reader import read_mapping
from flat_mapper.timeloop.terms import (
    architecture_document,
    as_loaded,
    in_one_row,
    node_entries,
    problem_document,
    processed_document,
    rank_letters,
)
from flat_mapper.timeloop.write import (
    lower_einsum,
    lower_for_mapper,
    lowered,
    remaining_depth,
)
from flat_mapper.workload.cascade import block
from flat_mapper.workload.graph import Workload

RUNS = Path(__file__).parents[1] / "data" / "run_sample"


# --- read back -----------------------------------------------------------------------------------


def test_every_recorded_mapping_lowers_to_what_it_was() -> None:
    for case in cases():
        workload, arch = workload_of(case), architecture_of(case)
        einsum = workload.einsums[0]
        mapping = read_mapping(with_remainders(case), arch, einsum)
        lowered = node_entries(workload, arch, mapping)
        assert read_mapping(lowered, arch, einsum) == mapping, case["id"]
        processed = processed_document(workload, arch, mapping)
        assert read_mapping(processed["mapping"], arch, einsum) == mapping, case["id"]


def test_nothing_is_left_to_timeloops_defaults() -> None:
    for case in cases()[::7]:
        workload, arch = workload_of(case), architecture_of(case)
        einsum = workload.einsums[0]
        mapping = read_mapping(with_remainders(case), arch, einsum)
        entries: Any = node_entries(workload, arch, mapping)
        ranks, tensors = sorted(einsum.ranks), sorted(a.tensor for a in einsum.accesses)
        for entry in entries:
            if entry["type"] == "dataspace":
                assert sorted(entry["keep"] + entry["bypass"]) == tensors
                continue
            assert sorted(f.partition("=")[0] for f in entry["factors"]) == ranks
            assert sorted(entry["permutation"]) == ranks
            assert (entry["type"] == "spatial") == ("split" in entry)
        stated = [(e["target"], e["type"]) for e in entries]
        levels = [level.name for level in arch.levels]
        assert [t for t, kind in stated if kind == "temporal"] == levels
        assert [t for t, kind in stated if kind == "dataspace"] == levels


def test_problems_are_the_recorded_ones() -> None:
    for case in cases():
        workload = workload_of(case)
        lowered: Any = problem_document(workload, workload.einsums[0])["problem"]
        said = case["problem"]
        spaces = {s["name"]: s for s in lowered["shape"]["data_spaces"]}
        assert spaces == {s["name"]: s for s in said["shape"]["data_spaces"]}
        assert sorted(lowered["shape"]["dimensions"]) == sorted(said["shape"]["dimensions"])
        assert lowered["instance"] == said["instance"]


# --- the recorded runs ---------------------------------------------------------------------------


@pytest.fixture(params=["QK", "AV"])
def run(request: pytest.FixtureRequest) -> tuple[str, Workload, Architecture, EinsumMapping]:
    """One Einsum of the recorded fused run, as our own values."""
    fused = small.fused()
    return (
        request.param,
        small.workload(),
        small.platform().matrix,
        fused.einsum_mappings[request.param],
    )


Run = tuple[str, Workload, Architecture, EinsumMapping]


def test_the_recorded_mapping_is_read_and_printed_as_timeloop_did(run: Run) -> None:
    name, workload, arch, mapping = run
    einsum = workload.einsum(name)
    for file in ("mapping.yaml", "parsed-processed-input.yaml"):
        document: Any = load_yaml(RUNS / name / file)
        assert read_mapping(document["mapping"], arch, einsum) == mapping
    printed = (RUNS / name / "timeloop-model.map.txt").read_text()
    assert loop_nest_text(workload, arch, mapping) == printed


def test_the_processed_file_says_what_the_front_end_said(run: Run) -> None:
    name, workload, arch, mapping = run
    ours: Any = load_text(lower_text(processed_document(workload, arch, mapping)), "ours")
    theirs: Any = load_yaml(RUNS / name / "parsed-processed-input.yaml")
    assert [stated(e) for e in ours["mapping"]] == [stated(e) for e in theirs["mapping"]]
    shapes = [document["problem"]["shape"] for document in (ours, theirs)]
    assert sorted(shapes[0]["dimensions"]) == sorted(shapes[1]["dimensions"])
    for own, other in zip(locals_of(ours), locals_of(theirs), strict=True):
        assert own["name"] == other["name"]
        assert own["class"] == other["class"]
        assert own.get("required_actions", []) == [
            a for a in ("read", "write", "update", "leak", "compute")
            if a in other.get("required_actions", [])
        ]  # fmt: skip
        mesh = ("meshX", "meshY")
        assert [own["attributes"][k] for k in mesh] == [other["attributes"][k] for k in mesh]
        for size in ("width", "depth", "datawidth"):
            if size in own["attributes"] and own["name"] != "MAC[1..1024]":
                assert own["attributes"][size] == other["attributes"][size], own["name"]


def lower_text(document: dict[str, object]) -> str:
    from flat_mapper.spec.yamlio import dump

    return dump(document)


def locals_of(document: Any) -> list[Any]:
    return list(document["architecture"]["subtree"][0]["local"])


def stated(entry: Any) -> dict[str, object]:
    """What an entry says, whatever its separators and the order of loops of one pass."""
    factors = dict(f.split("=") for f in str(entry.get("factors", "")).replace(",", " ").split())
    order = [c for c in str(entry.get("permutation", "")) if factors.get(c, "1") != "1"]
    return {
        "target": entry["target"],
        "type": entry["type"],
        "factors": factors,
        "order": order,
        "split": entry.get("split"),
        "keep": list(entry.get("keep", [])),
        "bypass": list(entry.get("bypass", [])),
    }


def test_strings_keep_the_quotes_that_accelergy_needs(run: Run) -> None:
    _, workload, arch, mapping = run
    text = lower_text(processed_document(workload, arch, mapping))
    assert 'technology: "45nm"' in text
    assert 'technology: "45nm"' in lower_einsum(workload, arch, mapping)["arch.yaml"].text


def test_whole_numbers_are_integers_in_the_processed_file() -> None:
    """Timeloop reads a depth with an integer conversion that fails on 8192.0."""
    arch = small.platform().matrix
    glb = replace(arch.levels[1], attributes={"depth": 8192.0, "width": 512, "type": "wide"})
    arch = replace(arch, nodes=(arch.nodes[0], glb, *arch.nodes[2:]))
    mapping = small.fused().einsum_mappings["QK"]
    text = lower_text(processed_document(small.workload(), arch, mapping))
    assert "depth: 8192\n" in text
    assert 'type: "wide"\n' in text


# --- golden text ---------------------------------------------------------------------------------


def test_files_of_a_fused_mapping(golden: Callable[[str, str], None], tmp_path: Path) -> None:
    workload, platform, fused = small.workload(), small.platform(), small.fused()
    files = lowered(workload, platform, fused).files
    names = ["QK", "QK_max", "QK_exp", "QK_sum", "A", "AV"]
    parts = ["arch.yaml", "problem.yaml", "mapping.yaml", "processed.yaml"]
    top = ["fused-mapping.yaml", "small.yaml", "small.sfu.yaml"]
    assert list(files) == [*top, *(f"{name}/{part}" for name in names for part in parts)]
    shown = ["small.sfu.yaml", "QK/arch.yaml", "QK/problem.yaml", "QK/mapping.yaml"]
    for path in [*shown, "QK_exp/problem.yaml", "QK_exp/mapping.yaml"]:
        golden(f"lower/{path}", files[path].text)
    write_lowered(tmp_path, files)
    record = read_record(tmp_path / "fused-mapping.yaml")
    assert record.mapping == fused
    assert record.workload == workload
    assert record.platform.matrix.nodes == platform.matrix.nodes
    assert record.platform.path("vector").nodes == platform.path("vector").nodes
    assert all((tmp_path / path).read_text() == lowered.text for path, lowered in files.items())


def remainder() -> tuple[Workload, Architecture, EinsumMapping]:
    """500 rows in eight tiles of 64."""
    mapping = small.nest(
        "QK",
        {"DRAM": ["Q", "K"], "GLB": ["Q", "K", "QK"], "RF": ["QK"]},
        DRAM="H12 P8",
        GLB="M16 P2",
        PE_y="P32,20",
        PE_x="M32",
        RF="E64",
    )
    return small.workload(P=500), small.platform().matrix, mapping


def test_files_with_a_remainder(golden: Callable[[str, str], None]) -> None:
    files = lower_einsum(*remainder())
    assert list(files) == ["arch.yaml", "problem.yaml", "mapping.yaml", "processed.yaml"]
    golden("lower/remainder/mapping.yaml", files["mapping.yaml"].text)
    golden("lower/remainder/processed.yaml", files["processed.yaml"].text)
    document: Any = load_text(files["mapping.yaml"].text, "mapping.yaml")
    assert (
        read_mapping(document, small.platform().matrix, small.workload().einsum("QK"))
        == (remainder()[2])
    )


def test_files_for_the_mapper(golden: Callable[[str, str], None]) -> None:
    workload, platform, fused = small.workload(), small.platform(), small.fused()
    files = lower_for_mapper(workload, platform, fused, {"QK": 69632})
    parts = ["arch.yaml", "problem.yaml", "constraints.yaml", "mapper.yaml"]
    assert list(files)[:4] == [f"QK/{part}" for part in parts]
    for part in parts:
        golden(f"lower/mapper/{part}", files[f"QK/{part}"].text)
    assert "depth: 8192" in files["AV/arch.yaml"].text


# --- the rest ------------------------------------------------------------------------------------


def alone(nest: EinsumMapping) -> FusedMapping:
    return FusedMapping(groups=(GroupMapping(einsums=(nest,)),), policy=Policy(softmax="free"))


def test_an_operator_alone_is_not_constrained() -> None:
    fused = alone(small.fused().einsum_mappings["QK"])
    files = lower_for_mapper(small.workload(), small.platform(), fused, {})
    assert files["QK/constraints.yaml"].document == {"constraints": {"version": 0.4, "targets": []}}


def test_the_mapper_takes_no_remainder_in_shared_loops() -> None:
    workload, platform, mapping = small.workload(P=500), small.platform(), remainder()[2]
    lower_for_mapper(workload, platform, alone(mapping), {})
    cut = small.nest("QK", {"DRAM": ["Q", "K"], "GLB": ["Q", "K", "QK"]}, DRAM="H12 P9,8")
    with pytest.raises(MappingError, match=r"QK: DRAM: expected shared loops without a rem.*P=9,8"):
        lower_for_mapper(workload, platform, alone(cut), {})


def test_a_full_buffer_leaves_the_mapper_nothing() -> None:
    level = small.platform().matrix.levels[1]
    assert remaining_depth(level, 0) == 8192
    assert remaining_depth(level, 33) == 8190
    assert remaining_depth(replace(level, multiple_buffering=2), 131072 - 32) == 2
    assert remaining_depth(replace(level, capacity_words=None), 10) is None
    with pytest.raises(MappingError, match=r"GLB: expected at least 32 words \(a row\) beside the"):
        remaining_depth(level, 262144)


def test_node_constraints_stay_for_the_mapper_but_not_those_it_replaces() -> None:
    platform = small.platform(constrained=True)
    files = lower_for_mapper(small.workload(), platform, small.fused(), {})
    assert "constraints:\n      temporal:\n        permutation: [P]\n" in files["QK/arch.yaml"].text
    assert "dataspace" not in files["QK/arch.yaml"].text
    outside = replace(platform.matrix, document=small.platform().matrix.document)
    chip = replace(platform, matrix=outside)
    files = lower_for_mapper(small.workload(), chip, small.fused(), {})
    document: Any = files["QK/arch.yaml"].document["architecture"]
    glb = next(n.body for n in document["nodes"] if n.body["name"] == "GLB")
    assert glb["constraints"] == {"temporal": {"permutation": ["P"]}}


def test_node_constraints_are_gone_from_a_lowered_mapping_but_not_from_the_copy() -> None:
    files = lowered(small.workload(), small.platform(constrained=True), small.fused()).files
    assert "constraints:" in files["small.yaml"].text
    assert "constraints:" not in files["QK/arch.yaml"].text


def test_an_architecture_keeps_its_own_sections_and_its_branches() -> None:
    case = next(c for c in cases() if c["kind"] == "split_regs")
    arch = architecture_of(case)
    document = {
        "variables": {"technology": Quoted("45nm")},
        "components": [{"name": "mine"}],
        **arch.document,
    }
    lowered: Any = architecture_document(replace(arch, document=document), as_loaded)
    assert list(lowered) == ["variables", "components", "architecture"]
    assert lowered["components"] == {"version": 0.4, "classes": [{"name": "mine"}]}
    inner = next(n for n in lowered["architecture"]["nodes"] if n.tag == "!Parallel")
    assert [n.body["name"] for n in inner.body["nodes"]] == ["reg0", "reg1", "reg2"]
    assert all(isinstance(n, Tagged) for n in inner.body["nodes"])


def test_lowering_leaves_the_document_as_it_is() -> None:
    arch = small.platform().matrix
    before = lower_text(dict(arch.document))
    lowered(small.workload(), small.platform(), small.fused())
    lower_for_mapper(small.workload(), small.platform(), small.fused(), {"QK": 1000})
    assert lower_text(dict(arch.document)) == before


def test_an_architecture_without_a_document_cannot_be_lowered() -> None:
    arch = replace(small.platform().matrix, document={})
    with pytest.raises(SpecError, match=r"expected an architecture loaded from v0\.4 YAML"):
        lower_einsum(small.workload(), arch, small.fused().einsum_mappings["QK"])


def test_a_free_softmax_without_a_vector_path_has_no_files() -> None:
    platform = replace(small.platform(), vector=None)
    fused = replace(small.fused(), policy=Policy(softmax="free"))
    files = lowered(small.workload(), platform, fused).files
    assert {path.partition("/")[0] for path in files if "/" in path} == {"QK", "AV"}
    with pytest.raises(SpecError, match="expected a vector path for softmax"):
        lowered(small.workload(), Platform(name="x", matrix=platform.matrix), small.fused())


def test_ranks_of_more_letters_get_one() -> None:
    workload = block(B=1, H=2, P=4, M=4, E=8, F=8)
    fc1, fc2 = workload.einsum("FC1"), workload.einsum("FC2")
    assert rank_letters(fc1) == {"B": "B", "P": "P", "FF": "F", "D": "D"}
    odd = replace(fc2, output=replace(fc2.output, ranks=("F", "FF", "F1")), inputs=())
    assert rank_letters(odd) == {"F": "F", "FF": "A", "F1": "B"}
    mapping = small.nest("FC1", {"DRAM": ["O", "W1", "FC1"]}, DRAM="B1 P4", GLB="D16")
    whole = replace(mapping, loops=(*mapping.loops, (Slot("RF", "temporal"), (Loop("FF", 64),))))
    files = lower_einsum(workload, small.platform().matrix, whole)
    assert "# Timeloop's dimensions are single letters: F = FF.\n" in files["problem.yaml"].text
    assert "instance:\n    B: 1\n    P: 4\n    F: 64\n    D: 16\n" in files["problem.yaml"].text
    assert "permutation: [P, B, D, F]" in files["mapping.yaml"].text


def test_two_loops_of_a_rank_at_one_node_are_refused() -> None:
    workload, arch = small.workload(), small.platform().matrix
    both = small.nest("QK", {}, PE_y="P4", PE_x="P8 M4")
    with pytest.raises(MappingError, match=r"QK: PE: expected one loop over P .*, got two; join"):
        node_entries(workload, arch, both)


def test_a_rank_on_both_axes_gets_a_container_for_each() -> None:
    workload, nest = doubled()
    arch = small.platform().matrix
    files = lower_einsum(workload, arch, nest)
    said = "# PE: one container for each axis, because Timeloop writes one factor per rank and"
    assert said in files["arch.yaml"].text
    assert "name: PE_y\n    spatial:\n      meshY: 32\n  - !Container\n    name: PE_x" in (
        files["arch.yaml"].text
    )
    lowered: Any = load_text(files["mapping.yaml"].text, "mapping")
    spatial = {e["target"]: e["factors"] for e in lowered["mapping"] if e["type"] == "spatial"}
    assert spatial["PE_y"] == ["B=1", "H=1", "P=16", "M=1", "E=1"]
    assert spatial["PE_x"] == ["B=1", "H=1", "P=8", "M=4", "E=1"]
    constrained = small.platform().matrix
    held = replace(constrained.fanouts[0], constraints={"spatial": {"split": 1}})
    nodes = tuple(held if n.name == "PE" else n for n in constrained.nodes)
    with pytest.raises(MappingError, match=r"QK: PE: expected one loop over P .*, got two; join"):
        lower_einsum(workload, replace(constrained, nodes=nodes), nest)


def test_tensors_of_another_width_are_mentioned() -> None:
    workload = replace(small.workload(), tensor_bits={"QK": 32})
    mapping = small.fused().einsum_mappings["QK"]
    text = lower_einsum(workload, small.platform().matrix, mapping)["problem.yaml"].text
    assert "# Timeloop counts words of one width; not 16 bits wide: QK 32.\n" in text


def test_comments_fit_the_page() -> None:
    files = lowered(small.workload(), small.platform(), small.fused()).files
    for file in files.values():
        for line in file.text.splitlines():
            assert not line.startswith("#") or len(line) <= 100
    mapped: Mapping[str, object] = files["QK/mapping.yaml"].document
    assert load_text(files["QK/mapping.yaml"].text, "mapping.yaml") == mapped


def test_einsums_in_place_get_the_room_that_timeloop_asks_for() -> None:
    workload, (chip, fused) = small.workload(), overfull()
    files = lowered(workload, chip, fused).files
    for name, rows in {"QK": 2000, "QK_max": 2000, "QK_exp": 2050, "A": 2050}.items():
        file = files[f"{name}/arch.yaml"]
        nodes: Any = load_text(file.text, name)
        (buffer,) = (
            node.body for node in nodes["architecture"]["nodes"] if node.body.get("name") == "GLB"
        )
        assert buffer["attributes"] == {"width": 512, "datawidth": 16, "depth": rows}
        assert ("GLB is 2050 rows deep here, and 2000 in" in file.text) == (rows > 2000)


def test_computes_without_storage_hand_nothing_on() -> None:
    """By itself Timeloop lets such computes take words from their neighbours on the mesh."""
    matrix = small.platform().matrix
    bare = replace(matrix, nodes=tuple(n for n in matrix.nodes if n.name != "RF"))
    workload = small.workload()
    mapping = EinsumMapping(einsum="QK", loops=(), keep=(("DRAM", ("Q", "K", "QK")),))
    sized = workload.with_ranks(dict.fromkeys(workload.rank_sizes, 1))
    for arch, said in ((matrix, None), (bare, ["Q", "K", "QK"])):
        document: Any = processed_document(sized, arch, mapping)
        (entry,) = (e for e in document["mapping"] if e["type"] == "spatial")
        assert entry.get("no_link_transfer") == said
    handed: Any = processed_document(sized, bare, mapping, handed_on=True)
    assert not any("no_link_transfer" in entry for entry in handed["mapping"])


def test_copies_of_a_level_between_go_to_the_innermost_row() -> None:
    """Its own `spatial` is a fanout of its name: the level still stands there once."""
    part = "attributes: {width: 16, datawidth: 16"
    arch = load_architecture(f"""
architecture:
  version: 0.4
  nodes:
  - !Component {{name: DRAM, class: DRAM, {part}}}}}
  - !Component {{name: L2, class: SRAM, {part}, depth: 100}}, spatial: {{meshX: 2}}}}
  - !Container {{name: core, spatial: {{meshX: 3}}}}
  - !Component {{name: GLB, class: SRAM, {part}, depth: 100}}}}
  - !Component {{name: MAC, class: intmac, attributes: {{multiplier_width: 16}}}}
""")
    row = in_one_row(arch, "GLB")
    assert [(n.name, getattr(n, "copies", 0)) for n in row.nodes] == [
        ("DRAM", 0),
        ("L2", 0),
        ("core", 6),
        ("GLB", 0),
    ]
    assert [(level.name, level.instances) for level in row.levels] == [
        ("DRAM", 1),
        ("L2", 1),
        ("GLB", 6),
    ]
