"""How time and memory of one search grow: with N, with the Einsums, with the levels."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from measuring import HERE, PROGRAM, ROOT, Table, answer, median_usage

LENGTHS = tuple(512 << k for k in range(12))  # N: 512 to 1M
LENGTH = 4096  # N of the other two
HEAD = ("CPU s", "peak MB", "mappings in the space", "inner mappings priced")
FREE = str(HERE / "accelforge" / "flat-any.yaml")
EINSUMS: dict[str, dict[str, object]] = {  # mapspace and scope
    "QK and AV, the softmax free": {"mapspace": FREE},
    "attention": {},
    "a block of the encoder": {"scope": "block"},
    "the model": {"scope": "model"},
}
LEVELS: dict[str, dict[str, object]] = {  # architecture, and what is taken from it
    "DRAM, GLB": {"without": ["RF", "LREG"]},
    "DRAM, GLB, RF (edge)": {},
    "DRAM, GLB, L1, RF (four-levels.yaml)": {"arch": str(HERE / "four-levels.yaml")},
}

BLOCKS = (1, 2, 4, 8)  # products of a chain
SIZES = (1024, 1536, 768, 2304, 1280, 1792, 896, 2560, 1152)  # so that no two are alike
LAYERS = (1, 12, 96)


def blocks() -> list[Table]:
    """How time grows with the Einsums of a block, and with layers."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for count in BLOCKS:
            chain = _chain(Path(folder) / f"{count}.yaml", count)
            alone = ("--problem", chain, "--mapspace", str(HERE / "alone.yaml"))
            rows.append((f"{count} products, each alone", *_whole(alone)))
            fused = ("--problem", chain, "--mapspace", "any", "--objective", "latency")
            rows.append((f"{count} products, groups: any, latency", *_whole(fused)))
        text = (ROOT / "problems" / "bert-base.yaml").read_text(encoding="utf-8")
        for count in LAYERS:
            path = Path(folder) / f"layers-{count}.yaml"
            path.write_text(text.replace("layers: 12", f"layers: {count}"), encoding="utf-8")
            asked = ("--problem", str(path), "--scope", "model")
            rows.append((f"bert-base, {count} layers", *_whole(asked)))
    return [
        Table(
            title="Search time with the Einsums of a block",
            text="Whole processes, edge: a chain of products of 4096 rows, no two of one size, and "
            "a model of more and more layers; medians of 3 runs.",
            head=("question", "CPU s", "peak MB"),
            rows=tuple(rows),
        )
    ]


def _chain(path: Path, count: int) -> str:
    """A file with a chain of products."""
    ranks = ["M: 4096", *(f"K{i}: {n}" for i, n in enumerate(SIZES[: count + 1]))]
    every = (f"A{i + 1}[m,k{i + 1}] = A{i}[m,k{i}] * W{i}[k{i},k{i + 1}]" for i in range(count))
    listed = "".join(f"  - {one}\n" for one in every)
    text = f"problem:\n  ranks: {{{', '.join(ranks)}}}\n  einsums:\n{listed}"
    path.write_text(text, encoding="utf-8")
    return str(path)


def _whole(asked: Sequence[str]) -> tuple[str, ...]:
    """CPU seconds and peak MB of a whole process."""
    return median_usage((*PROGRAM, "map", "--arch", "edge", *asked, "--json")).cells()[1:]


def scaling() -> list[Table]:
    """The three tables."""
    return [
        Table(
            title="Search time with N",
            text="One search each (BERT-base, B = 64, edge, flat, edp), in a process of its own "
            "that has searched something small before. CPU s is of the search alone, peak MB of "
            "the process.",
            head=("N", *HEAD),
            rows=tuple((f"{n}", *_cells({"length": n})[1:]) for n in LENGTHS),
        ),
        Table(
            title="Search time with the number of Einsums",
            text=f"The same at N = {LENGTH}. A free softmax leaves its Einsums out of the search; "
            "the model is the block as often as it has layers, searched once.",
            head=("what is mapped", "Einsums searched", *HEAD),
            rows=tuple((name, *_cells(question)) for name, question in EINSUMS.items()),
        ),
        Table(
            title="Search time with levels",
            text=f"The same at N = {LENGTH}, the softmax's lanes without registers where the PEs "
            "have none.",
            head=("levels of the matrix path", *HEAD),
            rows=tuple((name, *_cells(question)[1:]) for name, question in LEVELS.items()),
        ),
    ]


def _cells(question: dict[str, object]) -> tuple[str, ...]:
    """Einsums, CPU seconds, peak MB and counts of one search."""
    found, used = answer("run_search.py", json.dumps({"length": LENGTH, **question}))
    if found is None:
        return "", used.failed, f"{used.peak_mb:.0f}", "", ""
    counts = "nothing fits", ""
    if found["fits"]:
        counts = f"{found['size']:.1e}", f"{found['evaluated']:,}"
    return f"{found['einsums']}", f"{found['cpu_s']:.2f}", f"{used.peak_mb:.0f}", *counts
