"""Read misses of programs beside the lines that the model predicts, of mappings drawn blind.

How a case is drawn and judged, said before one of a seed was run:

- fused attention on edge; heads, positions, mask, softmax, room and objective by chance; inputs of
  2,048 lines or more, beside some 30 that any process reads; rows of whole lines
- every tile is staged. What streams is left out: in the model it has no room at the shared level,
  so each of its words comes as often as it is used, while a cache keeps its lines like all others
- what is used again fills half of the cache, so that what passes through cannot push it out
- a question is drawn again, and counted, where no mapping has its room, or where the cache has room
  for all inputs, none of which is then read again
- predicted are the lines of the words that the model reads, less those that come again while the
  other half of the cache has them: whose distance of reuse, told by the record's loops, is at most
  that half without 16 lines that any process has in use; a buffer would read them, a cache does not
- the first reads of all inputs are in the ratio, and are taken off both sides in the second one

Seed 20261130 was run first with an older rule, which took nothing off and let the compiler make
vectors; the reasons of this one, and its 16 lines, are from thirteen of its cases.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flat_mapper as fm

FILL = 0.5
FILLS = (0.6, 0.7, 0.8, 0.9)
CLOSE = 0.03
LINE = 64  # bytes
STAGED = Path(__file__).parent / "staged.yaml"
HEAD = (
    *("case", "cache", "model", "kept", "predicted", "misses", "ratio"),
    *("again: predicted", "misses", "ratio"),
)


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


@dataclass(frozen=True)
class Case:
    """A mapping that was drawn, by the number of its draw, and its counts by fill."""

    name: str
    counts: tuple[Mapping[str, Any], ...]


def cases(seed: int, count: int, fills: Sequence[float] = ()) -> Iterator[Case]:
    """So many mappings that were drawn; fills: further ones."""
    rng, drawn = random.Random(seed), 0
    while count:
        drawn += 1
        asked = question(rng)
        found = fm.search(**asked)
        if not found:
            continue
        half = counted(found, FILL)
        if LINE * half["first"] <= half["cache_bytes"]:
            continue
        count -= 1
        yield Case(f"{drawn}: {words(asked)}", (half, *(counted(found, fill) for fill in fills)))


def counted(found: Any, fill: float) -> Mapping[str, Any]:
    """Lines of a mapping in a cache that its tiles fill so far."""
    said: Any = fm.lower(found, tool="c", misses=True, fill=fill).to_dict()["program"]
    count: Mapping[str, Any] = said["runs"][0]["misses"]
    return count


def ratio(count: Mapping[str, Any], less: float = 0) -> float | None:
    """Misses over the lines predicted, without some of both; None where none are left."""
    lines = count["lines"] - count["kept"] - less
    return (count["misses"] - less) / lines if lines else None


def cells(case: Case) -> tuple[str, ...]:
    """A row of the table of halves."""
    (one,) = case.counts
    found = [case.name, f"{one['cache_bytes']:,}", f"{one['lines']:,.0f}", f"{one['kept']:,.0f}"]
    for less in (0, one["first"]):
        close, lines = ratio(one, less), one["lines"] - one["kept"] - less
        found += [f"{lines:,.0f}", f"{one['misses'] - less:,}", f"{close:.3f}" if close else "-"]
    return tuple(found)


def summary(found: Sequence[Case]) -> str:
    """Cases within 3 %: of what is predicted, of what comes again, of the model's words alone."""
    halves = [case.counts[0] for case in found]
    kinds = {
        "predicted": [ratio(one) for one in halves],
        "again": [ratio(one, one["first"]) for one in halves],
        "model": [ratio({**one, "kept": 0}) for one in halves],
    }
    texts = []
    for kind, ratios in kinds.items():
        gaps = [abs(one - 1) for one in ratios if one is not None]
        close = sum(gap <= CLOSE for gap in gaps)
        texts.append(f"{kind}: {close} of {len(gaps)} within {CLOSE:.0%}, worst {max(gaps):.1%}")
    return "; ".join(texts)
