"""The JSON of every command against the schema that the docs publish."""

from __future__ import annotations

import json
from pathlib import Path

import answer_schema
import pytest
import sweep_files

from flat_mapper.cli.arguments import grammar
from flat_mapper.cli.main import main

ASKED = "--problem attend.yaml --ert ert.yaml"
NANO = f"{ASKED} --arch nano.yaml"
TEXTS = {
    "tight.sfu.yaml": sweep_files.FILES["nano.sfu.yaml"].replace("depth: 256", "depth: 4"),
    "tight.yaml": sweep_files.FILES["nano.yaml"].replace("depth: 256", "depth: 4"),
    "two.yaml": """
sweep:
  fixed: {arch: nano.yaml, ert: ert.yaml, problem: attend.yaml, mapspace: flat-h}
  grid: {arch.GLB.depth: [4, 256]}
""",
    "design.yaml": """
optimize:
  fixed: {arch: nano.yaml, ert: ert.yaml, mapspace: flat-r}
  grid: {arch.GLB.depth: [16, 64]}
  workloads: [{problem: attend.yaml, seq: 4}]
  budgets: {buffer: 1024}
""",
    "two-nano.yaml": """
cluster:
  chip: nano.yaml
  mesh: {x: 2}
  network: {x: {topology: line, bytes_per_s: 1e9, step_seconds: 1e-6}}
""",
    "config.json": json.dumps(
        {"model_type": "bert", "hidden_size": 8, "intermediate_size": 16}
        | {"num_attention_heads": 2, "num_hidden_layers": 1, "max_position_embeddings": 8}
    ),
    "net/qk.yaml": """
problem:
  version: 0.4
  shape:
    dimensions: [K, N, T, G]
    data_spaces:
    - {name: Weights, projection: [K, N, G]}
    - {name: Inputs, projection: [T, K, G]}
    - {name: Outputs, projection: [T, N, G], read_write: true}
  instance: {K: 8, N: 16, T: 16, G: 4}
""",
}
TEXTS["net/av.yaml"] = TEXTS["net/qk.yaml"].replace("K: 8, N: 16", "K: 16, N: 8")

# Exit code and command, in an order in which each finds what it needs.
COMMANDS = (
    (0, f"map {NANO} --mapspace flat-h -o out"),
    (0, f"map {NANO} --objective latency,energy --mapspace flat-h -o points"),
    (0, f"map {NANO} --mask causal --softmax online --mapspace flat-r"),
    (0, f"compare {NANO} --mapspace flat-h flat-r -o both"),
    (0, f"compare {ASKED} --mapspace flat-h flat-r --arch tight.yaml"),
    (0, "evaluate out/fused-mapping.yaml --ert ert.yaml"),
    (0, "evaluate out/fused-mapping.yaml --execute --check"),
    (0, "lower out/fused-mapping.yaml -o low"),
    (0, "evaluate out/QK/arch.yaml out/QK/problem.yaml out/QK/mapping.yaml --ert ert.yaml"),
    (0, f"need buffer {NANO} --utilization 0.01"),
    (0, f"map {ASKED} --arch two-nano.yaml --softmax online --placement Q=P@x"),
    (0, f"map {ASKED} --arch two-nano.yaml --softmax online -o devices"),
    (0, "evaluate devices --execute"),
    (0, f"compare {ASKED} --arch two-nano.yaml --softmax online"),
    (0, f"need devices {ASKED} --arch two-nano.yaml --latency 1"),
    (0, f"need bandwidth {NANO} --utilization 0.01 --step 4e9"),
    (0, "generate --problem attend.yaml --arch nano.yaml --ert ert.yaml --prefill 4 --decode 4"),
    (0, "generate --problem attend.yaml --arch two-nano.yaml --prefill 4 --decode 4"),
    (0, "sweep two.yaml -o sweep.db --workers 0"),
    (0, "sweep two.yaml --dry-run"),
    (0, "sweep sweep.db -o rows.csv --format csv"),
    (0, "sweep design.yaml -o design.db --workers 0"),
    (0, "sweep design.yaml --dry-run"),
    (0, "report out both sweep.db -o page.html"),
    (0, "tiles --for rpa3 --arch tpu-v6e --problem attend.yaml"),
    (0, "import net -o net.yaml"),
    (0, "import config.json"),
    (0, "check --why-not QK softmax AV --problem attend.yaml"),
    (1, "check --why-not QK QK_sum --problem attend.yaml"),
    (2, "check nano.yaml attend.yaml out/fused-mapping.yaml nothing.yaml"),
    (0, "list"),
)
# Kinds of answers that the tests of their own folders print.
ELSEWHERE = {
    "crosscheck",
    "this-machine",
    "reproduce-simulator",
    "reproduce-search",
    "reproduce-silicon",
    "reproduce-tiles",
    "reproduce-paper",
    "reproduce-fusemax",
    "reproduce-accelforge",
    "reproduce-counters",
    "reproduce-rtl",
    "files",
    "import-graph",
}


def test_every_command_prints_json_of_the_published_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep_files.written(tmp_path)
    (tmp_path / "net").mkdir()
    for name, text in TEXTS.items():
        Path(name).write_text(text, encoding="utf-8")
    seen = set(ELSEWHERE)
    for code, command in COMMANDS:
        assert main([*command.split(), "--json"]) == code, capsys.readouterr().err
        document = json.loads(capsys.readouterr().out)
        seen.add(answer_schema.kind_of(document))
    for path in tmp_path.rglob("result.json"):
        assert answer_schema.faults(json.loads(path.read_text("utf-8"))) == [], path
    assert seen == set(answer_schema.kinds())
    assert {c.split()[0] for _, c in COMMANDS} == set(grammar()[1])
