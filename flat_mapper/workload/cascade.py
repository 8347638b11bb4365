"""Builders of attention workloads: the fused core, and the block of a model around it.

Ranks: B batch, H heads, P query positions, M key and value positions, E width of a query and a
key in one head, F width of a value in one head, D model width, FF width of the feed-forward layer;
where heads share keys and values, G groups of H heads (`flat_mapper.workload.heads`).

FLAT (ASPLOS'23) and FRAME write the logits as Logit(B, H, M, N, D): their M, N, D are P, M, E here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.workload.graph import Softmax, Workload
from flat_mapper.workload.heads import (
    FeedForward,
    Phase,
    after,
    before,
    grouped,
    head_sizes,
)
from flat_mapper.workload.notation import parse_einsum
from flat_mapper.workload.softmax import with_softmax

Scope = Literal["attention", "block", "model"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

FIRST, LAST = "QK", "AV"  # the matrix Einsums that the softmax stands between
QUOTIENT = "AV_div"  # what ends an online softmax, behind AV

# FuseMax (MICRO'24) names the row maximum M, as it does a rank; here it is QK_max.
CORE = (
    "QK[b,h,p,m] = Q[b,h,p,e] * K[b,h,m,e]",
    "QK_max[b,h,p] = max(QK[b,h,p,m])",
    "QK_exp[b,h,p,m] = exp(QK[b,h,p,m] - QK_max[b,h,p])",
    "QK_sum[b,h,p] = sum(QK_exp[b,h,p,m])",
    "A[b,h,p,m] = QK_exp[b,h,p,m] / QK_sum[b,h,p]",
    "AV[b,h,p,f] = A[b,h,p,m] * V[b,h,m,f]",
)


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
    return with_softmax(_workload("attention", CORE, sizes, word_bits), softmax)


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
    lines = (*before(phase), *CORE, *after(feed_forward))
    whole = replace(_workload("block", lines, sizes, word_bits), repeat=layers)
    return with_softmax(whole, softmax)


def scope(workload: Workload, extent: Scope) -> Workload:
    """The part of a workload to map.

    attention: the Einsums on the paths from QK to AV, once; a cascade without them stays whole.
    block:     the whole cascade, once.
    model:     the whole cascade, as often as the model repeats it.
    """
    if extent not in SCOPES:
        raise SpecError(expected("scope", f"one of {', '.join(SCOPES)}", extent))
    if extent == "model":
        return workload
    once = replace(workload, repeat=1)
    return once.subset(core_einsums(once)) if extent == "attention" else once


def core_einsums(workload: Workload) -> tuple[str, ...]:
    """Names of the Einsums from QK to AV, in execution order; all of them if there is no such path.

    These are what FLAT fuses. An online softmax ends with the quotients behind AV, and one of two
    passes makes the scores of QK again.
    """
    last = next((n for n in (QUOTIENT, LAST) if FIRST in workload.ancestors.get(n, ())), "")
    if not last:
        return tuple(workload.ancestors)
    path = workload.between(FIRST, last)
    first = workload.einsum(FIRST)
    again = [n for n in workload.ancestors[last] if workload.einsum(n).inputs == first.inputs]
    return tuple(n for n in workload.ancestors if n in path or n in again)


def softmax_einsums(workload: Workload) -> tuple[str, ...]:
    """Names of the vector Einsums on the paths from QK to AV, in execution order.

    Unfused, they are one row-wise operator: it reads QK once and writes A once. Empty for a
    cascade without a path from QK to AV.
    """
    if FIRST not in workload.ancestors.get(LAST, ()):
        return ()
    return tuple(n for n in core_einsums(workload) if workload.einsum(n).unit == "vector")


def _workload(name: str, lines: tuple[str, ...], sizes: dict[str, int], word_bits: int) -> Workload:
    if "G" in sizes:
        lines = grouped(lines)
    return Workload(
        name=name,
        rank_sizes=sizes,
        einsums=tuple(parse_einsum(line) for line in lines),
        word_bits=word_bits,
        softmax="row",
    )
