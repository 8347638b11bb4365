"""A whole layer and the ends of a model: their builders, and the short form of a problem file.

The sections `layer` and `vocabulary` have the fields of `LayerForm` and `EndsForm`; what one leaves
out has the field's default, but for `norm: none`. Without `layer` a problem has the products of its
blocks alone (`--scope block`).

`flat_mapper.workload.cascade.block` has the products of a layer alone; here is everything between
them as well, as Einsums of the vector path. What each piece stands for:

    norm_at      of a sublayer: before it, after its residual sum, behind it and before that sum, or
                 around: before and behind it
    norm         rms: squares, their sum, 1/root, scale (Zhang, Sennrich, 2019, arXiv:1910.07467).
                 layer: mean and deviation before, shift after (Ba et al., 2016, arXiv:1607.06450)
    positions    rotary: pairs of words turned by an angle of their position (Su et al., 2021,
                 arXiv:2104.09864): `rotary`, a complex product of words with ROT
    keys         the P rows that are new are made by position of a query, KN and VN; K and V are
                 all M rows by position of a key, from DRAM, the new ones among them: views
    experts      each token goes to `per_token` of `count` (Shazeer et al., 2017, arXiv:1701.06538).
                 Routing is a rate: all experts that are at work get equally many tokens, T. What
                 they read, XE, and what comes back, FCG, are views: tokens by expert, and again by
                 position

Constant factors (the scale of scores, 1/D in a mean, epsilon) ride along and cost nothing; so does
the choice of the largest of a router's weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from math import prod
from typing import Any, Literal, get_args

from flat_mapper.base.errors import Faults, SpecError, expected
from flat_mapper.base.formats import OFF_CHIP
from flat_mapper.spec.catalog import rank_size
from flat_mapper.spec.document import (
    Section,
    among,
    refuse_unknown,
    section_of,
    take,
    take_choice,
    take_section,
)
from flat_mapper.workload.cascade import (
    CORE,
    CORE_LINES,
    FEED_FORWARDS,
    GROUP,
    HEAD,
    PHASES,
    ROLES,
    SOFTMAX,
    FeedForward,
    block,
    grouped,
    head_sizes,
)
from flat_mapper.workload.einsum import Einsum, Unit
from flat_mapper.workload.graph import LatentForm, Softmax, Workload
from flat_mapper.workload.notation import UNARY, parse_einsum
from flat_mapper.workload.problem_file import VOCABULARY, File, check_ranks
from flat_mapper.workload.roles import Roles
from flat_mapper.workload.softmax import LATENTS, REBUILT, SOFTMAXES, with_latent, with_softmax

Norm = Literal["rms", "layer", "none"]
NormAt = Literal["before", "after", "around", "behind"]
Positions = Literal["rotary", "none"]
Head = Literal["vocabulary", "pooler", "none"]
_WORDS: Mapping[str, tuple[str, ...]] = {  # of the fields of a form that are words
    **{"norm": get_args(Norm), "norm_at": get_args(NormAt), "positions": get_args(Positions)},
    **{"activation": UNARY, "head": get_args(Head), "form": LATENTS},
}
ATTENTION_KEYS = ("softmax", "kv_heads", "phase")
CORE_RANKS = ("B", "H", "P", "M", "E", "F")
BLOCK_RANKS = ("D", "FF")


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """A mixture of experts in place of the feed-forward layer."""

    count: int
    per_token: int
    shared: int = 0  # feed-forward layers of the same width that every token passes

    def __post_init__(self) -> None:
        if not 1 <= self.per_token <= self.count:
            condition = f"1 to count ({self.count}) experts"
            raise SpecError(expected("layer: experts.per_token", condition, self.per_token))


@dataclass(frozen=True, slots=True, kw_only=True)
class Latent:
    """Keys and values kept as one latent row for all heads (DeepSeek-V2, arXiv:2405.04434).

    E is the width of a head's query and key without position.
    """

    rank: int  # words of the latent
    rotary: int  # words of a query and of the one key that carry the position
    queries: int = 0  # words of the queries' own latent; 0: they have none
    form: LatentForm = "any"  # see `flat_mapper.workload.softmax`


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerForm:
    """Parts of a layer besides its products."""

    norm: Norm = "rms"
    norm_at: NormAt = "before"
    positions: Positions = "none"
    activation: str = "silu"
    qk_norm: bool = False  # of each head's queries and keys (Henry et al., 2020, arXiv:2010.04245)
    bias: bool = False  # of every product
    qkv_bias: bool = False  # of the queries, keys and values alone
    parallel: bool = False  # attention and feed-forward both read the input (GPT-J, Falcon)
    two_norms: bool = False  # where they are parallel: each by a norm of its own (GPT-NeoX)
    cross: bool = False  # keys and values are made of another sequence, XK
    experts: Experts | None = None
    latent: Latent | None = None


_PARTS = {"experts": Experts, "latent": Latent}  # fields of a form that are forms


@dataclass(slots=True)
class _Lines:
    """A cascade being written: its Einsums, operators, views and parameters."""

    sizes: dict[str, int]
    einsums: list[Einsum] = field(default_factory=list)
    operators: dict[str, tuple[str, ...]] = field(default_factory=dict)
    views: dict[str, str] = field(default_factory=dict)
    weights: dict[str, int] = field(default_factory=dict)

    def add(self, line: str, weight: str = "", unit: Unit | None = None) -> None:
        """An Einsum; `weight` is the input of it that holds parameters."""
        einsum = parse_einsum(line, unit=unit)
        self.einsums.append(einsum)
        for access in einsum.inputs:
            if access.tensor == weight:
                self.weights[weight] = prod(self.sizes[r] for r in access.ranks)

    def biased(self, name: str, ranks: str, right: str, weight: str, bias: str) -> None:
        """A product, and its bias over the ranks given (none where they are empty)."""
        product = f"{name}_dot" if bias else name
        self.add(f"{product}[{ranks}] = {right}", weight)
        if bias:
            self.add(f"{name}[{ranks}] = {product}[{ranks}] + B_{name}[{bias}]", f"B_{name}")

    def norm(self, kind: Norm, name: str, source: str, ranks: str, rank: str) -> str:
        """A norm of a tensor over one rank; the name of what it makes."""
        if kind == "none":
            return source
        rows, first = ",".join(r for r in ranks.split(",") if r != rank), len(self.einsums)
        if kind == "layer":
            self.add(f"{name}_sum[{rows}] = sum({source}[{ranks}])")
            self.add(f"{name}_dev[{ranks}] = {source}[{ranks}] - {name}_sum[{rows}]")
            source = f"{name}_dev"
        self.add(f"{name}_sq[{rows}] = square({source}[{ranks}])")
        self.add(f"{name}_inv[{rows}] = rsqrt({name}_sq[{rows}])")
        self.add(f"{name}_hat[{ranks}] = {source}[{ranks}] * {name}_inv[{rows}]")
        last = f"{name}_mul" if kind == "layer" else name
        self.add(f"{last}[{ranks}] = {name}_hat[{ranks}] * G_{name}[{rank}]", f"G_{name}")
        if kind == "layer":
            self.add(f"{name}[{ranks}] = {last}[{ranks}] + S_{name}[{rank}]", f"S_{name}")
        self.operators[f"norm_{name}"] = tuple(e.name for e in self.einsums[first:])
        return name


def layer(
    form: LayerForm,
    *,
    B: int,
    H: int,
    P: int,
    M: int,
    E: int,
    F: int,
    D: int,
    FF: int,
    kv_heads: int | None = None,
    feed_forward: FeedForward = "plain",
    softmax: Softmax = "row",
) -> Workload:
    """One whole layer: P new positions against M keys and values (P = M: all of them are new).

    H: query heads, all of them; kv_heads, feed_forward and softmax as in `cascade.block`.
    """
    if form.latent is not None and (kv_heads is not None or softmax == "online-2pass"):
        condition = "softmax row, online or any, and no kv_heads: all heads have one latent"
        raise SpecError(expected("layer: latent", condition, kv_heads or softmax))
    sizes = {"B": B, **head_sizes(H, kv_heads), "P": P, "M": M, "E": E, "F": F, "D": D, "FF": FF}
    lines = _Lines(sizes)
    entry = _entered(lines, form, "N1", "X")
    _attention(lines, form, entry, (f"{GROUP},{HEAD}" if GROUP in sizes else HEAD).lower())
    stream = _joined(lines, form, "R1", "O", "X", "1")
    inner = entry
    if not form.parallel or form.two_norms:
        inner = _entered(lines, form, "N2", "X" if form.parallel else stream)
    among("layer: activation", form.activation, UNARY)
    if form.experts is None:
        out = _dense(lines, form, feed_forward, ("", "b,p", inner, ""))
    else:
        out = _experts(lines, form, feed_forward, inner, form.experts)
    _joined(lines, form, "R2", out, stream, "2")
    made = Workload(
        name="layer",
        rank_sizes=lines.sizes,
        einsums=tuple(lines.einsums),
        softmax="row",
        roles=ROLES.within(sizes),
        operators=lines.operators,
        views=lines.views,
        weights=lines.weights,
        core=tuple(e.name for e in CORE),
    )
    formed = with_softmax(made, softmax)
    if form.latent is None:
        return formed
    rebuilt = replace(formed, latent="rebuilt", core=(*REBUILT, *formed.core))
    return with_latent(rebuilt, form.latent.form)


def _entered(lines: _Lines, form: LayerForm, name: str, source: str) -> str:
    """Input of a sublayer: behind its norm, where that stands before it."""
    before = form.norm_at in ("before", "around")
    return lines.norm(form.norm, name, source, "b,p,d", "d") if before else source


def _joined(lines: _Lines, form: LayerForm, name: str, part: str, stream: str, number: str) -> str:
    """A residual sum, with the norms that stand behind the part or behind the sum."""
    if form.norm_at in ("around", "behind"):
        part = lines.norm(form.norm, f"M{number}", part, "b,p,d", "d")
    lines.add(f"{name}[b,p,d] = {part}[b,p,d] + {stream}[b,p,d]")
    if form.norm_at == "after":
        return lines.norm(form.norm, f"N{number}", name, "b,p,d", "d")
    return name


def _attention(lines: _Lines, form: LayerForm, entry: str, heads: str) -> None:
    """Queries, keys and values, the core, and the product that leaves it."""
    if form.latent is not None:
        scores: tuple[str, ...] = _latent(lines, entry, form.latent)
    else:
        shared = heads.partition(",")[0]
        bias = form.bias or form.qkv_bias
        _projected(lines, form, ("Q", entry, "p", "e", heads), bias=bias, turned=True)
        where = "m" if form.cross else "p"
        source, names = ("XK", "KV") if form.cross else (entry, ("KN", "VN"))
        _projected(lines, form, (names[0], source, where, "e", shared), bias=bias, turned=True)
        _projected(lines, form, (names[1], source, where, "f", shared), bias=bias, turned=False)
        if not form.cross:
            lines.views |= {"K": "KN", "V": "VN"}
        scores = CORE_LINES[:1]
    core = (*scores, *CORE_LINES[1:])
    for line in grouped(core) if "," in heads else core:
        lines.add(line)
    lines.operators[SOFTMAX] = tuple(e.name for e in CORE if e.unit == "vector")
    right = f"AV[b,{heads},p,f] * WO[{heads},f,d]"
    lines.biased("O", "b,p,d", right, "WO", "d" if form.bias else "")


def _latent(lines: _Lines, entry: str, latent: Latent) -> tuple[str, ...]:
    """Queries, the latent, and what is made of it for every head; the line of the scores."""
    lines.sizes |= {"L": latent.rank, "R": latent.rotary}
    source, width = entry, "d"
    if latent.queries:
        lines.sizes["CQ"] = latent.queries
        lines.add(f"CQ_in[b,p,cq] = {entry}[b,p,d] * WDQ[cq,d]", "WDQ")
        source, width = lines.norm("rms", "CQ", "CQ_in", "b,p,cq", "cq"), "cq"
    lines.add(f"Q[b,h,p,e] = {source}[b,p,{width}] * WQ[h,e,{width}]", "WQ")
    lines.add(f"QR_in[b,h,p,r] = {source}[b,p,{width}] * WQR[h,r,{width}]", "WQR")
    lines.add("QR[b,h,p,r] = rotary(QR_in[b,h,p,r] * ROT[p,r])")
    lines.add(f"CN_in[b,p,l] = {entry}[b,p,d] * WDKV[l,d]", "WDKV")
    lines.norm("rms", "CN", "CN_in", "b,p,l", "l")
    lines.add(f"KRN_in[b,p,r] = {entry}[b,p,d] * WKR[r,d]", "WKR")
    lines.add("KRN[b,p,r] = rotary(KRN_in[b,p,r] * ROT[p,r])")
    lines.views |= {"CKV": "CN", "KR": "KRN"}
    lines.add("K[b,h,m,e] = CKV[b,m,l] * WK[h,e,l]", "WK")
    lines.add("V[b,h,m,f] = CKV[b,m,l] * WV[h,f,l]", "WV")
    lines.add("QKE[b,h,p,m] = Q[b,h,p,e] * K[b,h,m,e]")
    lines.add("QKR[b,h,p,m] = QR[b,h,p,r] * KR[b,m,r]")
    return ("QK[b,h,p,m] = QKE[b,h,p,m] + QKR[b,h,p,m]",)


def _projected(
    lines: _Lines,
    form: LayerForm,
    made: tuple[str, str, str, str, str],
    *,
    bias: bool,
    turned: bool,
) -> None:
    """A projection into heads: product, bias, norm of a head, turn by position.

    made: its name, source, rank of positions, rank of a head's width, and ranks of heads.
    """
    name, source, position, width, heads = made
    rotary, normed = turned and form.positions == "rotary", turned and form.qk_norm
    ranks, weight = f"b,{heads},{position},{width}", f"W{name[0]}"
    first = f"{name}_in" if normed or rotary else name
    right = f"{source}[b,{position},d] * {weight}[{heads},{width},d]"
    lines.biased(first, ranks, right, weight, f"{heads},{width}" if bias else "")
    if normed:
        scaled = f"{name}_nrm" if rotary else name
        lines.norm("rms", scaled, first, ranks, width)
        first = scaled
    if rotary:
        angles = f"ROT{'K' if position == 'm' else ''}[{position},{width}]"
        lines.add(f"{name}[{ranks}] = rotary({first}[{ranks}] * {angles})")


def _dense(lines: _Lines, form: LayerForm, kind: FeedForward, at: tuple[str, str, str, str]) -> str:
    """One feed-forward layer.

    at: a suffix of its names, ranks of its positions, its input, and a rank of its weights alone.
    """
    suffix, rows, source, own = at
    bias, head = form.bias, f"{own}," if own else ""
    width = "fs" if suffix == "S" else "ff"

    def product(name: str, weight: str, ranks: tuple[str, str], inside: str) -> None:
        right = f"{inside}[{rows},{ranks[0]}] * {weight}{suffix}[{head}{ranks[0]},{ranks[1]}]"
        over = f"{head}{ranks[1]}" if bias else ""
        lines.biased(f"{name}{suffix}", f"{rows},{ranks[1]}", right, f"{weight}{suffix}", over)

    wide = f"{rows},{width}"
    first = "GATE" if kind == "gated" else "UP"
    product(first, "W1", ("d", width), source)
    act = "ACT" if kind == "gated" else "FC1"
    lines.add(f"{act}{suffix}[{wide}] = {form.activation}({first}{suffix}[{wide}])")
    if kind == "gated":
        product("UP", "W3", ("d", width), source)
        lines.add(f"FC1{suffix}[{wide}] = ACT{suffix}[{wide}] * UP{suffix}[{wide}]")
    product("FC2", "W2", (width, "d"), f"FC1{suffix}")
    return f"FC2{suffix}"


def _experts(
    lines: _Lines, form: LayerForm, kind: FeedForward, source: str, experts: Experts
) -> str:
    """A router, the experts at work, the weighted sum of what they make, and shared layers."""
    tokens = lines.sizes["B"] * lines.sizes["P"]
    working = min(experts.count, tokens * experts.per_token)  # that have a token at all
    each = -(-tokens * experts.per_token // working)  # the mean, rounded up
    lines.sizes |= {"EX": experts.count, "AT": working, "T": each, "TOP": experts.per_token}
    lines.add(f"ROUTE[b,p,ex] = {source}[b,p,d] * WR[d,ex]", "WR")
    lines.add("RT_exp[b,p,ex] = exp(ROUTE[b,p,ex])")
    lines.add("RT_sum[b,p] = sum(RT_exp[b,p,ex])")
    lines.operators["router"] = ("RT_exp", "RT_sum")
    lines.views |= {"XE": source, "FCG": "FC2X", "MIX": "RT_exp"}
    held = set(lines.weights)
    _dense(lines, form, kind, ("X", "at,t", "XE", "at"))
    for weight in set(lines.weights) - held:  # of all experts, also those that have no token
        lines.weights[weight] = lines.weights[weight] // working * experts.count
    lines.add("MIXN[b,p,top] = MIX[b,p,top] / RT_sum[b,p]")
    lines.add("MOE[b,p,d] = MIXN[b,p,top] * FCG[b,p,top,d]", unit="vector")
    if not experts.shared:
        return "MOE"
    lines.sizes["FS"] = experts.shared * lines.sizes["FF"]
    shared = _dense(lines, form, kind, ("S", "b,p", source, ""))
    lines.add(f"MOES[b,p,d] = MOE[b,p,d] + {shared}[b,p,d]")
    return "MOES"


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
    lines = _Lines({"B": B, "P": P, "D": D, "VOC": form.size})
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


def short_workload(file: File, sizes: Mapping[str, int], faults: Faults) -> Workload | None:
    """The block around the attention that a file describes."""
    check_ranks(file, (*CORE_RANKS, GROUP, *BLOCK_RANKS), faults)
    missing = ", ".join(rank for rank in CORE_RANKS if rank not in file.names)
    if missing:
        condition = f"the sizes of {', '.join(CORE_RANKS)}"
        faults.append(expected(file.ranks.where, condition, f"no {missing}"))
    form = faults.attempt(_form, file, sizes)
    whole = faults.attempt(_layer, file)
    if faults or form is None:
        return None
    width = sizes.get("D") or sizes["H"] * sizes["E"]
    full = {**sizes, "D": width, "FF": sizes.get("FF") or 4 * width}
    once = faults.attempt(_ends, file, full, whole)
    if faults:
        return None
    given = {rank: full[rank] for rank in (*CORE_RANKS, *BLOCK_RANKS)} | form
    inner = Faults()
    workload = inner.attempt(_chosen, file, given, whole, once)
    faults.extend(f"{file.problem.where}: {line}" for line in inner)
    return workload


def _chosen(
    file: File, given: dict[str, Any], whole: LayerForm | None, once: Workload | None
) -> Workload:
    """The cascade of a scope, with the names of what a wider one has.

    given: arguments of `block`. whole: the form of a layer. once: the ends of the model.
    """
    asked = file.asked.scope
    products = block(**given)
    if asked == VOCABULARY:
        if once is None:
            condition = "vocabulary: {size: N} in the problem, for --scope vocabulary"
            raise SpecError(expected("scope", condition, "none"))
        return once
    if whole is None:
        if asked == "layer":
            condition = "layer: {norm: rms, ...} in the problem, for --scope layer"
            change = "take --scope block: the products"
            raise SpecError(expected("scope", condition, "none", change))
        return products
    del given["phase"]
    every, whole_layer = layer(whole, **given), asked in ("layer", "model")
    if whole_layer:
        macs = once.macs if once and asked == "model" else 0
        return replace(every, left_out=_names(once), left_out_macs=macs, wider=VOCABULARY)
    if every.latent != "none":  # a latent: its block's products are its layer's
        return replace(every, wider="layer")
    lost = [n for n in _names(every) if n not in products.ancestors]
    return replace(products, left_out=tuple(lost), wider="layer") if asked == "block" else products


def _names(workload: Workload | None) -> tuple[str, ...]:
    return tuple(e.name for e in workload.einsums) if workload else ()


def _ends(file: File, sizes: Mapping[str, int], whole: LayerForm | None) -> Workload | None:
    """Ends of the model, where the file has its vocabulary."""
    if VOCABULARY not in file.problem:
        return None
    form = _filled(EndsForm, file.problem, VOCABULARY)
    norm = "none" if whole is None else whole.norm
    return ends(form, norm, B=sizes["B"], P=sizes["P"], D=sizes["D"])


def _layer(file: File) -> LayerForm | None:
    """Form of a whole layer in a file; None where it says nothing."""
    if "layer" not in file.problem:
        return None
    if isinstance(file.problem["layer"], int):
        condition, change = "a section such as {norm: rms}", "did you mean 'layers'?"
        raise file.problem.wrong("layer", condition, file.problem["layer"], change)
    return _filled(LayerForm, file.problem, "layer", norm="none")


def _filled[F](form: type[F], parent: Section, key: str, **others: object) -> F:
    """A form of the section under a key; the section's keys are the form's fields.

    others: defaults in place of the form's own.
    """
    section = take_section(parent, key, required=True)
    listed = fields(form)  # type: ignore[arg-type]  # a dataclass
    refuse_unknown(section, tuple(f.name for f in listed))
    found: dict[str, object] = {}
    for name, default in ((f.name, others.get(f.name, f.default)) for f in listed):
        if name in _PARTS:
            found[name] = _filled(_PARTS[name], section, name) if name in section else None
        elif isinstance(default, str):
            found[name] = take_choice(section, name, _WORDS[name], default=default)
        elif isinstance(default, bool):
            found[name] = take(section, name, bool, default=default)
        elif default is MISSING:
            found[name] = take(section, name, int, above=0)
        else:
            found[name] = take(section, name, int, default=default, above=-1)
    return form(**found)


def _form(file: File, sizes: Mapping[str, int]) -> dict[str, Any]:
    """Form of a file's attention, and of the layer after it, as `block` takes it."""
    node = file.problem["attention"]
    section = section_of({} if node is None else node, f"{file.problem.where}.attention")
    refuse_unknown(section, ATTENTION_KEYS)
    kv_heads = sizes.get(GROUP)
    if "kv_heads" in section and GROUP not in file.changes:
        if kv_heads is not None:
            condition = f"kv_heads here or {GROUP} among the ranks"
            raise SpecError(expected(section.where, condition, "both", "remove one"))
        kv_heads = rank_size(section["kv_heads"], sizes, section.place("kv_heads"))
    phase = take_choice(section, "phase", PHASES, default="prefill")
    softmax = take_choice(section, "softmax", SOFTMAXES, default="row")
    return {
        "softmax": file.asked.softmax or softmax,
        "kv_heads": kv_heads,
        "phase": file.asked.phase or phase,
        "feed_forward": take_choice(file.problem, "feed_forward", FEED_FORWARDS, default="plain"),
    }
