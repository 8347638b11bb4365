"""The short form of a problem file: attention, and the block or the layer of a model around it.

    layer: {norm: rms, norm_at: before, qk_norm: false, positions: rotary, bias: false,
            qkv_bias: false, activation: silu, parallel: false, cross: false,
            experts: {count: 8, per_token: 2, shared: 0},
            latent: {rank: 512, rotary: 64, queries: 1536, form: any}}
    vocabulary: {size: 128256, positions: 0, types: 0, norm_in: false, norm_out: true,
                 head: vocabulary, tied: false}

What a section leaves out has the value shown, but for `norm: none` and `positions: none`. Without
`layer` a problem has the products of its blocks alone (`--scope block`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from flat_mapper.base.errors import Faults, SpecError, expected
from flat_mapper.spec.document import place, refuse_unknown, section_of, take, take_choice
from flat_mapper.spec.sizes import size_of
from flat_mapper.workload.cascade import block
from flat_mapper.workload.graph import Softmax, Workload
from flat_mapper.workload.heads import FEED_FORWARDS, GROUP, PHASES, FeedForward, Phase
from flat_mapper.workload.latent import LATENTS
from flat_mapper.workload.model_ends import HEADS, EndsForm, ends
from flat_mapper.workload.notation import UNARY
from flat_mapper.workload.problem_file import File, check_ranks
from flat_mapper.workload.softmax import SOFTMAXES
from flat_mapper.workload.whole_layer import (
    NORM_AT,
    NORMS,
    POSITIONS,
    Experts,
    Latent,
    LayerForm,
    layer,
)

ATTENTION_KEYS = ("softmax", "kv_heads", "phase")
CORE_RANKS = ("B", "H", "P", "M", "E", "F")
BLOCK_RANKS = ("D", "FF")
_RANKS = (*CORE_RANKS, *BLOCK_RANKS)
VOCABULARY = "vocabulary"  # a section, and the scope that has it


def short_workload(file: File, sizes: Mapping[str, int], faults: Faults) -> Workload | None:
    """The block around the attention that a file describes."""
    check_ranks(file, (*CORE_RANKS, GROUP, *BLOCK_RANKS), faults)
    missing = [rank for rank in CORE_RANKS if rank not in file.names]
    if missing:
        condition = f"the sizes of {', '.join(CORE_RANKS)}"
        got = f"no {', '.join(missing)}"
        faults.append(expected(f"{file.where}.ranks", condition, got))
    form = faults.attempt(_form, file, sizes)
    whole = faults.attempt(_layer, file)
    if faults or form is None:
        return None
    inner = Faults()
    width = sizes.get("D") or sizes["H"] * sizes["E"]
    full = {**sizes, "D": width, "FF": sizes.get("FF") or 4 * width}
    once = faults.attempt(_ends, file, full, whole)
    if faults:
        return None
    workload = inner.attempt(_block, full, form)
    if file.asked.scope == VOCABULARY:
        workload = once
        if once is None:
            condition = "vocabulary: {size: N} in the problem, for --scope vocabulary"
            faults.append(expected(file.where, condition, "none"))
    elif whole is not None and workload is not None:
        made = inner.attempt(_whole, full, form, whole)
        workload = _chosen(file.asked.scope, workload, made, once)
    elif file.asked.scope == "layer":
        condition = "layer: {norm: rms, ...} in the problem, for --scope layer"
        faults.append(expected(file.where, condition, "none", "take --scope block: the products"))
    faults.extend(f"{file.where}: {line}" for line in inner)
    return workload


def _block(sizes: Mapping[str, int], form: _Form) -> Workload:
    return block(
        **{rank: sizes[rank] for rank in _RANKS},
        kv_heads=form.kv_heads,
        phase=form.phase,
        feed_forward=form.feed_forward,
        softmax=form.softmax,
    )


def _whole(sizes: Mapping[str, int], form: _Form, whole: LayerForm) -> Workload:
    return layer(
        whole,
        **{rank: sizes[rank] for rank in _RANKS},
        kv_heads=form.kv_heads,
        feed_forward=form.feed_forward,
        softmax=form.softmax,
    )


def _chosen(
    asked: str, products: Workload, whole: Workload | None, once: Workload | None
) -> Workload | None:
    """The cascade of a scope, with the names of what a wider one has."""
    if whole is None:
        return None
    if whole.latent != "none":  # a latent: its block's products are its layer's
        products = replace(whole, left_out=(), wider="layer")
        return products if asked not in ("layer", "model") else whole
    if asked in ("layer", "model"):
        names = tuple(e.name for e in once.einsums) if once else ()
        return replace(whole, left_out=names, wider=VOCABULARY)
    if asked != "block":
        return products
    has = {e.name for e in products.einsums}
    names = tuple(e.name for e in whole.einsums if e.name not in has)
    return replace(products, left_out=names, wider="layer")


def _ends(file: File, sizes: Mapping[str, int], whole: LayerForm | None) -> Workload | None:
    """Ends of the model, where the file has its vocabulary."""
    if VOCABULARY not in file.problem:
        return None
    where = f"{file.where}.{VOCABULARY}"
    section = section_of(take(file.problem, VOCABULARY, dict, file.where), where)
    refuse_unknown(section, tuple(f.name for f in fields(EndsForm)), where)
    form = EndsForm(
        size=take(section, "size", int, where, above=0),
        positions=take(section, "positions", int, where, 0, above=-1),
        types=take(section, "types", int, where, 0, above=-1),
        norm_in=take(section, "norm_in", bool, where, False),
        norm_out=take(section, "norm_out", bool, where, True),
        head=take_choice(section, "head", HEADS, where, "vocabulary"),
        tied=take(section, "tied", bool, where, False),
    )
    norm = "none" if whole is None else whole.norm
    return ends(form, norm, B=sizes["B"], P=sizes["P"], D=sizes["D"])


def _layer(file: File) -> LayerForm | None:
    """Form of a whole layer in a file; None where it says nothing."""
    if "layer" not in file.problem:
        return None
    if isinstance(file.problem["layer"], int):
        condition = "a section such as {norm: rms}"
        at = place(file.where, file.problem, "layer")
        raise SpecError(expected(at, condition, file.problem["layer"], "did you mean 'layers'?"))
    where = f"{file.where}.layer"
    section = section_of(take(file.problem, "layer", dict, file.where), where)
    flags = ("qk_norm", "bias", "qkv_bias", "parallel", "two_norms", "cross")
    known = ("norm", "norm_at", "positions", "activation", *flags, "experts", "latent")
    refuse_unknown(section, known, where)
    experts = None
    if "experts" in section:
        inside = f"{where}.experts"
        part = section_of(take(section, "experts", dict, where), inside)
        refuse_unknown(part, ("count", "per_token", "shared"), inside)
        experts = Experts(
            count=take(part, "count", int, inside, above=0),
            per_token=take(part, "per_token", int, inside, above=0),
            shared=take(part, "shared", int, inside, 0, above=-1),
        )
    latent = None
    if "latent" in section:
        inside = f"{where}.latent"
        part = section_of(take(section, "latent", dict, where), inside)
        refuse_unknown(part, ("rank", "rotary", "queries", "form"), inside)
        latent = Latent(
            rank=take(part, "rank", int, inside, above=0),
            rotary=take(part, "rotary", int, inside, above=0),
            queries=take(part, "queries", int, inside, 0, above=-1),
            form=take_choice(part, "form", LATENTS, inside, "any"),
        )
    return LayerForm(
        norm=take_choice(section, "norm", NORMS, where, "none"),
        norm_at=take_choice(section, "norm_at", NORM_AT, where, "before"),
        positions=take_choice(section, "positions", POSITIONS, where, "none"),
        activation=take_choice(section, "activation", UNARY, where, "silu"),
        experts=experts,
        latent=latent,
        **{flag: take(section, flag, bool, where, False) for flag in flags},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """Form of a file's attention, and of the layer after it."""

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
