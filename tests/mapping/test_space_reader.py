"""Mapspace files: what they say, what ships, and what is refused."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flat_mapper.api.calls import search
from flat_mapper.arch.reader import load_platform
from flat_mapper.base.errors import SpecError
from flat_mapper.mapping.space import Fusion, KeepRule, Mapspace, SlotRule, partitions
from flat_mapper.mapping.space_reader import check_mapspace, load_mapspace, unmatched_rules
from flat_mapper.mapping.values import Policy
from flat_mapper.spec.catalog import resolve, shipped_names
from flat_mapper.workload.reader import load_workload

TINY = Path(__file__).parents[2] / "problems" / "tiny.yaml"

WHOLE = """\
mapspace:
  description: all of it
  source: a test
  fusion:
    groups: [[QK, softmax, AV]]
    optional: true
    granularity: head
    staging: [Q, K]
    schedule: overlapped
    tiles: {P: [64, 128]}
  policy: {buffering: 1, in_place: false, overflow: reject, softmax: free}
  constraints:
  - {einsum: QK, target: PE, type: spatial, factors: [P=1], permutation: [E, M], split: 1}
  - {target: RF, type: temporal, factors: [M=1, P<=8], permutation: [P, E]}
  - {target: RF, type: dataspace, keep: [K], bypass: [Q, QK]}
"""


def _file(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def test_every_key_is_read(tmp_path: Path) -> None:
    assert load_mapspace(_file(tmp_path, WHOLE)) == Mapspace(
        name="mine",
        description="all of it",
        fusion=Fusion(
            groups=(("QK", "softmax", "AV"),),
            optional=True,
            granularity="head",
            staging=("Q", "K"),
            schedule="overlapped",
            tiles={"P": (64, 128)},
        ),
        policy=Policy(buffering=1.0, in_place=False, softmax="free"),
        slots=(
            SlotRule(node="PE", kind="spatial", einsum="QK", factors={"P": 1}, x=("E",), y=("M",)),
            SlotRule(
                node="RF",
                kind="temporal",
                factors={"M": 1},
                at_most={"P": 8},
                innermost=("P", "E"),
            ),
        ),
        keeps=(KeepRule(level="RF", keep=("K",), bypass=("Q", "QK")),),
    )


@pytest.mark.parametrize("text", ["mapspace: {}", "mapspace: {fusion: , policy: , constraints: }"])
def test_what_is_left_out_is_free(tmp_path: Path, text: str) -> None:
    assert load_mapspace(_file(tmp_path, text)) == Mapspace(name="mine")


def test_axes_in_both_forms(tmp_path: Path) -> None:
    lists = WHOLE.replace("permutation: [E, M], split: 1}", "x: [E], y: [M]}")
    assert load_mapspace(_file(tmp_path, lists)).slots[0].x == ("E",)
    one = load_mapspace(_file(tmp_path, lists.replace(", y: [M]", ""))).slots[0]
    assert (one.x, one.y) == (("E",), None)


def test_factors_in_timeloops_older_form(tmp_path: Path) -> None:
    text = WHOLE.replace("factors: [M=1, P<=8]", "factors: M=1 P<=8")
    assert load_mapspace(_file(tmp_path, text)) == load_mapspace(_file(tmp_path, WHOLE))


# What ships

FUSEMAX = ("fusemax-arch", "fusemax-binding", "fusemax-cascade")  # of the problem fusemax-attention
ANY_PROBLEM = tuple(name for name, _ in shipped_names("mapspaces") if name not in FUSEMAX)


def test_each_has_a_line_a_source_and_no_faults() -> None:
    lines = dict(shipped_names("mapspaces"))
    assert set(lines) == {
        *(
            "naive",
            "flex",
            "flex-stream",
            "flat",
            "flat-m",
            "flat-b",
            "flat-h",
            "flat-r",
            "flat-mla",
            "any",
            "elementwise",
            "any-cores",
            "cores",
            *FUSEMAX,
        )
    }
    assert all(lines.values())
    for name in lines:
        mapspace = load_mapspace(name)
        assert mapspace.name == name
        assert mapspace.description
        assert check_mapspace(name) == []


@pytest.mark.parametrize("scope", ["attention", "block"])
@pytest.mark.parametrize("arch", ["edge", "cloud"])
def test_shipped_rules_name_what_shipped_platforms_have(arch: str, scope: str) -> None:
    workload, platform = load_workload(TINY, scope), load_platform(arch)  # type: ignore[arg-type]
    for name in ANY_PROBLEM:
        assert unmatched_rules(load_mapspace(name), workload, platform) == []


def test_groups_of_the_shipped_mapspaces() -> None:
    workload = load_workload(TINY)
    unfused = [("QK",), ("QK_max", "QK_exp", "QK_sum", "A"), ("AV",)]
    core = tuple(name for group in unfused for name in group)
    found = {
        name: [
            [group.names for group in part] for part in partitions(workload, load_mapspace(name))
        ]
        for name in ANY_PROBLEM
    }
    assert found["naive"] == found["flex"] == found["flex-stream"] == [unfused]
    assert found["flat-m"] == found["flat-b"] == found["flat-h"] == found["flat-r"] == [[core]]
    assert found["flat"] == [[core], unfused]


@pytest.mark.parametrize("name", FUSEMAX)
def test_mapspaces_of_one_problem_fuse_all_of_it(name: str) -> None:
    workload = load_workload(resolve("problems", "fusemax-attention"))
    mapspace = load_mapspace(name)
    assert unmatched_rules(mapspace, workload, load_platform("fusemax-proposal")) == []
    part, _ = partitions(workload, mapspace)  # the other: one tile of keys, nothing to correct
    assert [set(group.names) for group in part] == [{e.name for e in workload.einsums}]


# What is refused


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "granularity",
            "granularty",
            r"mine\.yaml:7: mapspace\.fusion: expected keys among .*got 'granularty'",
        ),
        ("granularity", "granularty", r"did you mean 'granularity'\?"),
        ("head", "heads", r"fusion\.granularity: expected one of any, all, .*got 'heads'; did you"),
        ("[Q, K]", "some", r"fusion\.staging: expected one of any, none, all, got 'some'"),
        ("[Q, K]", "[Q, Q]", r"fusion\.staging: expected each name once, got 'Q'; remove one"),
        ("[Q, K]", "[Q, 3]", r"fusion\.staging\.1: expected a word, got 3"),
        ("true", "maybe", r"fusion\.optional: expected true or false, got 'maybe'"),
        ("[64, 128]", "[64, 0]", r"fusion\.tiles\.P\.1: expected int > 0, got 0"),
        ("[64, 128]", "[]", r"fusion\.tiles\.P: expected at least one tile size, got \[\]"),
        ("[64, 128]", "64", r"fusion\.tiles\.P: expected a list, got 64; write \[64\]"),
        ("[[QK, softmax, AV]]", "[QK, AV]", r"groups\.0: expected a list, got 'QK'; write \[QK\]"),
        ("[[QK, softmax, AV]]", "[[QK]]", r"groups\.0: expected at least two Einsums that share"),
        (
            "[[QK, softmax, AV]]",
            "[[QK, AV], [AV, softmax]]",
            r"groups: expected each Einsum in one group, got 'AV'",
        ),
        ("buffering: 1", "buffering: 2x", r"policy\.buffering: expected number, got '2x'; write 2"),
        ("buffering: 1", "buffering: 0.5", r"policy\.buffering: expected copies >= 1 .*got 0\.5"),
        ("reject", "spill", r"policy\.overflow: expected 'reject', got 'spill'; leave it out"),
        (
            "type: temporal",
            "type: time",
            r"constraints\.1\.type: expected one of spatial, temporal",
        ),
        ("target: RF, type: t", "type: t", r"constraints\.1: expected the key 'target' \(a word\)"),
        ("P<=8", "P>=8", r"constraints\.1\.factors\.1: expected RANK=N or RANK<=N .*got 'P>=8'"),
        ("P<=8", "P=0", r"factors\.1: expected RANK=N or RANK<=N with N >= 1, .*got 'P=0'"),
        ("P<=8", "M<=8", r"constraints\.1\.factors\.1: expected each rank once, got 'M'"),
        ("split: 1", "split: 3", r"constraints\.0\.split: expected at most 2, .*got 3"),
        ("split: 1", "x: [E]", r"constraints\.0: expected the key 'split' \(int\)"),
        ("split: 1", "split: 1, x: [E]", r"expected either permutation and split, or x and y"),
        ("[Q, QK]", "[Q, K]", r"bypass: expected tensors other than those that RF keeps, got 'K'"),
        (
            "keep: [K]",
            "kep: [K]",
            r"constraints\.2: expected keys among .*got 'kep'; .*did you mean 'keep'\?",
        ),
        (
            "description",
            "descripton",
            r"mine\.yaml:2: mapspace: expected keys among .*got 'descripton'",
        ),
        ("mapspace:", "mapspce:", r"mine\.yaml: expected the key 'mapspace'"),
        ("all of it", "!!python/object:os.system {}", r"mine\.yaml:2: expected a plain value"),
    ],
)
def test_messages(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = _file(tmp_path, WHOLE.replace(old, new, 1))
    with pytest.raises(SpecError, match=message) as caught:
        load_mapspace(path)
    assert "\n" not in str(caught.value)


def test_a_constraint_is_named_with_its_own_line(tmp_path: Path) -> None:
    (line,) = check_mapspace(_file(tmp_path, WHOLE.replace("P<=8", "P>=8")))
    assert f"{tmp_path / 'mine.yaml'}:14: mapspace.constraints.1.factors.1: " in line


def test_check_names_everything_at_once(tmp_path: Path) -> None:
    text = WHOLE.replace("head", "heads").replace("reject", "spill").replace("P<=8", "P")
    lines = check_mapspace(_file(tmp_path, text))
    assert len(lines) == 3
    assert [key for key in ("granularity", "overflow", "factors") if key in "\n".join(lines)] == [
        *("granularity", "overflow", "factors")
    ]


def test_an_unknown_name_lists_what_ships() -> None:
    with pytest.raises(
        SpecError, match=r"mapspaces: expected one of .*flat-b, .*did you mean 'naive'"
    ):
        load_mapspace("naiv")


def test_rules_that_name_nothing(tmp_path: Path) -> None:
    text = WHOLE.replace("target: RF, type: t", "target: RFF, type: t").replace("[P, E]", "[P, Z]")
    mapspace = load_mapspace(_file(tmp_path, text.replace("keep: [K]", "keep: [KK]")))
    lines = unmatched_rules(mapspace, load_workload(TINY), load_platform("edge"))
    assert [line.split(", got ")[1] for line in lines] == [
        "'RFF'; did you mean 'RF'?",
        "'Z'",
        "'KK'; did you mean 'K'?",
    ]


def test_loops_of_the_wrong_kind_are_refused(tmp_path: Path) -> None:
    text = """
mapspace:
  constraints:
  - {target: GLB, type: spatial, factors: [P=2]}
  - {target: PE, type: temporal, factors: [P=2]}
"""
    lines = unmatched_rules(
        load_mapspace(_file(tmp_path, text)), load_workload(TINY), load_platform("edge")
    )
    assert [line.split(": ", 2)[2] for line in lines] == [
        f"expected temporal constraints on levels, spatial ones on fanouts, got '{got}'; change "
        "type or target"
        for got in ("spatial on GLB", "temporal on PE")
    ]


def test_a_group_is_known_whole_or_not_at_all(tmp_path: Path) -> None:
    platform = load_platform("edge")
    typed = load_mapspace(_file(tmp_path, WHOLE.replace("softmax, AV]", "softmax, AW]")))
    (line,) = unmatched_rules(typed, load_workload(TINY), platform)
    assert "fusion.groups: expected Einsums or operators among softmax, QK" in line
    assert "got 'AW'; did you mean 'A" in line
    gemms = load_workload(TINY.parent / "gemm-gemm.yaml")
    assert unmatched_rules(load_mapspace("flat"), gemms, platform) == []
    assert unmatched_rules(load_mapspace("naive"), gemms, platform) == []


def test_a_search_refuses_a_rule_that_names_nothing(tmp_path: Path) -> None:
    path = _file(tmp_path, WHOLE.replace("target: PE", "target: PEs"))
    with pytest.raises(SpecError, match=r"mine: constraints: expected a target among .*'PEs'; did"):
        search("tiny", "edge", path)


junk = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "P=1", "any", "Q"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["target", "type", "factors", "groups", "staging", "P"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@given(st.sampled_from(["fusion", "policy", "constraints", "description"]), junk)
def test_junk_is_lines_never_a_crash(key: str, value: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = _file(Path(folder), json.dumps({"mapspace": {key: value}}))
        assert all("\n" not in line for line in check_mapspace(path))
