"""Options in combinations drawn at random, with --json: every one has an answer or a refusal."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
import sweep_files

import flat_mapper as fm
from flat_mapper.base.budget import Budget
from flat_mapper.cli.main import main
from flat_mapper.explore.pareto import Front
from flat_mapper.spec.answers import answer_json

CLUSTER = """
cluster:
  chip: {chip}.yaml
  mesh: {{x: {devices}}}
  network: {{x: {{topology: line, bytes_per_s: 1e9, step_seconds: 1e-6}}}}
"""
BLOCK = """
problem:
  ranks: {B: 1, H: 2, P: 4, M: P, E: 2, F: E, D: H * E, FF: 4}
  attention: {softmax: any}
  layer: {norm: rms, activation: silu}
"""
CHAIN = """
problem:
  ranks: {P: 4, C: 2, D: 2}
  einsums: ["T[p,c] = X[p,d] * W[d,c]", "R[p,c] = relu(T[p,c])", "Y[p,d] = R[p,c] * V[c,d]"]
"""
LAYERS = """
problem:
  ranks: {B: 1, H: 2, P: 8, M: P, E: 2, F: 2}
  layers: [{count: 2, mask: causal}, {count: 1, mask: {window: 2}}]
  attention: {softmax: row}
"""
CORES = "  - !Container {name: SM, spatial: {meshX: 4}}\n"  # around the buffer
ARCHES = (
    "nano.yaml",
    "nano.yaml",
    "cores.yaml",
    "cores.yaml",
    "tight.yaml",
    "one.yaml",
    "two.yaml",
)
PROBLEMS = ("attend.yaml", "attend.yaml", "block.yaml", "chain.yaml", "layers.yaml")
ASKED = {
    "--mapspace": ("default", "unfused", "any", "cores", "any-cores", "flat-h", "nothing"),
    "--softmax": ("row", "online", "online-2pass", "any"),
    "--mask": ("none", "causal", "window=2", "causal,window=3"),
    "--schedule": ("sequential", "interleaved", "overlapped", "any"),
    "--scope": ("attention", "block", "layer", "model"),
    "--seq": ("1", "3", "8"),
    "--phase": ("prefill", "decode"),
    "--set": ("B=2", "P=6"),
    "--bits": ("K=8", "QK=32", "AV_div=8"),
    "--word-bits": ("8", "32"),
    "--time-limit": ("0.01", "1", "3"),
    "--gap": ("0", "1%", "1"),
}
OBJECTIVE = ("latency", "energy", "edp", "latency,energy")
LIMITS = {
    "--max-latency": ("1e-9", "1e-6", "1"),
    "--max-energy": ("1", "1e-9"),
    "--max-buffer": ("1", "64", "1000000000"),
    "--memory-limit": ("20", "2000"),
}
VERBS = (
    *("map", "map", "map", "map", "compare", "need", "generate", "check", "evaluate"),
    *("evaluate --execute --check", "lower"),
)


def written(folder: Path) -> None:
    """Chips with one array, with cores, and with hardly room; clusters of one and of two."""
    sweep_files.written(folder)
    for suffix in ("", ".sfu"):
        nano = sweep_files.FILES[f"nano{suffix}.yaml"]
        (folder / f"tight{suffix}.yaml").write_text(nano.replace("depth: 256", "depth: 8"))
        outer, buffer = nano.split("  - !Component {name: GLB", 1)
        (folder / f"cores{suffix}.yaml").write_text(
            f"{outer}{CORES}  - !Component {{name: GLB{buffer}"
        )
    for name, devices, chip in (("one", 1, "nano"), ("two", 2, "cores")):
        (folder / f"{name}.yaml").write_text(CLUSTER.format(devices=devices, chip=chip))
    for name, text in (("block", BLOCK), ("chain", CHAIN), ("layers", LAYERS)):
        (folder / f"{name}.yaml").write_text(text)


def drawn(number: int) -> list[str]:
    """A command, of which some ask for what there is not."""
    rng = random.Random(number)
    verb = rng.choice(VERBS)
    if verb.startswith(("evaluate", "lower")):
        return [*verb.split(), "out/fused-mapping.yaml", *(["-o", "low"] * (verb == "lower"))]
    problem, arch = rng.choice(PROBLEMS), rng.choice(ARCHES)
    if verb == "check":
        return [verb, problem, arch, *rng.sample(("ert.yaml", "nothing.yaml"), 1)]
    asked = ["--problem", problem, "--arch", arch, "--ert", "ert.yaml"]
    pool = ASKED | {"--objective": OBJECTIVE if verb == "map" else OBJECTIVE[:3]}
    pool |= LIMITS if verb in ("map", "compare") else {}
    if verb == "need":
        asked.insert(0, rng.choice(("buffer", "bandwidth", "pes", "cores", "devices")))
        asked += rng.choice((["--latency", "1e-6"], ["--utilization", "0.1"], ["--latency", "1"]))
        pool = {word: pool[word] for word in pool if word not in ("--objective", "--phase")}
    if verb == "generate":
        asked += ["--prefill", "4", "--decode", "3"]
        pool = {word: pool[word] for word in pool if word not in ("--seq", "--phase")}
    for word in rng.sample(sorted(pool), rng.randint(1, 5)):
        asked += [word, rng.choice(pool[word])]
    return [verb, *asked]


def answered(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit codes 0, 1 and 2 with what belongs to each; JSON is held to its schema as it is made."""
    written(Path.cwd())
    asked = "map --problem attend.yaml --arch nano.yaml --ert ert.yaml -o out"
    assert main(asked.split()) == 0, capsys.readouterr().err
    capsys.readouterr()
    command = drawn(number)
    code, (out, err) = main([*command, "--json"]), capsys.readouterr()
    assert code in (0, 1, 2), f"{command}: {err}"
    assert err.count("\n") == (not out), f"{command}: {err}"
    assert code or out, command
    if out:
        assert json.loads(out)["schema"], command
    elif code == 2:
        assert "expected" in err, f"{command}: {err}"


@pytest.mark.parametrize("number", range(4))
def test_a_combination_of_options_has_an_answer(
    number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    answered(number, capsys)


@pytest.mark.nightly
@pytest.mark.parametrize("number", range(4, 60))
def test_every_combination_of_options_has_an_answer(
    number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    answered(number, capsys)


def test_a_gap_without_an_end_is_null_and_its_reason_a_word(tmp_path: Path) -> None:
    """A front whose search ends before anything is proven has one, whatever its bound."""
    written(tmp_path)
    attend, cores = tmp_path / "attend.yaml", tmp_path / "cores.yaml"
    budget = Budget(steps=1)
    found = fm.front(attend, cores, ert=tmp_path / "ert.yaml", budget=budget)
    assert isinstance(found, Front)
    assert all(0 < one.certificate.gap < inf for one in found.points)
    points = [replace(one, certificate=replace(one.certificate, gap=inf)) for one in found.points]
    found = replace(found, points=tuple(points))
    document = json.loads(answer_json(found.kind, found.to_dict()))
    search = document["rows"][0]["search"]
    assert (search["gap"], search["stopped"]) == (None, "steps")
    assert "gap: unknown; limit of steps" in str(found)
