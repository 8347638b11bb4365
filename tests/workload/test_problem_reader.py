"""Problem files: both forms, scopes, sizes, and what is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flat_mapper.base.errors import SpecError
from flat_mapper.workload.cascade import SCOPES, attention, block
from flat_mapper.workload.problem_file import sequence_lengths
from flat_mapper.workload.reader import check_problem, load_workload, set_ranks

PROBLEMS = Path(__file__).parents[2] / "problems"

SHORT = """\
problem:
  name: short
  source: a test
  ranks: {B: 2, H: 3, P: 8, M: P, E: D / H, F: D / H, D: 12}
  word_bits: 8
  tensor_bits: {QK: 32, WQ: 4}
  layers: 6
  attention: {softmax: row}
"""
WRITTEN = """\
problem:
  ranks: {I: 4, J: 5, K: 6, L: 7}
  einsums:
  - T[i,k] = A[i,j] * W1[j,k]
  - {name: activation, einsum: "R[i,k] = relu(T[i,k])", unit: matrix}
  - Y[i,l] = R[i,k] * W2[k,l]
"""


# The two forms


def test_the_short_form_is_the_builders_cascade():
    built = replace(
        block(B=2, H=3, P=8, M=8, E=4, F=4, layers=6, word_bits=8),
        name="short",
        source="a test",
        tensor_bits={"QK": 32, "WQ": 4},
    )
    assert load_workload(SHORT, "model") == built
    assert load_workload(SHORT, "block") == replace(built, repeat=1)


def test_the_default_scope_is_attention():
    workload = load_workload(SHORT)
    core = attention(B=2, H=3, P=8, M=8, E=4, F=4, word_bits=8)
    assert workload == replace(core, name="short", source="a test", tensor_bits={"QK": 32})


@pytest.mark.parametrize("form", ["attention: {}", "attention:", "attention: {softmax: }"])
def test_attention_needs_no_words(form):
    assert load_workload(SHORT.replace("attention: {softmax: row}", form)) == load_workload(SHORT)


def test_widths_of_the_block_can_be_given():
    wide = SHORT.replace("D: 12}", "D: 12, FF: 2 * D}")
    assert load_workload(wide, "block").rank_sizes["FF"] == 24


def test_a_cascade_is_read_as_written():
    workload = load_workload(WRITTEN)
    assert [(e.name, e.operation, e.unit) for e in workload.einsums] == [
        ("T", "mul", "matrix"),
        ("activation", "relu", "matrix"),
        ("Y", "mul", "matrix"),
    ]
    assert dict(workload.rank_sizes) == {"I": 4, "J": 5, "K": 6, "L": 7}
    assert (workload.name, workload.word_bits, workload.softmax) == ("text", 16, "none")
    assert load_workload(WRITTEN, "model") == load_workload(WRITTEN, "block") == workload


def test_a_name_defaults_to_the_files(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(WRITTEN, encoding="utf-8")
    assert load_workload(path).name == load_workload(str(path)).name == "mine"


def test_both_forms_say_the_same_attention():
    lines = "\n".join(f"  - {e.text}" for e in load_workload(SHORT).einsums)
    written = "problem:\n  ranks: {B: 2, H: 3, P: 8, M: 8, E: 4, F: 4}\n  einsums:\n" + lines + "\n"
    core = load_workload(written)
    assert core.einsums == load_workload(SHORT).einsums
    names = tuple(e.name for e in core.einsums)
    assert core.shareable_ranks(names) == ("B", "H", "P")


# What ships


@pytest.mark.parametrize(
    ("name", "sizes", "layers"),
    [
        ("bert-base", {"B": 64, "H": 12, "E": 64, "F": 64, "D": 768, "FF": 3072}, 12),
        ("trxl", {"B": 64, "H": 16, "E": 64, "F": 64, "D": 1024, "FF": 4096}, 18),
        ("t5-small", {"B": 64, "H": 8, "E": 64, "F": 64, "D": 512, "FF": 2048}, 6),
        ("xlm", {"B": 64, "H": 16, "E": 128, "F": 128, "D": 2048, "FF": 8192}, 12),
    ],
)
def test_models_of_the_paper(name, sizes, layers):
    workload = load_workload(PROBLEMS / f"{name}.yaml", "model")
    assert dict(workload.rank_sizes) == {**sizes, "P": 512, "M": 512}
    assert workload.rank_sizes["H"] * workload.rank_sizes["E"] == workload.rank_sizes["D"]
    assert (workload.name, workload.repeat, workload.word_bits) == (name, layers, 16)
    assert "FLAT, ASPLOS'23" in workload.source


@pytest.mark.parametrize("path", sorted(PROBLEMS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_file_is_sound_and_opens_with_its_description_and_source(path):
    assert check_problem(path) == []
    text = path.read_text(encoding="utf-8")
    first, second, third = text.splitlines()[:3]
    assert first.startswith("# ")
    assert (len(first) <= 100, second, third[:10]) == (True, "#", "# Source: ")
    scopes = [s for s in SCOPES if s not in ("layer", "vocabulary") or f"\n  {s}:" in text]
    for scope in (None, *scopes) if "attention:" in text else (None, "block", "model"):
        workload = load_workload(path, scope)
        assert workload.name == path.stem
        assert workload.source


def test_bert_base_moves_the_known_words():
    workload = load_workload(PROBLEMS / "bert-base.yaml")
    compulsory = sum(workload.tensor_words(t) for t in ("Q", "K", "V", "AV"))
    assert compulsory * 2 == 201_326_592  # bytes at N = 512


def test_gemm_gemm_shares_its_inner_rank():
    workload = load_workload(PROBLEMS / "gemm-gemm.yaml")
    assert workload.shareable_ranks(("T", "Y")) == ("I", "K")


# Sizes from outside


def test_sizes_from_outside_move_what_follows_from_them():
    workload = load_workload(SHORT, "block", sizes={"P": "2 * 512", "H": 4, "FF": 5})
    sizes = {"B": 2, "H": 4, "P": 1024, "M": 1024, "E": 3, "F": 3, "D": 12, "FF": 5}
    assert dict(workload.rank_sizes) == sizes


def test_set_ranks_sets_what_is_named():
    workload = set_ranks(load_workload(SHORT), {"P": 4096, "B": "2 * B"})
    assert (workload.rank_sizes["P"], workload.rank_sizes["M"], workload.rank_sizes["B"]) == (
        *(4096, 8),
        4,
    )


@given(st.integers(1, 10**6), st.sampled_from(SCOPES))
def test_a_sequence_sets_queries_and_keys(length, scope):
    text = f"{SHORT.rstrip()}\n  layer: {{norm: rms}}\n  vocabulary: {{size: 7}}\n"
    workload = load_workload(text, scope)
    longer = load_workload(text, scope, lengths=sequence_lengths(length))
    keys = {"M": length} if "M" in workload.rank_sizes else {}
    sizes = {**workload.rank_sizes, "P": length, **keys}
    assert longer == replace(workload, rank_sizes=sizes)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"N": 4}, "short: ranks: expected one of B, H, P, M, E, F, got 'N'"),
        ({"p": 4}, "short: ranks: .* got 'p'; did you mean 'P'"),
        ({"P": 0}, "short: ranks.P: expected int > 0, got 0"),
        ({"P": "512 KB"}, "short: ranks.P: expected int > 0, got '512 KB'"),
        ({"P": "3 / 2"}, "short: ranks.P: expected int > 0, got 1.5; it is what '3 / 2' gives"),
    ],
)
def test_bad_sizes_from_outside(sizes, message):
    workload = load_workload(SHORT)
    with pytest.raises(SpecError, match=message):
        set_ranks(workload, sizes)
    if "P" in sizes:
        with pytest.raises(SpecError, match=message.partition(": ")[2]):
            load_workload(SHORT, sizes=sizes)


def test_a_rank_from_outside_that_the_file_lacks():
    with pytest.raises(
        SpecError, match=r"text: problem.ranks: expected ranks among B, .*, got 'N'"
    ):
        load_workload(SHORT, sizes={"N": 4})


def test_a_cascade_without_queries_and_keys_has_no_sequence():
    message = "text: problem: sequence length: expected roles that say which ranks are queries and"
    with pytest.raises(SpecError, match=message):
        load_workload(WRITTEN, lengths=sequence_lengths(64))


# What is refused

BAD = [
    (SHORT, "name: short", "nme: short", r"text:2: problem: expected keys among name.*got 'nme'"),
    (SHORT, "word_bits: 8", "wordbits: 8", "keys among .*got 'wordbits'; did you mean 'word_bits'"),
    (SHORT, "word_bits: 8", "word_bits: 0", "text:5: problem.word_bits: expected int > 0, got 0"),
    (SHORT, "word_bits: 8", "word_bits: 2 bytes", "got '2 bytes'; write 2"),
    (SHORT, "layers: 6", "layers: 1.5", "text:7: problem.layers: expected int > 0, got 1.5"),
    (SHORT, "name: short", "name: [a]", "text:2: problem.name: expected a word, got a list"),
    (SHORT, "B: 2", "B: 0", "text:4: problem.ranks.B: expected int > 0, got 0"),
    (SHORT, "B: 2", "B: -2", "text:4: problem.ranks.B: expected int > 0, got -2"),
    (SHORT, "B: 2", "B: 2.5", "text:4: problem.ranks.B: expected int > 0, got 2.5"),
    (SHORT, "B: 2", "B: 512 KB", "problem.ranks.B: expected int > 0, got '512 KB'"),
    (SHORT, "B: 2", "B: true", "text:4: problem.ranks.B: expected int > 0, got True"),
    (SHORT, "B: 2", "B: '2'", "text:4: problem.ranks.B: expected int > 0, got '2'; write 2"),
    (SHORT, "B: 2", "B: !big 2", "text:4: problem.ranks.B: expected int > 0, got !big"),
    (SHORT, "B: 2", "b: 2", "text:4: problem.ranks: expected ranks among B, .*, got 'b'; did you"),
    (SHORT, "B: 2, ", "", r"problem.ranks: expected the sizes of B, H, P, M, E, F, got 'no B'"),
    (SHORT, "D: 12", "D: 13", "ranks.E: expected int > 0, got 4.33.*; it is what 'D / H' gives"),
    (SHORT, "M: P", "M: N", "text:4: problem.ranks.M: expected a name among .*, got 'N'"),
    (SHORT, "M: P", "M: M", "problem.ranks: expected sizes without a cycle, got 'M -> M'"),
    (SHORT, "M: P", "M: 2**60", r"text: problem: attention: QK: expected fewer than 2\^61 iterat"),
    (SHORT, "QK: 32", "KQ: 32", "text:6: problem.tensor_bits: expected tensors among .*, got 'KQ'"),
    (SHORT, "QK: 32", "QK: 0", "text:6: problem.tensor_bits.QK: expected int > 0, got 0"),
    (SHORT, "{QK: 32, WQ: 4}", "32", "text:6: problem.tensor_bits: expected a mapping, got 32"),
    (
        SHORT,
        "softmax: row",
        "softmax: o",
        "attention.softmax: expected one of row, online, online-",
    ),
    (
        SHORT,
        "softmax: row",
        "sofmax: row",
        "problem.attention: expected keys among .*got 'sofmax'; .* 'softmax'",
    ),
    (SHORT, "{softmax: row}", "row", "text: problem.attention: expected a mapping .*, got 'row'"),
    (
        SHORT,
        "  attention: {softmax: row}\n",
        "",
        "either attention or einsums, got 'the keys name,",
    ),
    (SHORT, "layers: 6", "einsums: []", "expected either attention or einsums, got 'attention and"),
    (SHORT, "layers: 6", "shape: {}", "or Timeloop's shape, got 'shape and attention'"),
    (SHORT, "problem:", "problems:", "text: expected the key 'problem' .a mapping., got the keys"),
    (SHORT, "problem:", "a: 1\nproblem:", "text:1: expected keys among problem.*got 'a'"),
    (SHORT, "ranks: {B: 2, H: 3,", "ranks: [{B: 2, H: 3,", "text:5: expected YAML, got an"),
    (WRITTEN, "I: 4", "I: 4, Z: 2", "text:2: problem.ranks: expected ranks among I, .*, got 'Z'"),
    (WRITTEN, "I: 4, ", "", r"text: problem: T: A\[i,j\]: expected ranks among J, K, L, got 'I'"),
    (
        WRITTEN,
        "T[i,k] =",
        "T[i,k]",
        r"text:3: problem.einsums.0: column 8 of .*: expected '=', got",
    ),
    (
        WRITTEN,
        "relu(",
        "rely(",
        r"text:3: problem.einsums.1.einsum: column 10 of .*: expected a fun",
    ),
    (
        WRITTEN,
        "unit: matrix",
        "unit: tensor",
        "einsums.1.unit: expected one of matrix, vector, got",
    ),
    (
        WRITTEN,
        "unit: matrix",
        "units: matrix",
        "einsums.1: expected keys among .*got 'units'; .* mean 'unit'",
    ),
    (WRITTEN, "relu(T[i,k])", "relu(T[i,j])", r"activation: T: expected T\[i,k\], as it is els"),
    (WRITTEN, "name: activation", "name: T", "text: problem: Einsum T: expected one of that name"),
    (WRITTEN, "W1[j,k]", "Y[j,k]", "text: problem: Y: Y: expected Y.j,k., as it is elsewhere"),
    (WRITTEN, "A[i,j]", "R[i,k]", r"text: problem: expected Einsums without a cycle, got '"),
]


@pytest.mark.parametrize(("text", "old", "new", "message"), BAD)
def test_bad_files_are_refused_with_the_place(text, old, new, message):
    assert old in text
    bad = text.replace(old, new, 1)
    with pytest.raises(SpecError, match=message) as caught:
        load_workload(bad)
    assert "\n" not in str(caught.value)
    assert str(caught.value) in check_problem(bad)


def test_a_missing_file_and_an_empty_one(tmp_path):
    with pytest.raises(SpecError, match=r"none.yaml: expected a readable file, got"):
        load_workload(tmp_path / "none.yaml")
    empty = tmp_path / "empty.yaml"
    empty.touch()
    with pytest.raises(SpecError, match=r"empty.yaml: expected a YAML document, got an empty file"):
        load_workload(empty)


@pytest.mark.parametrize("text", ["- 1\n- 2\n", "problem: 5\n", "!x {problem: 1}\n"])
def test_documents_of_another_kind(text):
    with pytest.raises(SpecError, match="expected a mapping"):
        load_workload(text)


def test_a_scope_that_is_none():
    with pytest.raises(SpecError, match=r"scope: expected one of attention, block, layer, .*'la'"):
        load_workload(SHORT, "la")


def test_check_lists_everything_at_once():
    bad = SHORT.replace("B: 2", "B: 0").replace("P: 8", "P: x").replace("word_bits: 8", "word: 8")
    bad = bad.replace("layers: 6", "layers: -1").replace("softmax: row", "softmax: flash")
    assert [line.partition(": expected")[0] for line in check_problem(bad)] == [
        "text:5: problem",
        "text:4: problem.ranks.B",
        "text:4: problem.ranks.P",
        "text:8: problem.attention.softmax",
        "text:7: problem.layers",
    ]
    written = WRITTEN.replace("T[i,k] =", "T[i,k]").replace("R[i,k] * W2", "R[i,k] ^ W2")
    assert len(check_problem(written)) == 2


# Timeloop's own problems

LAYER = """\
problem:
  version: 0.4
  shape:
    name: fc
    dimensions: [C, M, P]
    data_spaces:
    - {name: Weights, projection: [C, M]}
    - {name: Inputs, projection: [P, C]}
    - {name: Outputs, projection: [P, M], read_write: true}
  instance: {C: width, M: 4096, P: 256}
variables: {width: 1024, technology: "45nm"}
"""


def test_a_timeloop_problem_is_a_workload_of_one_einsum():
    for scope in (None, "block", "model"):
        workload = load_workload(LAYER, scope)
        (einsum,) = workload.einsums
        assert (workload.name, einsum.name, einsum.unit) == ("fc", "fc", "matrix")
        assert dict(workload.rank_sizes) == {"C": 1024, "M": 4096, "P": 256}
    other = load_workload(LAYER, sizes={"P": "2 * P", "M": 8})
    assert dict(other.rank_sizes) == {"C": 1024, "M": 8, "P": 512}
    assert check_problem(LAYER) == []


def test_a_template_of_a_timeloop_problem(tmp_path):
    """The shape stands in a file of its own, and the layer only names its sizes."""
    shape = LAYER.replace("problem:", "base: &base", 1).replace("C: width", "C: 1")
    (tmp_path / "base.yaml").write_text(shape, encoding="utf-8")
    layer = "{{include_text('base.yaml')}}\nproblem:\n  <<<: *base\n  instance: {P: 16, C: 8}\n"
    path = tmp_path / "007.yaml"
    path.write_text(layer.replace("  name: fc\n", ""), encoding="utf-8")
    assert dict(load_workload(path).rank_sizes) == {"C": 8, "M": 4096, "P": 16}
    (tmp_path / "base.yaml").write_text(shape.replace("    name: fc\n", ""), encoding="utf-8")
    assert load_workload(str(path)).name == "007"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("M: 4096, ", "", "problem.instance: expected the key 'M'"),
        ("[P, C]", "[P, Q]", "data_spaces.1.projection.1: expected one of C, M, P, got 'Q'"),
        ("version: 0.4", "version: 7", "expected one of 0.3, 0.4, got 7"),
        ("  version: 0.4", "  einsums: []", "expected one of attention, einsums, or Timeloop's"),
    ],
)
def test_bad_timeloop_problems(old, new, message):
    bad = LAYER.replace(old, new, 1)
    with pytest.raises(SpecError, match=message):
        load_workload(bad)
    assert any(re.search(message, line) for line in check_problem(bad))


def test_sizes_of_ranks_that_a_timeloop_problem_lacks():
    with pytest.raises(SpecError, match="fc: ranks: expected one of C, M, P, got 'Q'"):
        load_workload(LAYER, sizes={"Q": 2})
