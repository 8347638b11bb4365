"""Architecture files: what they say, what is refused, and the platforms that ship."""

from __future__ import annotations

import os
from math import prod
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timeloop_cases import architecture_from_nodes, cases

from flat_mapper.arch.reader import (
    architecture_of,
    check_architecture,
    load_architecture,
    load_platform,
)
from flat_mapper.arch.values import Architecture, MemoryLevel
from flat_mapper.base.errors import SpecError
from flat_mapper.energy.tables import Art, Ert
from flat_mapper.spec.document import Quoted, Tagged
from flat_mapper.spec.yamlio import dump, load_text

DRAM = "  - !Component {name: DRAM, class: DRAM, attributes: {width: 64, datawidth: 16}}\n"
MAC = "  - !Component {name: MAC, class: intmac}\n"


def arch(nodes: str, before: str = "") -> Architecture:
    return load_architecture(before + "architecture:\n  version: 0.4\n  nodes:\n" + nodes)


def level(attributes: str, head: str = "") -> MemoryLevel:
    node = f"  - !Component {{name: B, class: SRAM, {head}attributes: {{{attributes}}}}}\n"
    return arch(DRAM + node + MAC).level("B")


def test_every_recorded_case_loads() -> None:
    assert len(cases()) == 520
    for case in cases():
        found = architecture_from_nodes(case["architecture"])
        leaves = [
            body
            for tag, outer in case["architecture"]
            for _, body in outer.get("nodes", [(tag, outer)])
        ]
        storages = [b for b in leaves if b.get("class") in ("DRAM", "storage")]
        meshes = [b["spatial"] for b in leaves if "spatial" in b]
        copies = prod(m.get("meshX", 1) * m.get("meshY", 1) for m in meshes)
        assert found.compute.instances == copies
        assert [(f.fanout_x, f.fanout_y) for f in found.fanouts] == [
            (m.get("meshX", 1), m.get("meshY", 1)) for m in meshes
        ]
        assert [lv.name for lv in found.levels] == [b["name"] for b in storages]
        for lv, body in zip(found.levels, storages, strict=True):
            _check_level(lv, body["attributes"])


def _check_level(found: MemoryLevel, written: dict[str, Any]) -> None:
    row = written["width"] // written["datawidth"]
    capacity = written["depth"] * row if "depth" in written else None
    assert (found.row_words, found.word_bits) == (row, written["datawidth"])
    assert found.capacity_words == capacity
    assert found.multiple_buffering == written.get("multiple_buffering", 1)
    assert found.read_words_per_cycle == written.get("read_bandwidth")
    assert found.write_words_per_cycle == written.get("write_bandwidth")
    assert found.shared_words_per_cycle == written.get("shared_bandwidth")


@pytest.mark.parametrize(
    ("attributes", "capacity", "row", "cluster"),
    [
        ("width: 64, depth: 100, datawidth: 16", 400, 4, 1),
        ("width: 64, depth: 100.0, word_bits: 16", 400, 4, 1),
        ("memory_width: 64, memory_depth: 100, word_width: 8", 800, 8, 1),
        ("width: 64, entries: 77, datawidth: 16", 77, 4, 1),
        ("width: 64, sizeKB: 2, datawidth: 16", 1024, 4, 1),
        ("depth: 3, datawidth: 16", 3, 1, 1),
        ("depth: 3, datawidth: 16, block_size: 4", 12, 4, 1),
        ("width: 512, depth: 1, datawidth: 8, cluster_size: 64", 1, 1, 64),
        ("width: 512, depth: 2, datawidth: 8, block_size: 4", 8, 4, 16),
        ("width: 64, depth: 2, datawidth: 8, n_words: 4, cluster_size: 2", 8, 4, 2),
    ],
)
def test_sizes_follow_timeloop(attributes: str, capacity: int, row: int, cluster: int) -> None:
    found = level(attributes)
    assert (found.capacity_words, found.row_words, found.cluster_size) == (capacity, row, cluster)


def test_usable_words_are_rounded_down() -> None:
    found = level("width: 16, depth: 101, datawidth: 16, multiple_buffering: 2")
    assert (found.capacity_words, found.usable_words) == (101, 50)


NESTED = """\
variables: {version: 0.4, BITS: 8, technology: "45nm", SIDE: "BITS", global_cycle_seconds: 2e-9}
architecture:
  version: 0.4
  nodes:
  - !Container {name: system, attributes: {rows: BITS * 4, technology: "22nm"}}
  - !Component {name: DRAM, class: DRAM, attributes: {type: "LPDDR4", width: 64, datawidth: BITS}}
  - !Hierarchical
    nodes:
    - !Component
      name: GLB
      class: storage
      subclass: smartbuffer_SRAM
      attributes:
        depth: rows * 2
        width: max(datawidth, 16)
        datawidth: BITS
      energy_scale: 1 / 2
    - !Pipelined
      nodes:
      - !Container {name: PE, spatial: {meshX: BITS // 2, meshY: 3}}
  - !Component {name: off, class: SRAM, enabled: BITS > 8}
  - !Component
    name: RF
    class: regfile
    spatial: {meshX: copies}
    attributes:
      copies: 2
      depth: GLB.attributes["depth"] // 8
      width: BITS
      datawidth: BITS
    constraints: {spatial: {factors: [M=1]}, temporal: {permutation: [M, P]}}
  - !Component {name: MAC, class: intmac, spatial: {meshY: 5}}
"""


def test_nesting_expressions_and_meshes() -> None:
    found = load_architecture(NESTED.replace("datawidth, 16", "8, 16"))
    assert [n.name for n in found.nodes] == ["DRAM", "GLB", "PE", "RF", "RF", "MAC"]
    assert [(f.name, f.fanout_x, f.fanout_y) for f in found.fanouts] == [
        ("PE", 4, 3),
        ("RF", 2, 1),
        ("MAC", 1, 5),
    ]
    glb, rf = found.level("GLB"), found.level("RF")
    assert (glb.capacity_words, glb.row_words, glb.component_class) == (128, 2, "smartbuffer_SRAM")
    assert glb.attributes["energy_scale"] == 0.5
    assert glb.attributes["technology"] == "22nm"
    assert found.level("DRAM").capacity_words is None
    assert (rf.capacity_words, rf.instances, found.compute.instances) == (8, 24, 120)
    assert rf.constraints == {"temporal": {"permutation": ["M", "P"]}}
    assert found.fanouts[1].constraints == {"spatial": {"factors": ["M=1"]}}
    assert found.cycle_seconds == 2e-9
    assert found.variables["SIDE"] == "BITS"


def test_an_attribute_cannot_see_a_later_one() -> None:
    with pytest.raises(SpecError, match=r"GLB\.attributes\.width: expected a name .*'datawidth'"):
        load_architecture(NESTED)


PARALLEL = """\
  - !Parallel
    nodes:
    - !Component
      name: w
      class: regfile
      attributes: {depth: 1, width: 8, datawidth: 8}
      constraints: {dataspace: {keep: [W]}}
    - !Hierarchical
      nodes:
      - !Component {name: o, class: regfile, attributes: {depth: 1, width: 8, datawidth: 8}}
      - !Component
        name: p
        class: regfile
        attributes: {depth: 1, width: 8, datawidth: 8}
        constraints: {dataspace: {keep_only: [O]}}
    - !Nothing {constraints: {dataspace: {keep: [I]}}}
"""


def test_parallel_branches_share_out_the_tensors() -> None:
    found = arch(DRAM + PARALLEL + MAC)
    assert {lv.name: lv.keeps_only for lv in found.levels} == {
        "DRAM": None,
        "w": ("W",),
        "o": ("O",),
        "p": ("O",),
    }
    silent = arch(DRAM + PARALLEL.replace("keep: [W]", "").replace("keep_only: [O]", "").replace(
        "keep: [I]", "") + MAC)  # fmt: skip
    assert [lv.keeps_only for lv in silent.levels] == [None] * 4


def test_constraints_beside_the_nodes_join_those_inside() -> None:
    text = "constraints:\n  targets:\n  - {target: w, type: temporal, factors: [M=1]}\n"
    found = arch(DRAM + PARALLEL + MAC, text)
    assert found.level("w").constraints == {
        "dataspace": {"keep": ["W"]},
        "temporal": {"target": "w", "type": "temporal", "factors": ["M=1"]},
    }
    with pytest.raises(SpecError, match=r"expected a target among DRAM, w, .*got 'v'"):
        arch(DRAM + PARALLEL + MAC, text.replace("target: w", "target: v"))
    clash = "constraints: [{target: w, type: dataspace, keep: [Z]}]\n"
    with pytest.raises(
        SpecError, match=r"w\.constraints\.dataspace\.keep: expected one constraint"
    ):
        arch(DRAM + PARALLEL.replace("- !Nothing", "- !Nothing #") + MAC, clash)


def test_one_file_may_hold_everything(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(
        "problem: {version: 0.4}\nmapping: []\nmapper: {}\nglobals: {version: 0.4}\n"
        "compound_components: {version: 0.4, classes: [{name: x}]}\nextra_mapping_constraints: []\n"
        "ERT: {tables: []}\narchitecture:\n  nodes:\n" + DRAM + MAC
    )
    (tmp_path / "variables.yaml").write_text("variables: {global_cycle_seconds: 1 / 940e6}\n")
    found = load_architecture(tmp_path / "all.yaml", str(tmp_path / "variables.yaml"))
    assert found.cycle_seconds == pytest.approx(1 / 940e6)
    assert list(found.document) == ["architecture", "variables", "components"]
    assert (found.name, found.path) == ("all", str(tmp_path / "all.yaml"))
    assert load_architecture(dump(found.document)).nodes == found.nodes


SRAM = "  - !Component {name: B, class: SRAM, attributes: {width: 64, depth: 8, datawidth: 16}}\n"


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (
            DRAM,
            r"text: architecture\.nodes: expected a compute component .* as the last node",
        ),
        (MAC, r"architecture\.nodes: expected at least one storage component, got none"),
        (DRAM + MAC + SRAM, r"text:6: B: expected the compute component 'MAC' to be the only one"),
        (
            DRAM + DRAM + MAC,
            r"text:5: architecture\.nodes\.1\.name: expected each name once, got 'DR",
        ),
        (
            "  - {name: DRAM}\n",
            r"nodes\.0: expected a node with a tag among !Component, .*got a map",
        ),
        (
            "  - !Componet {name: DRAM}\n",
            r"nodes\.0: expected a node with a tag among .*",
        ),
        (DRAM.replace("DRAM, class", "'D[0..3]', class") + MAC, r"expected a name without a range"),
        (
            DRAM.replace("class: DRAM", "class: dram") + MAC,
            r"nodes\.0\.class: expected a class with one of DRAM, .*got 'dram'",
        ),
        (
            DRAM + SRAM.replace("SRAM", "XY_NoC") + MAC,
            r"got the network class 'XY_NoC'; networks are",
        ),
        (DRAM.replace("class: DRAM, ", "") + MAC, r"nodes\.0: expected the key 'class' \(a word\)"),
        (
            DRAM.replace("attributes", "atributes") + MAC,
            r"text:4: DRAM: expected keys among name, .*got 'atributes'; did you mean",
        ),
        (
            DRAM + SRAM.replace("depth", "dept") + MAC,
            r"text:5: B\.attributes: expected attributes of .*got 'dept'; did you mean 'depth'\?",
        ),
        (
            DRAM + SRAM.replace("depth: 8, ", "") + MAC,
            r"text: B\.attributes: expected depth, entries or sizeKB, got the attributes width",
        ),
        (
            DRAM.replace(", datawidth: 16", "") + MAC,
            r"DRAM\.attributes: expected datawidth \(bits of a word\), got the attributes width",
        ),
        (
            DRAM + SRAM.replace("depth: 8", "depth: 512 words") + MAC,
            r"text:5: B\.attributes\.depth: expected number, got '512 words'; write 512",
        ),
        (
            DRAM + SRAM.replace("depth: 8", "depth: 2 GHz") + MAC,
            r"text:5: B\.attributes\.depth: expected rows, or B, got '2 GHz'",
        ),
        (
            DRAM + SRAM.replace("depth: 8", "depth: 8, size: 2 MiB") + MAC,
            r"text:5: B\.attributes\.size: expected depth or size, not both, got '2 MiB'",
        ),
        (
            DRAM + SRAM.replace("depth: 8", "depth: 8, bandwidth: 68") + MAC,
            r"B\.attributes\.bandwidth: expected no bandwidth .*got 68; write a unit, as 68 GB/s",
        ),
        (
            DRAM + SRAM.replace("depth: 8", 'depth: "8"') + MAC,
            r"text:5: B\.attributes\.depth: expected int > 0, got '8'; write 8",
        ),
        (DRAM + SRAM.replace("depth: 8", "depth: 0") + MAC, r"depth: expected int > 0, got 0"),
        (DRAM + SRAM.replace("depth: 8", "depth: -8") + MAC, r"depth: expected int > 0, got -8"),
        (
            DRAM + SRAM.replace("depth: 8", "depth: 9 / 2") + MAC,
            r"depth: expected int > 0, got 4\.5",
        ),
        (
            DRAM + SRAM.replace("depth: 8", "depth: deep") + MAC,
            r"expected a name among .*got 'deep'",
        ),
        (
            DRAM + SRAM.replace("depth: 8", "depth: 8, sizeKB: 1") + MAC,
            r"expected one of entries, depth and sizeKB, got depth and sizeKB; remove one",
        ),
        (
            DRAM + SRAM.replace("width: 64", "width: 60") + MAC,
            r"width: expected a width in bits that is a multiple of datawidth 16 = 16",
        ),
        (
            DRAM + SRAM.replace("width: 64", "width: 64, block_size: 3, cluster_size: 2") + MAC,
            r"a width in bits equal to datawidth 16 x block_size 3 x cluster_size 2 = 96, got 64",
        ),
        (
            DRAM + SRAM.replace("width", "read_bandwidth: 0, width", 1) + MAC,
            r"B\.attributes\.read_bandwidth: expected number > 0, got 0",
        ),
        (
            DRAM + SRAM.replace("width", "read_bandwith: 4, width", 1) + MAC,
            r"got 'read_bandwith'; did you mean 'read_bandwidth'\?",
        ),
        (
            DRAM + SRAM.replace("width", "network_fill_latency: 3, width", 1) + MAC,
            r"B\.attributes\.network_fill_latency: expected no network_fill_latency",
        ),
        (
            DRAM + SRAM.replace("width", "meshX: 3, width", 1) + MAC,
            r"write spatial: {meshX: \.\.\.}",
        ),
        (
            DRAM + SRAM.replace("class", "spatial: {meshZ: 2}, class") + MAC,
            r"text:5: B\.spatial: expected keys among meshX, meshY.*got 'meshZ'",
        ),
        (
            DRAM + SRAM.replace("class", "spatial: {meshX: 0}, class") + MAC,
            r"text:5: B\.spatial\.meshX: expected int > 0",
        ),
        (
            DRAM + SRAM.replace("class", "enabled: 1, class") + MAC,
            r"enabled: expected true or false",
        ),
        (
            DRAM + SRAM.replace("class", "sparse_optimizations: {a: 1}, class") + MAC,
            r"B\.sparse_optimizations: expected no sparse_optimizations \(they are not modelled\)",
        ),
        (
            DRAM + SRAM.replace("class", "constraints: {spacial: {}}, class") + MAC,
            r"B\.constraints: expected keys among spatial, temporal.*got 'spacial'",
        ),
        (
            DRAM + SRAM.replace("class", "constraints: {temporal: {factor: [M=1]}}, class") + MAC,
            r"B\.constraints\.temporal: expected keys .*got 'factor'; did you mean 'factors'\?",
        ),
        (
            DRAM + "  - !Container {name: PE, constraints: {spatial: {split: 1}}}\n" + MAC,
            r"PE: expected spatial: {meshX: \.\.\.} beside its spatial constraints, got none",
        ),
        (
            DRAM + "  - !Container {name: PE, networks: [a]}\n" + MAC,
            r"PE\.networks: expected no netw",
        ),
        (
            DRAM + "  - !Parallel {nodes: [!Container {name: PE}]}\n" + MAC,
            r"expected no !Container inside !Parallel, got one; place it before the !Parallel",
        ),
        (
            DRAM
            + "  - !Parallel {nodes: [!Component {name: B, class: SRAM, spatial: {meshX: 2}}]}\n"
            + MAC,
            r"B\.spatial: expected no fanout inside !Parallel, got one; put a !Container",
        ),
        (
            DRAM + PARALLEL.replace("[I]", "[W]") + MAC,
            r"expected each tensor in one branch of !Parallel, got W kept in branches 0 and 2",
        ),
        (
            DRAM + "  - !Parallel {node: []}\n" + MAC,
            r"expected keys among nodes.*got 'node'; did you",
        ),
    ],
)
def test_faults_are_named_with_their_place(nodes: str, message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        arch(nodes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "architecture: {version: 0.3, nodes: []}\n",
            r"expected version: 0\.4 with nodes, got vers",
        ),
        (
            "architecture: {version: 0.4, subtree: []}\n",
            r"expected a compute component .* as the last node, got 'no node'",
        ),
        (
            "architecture: {version: 0.4}\n",
            r"expected the key 'nodes' \(a list\)",
        ),
        ("architecture: {nodes: 3}\n", r"text:1: architecture\.nodes: expected a list, got 3"),
        (
            "architecture: []\n",
            r"text:1: architecture: expected a mapping of keys to values, got a list",
        ),
        ("problem: {}\n", r"text: expected the key 'architecture', got the keys problem"),
        (
            "architectur: {}\n",
            r"text:1: expected keys among architecture, variabl.*got 'architectur'",
        ),
        ("- 1\n", r"text: expected a mapping of keys to values, got a list"),
        (
            "variables: {a: b}\narchitecture: {nodes: []}\n",
            r"text:1: variables\.a: expected a name am",
        ),
        (
            "variables: {version: 0.3}\narchitecture: {nodes: []}\n",
            r"version: expected 0\.4, got 0\.3",
        ),
        (
            "variables: {global_cycle_seconds: 0}\narchitecture:\n  nodes:\n" + DRAM + MAC,
            r"global_cycle_seconds: expected number > 0, got 0",
        ),
        (
            "variables: {global_cycle_seconds: 1 GHz}\narchitecture:\n  nodes:\n" + DRAM + MAC,
            r"variables\.global_cycle_seconds: expected s, got '1 GHz'",
        ),
        (
            "globals: {expression_custom_functions: [f.py]}\narchitecture: {nodes: []}\n",
            r"globals\.expression_custom_functions: expected none \(they are not run or modelled\)",
        ),
        (
            "sparse_optimizations: {targets: [a]}\narchitecture: {nodes: []}\n",
            r"targets: expected none",
        ),
    ],
)
def test_faults_of_the_document(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        load_architecture(text)


def test_files_that_contradict_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("variables: {A: 1}\narchitecture:\n  nodes:\n" + DRAM + MAC)
    (tmp_path / "b.yaml").write_text("variables: {A: 2}\n")
    with pytest.raises(
        SpecError, match=r"b\.yaml:1: variables\.A: expected 1 as in an earlier file"
    ):
        load_architecture(tmp_path / "a.yaml", tmp_path / "b.yaml")
    with pytest.raises(SpecError, match=r"expected files of one architecture, got .a second one"):
        load_architecture(tmp_path / "a.yaml", tmp_path / "a.yaml")


def test_check_lists_all_faults_at_once(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(
        "architecture:\n  nodes:\n" + DRAM.replace("16", "0") + SRAM.replace("8", "x") + MAC + SRAM
    )
    faults = check_architecture(tmp_path / "bad.yaml")
    assert len(faults) == 3
    assert "DRAM.attributes.datawidth: expected int > 0, got 0" in faults[0]
    assert "B.attributes.depth: expected a name among" in faults[1]
    assert "expected each name once, got 'B' again" in faults[2]
    assert check_architecture("edge") == []
    assert "expected one of" in check_architecture("egde")[0]
    with pytest.raises(SpecError, match=r"DRAM\.attributes\.datawidth"):
        load_architecture(tmp_path / "bad.yaml")


@pytest.mark.parametrize(
    ("name", "side", "kib", "offchip", "onchip"),
    [("edge", 32, 512, 50e9, 1e12), ("cloud", 256, 32 * 1024, 400e9, 8e12)],
)
def test_the_platforms_of_the_paper(
    name: str, side: int, kib: int, offchip: float, onchip: float
) -> None:
    platform = load_platform(name)
    assert platform.name == name
    assert platform.vector is not None
    assert platform.matrix.compute.instances == side * side
    assert platform.vector.compute.instances == 256
    for path in (platform.matrix, platform.vector):
        dram, glb = path.level("DRAM"), path.level("GLB")
        assert 1 / path.cycle_seconds == pytest.approx(940e6)
        assert glb.capacity_words == kib * 1024 // 2
        assert (dram.row_words, glb.row_words, dram.word_bits) == (4, 32, 16)
        assert dram.shared_words_per_cycle == pytest.approx(offchip / 2 / 940e6)
        assert glb.shared_words_per_cycle == pytest.approx(onchip / 2 / 940e6)
    assert platform.matrix.level("RF").capacity_words == 64
    assert platform.vector.variables["exp_cycles"] == 1


def test_shared_nodes_must_agree(tmp_path: Path) -> None:
    tail = "architecture:\n  nodes:\n"
    (tmp_path / "x.yaml").write_text(tail + DRAM + SRAM + MAC)
    (tmp_path / "x.sfu.yaml").write_text(tail + DRAM + SRAM.replace("8", "9") + MAC)
    message = r"x\.sfu\.yaml: B\.attributes\.depth: expected 8 as in .*x\.yaml, got 9; nodes of the"
    with pytest.raises(SpecError, match=message):
        load_platform(tmp_path / "x.yaml")
    assert len(check_architecture(tmp_path / "x.yaml")) == 1
    (tmp_path / "x.sfu.yaml").write_text(tail + DRAM.replace("DRAM,", "HBM,", 1) + MAC)
    with pytest.raises(SpecError, match=r"expected the level 'DRAM' of .*x\.yaml, got only HBM"):
        load_platform(tmp_path / "x.yaml")
    (tmp_path / "x.sfu.yaml").write_text(
        "variables: {global_cycle_seconds: 2e-9}\n" + tail + DRAM + MAC
    )
    with pytest.raises(SpecError, match=r"x\.sfu\.yaml: .*global_cycle_seconds: expected"):
        load_platform(tmp_path / "x.yaml")
    (tmp_path / "x.sfu.yaml").write_text(tail + DRAM + SRAM.replace("B", "L2") + MAC)
    message = r"expected a level on chip that .*x\.yaml has too \(B\), got 'L2'; call the buffer"
    with pytest.raises(SpecError, match=message):
        load_platform(tmp_path / "x.yaml")
    assert len(check_architecture(tmp_path / "x.yaml")) == 1
    (tmp_path / "x.sfu.yaml").unlink()
    assert load_platform(tmp_path / "x.yaml").vector is None


def test_node_strings_in_memory_are_words() -> None:
    nodes = [
        ["!Container", {"name": "s", "attributes": {"technology": "45nm"}}],
        ["!Component", {"name": "D", "class": "DRAM", "attributes": {"datawidth": "W"}}],
    ]
    with pytest.raises(SpecError, match=r"D\.attributes\.datawidth: expected int > 0, got 'W'"):
        architecture_from_nodes(nodes)
    nodes[1][1]["attributes"] = {"datawidth": 8}  # type: ignore[index]
    found = architecture_from_nodes([*nodes, ["!Component", {"name": "M", "class": "mac"}]])
    assert found.level("D").attributes["technology"] == "45nm"
    assert load_text(dump(found.document), "t") is not None


JUNK = st.sampled_from(
    [
        *(None, True, 0, -1, 3.5, float("inf"), float("nan"), 10**40),
        *("", "x", "width", "1 / 0", Quoted("512 KB"), [], [[1]], [None], {}, {"a": 1}),
        *(Tagged("!Component", {}), Tagged("!Parallel", None), Tagged("!Container", {"name": "q"})),
    ]
)


def _spots(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a document."""
    inner: list[tuple[Any, object]] = []
    if isinstance(value, Tagged):
        inner = [("body", value.body)]
    elif isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [path, *(spot for key, child in inner for spot in _spots(child, (*path, key)))]


def _replaced(value: Any, path: tuple[Any, ...], new: object) -> object:
    if not path:
        return new
    child, rest = path[0], path[1:]
    if isinstance(value, Tagged):
        return Tagged(value.tag, _replaced(value.body, rest, new), value.line)
    if isinstance(value, list):
        return [_replaced(v, rest, new) if i == child else v for i, v in enumerate(value)]
    return {k: _replaced(v, rest, new) if k == child else v for k, v in value.items()}


EVERYTHING = load_text(
    "constraints: [{target: w, type: temporal, factors: [M=1]}]\n"
    + NESTED.replace("datawidth, 16", "8, 16").replace(
        "  - !Component {name: off", PARALLEL + "  - !Component {name: off"
    ),
    "fuzz.yaml",
)


@given(st.sampled_from(_spots(EVERYTHING)[1:]), JUNK)
def test_junk_anywhere_is_read_or_refused_in_one_line(path: tuple[Any, ...], junk: object) -> None:
    document = _replaced(EVERYTHING, path, junk)
    error = ""
    try:
        architecture_of(document, "fuzz.yaml")
    except SpecError as err:
        error = str(err)
    assert "\n" not in error
    assert error == "" or error.startswith("fuzz.yaml")


# Public architectures, read where they lie: set the variables to checkouts of
# Accelergy-Project/timeloop-accelergy-exercises and FPSG-UIUC/micro24-fusemax-artifact.
EXERCISES = os.environ.get("TIMELOOP_EXERCISES", "")
FUSEMAX = os.environ.get("FUSEMAX_ARTIFACT", "")
DESIGNS = Path(EXERCISES) / "workspace/example_designs/example_designs"


@pytest.mark.skipif(not EXERCISES, reason="TIMELOOP_EXERCISES is not set to a checkout")
@pytest.mark.parametrize(
    ("name", "macs", "levels"),
    [
        ("eyeriss_like", 168, 5),
        ("simba_like", 256, 6),
        ("simple_output_stationary", 256, 6),
        ("simple_weight_stationary", 256, 6),
    ],
)
def test_public_example_designs(name: str, macs: int, levels: int) -> None:
    plain = load_architecture(DESIGNS / name / "arch.yaml")
    whole = load_architecture(DESIGNS / "top.yaml.jinja2", data={"architecture": name})
    for found in (plain, whole):
        assert (found.compute.instances, len(found.levels)) == (macs, levels)
    assert "components" in whole.document


@pytest.mark.skipif(not FUSEMAX, reason="FUSEMAX_ARTIFACT is not set to a checkout")
@pytest.mark.parametrize("name", ["baselines/arch", "proposal/arch", "proposal/flat_arch"])
def test_fusemax_architectures(name: str) -> None:
    folder = Path(FUSEMAX) / "workspace/inputs/yamls"
    for side, macs in (("1d", 256), ("2d", 65536)):
        found = load_architecture(folder / f"{name}-{side}.yaml")
        assert found.compute.instances == macs
        assert found.cycle_seconds == 1.0638297873e-9


@pytest.mark.parametrize(
    ("shared", "read", "write", "fill", "together"),
    [
        (8, None, None, None, 8),
        (None, 4, 2, None, 6),
        (None, 4, 2, 3, 9),
        (8, 4, 2, None, 6),  # the ports apart are the narrower ones
        (5, 4, 2, None, 5),
        (8, 4, None, None, 8),  # writes are unlimited but for the shared port
        (None, 4, None, 3, None),
        (None, None, None, None, None),
    ],
)
def test_words_per_cycle_of_reads_and_writes_together(
    shared: float | None,
    read: float | None,
    write: float | None,
    fill: float | None,
    together: float | None,
) -> None:
    rates = {"shared": shared, "read": read, "write": write, "fill": fill}
    said = "".join(f", {kind}_bandwidth: {rate}" for kind, rate in rates.items() if rate)
    assert level(f"depth: 4, width: 16, datawidth: 16{said}").words_per_cycle == together


GLB = "class: SRAM, attributes: {width: 16, depth: 8, datawidth: 16, read_bandwidth: 2"


def test_a_part_has_the_words_and_ports_of_the_memory_right_outside() -> None:
    nodes = (
        f"  - !Component {{name: B, {GLB}}}}}\n  - !Component {{name: P, {GLB}, part_of: B}}}}\n"
    )
    found = arch(DRAM + nodes + MAC)
    outer, part = found.level("B"), found.level("P")
    assert (part.part_of, part.memory, part.capacity_words) == ("B", "B", None)
    assert (part.rates, part.word_bits, part.attributes) == (outer.rates, 16, outer.attributes)
    prices = Ert(levels={name: {"leak": 1.0} for name in ("DRAM", "B", "P", "MAC")}, source="own")
    assert prices.leak_per_cycle(found) == {"DRAM": 1, "B": 1, "MAC": 1}
    areas = Art(areas_um2=dict.fromkeys(("B", "P", "MAC"), 1e6), source="own")
    assert areas.component_mm2(found) == {"B": 1, "MAC": 1}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            "part_of: DRAM",
            r"P\.attributes\.part_of: expected the memory right outside it, got 'DRAM'",
        ),
        ("part_of: 3", r"P\.attributes\.part_of: expected a word, got 3"),
        (
            "part_of: B, write_bandwidth: 2",
            r"P\.attributes: expected the sizes and bandwidths of B",
        ),
    ],
)
def test_a_part_of_no_memory_right_outside_or_unlike_it_is_refused(said: str, message: str) -> None:
    nodes = f"  - !Component {{name: B, {GLB}}}}}\n  - !Component {{name: P, {GLB}, {said}}}}}\n"
    with pytest.raises(SpecError, match=message):
        arch(DRAM + nodes + MAC)


@pytest.mark.parametrize("named", ["B", "nowhere"])
def test_what_adds_up_the_cores_sums_is_outside_them(named: str) -> None:
    nodes = "  - !Container {name: core, spatial: {meshX: 4, meshY: 1}}\n"
    nodes = DRAM + nodes + f"  - !Component {{name: B, {GLB}}}}}\n" + MAC
    head = "variables:\n  version: 0.4\n  core_sums_at: '{}'\n"
    assert arch(nodes, head.format("DRAM")).variables["core_sums_at"] == "DRAM"
    message = rf"core_sums_at: expected a level outside the cores \(DRAM\), got '{named}'"
    with pytest.raises(SpecError, match=message):
        arch(nodes, head.format(named))
