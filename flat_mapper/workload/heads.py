"""Query heads that share keys and values, and the surroundings of the attention in a block.

Multi-head attention has a key and a value for every query head. Grouped-query attention (Ainslie et
al., EMNLP 2023) has one for G groups of H heads each; multi-query attention (Shazeer, 2019,
arXiv:1911.02150) is one group of all heads. In the grouped cascade G counts the groups and H the
query heads of one group, so that K and V lack H and are reused over it.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

from flat_mapper.base.errors import SpecError, expected

Phase = Literal["prefill", "decode"]
FeedForward = Literal["plain", "gated"]
PHASES: tuple[Phase, ...] = get_args(Phase)
FEED_FORWARDS: tuple[FeedForward, ...] = get_args(FeedForward)

GROUP, HEAD = "G", "H"
# What a group of heads has once: keys and values, what makes them, and the rows new to the cache.
SHARED = ("K", "V", "WK", "WV", "KN", "VN")

_QUERIES = "Q[b,h,p,e] = X[b,p,d] * WQ[h,e,d]"
PREFILL = (
    _QUERIES,
    "K[b,h,m,e] = XK[b,m,d] * WK[h,e,d]",
    "V[b,h,m,f] = XK[b,m,d] * WV[h,f,d]",
)
# The rows before are in the cache: K and V are inputs, and only the P new rows are projected. The
# new rows are written to the cache, of which they are part when K and V are read.
DECODE = (
    _QUERIES,
    "KN[b,h,p,e] = X[b,p,d] * WK[h,e,d]",
    "VN[b,h,p,f] = X[b,p,d] * WV[h,f,d]",
)
_OUT = "O[b,p,d] = AV[b,h,p,f] * WO[h,f,d]"
_DOWN = "FC2[b,p,d] = FC1[b,p,ff] * W2[ff,d]"
PLAIN_FEED_FORWARD = (_OUT, "FC1[b,p,ff] = O[b,p,d] * W1[d,ff]", _DOWN)
# SwiGLU and GeGLU (Shazeer, 2020, arXiv:2002.05202): two products up, joined point by point.
GATED = (
    _OUT,
    "GATE[b,p,ff] = O[b,p,d] * W1[d,ff]",
    "UP[b,p,ff] = O[b,p,d] * W3[d,ff]",
    "FC1[b,p,ff] = GATE[b,p,ff] * UP[b,p,ff]",
    _DOWN,
)
_ACCESS = re.compile(r"(\w+)\[([a-z,]*)\]")


def before(phase: Phase) -> tuple[str, ...]:
    """The projections that come before the attention."""
    if phase not in PHASES:
        raise SpecError(expected("attention: phase", f"one of {', '.join(PHASES)}", phase))
    return PREFILL if phase == "prefill" else DECODE


def after(feed_forward: FeedForward) -> tuple[str, ...]:
    """The output projection and the feed-forward layer."""
    if feed_forward not in FEED_FORWARDS:
        condition = f"one of {', '.join(FEED_FORWARDS)}"
        raise SpecError(expected("block: feed_forward", condition, feed_forward))
    return PLAIN_FEED_FORWARD if feed_forward == "plain" else GATED


def grouped(lines: tuple[str, ...]) -> tuple[str, ...]:
    """A cascade over heads h as one over groups g of heads h: keys and values have no h."""
    return tuple(_ACCESS.sub(_grouped_access, line) for line in lines)


def _grouped_access(found: re.Match[str]) -> str:
    tensor, ranks = found[1], found[2].split(",")
    into = [GROUP.lower()] if tensor in SHARED else [GROUP.lower(), HEAD.lower()]
    spread = [r for rank in ranks for r in (into if rank == HEAD.lower() else [rank])]
    return f"{tensor}[{','.join(spread)}]"


def head_sizes(heads: int, kv_heads: int | None) -> dict[str, int]:
    """Sizes of the ranks G and H: H alone counts all heads, beside G those of one group."""
    if kv_heads is None:
        return {HEAD: heads}
    whole = all(isinstance(n, int) and not isinstance(n, bool) for n in (heads, kv_heads))
    if not whole or kv_heads < 1 or heads % kv_heads:
        condition = f"a divisor of the {heads} query heads"
        raise SpecError(expected("attention: kv_heads", condition, kv_heads))
    return {GROUP: kv_heads, HEAD: heads // kv_heads}
