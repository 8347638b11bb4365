"""Builders of attention workloads: the fused core, and the block of a model around it.

Ranks: B batch, H heads, P query positions, M key and value positions, E width of a query and a
key in one head, F width of a value in one head, D model width, FF width of the feed-forward layer;
where heads share keys and values, G groups of H heads.

In grouped-query attention (Ainslie et al., EMNLP 2023) G counts the groups and H the query heads of
one, so that K and V lack H and are reused over it; one group is multi-query (Shazeer, 2019).

FLAT (ASPLOS'23) and FRAME write the logits as Logit(B, H, M, N, D): their M, N, D are P, M, E here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, get_args

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.spec.document import among
from flat_mapper.workload.einsum import is_size
from flat_mapper.workload.graph import Softmax, Workload
from flat_mapper.workload.notation import parse_einsum
from flat_mapper.workload.roles import Roles
from flat_mapper.workload.softmax import with_softmax

Scope = Literal["attention", "block", "layer", "model", "vocabulary"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

Phase = Literal["prefill", "decode"]
FeedForward = Literal["plain", "gated"]

GROUP, HEAD = "G", "H"
# What a group of heads has once: keys and values, what makes them, and the rows new to the cache.
_SHARED = ("K", "V", "WK", "WV", "KN", "VN")

_QUERIES = "Q[b,h,p,e] = X[b,p,d] * WQ[h,e,d]"
_BEFORE: Mapping[Phase, tuple[str, ...]] = {  # the projections
    "prefill": (
        _QUERIES,
        "K[b,h,m,e] = XK[b,m,d] * WK[h,e,d]",
        "V[b,h,m,f] = XK[b,m,d] * WV[h,f,d]",
    ),
    # The rows before are in the cache: K and V are inputs, and only the P new rows are projected.
    # They are written to the cache, of which they are part when K and V are read.
    "decode": (
        _QUERIES,
        "KN[b,h,p,e] = X[b,p,d] * WK[h,e,d]",
        "VN[b,h,p,f] = X[b,p,d] * WV[h,f,d]",
    ),
}
_OUT = "O[b,p,d] = AV[b,h,p,f] * WO[h,f,d]"
_DOWN = "FC2[b,p,d] = FC1[b,p,ff] * W2[ff,d]"
_AFTER: Mapping[FeedForward, tuple[str, ...]] = {  # the output projection, the feed-forward layer
    "plain": (_OUT, "FC1[b,p,ff] = O[b,p,d] * W1[d,ff]", _DOWN),
    # SwiGLU and GeGLU (Shazeer, 2020, arXiv:2002.05202): two products up, joined point by point.
    "gated": (
        _OUT,
        "GATE[b,p,ff] = O[b,p,d] * W1[d,ff]",
        "UP[b,p,ff] = O[b,p,d] * W3[d,ff]",
        "FC1[b,p,ff] = GATE[b,p,ff] * UP[b,p,ff]",
        _DOWN,
    ),
}
PHASES, FEED_FORWARDS = tuple(_BEFORE), tuple(_AFTER)
_ACCESS = re.compile(r"(\w+)\[([a-z,]*)\]")

SOFTMAX = "softmax"  # the operator that the vector Einsums of the core are
ROLES = Roles(batch="B", groups=GROUP, heads=HEAD, queries="P", keys="M")

# FuseMax (MICRO'24) names the row maximum M, as it does a rank; here it is QK_max.
CORE_LINES = (
    "QK[b,h,p,m] = Q[b,h,p,e] * K[b,h,m,e]",
    "QK_max[b,h,p] = max(QK[b,h,p,m])",
    "QK_exp[b,h,p,m] = exp(QK[b,h,p,m] - QK_max[b,h,p])",
    "QK_sum[b,h,p] = sum(QK_exp[b,h,p,m])",
    "A[b,h,p,m] = QK_exp[b,h,p,m] / QK_sum[b,h,p]",
    "AV[b,h,p,f] = A[b,h,p,m] * V[b,h,m,f]",
)
CORE = tuple(parse_einsum(line) for line in CORE_LINES)


def attention(
    *,
    B: int,
    H: int,
    P: int,
    M: int,
    E: int,
    F: int,
    kv_heads: int | None = None,
    word_bits: int = 16,
    softmax: Softmax = "row",
) -> Workload:
    """The core of attention: QK, the row softmax as Einsums of its own, and AV.

    Every Einsum has the name of the tensor it writes. QK and AV run on the matrix path, the
    softmax on the vector path; the scale 1/sqrt(E) goes into Q and costs nothing.

    H:        query heads, all of them.
    kv_heads: heads of K and V, a divisor of H; given, the cascade has G = kv_heads groups of
              H / kv_heads heads each. By default every query head has its own.
    """
    sizes = {"B": B, **head_sizes(H, kv_heads), "P": P, "M": M, "E": E, "F": F}
    return with_softmax(_workload("attention", CORE_LINES, sizes, word_bits), softmax)


def block(
    *,
    B: int,
    H: int,
    P: int,
    M: int,
    E: int,
    F: int,
    D: int | None = None,
    FF: int | None = None,
    kv_heads: int | None = None,
    phase: Phase = "prefill",
    feed_forward: FeedForward = "plain",
    layers: int = 1,
    word_bits: int = 16,
    softmax: Softmax = "row",
) -> Workload:
    """One block, run `layers` times: projections, attention, feed-forward layer.

    D:  model width; by default H x E.
    FF: width of the feed-forward layer; by default 4 x D.
    kv_heads: as in `attention`.
    phase: prefill projects keys and values of all M positions. In decode they are in the cache,
           and only those of the P new positions are projected, and written to it.
    feed_forward: plain (W1, W2) or gated (W1 and W3 joined point by point, W2).
    X and XK are the same activations, read once by query position and once by key position. They
    are two tensors of the graph, because the projections that read them are operators of their
    own; with P != M they are the two sides of cross-attention. Biases, residual sums, norms and
    the activation function are left out: they ride on tensors that pass anyway, and FLAT's
    evaluation has none of them.
    """
    core = attention(B=B, H=H, P=P, M=M, E=E, F=F, kv_heads=kv_heads, word_bits=word_bits)
    width = H * E if D is None else D
    sizes = {**core.rank_sizes, "D": width, "FF": 4 * width if FF is None else FF}
    before = _BEFORE[among("attention: phase", phase, PHASES)]
    after = _AFTER[among("block: feed_forward", feed_forward, FEED_FORWARDS)]
    lines = (*before, *CORE_LINES, *after)
    whole = replace(_workload("block", lines, sizes, word_bits), repeat=layers)
    return with_softmax(whole, softmax)


def scope(workload: Workload, extent: Scope | None) -> Workload:
    """The part of a workload to map.

    attention: what the short form of a problem calls its attention, once.
    block, layer, vocabulary: the whole cascade, once.
    model:     the whole cascade, as often as the model repeats it.
    None:      the attention where a problem has the short form, else the whole cascade, once.
    Where layers differ in their mask, once is of the kind that most have.
    raises:    SpecError for the attention of a cascade that is written out: which part of it that
               is, nobody has said.
    """
    if extent is not None:
        among("scope", extent, SCOPES)
    if extent == "model":
        return workload
    one = workload.of_kind(workload.layers[0]) if workload.layers else workload
    once = replace(one, repeat=1, of_layers=workload.all_layers)
    if extent == "attention" and not once.core:
        condition = "block or model for a cascade that is written out"
        change = "leave the scope out: all of its Einsums are mapped, once"
        raise SpecError(expected(f"{workload.name}: scope", condition, extent, change))
    if extent not in (None, "attention") or not once.core:
        return once
    lost = tuple(e.name for e in once.ordered if e.name not in once.core)
    return replace(once.subset(once.core), left_out=(*once.left_out, *lost))


def _workload(name: str, lines: tuple[str, ...], sizes: dict[str, int], word_bits: int) -> Workload:
    """The cascade of some lines, with the attention among them."""
    if GROUP in sizes:
        lines = grouped(lines)
    return Workload(
        name=name,
        rank_sizes=sizes,
        einsums=tuple(parse_einsum(line) for line in lines),
        word_bits=word_bits,
        softmax="row",
        roles=ROLES.within(sizes),
        operators={SOFTMAX: tuple(e.name for e in CORE if e.unit == "vector")},
        core=tuple(e.name for e in CORE),
    )


def grouped(lines: tuple[str, ...]) -> tuple[str, ...]:
    """A cascade over heads h as one over groups g of heads h: keys and values have no h."""
    return tuple(_ACCESS.sub(_grouped_access, line) for line in lines)


def _grouped_access(found: re.Match[str]) -> str:
    tensor, ranks = found[1], found[2].split(",")
    into = [GROUP.lower()] if tensor in _SHARED else [GROUP.lower(), HEAD.lower()]
    spread = [r for rank in ranks for r in (into if rank == HEAD.lower() else [rank])]
    return f"{tensor}[{','.join(spread)}]"


def head_sizes(heads: int, kv_heads: int | None) -> dict[str, int]:
    """Sizes of the ranks G and H: H alone counts all heads, beside G those of one group."""
    if kv_heads is None:
        return {HEAD: heads}
    if not (is_size(heads) and is_size(kv_heads)) or heads % kv_heads:
        condition = f"a divisor of the {heads} query heads"
        raise SpecError(expected("attention: kv_heads", condition, kv_heads))
    return {GROUP: kv_heads, HEAD: heads // kv_heads}
