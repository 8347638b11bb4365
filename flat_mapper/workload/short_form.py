"""The short form of a problem file: attention, and the block of a model around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flat_mapper.base.errors import Faults, SpecError, expected
from flat_mapper.spec.document import place, refuse_unknown, section_of, take_choice
from flat_mapper.spec.sizes import size_of
from flat_mapper.workload.cascade import block
from flat_mapper.workload.graph import Softmax, Workload
from flat_mapper.workload.heads import FEED_FORWARDS, GROUP, PHASES, FeedForward, Phase
from flat_mapper.workload.problem_file import File, check_ranks
from flat_mapper.workload.softmax import SOFTMAXES

ATTENTION_KEYS = ("softmax", "kv_heads", "phase")
CORE_RANKS = ("B", "H", "P", "M", "E", "F")
BLOCK_RANKS = ("D", "FF")


def short_workload(file: File, sizes: Mapping[str, int], faults: Faults) -> Workload | None:
    """The block around the attention that a file describes."""
    check_ranks(file, (*CORE_RANKS, GROUP, *BLOCK_RANKS), faults)
    missing = [rank for rank in CORE_RANKS if rank not in file.names]
    if missing:
        condition = f"the sizes of {', '.join(CORE_RANKS)}"
        got = f"no {', '.join(missing)}"
        faults.append(expected(f"{file.where}.ranks", condition, got))
    form = faults.attempt(_form, file, sizes)
    if faults or form is None:
        return None
    inner = Faults()
    workload = inner.attempt(
        block,
        B=sizes["B"],
        H=sizes["H"],
        P=sizes["P"],
        M=sizes["M"],
        E=sizes["E"],
        F=sizes["F"],
        D=sizes.get("D"),
        FF=sizes.get("FF"),
        kv_heads=form.kv_heads,
        phase=form.phase,
        feed_forward=form.feed_forward,
        softmax=form.softmax,
    )
    faults.extend(f"{file.where}: {line}" for line in inner)
    return workload


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """What a file says of its attention, and of the layer after it."""

    softmax: Softmax
    kv_heads: int | None
    phase: Phase
    feed_forward: FeedForward


def _form(file: File, sizes: Mapping[str, int]) -> _Form:
    where = f"{file.where}.attention"
    node = file.problem["attention"]
    section = section_of({} if node is None else node, where)
    refuse_unknown(section, ATTENTION_KEYS, where)
    kv_heads = sizes.get(GROUP)
    if "kv_heads" in section and GROUP not in file.changes:
        if kv_heads is not None:
            condition = f"kv_heads here or {GROUP} among the ranks"
            raise SpecError(expected(where, condition, "both", "remove one"))
        kv_heads = size_of(section["kv_heads"], sizes, place(where, section, "kv_heads"))
    phase = take_choice(section, "phase", PHASES, where, "prefill")
    softmax = take_choice(section, "softmax", SOFTMAXES, where, "row")
    return _Form(
        softmax=file.asked.softmax or softmax,
        kv_heads=kv_heads,
        phase=file.asked.phase or phase,
        feed_forward=take_choice(file.problem, "feed_forward", FEED_FORWARDS, file.where, "plain"),
    )
