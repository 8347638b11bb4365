"""What people bring to every verb: a model's config.json, values of other bits, shipped names."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from prices import EDGE_ERT

import flat_mapper as fm
from flat_mapper.base.errors import SpecError
from flat_mapper.cli.main import main
from flat_mapper.spec import catalog

CONFIG = {
    **{"model_type": "smollm3", "hidden_size": 16, "intermediate_size": 32, "vocab_size": 64},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 3},
    "max_position_embeddings": 8,
}
DROPPED = "no_rope_layer_interval: layers without rotary positions: all have them here"
SWEEP = """sweep:
  fixed: {arch: edge, problem: config.json, ert: ert.yaml, objective: energy}
  grid: {word_bits: [8, 16]}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "mine"
    home.mkdir()
    monkeypatch.chdir(home)
    (home / "config.json").write_text(json.dumps(CONFIG))
    (home / "ert.yaml").write_text(EDGE_ERT)
    return home


@pytest.mark.parametrize(
    "words",
    [
        "map --arch edge --problem config.json --ert ert.yaml",
        "compare --arch edge --problem config.json --ert ert.yaml",
        "generate --arch edge --problem config.json --ert ert.yaml --prefill 4 --decode 2",
        "check config.json",
    ],
)
def test_a_configuration_is_a_problem(folder: Path, capsys, words: str) -> None:
    """Read as `import` does, and the answer says what is not in it."""
    assert main(words.split()) == 0
    out = capsys.readouterr().out
    assert f"not in the problem: {DROPPED}" in out
    assert words.startswith("check") or "mine" in out.partition("\n")[0]


def test_it_says_the_same_as_its_import(folder: Path) -> None:
    """By file, and as a value; what is asked of it is asked of its import."""
    asked = {"scope": "layer", "seq": 4, "sizes": {"B": 2}, "softmax": "online"}
    imported = fm.load_problem(fm.import_problem(folder / "config.json").text, **asked)
    for problem in (folder / "config.json", CONFIG):
        found = fm.load_problem(problem, **asked)
        assert (found.einsums, found.rank_sizes) == (imported.einsums, imported.rank_sizes)
        assert found.dropped == (DROPPED,)
    with pytest.raises(SpecError, match="expected a model of attention layers, got 'mamba'"):
        fm.load_problem({"model_type": "mamba"})


def test_a_sweep_takes_both(folder: Path, capsys) -> None:
    (folder / "sweep.yaml").write_text(SWEEP)
    assert main(["sweep", "sweep.yaml", "-o", "out.sqlite", "--workers", "0", "--json"]) == 0
    capsys.readouterr()
    assert main(["sweep", "out.sqlite", "--where", "status=done"]) == 0
    narrow, wide = csv.DictReader(capsys.readouterr().out.splitlines())
    assert 2 * float(narrow["offchip_bytes"]) == float(wide["offchip_bytes"])


@pytest.mark.parametrize("problem", ["tiny", "config.json"])
def test_word_bits_are_those_of_every_tensor(folder: Path, problem: str) -> None:
    narrow = fm.load_problem(problem, scope="block", word_bits=8)
    assert {narrow.bits(tensor, "DRAM") for tensor in narrow.tensor_ranks} == {8}
    wide = fm.load_problem(problem, word_bits=8, bits={"QK": 32})
    assert (wide.bits("QK", "DRAM"), wide.bits("Q", "DRAM")) == (32, 8)
    assert "word_bits: 8" in fm.import_problem("config.json", word_bits=8).text
    with pytest.raises(SpecError, match="word_bits: expected int > 0, got 0"):
        fm.load_problem(problem, word_bits=0)


def test_check_knows_what_ships(folder: Path, capsys) -> None:
    assert main(["check", "edge", "tiny", "flat-h", "ert.yaml"]) == 0
    out = capsys.readouterr().out
    for line in ("edge: architecture, fine", "tiny: problem, fine", "flat-h: mapspace, fine"):
        assert line in out
    assert "tiny on edge in flat-h: map, fine" in out
    assert main(["check", "edgee"]) == 2
    assert "expected a file or a shipped name, got 'edgee'; did you mean" in capsys.readouterr().out


def test_check_takes_values_of_templates_and_widths(folder: Path, capsys) -> None:
    text = (catalog.folder("arch") / "edge.yaml").read_text(encoding="utf-8")
    assert "  multiplier_width: element_bits" in text
    (folder / "top.yaml").write_text(text.replace("width: element_bits", "width: {{operand}}"))
    (folder / "free.yaml").write_text("mapspace: {fusion: {groups: []}, policy: {softmax: free}}")
    words = ["check", "top.yaml", "config.json", "free.yaml", "ert.yaml", "--data", "operand=8"]
    assert main(words) == 2
    assert "take --word-bits 8" in capsys.readouterr().out
    assert main([*words, "--word-bits", "8"]) == 0
    assert "config.json on top.yaml in free.yaml: map, fine" in capsys.readouterr().out


def test_cores_side_by_side_under_dram_are_checked_with_a_problem(capsys) -> None:
    assert main(["check", "tpu-v5p", "tiny"]) == 0
    assert "tiny on tpu-v5p" in capsys.readouterr().out
