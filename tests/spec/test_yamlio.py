"""YAML in and out, its limits, and the typed door."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flat_mapper.base.errors import SpecError
from flat_mapper.spec.document import (
    Quoted,
    Section,
    Tagged,
    refuse_unknown,
    take,
    take_choice,
    take_list,
)
from flat_mapper.spec.yamlio import dump, dump_json, load_text, load_yaml, write_text

NODES = """\
architecture:
  version: 0.4
  nodes:
  - !Container
    name: system
    attributes: {technology: "45nm", global_cycle_seconds: 1e-9}
  - !Component {name: GLB, attributes: {depth: 8 * 1024, width: 0x200}}
  - !Nothing
"""


def test_tags_numbers_and_quotes() -> None:
    document = load_yaml(NODES)
    assert document == {
        "architecture": {
            "version": 0.4,
            "nodes": [
                Tagged(
                    "!Container",
                    {
                        "name": "system",
                        "attributes": {"technology": "45nm", "global_cycle_seconds": 1e-9},
                    },
                ),
                Tagged(
                    "!Component",
                    {"name": "GLB", "attributes": {"depth": "8 * 1024", "width": 512}},
                ),
                Tagged("!Nothing", None),
            ],
        }
    }
    nodes = document["architecture"]["nodes"]  # type: ignore[index,call-overload]
    assert isinstance(nodes[0].body["attributes"]["technology"], Quoted)
    assert not isinstance(nodes[1].body["attributes"]["depth"], Quoted)
    assert [node.line for node in nodes] == [4, 7, 8]
    assert nodes[0].body.lines == {"name": 5, "attributes": 6}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-9", 1e-9),
        ("1E3", 1000.0),
        ("-3", -3),
        ("0.5", 0.5),
        (".5", 0.5),
        ("010", 10),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("~", None),
        ("", None),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("45nm", "45nm"),
        ("2024-01-01", "2024-01-01"),
        ("!!str 5", "5"),
        ("-.inf", -math.inf),
        ("+", "+"),
        ("P=32", "P=32"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    assert load_text(f"x: {text}", "t") == {"x": value}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: !!python/object/apply:os.system [ls]", r"t:1: .*a plain value, got '!!python"),
        ("a: !!binary aGk=", r"t:1: .*got '!!binary'"),
        ("a: !<tag:example.com,2000:x> 1", r"t:1: expected a tag such as !Component"),
        ("a: 1\nb: 2\na: 3\n", r"t:3: expected each key once \(it is on line 1\), got 'a'"),
        ("a: &x [*x]", r"t:1: expected an anchor that is complete above, got '\*x'"),
        ("a: *gone", r"t:1: expected an anchor"),
        ("a: [1, 2", r"t:1: expected YAML, got an error: .*"),
        ("a: b\n c: d", r"t:2: expected YAML"),
        ("a\tb: {", r"t:1: expected YAML"),
        ("a: 1\n---\nb: 2\n", r"t:2: expected one YAML document, got 'a second one'"),
        ("", r"t: expected a YAML document, got an empty file"),
        ("? [1]\n: 2", r"t:1: expected a word as a key"),
        ("<<: 3", r"t:1: expected a mapping, or a list of them, under <<, got '3'"),
        ("a: " + "9" * 100, r"t:1: expected a number of at most 60 digits"),
        ("[" * 500, r"t:1: expected at most 64 levels of nesting"),
        ("a: \x00", r"t: expected YAML, got an error"),
    ],
)
def test_bad_yaml_is_one_line_with_its_place(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        load_text(text, "t")
    assert "\n" not in str(caught.value)


def test_alias_bombs_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(SpecError, match=r"at most 500000 values, aliases expanded, got 'more'"):
        load_text("\n".join(lines), "bomb.yaml")
    lines = ["a0: &a0 {l: &l0 [1, 1]}"]
    lines += [
        f"a{i}: &a{i}\n  <<<: *a{i - 1}\n  l: &l{i} [*l{i - 1}, *l{i - 1}]" for i in range(1, 40)
    ]
    with pytest.raises(SpecError, match="aliases expanded"):
        load_text("\n".join(lines), "bomb.yaml")
    wide = "a: &a " + "x" * 100_000 + "\nb: [" + ", ".join(["*a"] * 5000) + "]"
    with pytest.raises(SpecError, match="aliases expanded"):
        load_text(wide, "bomb.yaml")


def test_merge_keys() -> None:
    text = """
one: &one {a: 1, b: {c: 1, d: 2}, l: [1], k: [1]}
two: &two {b: 9, e: 5}
flat: {<<: [*one, *two], a: 0}
deep: {<<<: *one, b: {c: 0}, l: [0], k: !nomerge [0]}
"""
    document = load_yaml(text)
    assert isinstance(document, Section)
    assert document["flat"] == {"a": 0, "b": {"c": 1, "d": 2}, "l": [1], "k": [1], "e": 5}
    assert document["deep"] == {"b": {"c": 0, "d": 2}, "l": [0, 1], "k": [0], "a": 1}


def test_files(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"gone\.yaml: expected a readable file, got: No such file"):
        load_yaml(tmp_path / "gone.yaml")
    with pytest.raises(SpecError, match="expected a readable file, got: Is a directory"):
        load_yaml(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")
    with pytest.raises(
        SpecError, match=r"latin\.yaml: expected text in UTF-8, got 'byte 0xe9 at 3'"
    ):
        load_yaml(str(tmp_path / "latin.yaml"))
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert load_yaml(tmp_path / "bom.yaml") == {"a": 1}


def test_writing_leaves_all_or_nothing(tmp_path: Path) -> None:
    target = tmp_path / "new" / "x.yaml"
    write_text(target, "a: 1\n")
    write_text(target, "a: 2\n")
    assert target.read_text() == "a: 2\n"
    assert [p.name for p in target.parent.iterdir()] == ["x.yaml"]
    with pytest.raises(SpecError, match=r"x\.yaml.below: expected a file that can be written, got"):
        write_text(target / "below", "a")
    with pytest.raises(SpecError, match=r"that can be written, got: .*surrogates"):
        write_text(target, "\ud800")
    assert target.read_text() == "a: 2\n"
    assert [p.name for p in target.parent.iterdir()] == ["x.yaml"]


def test_dump_is_canonical() -> None:
    text = dump(
        {
            "nodes": [Tagged("!Component", {"name": "GLB", "depth": "8 * 1024"})],
            "technology": "45nm",
            "quoted": Quoted("PE"),
            "factors": ["P=32", "M=1"],
            "projection": [[["B"]], [["H"]]],
            "seconds": 1e-9,
            "words": ["yes", "1e-9", "1.5", "~", "", "a: b", "- a", "true"],
            "kinds": [1, 1.0, True, None],
            "empty": {},
            "none": [],
        }
    )
    assert text == (
        "nodes:\n- !Component\n  name: GLB\n  depth: 8 * 1024\n"
        'technology: "45nm"\nquoted: "PE"\nfactors: [P=32, M=1]\n'
        "projection: [[[B]], [[H]]]\nseconds: 1.0e-09\n"
        'words: ["yes", "1e-9", "1.5", "~", "", "a: b", "- a", "true"]\n'
        "kinds: [1, 1.0, true, null]\nempty: {}\nnone: []\n"
    )


DOCUMENTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
    | st.from_regex(r"[-0-9.e+xnm_:~]{1,8}", fullmatch=True),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text("abcdeyn0159.-", min_size=1, max_size=5), inner, max_size=4)
        | st.builds(
            Tagged,
            st.sampled_from(["!Component", "!Parallel"]),
            st.dictionaries(st.sampled_from("abc"), inner, max_size=2)
            | st.lists(inner, max_size=2),
        )
    ),
    max_leaves=12,
)


@given(DOCUMENTS)
def test_a_document_survives_the_round_trip(document: object) -> None:
    text = dump(document)
    again = load_text(text, "t")
    assert again == document
    assert repr(again) == repr(load_text(dump(again), "t"))  # kinds too, not only equality
    assert dump(again) == text


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**12), 10**12))
def test_old_readers_see_the_same_numbers(number: float) -> None:
    assert yaml.safe_load(dump({"x": number})) == {"x": number}


def test_json_has_no_tags() -> None:
    assert dump_json({"a": Tagged("!X", [1, None]), "b": (1.5, True)}) == (
        '{\n  "a": {\n    "tag": "!X",\n    "body": [\n      1,\n      null\n    ]\n  },\n'
        '  "b": [\n    1.5,\n    true\n  ]\n}\n'
    )


GLB = load_text("levels:\n- {capacity: 512 KB, name: GLB, ports: 2.0, on: 1}\n", "arch/edge.yaml")


def test_the_door_says_where_what_and_how_to_fix() -> None:
    node, where = GLB["levels"][0], "arch/edge.yaml: levels.0"  # type: ignore[index]
    assert take(node, "name", str, where) == "GLB"
    assert take(node, "ports", float, where, above=0) == 2.0
    assert take(node, "missing", int, where, None) is None
    cases = [
        (
            "capacity",
            int,
            r"arch/edge\.yaml:2: levels\.0\.capacity: expected int > 0, got '512 KB'",
        ),
        ("ports", int, r"levels\.0\.ports: expected int > 0, got 2\.0; write 2"),
        ("on", bool, r"levels\.0\.on: expected true or false, got 1"),
        ("name", list, r"levels\.0\.name: expected a list, got 'GLB'; write \[GLB\]"),
        ("name", dict, r"levels\.0\.name: expected a mapping, got 'GLB'"),
        ("width", int, r"levels\.0: expected the key 'width' \(int\), got the keys capacity, name"),
    ]
    for key, kind, message in cases:
        with pytest.raises(SpecError, match=message):
            take(node, key, kind, where, above=0)
    with pytest.raises(SpecError, match=r"f: a: expected int, got nothing"):
        take({"a": None}, "a", int, "f")
    with pytest.raises(SpecError, match=r"arch/edge\.yaml: levels: expected a mapping of keys"):
        take([], "a", int, "arch/edge.yaml: levels")


def test_numbers_are_bounded_and_finite() -> None:
    node = {"a": 0, "b": math.inf, "c": True, "d": -1, "e": 7}
    assert take(node, "e", float, "f") == 7.0
    for key, kind, above in (("a", int, 0), ("b", float, 0), ("c", int, 0), ("d", float, -1)):
        with pytest.raises(SpecError, match=rf"f: {key}: expected (int|number) > "):
            take(node, key, kind, "f", above=above)
    with pytest.raises(SpecError, match=r"f: b: expected number from .*, got inf"):
        take(node, "b", float, "f")


def test_choices_and_lists() -> None:
    node = load_text("objective: energi\nkeep: [A, 3]\nranks: B\n", "m.yaml")
    with pytest.raises(
        SpecError,
        match=r"m\.yaml:1: objective: expected one of latency, energy, got 'energi'; did you mean",
    ):
        take_choice(node, "objective", ("latency", "energy"), "m.yaml")
    assert take_choice(node, "none", ("latency", "energy"), "m.yaml", "energy") == "energy"
    with pytest.raises(SpecError, match=r"m\.yaml:2: keep\.1: expected a word, got 3"):
        take_list(node, "keep", str, "m.yaml")
    assert take_list(node, "gone", str, "m.yaml", ()) == ()
    with pytest.raises(SpecError, match=r"ranks: expected a list, got 'B'; write \[B\]"):
        take_list(node, "ranks", str, "m.yaml")


def test_unknown_keys_list_the_known_ones() -> None:
    node = load_text("granularty: row\n", "mapspaces/row.yaml")
    message = (
        r"mapspaces/row\.yaml:1: expected keys among granularity, factors.*got 'granularty'; "
        r"did you mean 'granularity'\?"
    )
    with pytest.raises(SpecError, match=message):
        refuse_unknown(node, ("granularity", "factors"), "mapspaces/row.yaml")
    refuse_unknown({"factors": 1}, ("granularity", "factors"), "x")


@pytest.mark.parametrize("text", ["max(32, width)", "ceil(log2(depth))", "min(a,b) * 2"])
def test_expressions_with_arguments_stay_expressions(text: str) -> None:
    assert dump({"memory_width": text}) == f"memory_width: {text}\n"
    for document in ({"memory_width": text}, [text, 1], {"inner": [[text], {"key": text}]}):
        assert load_text(dump(document), "text") == document
    assert dump({"name": Quoted(text)}) == f'name: "{text}"\n'
