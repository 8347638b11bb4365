"""Measured collectives, and attention on several devices, beside what the package says of them.

python -m studies.devices collectives|attention --csv FILE [--json]
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import flat_mapper as fm
import flat_mapper.values as v
from studies import common
from studies.common import Columns, Parser, number_of, sizes_of

METHODS = dict(zip(("ring", "ring_folded", "ring_striped"), v.ORDERS, strict=True))
STRIPED = "each step has a diagonal; slices shorter by a row, which the source copies, are left out"
SIZES = ("devices", "heads", "kv_heads", "head_dim", "tokens_per_device")
Row = dict[str, object]


def network(system: str, devices: int) -> v.MeshAxis:
    """The network of so many devices; a LookupError where it is not known."""
    name = f"8x{system.partition('_')[0].removeprefix('g')}"
    if name not in fm.shipped("arch").names["arch"] or devices > 8:
        raise LookupError(f"no switch of {devices} {system} is known")
    return v.load_cluster(name).axes[0].of(devices)


def collective(where: str, row: Columns, _: Sequence[Columns]) -> Row:
    """The prediction of a row, and how many numbers of it are fitted."""
    whole = number_of(where, row, "message_bytes", "bytes", positive=True)
    kind = common.choice_of(where, row, "collective", v.MEASURED)
    axis = network(row.get("system", ""), sizes_of(where, row, ("devices",))["devices"])
    return {"predicted_s": axis.moved(kind, whole).seconds, "fitted": 5}


def attention(where: str, row: Columns, rows: Sequence[Columns]) -> Row:
    """The prediction of a row, and its share of the ideal, one kernel over the devices.

    A piece takes what the model says of FlashAttention's mapping, times what one kernel took of
    that where a row says. Nothing is fitted but the costs of collectives and of the chip.
    """
    devices, heads, kv_heads, size, tokens = sizes_of(where, row, SIZES).values()
    if row["phase"] != "forward" or row["method"] not in {*METHODS, "one_kernel_over_8"}:
        raise LookupError(f"{row['method']}, {row['phase']}: not modelled")
    axis, chip = network(row["device"], devices), fm.load_platform(row["device"])
    whole, causal, kernel = devices * tokens, row["mask"] == "causal", v.kernel_named("fa3")
    mask = v.Mask(causal=True) if causal else None

    def model(piece: v.Piece) -> float:
        sizes = {"P": whole // piece.queries, "M": whole // piece.keys, "E": size, "F": size}
        problem = fm.attention(B=1, H=heads, kv_heads=kv_heads, softmax="online", **sizes)
        problem = replace(problem, mask=mask if piece.causal else None)
        shape = replace(v.shape_of(problem), mask=mask)  # one kernel: its costs, whatever the piece
        return v.priced(kernel, chip, problem, shape, v.Tile(rows=128, keys=64)).seconds

    ideal = model(v.Piece(1, 1, causal)) / devices
    if row["method"] not in METHODS:
        return {"predicted_s": ideal, "share": 1.0}
    same = ("device", "phase", "mask", *SIZES)
    ones = (r for r in rows if all(r[key] == row[key] for key in same) and "one_" in r["method"])
    scale = next((float(one["measured_s"]) / ideal for one in ones), 1.0)

    def taken(step: int, piece: v.Piece) -> float:
        merged = v.merge_seconds(chip, whole / piece.queries * heads, size, 32) if step else 0.0
        return scale * model(piece) + merged

    steps = enumerate(v.ring_steps(devices, METHODS[row["method"]], causal=causal))
    longest = [max(taken(step, piece) for piece in pieces) for step, pieces in steps]
    shift = axis.moved("shift", 4 * tokens * kv_heads * size).seconds
    seconds = v.ring_seconds(longest, shift)
    said = {"left_out": STRIPED} if row["method"] == "ring_striped" else {}
    return {"predicted_s": seconds, "share": scale * ideal / seconds, **said}


class Rows(common.Answer):
    """Rows, a list as JSON."""

    def json(self, **_: object) -> str:
        """The list."""
        return json.dumps(self.document["rows"], indent=2)


VERBS = {"collectives": collective, "attention": attention}


def answer(asked: Namespace) -> common.Answer:
    """The rows of a file, each with what the package says of it."""
    rows, found = common.read_rows(Path(asked.csv)), list[Row]()
    for i, row in enumerate(rows, 2):
        seconds = number_of(f"{asked.csv}:{i}", row, "measured_s", "seconds", positive=True)
        try:
            more = VERBS[asked.what](f"{asked.csv}:{i}", row, rows)
        except LookupError as error:
            more = {"predicted_s": None, "refused": str(error)}
        found.append({**row, "measured_s": seconds, **more})
    head = tuple(dict.fromkeys(key for row in found for key in row))
    text = common.grid([[str(row.get(key, "")) for key in head] for row in found], head)
    return Rows(kind="devices", document={"rows": found}, text=text)


if __name__ == "__main__":
    verb = partial(Parser.add_argument, dest="what", choices=VERBS)
    sys.exit(common.run(__doc__, answer, options=verb, csv="a file of measured times"))
