"""Ends of a model, once for all layers: embedding, last norm, vocabulary; and totals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from flat_mapper.base.formats import OFF_CHIP
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.roles import Roles
from flat_mapper.workload.whole_layer import Lines, Norm

Head = Literal["vocabulary", "pooler", "none"]
HEADS: tuple[Head, ...] = get_args(Head)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndsForm:
    """Ends of a model, before its layers and behind them."""

    size: int  # words of the vocabulary
    positions: int = 0  # rows of a table of positions that is added; 0: none
    types: int = 0  # rows of a table of segments that is added
    norm_in: bool = False  # of the sum of embeddings
    norm_out: bool = True  # behind the last layer
    head: Head = "vocabulary"  # or a pooler: one square layer over the first position; or none
    tied: bool = False  # the last product has the embedding's weights


def ends(form: EndsForm, norm: Norm, *, B: int, P: int, D: int) -> Workload:
    """Rows of the embedding in; the last norm and the product over the vocabulary out."""
    lines = Lines({"B": B, "P": P, "D": D, "VOC": form.size})
    # Only the rows of the words that occur are read, one for each position.
    stream = "TOK"
    lines.add("TOK[b,p,d] = copy(WT[b,p,d])")
    lines.weights["WT"] = form.size * D
    for table, rows, ranks in (("WP", form.positions, "p,d"), ("WS", form.types, "b,p,d")):
        if rows:
            lines.add(f"{stream}_{table}[b,p,d] = {stream}[b,p,d] + {table}[{ranks}]")
            lines.weights[table] = rows * D
            stream = f"{stream}_{table}"
    if form.norm_in:
        lines.norm(norm, "NI", stream, "b,p,d", "d")
    last = lines.norm(norm, "NF", "X", "b,p,d", "d") if form.norm_out else "X"
    if form.head == "vocabulary":
        lines.add(f"LOGITS[b,p,voc] = {last}[b,p,d] * WU[d,voc]", "" if form.tied else "WU")
    elif form.head == "pooler":
        lines.sizes["PD"] = D
        lines.biased("POOL", "b,pd", "FIRST[b,d] * WH[d,pd]", "WH", "pd")
        lines.add("POOLED[b,pd] = tanh(POOL[b,pd])")
    used = {r for e in lines.einsums for r in e.ranks}
    return Workload(
        name="vocabulary",
        rank_sizes={r: n for r, n in lines.sizes.items() if r in used},
        einsums=tuple(lines.einsums),
        roles=Roles(batch="B", queries="P"),
        operators=lines.operators,
        weights=lines.weights,
    )


def totals(workload: Workload) -> Mapping[str, int]:
    """MACs, parameters and bytes of keys and values of one run of a cascade."""
    keys = workload.roles.keys
    views = [v for v in workload.views if keys and keys in workload.tensor_ranks.get(v, ())]
    cached = views or [t for t in ("K", "V") if t in workload.tensor_ranks]
    macs = (workload.iterations(e) for e in workload.einsums if e.unit == "matrix")
    bits = (workload.tensor_words(t) * workload.bits(t, OFF_CHIP) for t in cached)
    return {
        "macs": sum(macs),
        "parameters": sum(workload.weights.values()),
        "kv_bytes": int(sum(bits)) // 8,
    }
