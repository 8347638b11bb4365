"""Decode of ttnn's scaled_dot_product_attention on Blackhole p100a, row by row.

A user's keys of one head, or up to 32 heads that share them, go to one core, or in parts to several
that merge. DRAM is as fast as it was measured to be in decode.
"""

from __future__ import annotations

from collections.abc import Mapping

import flat_mapper as fm
from flat_mapper.values import Platform, Workload, with_splits
from studies.common import Columns, wrong
from studies.silicon.blackhole import (
    card,
    checked,
    microseconds_of,
    number,
    values_of_keys,
    with_formats,
)
from studies.silicon.rows import Case
from studies.silicon.sdpa_mapping import chunk_mapping

SIZES = (
    *("batch", "q_heads", "kv_heads", "head_dim", "v_head_dim", "cur_pos", "cores", "paged"),
    *("k_chunk", "v_streamed"),
)
FLAGS = ("cur_pos", "paged", "k_chunk", "v_streamed")
WORDS = ("fidelity", "q_dtype", "kv_dtype", "accum")
CAP = "max_cores_per_head_batch"
COLUMNS = f"{', '.join((*WORDS, *SIZES, CAP))}, wall_us"
ROWS = 32  # heads of a tile; those of the matrix unit's rows
CHUNK = 128  # keys, where the row does not say; chosen
MOST_PARTS = 16  # cores of a user and head, where the row does not say; chosen


def case(where: str, row: Columns) -> Case:
    """A row as a question.

    raises: SpecError for a format that is not known, and for sizes that cannot be.
    """
    at = checked(where, row, SIZES, FLAGS, WORDS)
    cap = row.get(CAP) or str(MOST_PARTS)
    if not cap.isdecimal() or int(cap) < 1:
        raise wrong(f"{where}: {CAP}", "a whole number >= 1, or none", cap)
    workload, tile = _workload(row, at, int(cap))
    kernel = "sdpa_decode_mla" if at["kv_heads"] == 1 else "sdpa_decode"
    platform = _platform(row, at)
    return Case(
        where=where,
        columns={**row, "device": "p100a", "kernel": kernel},
        phase="decode",
        kernel=kernel,
        sourced=() if kernel.endswith("mla") else ("factor",),
        shape="|".join(row[k] for k in ("batch", "q_heads", "head_dim", "cur_pos")),
        measured_s=microseconds_of(where, row),
        workload=workload,
        platform=platform,
        mappings=[chunk_mapping(workload, platform, tile, kernel, "loop")],
        left_out=_unsaid(at, row),
    )


def _unsaid(at: Mapping[str, int], row: Columns) -> tuple[str, ...]:
    found = ["the order in which parts are merged, by a tree of cores"]
    if at["paged"]:
        found.append("pages: keys and values are read in a row")
    if row.get("q_in_dram") == "0":
        found.append("queries that are in L1 already are read from DRAM")
    return tuple(found)


def _workload(row: Columns, at: Mapping[str, int], cap: int) -> tuple[Workload, dict[str, int]]:
    """The attention of a row with its heads as rows, and a core's tile."""
    together = at["q_heads"] // at["kv_heads"]
    rows = min(ROWS, together)
    tiles = at["batch"] * at["kv_heads"] * -(-together // rows)
    chunk = at["k_chunk"] or CHUNK
    chunks = -(-(at["cur_pos"] + 1) // chunk)
    parts = max(1, min(cap, at["cores"] // tiles, chunks))
    keys = -(-chunks // parts) * parts * chunk  # every part as long as the longest
    found = fm.attention(
        B=at["batch"],
        H=at["kv_heads"],
        P=together,
        M=keys,
        E=at["head_dim"],
        F=at["v_head_dim"] if at["v_streamed"] else at["head_dim"],
        softmax="online",
    )
    if not at["v_streamed"]:
        found = values_of_keys(found)
    found = with_formats(found, row["q_dtype"], row["kv_dtype"], row["accum"])
    tile = {"B": 1, "H": 1, "P": rows, "M": chunk}
    if parts == 1:
        return found, tile
    return with_splits(found, parts), {**tile, "S": 1}


def _platform(row: Columns, at: Mapping[str, int]) -> Platform:
    """The card as a row has it: cores, fidelity, and the bandwidth that DRAM achieves."""
    few = at["cores"] <= 64
    which = "64" if few else "110" if at["paged"] else "unpaged"
    edits = (
        ("core.meshX", at["cores"]),
        ("variables.offchip_bytes_per_s", number(f"sdpa_decode_bytes_{which}")),
        ("variables.exp_cycles", number("sdpa_exp_accurate") / 32),
    )
    return card(edits, row["fidelity"], alone=True)
