"""The work of a mapping that a mask leaves, for machines and for people."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flat_mapper.base import units
from flat_mapper.cost_model.result import Result
from flat_mapper.mapping.sharing import visited_tiles
from flat_mapper.workload.graph import Workload


def mask_dict(workload: Workload, result: Result) -> dict[str, Any] | None:
    """Tiles by what the mask leaves of them, and MACs done, unmasked and dense; None without one.

    Tiles are counted for one head of one batch element; of several kinds of layers, the first.
    """
    if workload.mask is None:
        return None
    result = replace(result, others=())
    matrix = [e for e in workload.einsums if e.unit == "matrix"]
    keys = str(workload.roles.keys)
    whole = workload.with_ranks({keys: workload.rank_sizes[keys] + workload.unseen})
    found: dict[str, Any] = {
        "mask": str(workload.mask),
        "unseen_keys": workload.unseen,
        "macs": result.macs,
        "effective_macs": result.repeat * sum(workload.unmasked_iterations(e) for e in matrix),
        "dense_macs": result.repeat * sum(whole.iterations(e) for e in matrix),
    }
    for group in result.mapping.groups:
        tiles = visited_tiles(workload, group)
        if tiles is not None:
            found["tiles"] = {
                **{"queries": tiles.rows, "keys": tiles.keys, "whole": tiles.whole},
                **{"partial": tiles.partial, "skipped": tiles.skipped},
            }
    return found


def unseen_text(workload: Workload) -> str:
    """Number of keys that no query sees; empty where there are none."""
    if not workload.unseen:
        return ""
    keys = workload.rank_sizes[str(workload.roles.keys)] + workload.unseen
    return f" (the first {workload.unseen:,} of {keys:,} keys, which no query sees, are left out)"


def mask_text(workload: Workload, result: Result) -> str:
    """The same in two lines."""
    found = mask_dict(workload, result)
    if found is None:
        return ""
    done, left, dense = (found[k] for k in ("macs", "effective_macs", "dense_macs"))
    text = (
        f"mask {found['mask']}{unseen_text(workload)}: {units.count(done)} MACs done, "
        f"{units.count(left)} unmasked, {units.count(dense)} dense"
    )
    tiles = found.get("tiles")
    if tiles is None:
        text += "\n  no tile is skipped: the shared loops do not cut both queries and keys"
        if workload.softmax != "row":
            return text
        return f"{text}; a row softmax computes\n  masked scores too, --softmax online skips them"
    return (
        f"{text}\n  tiles of {tiles['queries']} queries x {tiles['keys']} keys, per head: "
        f"{tiles['whole']} whole, {tiles['partial']} in part (done whole), "
        f"{tiles['skipped']} skipped"
    )
