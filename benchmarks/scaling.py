"""How time and memory of one search grow: with N, with the Einsums, with the levels."""

from __future__ import annotations

import json

from measuring import HERE, Table, answer

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
