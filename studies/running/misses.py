"""Read misses of programs beside the lines that the model predicts, of mappings drawn blind.

How a case is drawn, said before one was run:

- fused attention on edge; heads, positions, mask, softmax, room and objective by chance; inputs of
  2,048 lines or more, beside some 30 that any process reads; rows of whole lines
- every tile is staged. What streams is left out: in the model it has no room at the shared level,
  so each of its words comes as often as it is used, while a cache keeps its lines like all others
- what is used again fills half of the cache, so that what passes through cannot push it out
- a question is drawn again, and counted, where no mapping has its room, or where the cache has room
  for all inputs, none of which is then read again
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import flat_mapper as fm

FILL = 0.5
LINE = 64  # bytes
STAGED = Path(__file__).parent / "staged.yaml"
HEAD = ("case", "cache", "predicted", "misses", "ratio", "again: predicted", "misses", "ratio")


def question(rng: random.Random) -> dict[str, Any]:
    """A small attention, and the bytes that its tiles may have."""
    heads, length, width = rng.choice((4, 8)), rng.choice((64, 96, 128)), 64
    return {
        "problem": "bert-base",
        "arch": "edge",
        "mapspace": STAGED,
        "sizes": {"B": 1, "H": heads, "P": length, "M": length, "E": width, "F": width},
        "kv_heads": rng.choice((None, 2)),
        "softmax": rng.choice(("row", "online")),
        "mask": rng.choice(("none", "causal", f"causal,window={length // 3}")),
        "objective": rng.choice(("latency", "energy", "edp")),
        "max_buffer_bytes": rng.choice((8192, 16384, 32768, 65536)),
        "time_limit": 60.0,
    }


def words(asked: Mapping[str, Any]) -> str:
    """A question in a few words."""
    sizes, kv = asked["sizes"], asked["kv_heads"]
    heads = f"{sizes['H']} heads" + (" on 2" if kv else "")
    mask = "" if asked["mask"] == "none" else f", {asked['mask']}"
    return f"{asked['softmax']}, {heads}, {sizes['P']} x {sizes['E']}{mask}"


def rows(seed: int, count: int) -> Iterator[tuple[str, ...]]:
    """A row of the table for each of so many mappings, by the number of its draw."""
    rng, drawn = random.Random(seed), 0
    while count:
        drawn += 1
        asked = question(rng)
        found = fm.search(**asked)
        if not found:
            continue
        said: Any = fm.lower(found, tool="c", misses=True, fill=FILL).to_dict()["program"]
        counted = said["runs"][0]["misses"]
        cache, first = counted["cache_bytes"], counted["first"]
        if LINE * first <= cache:
            continue
        count -= 1
        pairs = [(counted["lines"] - less, counted["misses"] - less) for less in (0, first)]
        cells = [
            cell
            for lines, missed in pairs
            for cell in (f"{lines:,.0f}", f"{missed:,}", f"{missed / lines:.3f}" if lines else "-")
        ]
        yield (f"{drawn}: {words(asked)}", f"{cache:,}", *cells)
