"""The softmax of attention as a cascade that goes over the keys once, twice, or three times.

docs/softmax.md has the forms, their Einsums and their sources. A pass over a rank's fiber visits
all of it before anything that needs the whole fiber can go on. `online-2pass` makes the scores
again (QK2), where FuseMax's two-pass cascade keeps a whole row of exponentials on chip. With keys
in parts (`with_splits`) each part has a maximum, a sum and a numerator of its own, and a row is
merged once from them all, as FlashDecoding does (Dao et al., 2023).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, get_args

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.formats import SUMS
from flat_mapper.spec.document import among
from flat_mapper.workload.einsum import Einsum, TensorAccess
from flat_mapper.workload.graph import LatentForm, Softmax, Workload
from flat_mapper.workload.notation import parse_einsum
from flat_mapper.workload.roles import members_within

SOFTMAXES: tuple[Softmax, ...] = tuple(s for s in get_args(Softmax) if s != "none")
ROW = ("QK", "QK_max", "QK_exp", "QK_sum", "A", "AV")  # what is rewritten, by Einsum


def with_softmax(workload: Workload, softmax: Softmax) -> Workload:
    """A workload of row-softmax attention with another form of its softmax.

    `any` keeps the row form; `alternatives` has what it stands for.
    """
    among(f"{workload.name}: softmax", softmax, SOFTMAXES)
    if workload.softmax not in ("row", "any") or not workload.ancestors.keys() >= {*ROW}:
        condition = f"a row softmax of the Einsums {', '.join(ROW)} to rewrite as {softmax}"
        raise SpecError(expected(workload.name, condition, workload.softmax))
    if softmax in ("row", "any"):
        return replace(workload, softmax=softmax)
    inside = _online(workload, twice=softmax == "online-2pass")
    einsums: list[Einsum] = []
    for einsum in workload.einsums:
        if einsum.name == "QK":
            einsums += inside
        elif einsum.name not in ROW:
            einsums.append(_renamed(einsum))
    core = tuple(e.name for e in inside) if workload.core else ()
    operators = {name: _rowwise(inside, of) for name, of in workload.operators.items()}
    return _of(workload, einsums, softmax=softmax, operators=operators, core=core)


def _rowwise(inside: Sequence[Einsum], members: tuple[str, ...]) -> tuple[str, ...]:
    """An operator; the softmax's own has all vector Einsums, the scores where they were in it."""
    if "QK_max" not in members:
        return members
    own = (e.name for e in inside if e.unit == "vector")
    return tuple(n for n in own if n in members or n != "QK")


def _of(workload: Workload, einsums: Sequence[Einsum], **said: Any) -> Workload:
    """The workload with other Einsums, and the widths of the tensors that these have."""
    tensors = {SUMS, *chain.from_iterable(e.tensors for e in einsums)}
    bits = {t: width for t, width in workload.tensor_bits.items() if t in tensors}
    return replace(workload, einsums=tuple(einsums), tensor_bits=bits, **said)


SPLIT, MERGE = "S", "merge"  # the rank of the parts of the keys, and the operator after them


def with_splits(workload: Workload, parts: int) -> Workload:
    """Online attention with its keys in so many parts, which are merged by Einsums of their own.

    The parts are a rank of every tensor with keys and of what is made of one part; cores may take
    one each. Under a mask each part has an equal share of the keys that a query sees. The last
    Einsums are the operator `merge`: they read the maximum, the sum and the numerator of every
    part.

    raises: SpecError where the softmax is not online, or the parts do not divide the keys.
    """
    where, sizes = f"{workload.name}: splits", dict(workload.rank_sizes)
    keys = workload.roles.keys
    if workload.softmax != "online" or not keys:
        raise SpecError(expected(where, "an online softmax", workload.softmax))
    if sizes[keys] % parts or SPLIT in sizes:
        condition = f"a divisor of {sizes[keys]} keys, and no rank {SPLIT}"
        raise SpecError(expected(where, condition, parts))
    split = {*_of_parts(workload, keys)}
    last = next(e for e in workload.einsums if e.after)

    # The parts are the last rank of what has them.
    def part_of(access: TensorAccess) -> TensorAccess:
        return replace(access, ranks=(*access.ranks, SPLIT)) if access.tensor in split else access

    einsums = [e.rewritten(part_of) for e in workload.einsums if e is not last]
    merging = tuple(_merging(workload.einsum("QK_max").output, last))
    # What a part leaves is added to what others do: it is no wider or narrower than a sum.
    sums = {t: SUMS for t in split & workload.sums if keys not in workload.tensor_ranks[t]}
    every = tuple(e.name for e in (*einsums, *merging))
    names, merge = every[: len(einsums)], every[len(einsums) :]
    return replace(
        workload,
        rank_sizes={**sizes, SPLIT: parts, keys: sizes[keys] // parts},
        einsums=(*einsums, *merging),
        tensor_bits={**sums, **workload.tensor_bits},
        mask=workload.mask and replace(workload.mask, parts=parts * workload.mask.parts),
        operators={**members_within(workload.operators, names), MERGE: merge},
        core=every if workload.core else (),
    )


def parts_of(workload: Workload) -> int:
    """Parts of the keys, of a form of `with_splits`; else 1, whatever ranks a cascade has."""
    return workload.rank_sizes.get(SPLIT, 1) if workload.softmax == "online" else 1


def _of_parts(workload: Workload, keys: str) -> Iterator[str]:
    """Tensors of which each part of the keys has its own."""
    for einsum in workload.einsums:
        yield from (a.tensor for a in einsum.accesses if keys in (*a.ranks, *einsum.each))
        if keys in einsum.reduced_ranks:
            yield einsum.output.tensor


def _merging(maximum: TensorAccess, last: Einsum) -> Iterator[Einsum]:
    """The Einsums that merge the parts of a row; the last of them has the name of what they are."""
    row, whole = str(maximum).removeprefix(maximum.tensor), str(last.output)
    inner = whole.removeprefix(last.output.tensor)
    part, partial = (ranks.replace("]", f",{SPLIT.lower()}]") for ranks in (row, inner))
    lines = {
        "QK_top": f"QK_top{row} = max(QK_max{part})",
        "QK_scale": f"QK_scale{part} = exp(QK_max{part} - QK_top{row})",
        "QK_all": f"QK_all{row} = QK_sum{part} * QK_scale{part}",
        "AV_all": f"AV_all{inner} = AV{partial} * QK_scale{part}",
        last.name: f"{whole} = AV_all{inner} / QK_all{row}",
    }
    yield from (parse_einsum(text, name=n, unit="vector") for n, text in lines.items())


def alternatives(workload: Workload, *, charged: bool = True) -> tuple[Workload, ...]:
    """The equal cascades that a search may choose among; one where nothing is left open.

    More than one where the softmax is `any`, and where a latent may be used in both of its forms
    (`flat_mapper.workload.softmax`). The two-pass form makes its scores again as one product; those
    of a latent are a sum of two, so it is not among its forms.
    charged: whether the softmax costs something; where it is free, the two-pass form is left out,
             because its first pass would be a product whose result nothing is charged for reading.
    """
    forms: tuple[Softmax, ...] = (workload.softmax,)
    if workload.softmax == "any":
        twice = charged and workload.latent == "none"
        forms = ("row", "online", "online-2pass") if twice else ("row", "online")
    latents: tuple[Workload, ...] = (workload,)
    if workload.latent == "any":
        latents = with_latent(workload, "rebuilt"), with_latent(workload, "absorbed")
    return tuple(
        one if one.softmax == form else with_softmax(one, form) for one in latents for form in forms
    )


def made_again(workload: Workload) -> dict[str, str]:
    """Products that the form of the softmax makes a second time: each with the first."""
    return {"QK2": "QK"} if workload.softmax == "online-2pass" else {}


def passes(workload: Workload, names: tuple[str, ...]) -> dict[str, int]:
    """Of each Einsum of a group, the pass over the reduced fibers in which it runs; from 0.

    An Einsum is one pass after a maker that reduces a rank of its own, unless it takes the result
    `so_far`. One that needs nothing of the group runs as late as its readers allow.
    """
    found: dict[str, int] = {}
    ordered = [e for e in workload.ordered if e.name in names]
    for einsum in ordered:
        after = (_pass_after(workload, einsum, tensor, found) for tensor in einsum.operands)
        found[einsum.name] = max(after, default=0)
    for einsum in ordered:
        if {*names}.isdisjoint(workload.ancestors[einsum.name]):
            readers = (e.name for e in ordered if e.reads(einsum.output.tensor))
            found[einsum.name] = min(map(found.__getitem__, readers), default=0)
    return found


def _pass_after(workload: Workload, einsum: Einsum, tensor: str, found: Mapping[str, int]) -> int:
    """The first pass in which an input is there for an Einsum; found: of those before it."""
    maker = workload.producers.get(tensor)
    if maker is None or maker not in found:
        return 0
    whole = tensor not in einsum.so_far and not einsum.each
    reduced = workload.einsum(maker).reduced_ranks
    return found[maker] + (whole and not {*reduced}.isdisjoint(einsum.ranks))


def _online(workload: Workload, *, twice: bool) -> tuple[Einsum, ...]:
    """The row cascade with a maximum and a sum so far.

    twice: its scores are made again under the whole maximum; otherwise AV is corrected as it grows.
    """
    of = {name: workload.einsum(name) for name in ROW}
    (keys,) = of["QK_max"].reduced_ranks
    scores, exp, quotient, total = (str(of[n].output) for n in ("QK", "QK_exp", "A", "AV"))
    row = str(of["QK_max"].output).removeprefix("QK_max")

    def vector(text: str, **said: Any) -> Einsum:
        return replace(parse_einsum(text, unit="vector"), **said)

    correction = f"QK_cor{row} = exp(QK_cor{row} - QK_max{row})"
    corrected = f"QK_sum{row} = QK_sum{row} * QK_cor{row}"
    running = (
        of["QK"],
        of["QK_max"],
        vector(correction, each=(keys,), so_far=("QK_max",)),
        replace(of["QK_exp"], so_far=("QK_max",)),
        vector(corrected, name="QK_sum_cor", each=(keys,)),
        of["QK_sum"],
    )
    divided = vector(f"{total.replace('AV[', 'AV_div[')} = {total} / QK_sum{row}", after=(keys,))
    if twice:
        again = scores.replace("QK[", "QK2[")
        product = parse_einsum(f"{again} = {' * '.join(map(str, of['QK'].inputs))}", unit="matrix")
        weights = vector(f"{quotient} = exp({again} - QK_max{row})")
        return (*running, product, weights, of["AV"], divided)
    value = next(a for a in of["AV"].inputs if a.tensor != "A")
    numerator = parse_einsum(f"{total} = {exp} * {value}", unit="matrix")
    grown = vector(f"{total} = {total} * QK_cor{row}", name="AV_cor", each=(keys,))
    return (*running, grown, numerator, divided)


def _renamed(einsum: Einsum) -> Einsum:
    """An Einsum after the attention: what read AV reads the quotients."""
    return einsum.rewritten(lambda a: replace(a, tensor="AV_div") if a.tensor == "AV" else a)


LATENTS: tuple[LatentForm, ...] = tuple(f for f in get_args(LatentForm) if f != "none")
# What stands before the attention's own Einsums in its scope, in each form; OV stands behind them.
REBUILT, ABSORBED = ("K", "V", "QKE", "QKR"), ("QC", "QKE", "QKR")
_QUERY = "QC[b,h,p,l] = Q[b,h,p,e] * WK[h,e,l]"
_SCORE = "QKE[b,h,p,m] = QC[b,h,p,l] * CKV[b,m,l]"
WORDS = {
    "rebuilt": "keys and values of every head are made of the latent (rebuilt)",
    "absorbed": "WK is taken into the query and WV into the output (absorbed)",
}


def with_latent(workload: Workload, form: LatentForm) -> Workload:
    """A workload of rebuilt latent attention with its latent used in another form.

    `any` keeps the rebuilt cascade; `alternatives` has what it stands for.
    """
    among(f"{workload.name}: latent", form, LATENTS)
    if workload.latent not in ("rebuilt", "any"):
        condition = f"a latent that is rebuilt, to use it as {form}"
        raise SpecError(expected(workload.name, condition, workload.latent))
    return _absorbed(workload) if form == "absorbed" else replace(workload, latent=form)


def _absorbed(workload: Workload) -> Workload:
    # The last of the attention: its quotients where the softmax is online, else AV itself.
    last = "AV_div" if "AV_div" in workload.ancestors else "AV"
    changed: dict[str, dict[str, Any]] = {"V": {"tensor": "CKV", "ranks": ("B", "M", "L")}}
    changed["AV"] = changed[last] = {"ranks": ("B", "H", "P", "L")}

    def change(access: TensorAccess) -> TensorAccess:
        return replace(access, **changed.get(access.tensor, {}))

    def after(access: TensorAccess) -> TensorAccess:
        return replace(access, tensor="OV") if access.tensor == last else access

    einsums: list[Einsum] = []
    for einsum in workload.einsums:
        if einsum.name == "QKE":
            einsums += [parse_einsum(_QUERY), parse_einsum(_SCORE)]
        elif einsum.name not in ("K", "V"):
            inside = einsum.output.tensor in ("AV", last)
            einsums.append(einsum.rewritten(change if inside else after))
        if einsum.name == last:
            einsums.append(parse_einsum(f"OV[b,h,p,f] = {last}[b,h,p,l] * WV[h,f,l]"))
    core = tuple(n for n in workload.core if n not in REBUILT)
    whole = (*ABSORBED, *core, "OV") if core else ()
    return _of(workload, einsums, latent="absorbed", core=whole)
