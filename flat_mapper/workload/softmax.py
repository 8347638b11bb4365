"""The softmax of attention as a cascade that goes over the keys once, twice, or three times.

A pass over a rank's fiber visits all of it before anything that needs the whole fiber can go on;
the taxonomy is FuseMax's (Nayak et al., MICRO 2024). The row softmax of FLAT has three passes over
the key positions: the maximum; the exponentials and their sum; the quotients and AV. Keys may not
be cut by a shared loop there, because every pass needs what the one before made of the whole row.

`online` has one pass, as FlashAttention's kernels (Dao et al., 2022) and FuseMax's own cascade do:

    QK_max  the maximum so far
    QK_exp  exponentials under the maximum so far
    QK_cor  once per tile of keys: exp(old maximum - new maximum). Its buffer holds the old maximum
            until it is overwritten, so that it reads two words and writes one.
    QK_sum_cor, AV_cor  once per tile: the sum and the numerator so far, times the correction
    QK_sum, AV  accumulate over the tiles; AV is the numerator
    AV_div  once per row, after the last tile: AV / QK_sum

`online-2pass` has two: the first keeps only the maximum and the sum of each row (QK_sum is
corrected as above), the second makes the scores again (QK2) and needs no correction of AV.
FuseMax's two-pass cascade keeps the exponentials of the first pass instead: a whole row of them on
chip, as the row softmax does.

With its keys in parts (`with_splits`), each part has a maximum, a sum and a numerator of its own,
and a row is merged once from them all, as FlashDecoding does (Dao et al., 2023).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.workload.einsum import Einsum, TensorAccess
from flat_mapper.workload.graph import LatentForm, Softmax, Workload
from flat_mapper.workload.notation import parse_einsum

SOFTMAXES: tuple[Softmax, ...] = tuple(s for s in get_args(Softmax) if s != "none")
ROW = ("QK", "QK_max", "QK_exp", "QK_sum", "A", "AV")  # what is rewritten, by Einsum


def with_softmax(workload: Workload, softmax: Softmax) -> Workload:
    """A workload of row-softmax attention with another form of its softmax.

    `any` keeps the row form; `alternatives` has what it stands for.
    """
    if softmax not in SOFTMAXES:
        condition = f"one of {', '.join(SOFTMAXES)}"
        raise SpecError(expected(f"{workload.name}: softmax", condition, softmax))
    names = [e.name for e in workload.einsums]
    if workload.softmax not in ("row", "any") or any(n not in names for n in ROW):
        condition = f"a row softmax of the Einsums {', '.join(ROW)} to rewrite as {softmax}"
        raise SpecError(expected(workload.name, condition, workload.softmax))
    if softmax in ("row", "any"):
        return replace(workload, softmax=softmax)
    inside = _online(workload, twice=softmax == "online-2pass")
    before = [e for e in workload.einsums[: names.index("QK")] if e.name not in ROW]
    after = [e for e in workload.einsums[names.index("QK") :] if e.name not in ROW]
    made = [e.output.tensor for e in inside]
    vector = [e.name for e in inside if e.unit == "vector"]  # the scores too, where they are a sum
    return replace(
        workload,
        einsums=(*before, *inside, *(_renamed(e) for e in after)),
        tensor_bits={t: n for t, n in workload.tensor_bits.items() if t != "A" or t in made},
        softmax=softmax,
        operators={
            name: tuple(n for n in vector if n in of or n != "QK") if "QK_max" in of else of
            for name, of in workload.operators.items()
        },
        core=tuple(e.name for e in inside) if workload.core else (),
    )


SPLIT, MERGE = "S", "merge"  # the rank of the parts of the keys, and the operator after them


def with_splits(workload: Workload, parts: int) -> Workload:
    """Online attention with its keys in so many parts, which are merged by Einsums of their own.

    The parts are a rank of every tensor with keys and of what is made of one part; cores may take
    one each. Under a mask each part has an equal share of the keys that a query sees. The last
    Einsums are the operator `merge`: they read the maximum, the sum and the numerator of every
    part.

    raises: SpecError where the softmax is not online, or the parts do not divide the keys.
    """
    where = f"{workload.name}: splits"
    keys = workload.roles.keys
    if workload.softmax != "online" or not keys:
        raise SpecError(expected(where, "an online softmax", workload.softmax))
    if workload.rank_sizes[keys] % parts or SPLIT in workload.rank_sizes:
        condition = f"a divisor of {workload.rank_sizes[keys]} keys, and no rank {SPLIT}"
        raise SpecError(expected(where, condition, parts))
    split = {
        a.tensor for e in workload.einsums for a in e.accesses if keys in (*a.ranks, *e.each)
    } | {e.output.tensor for e in workload.einsums if keys in e.reduced_ranks}
    last = next(e for e in workload.einsums if e.after)

    # The parts are the last rank of what has them.
    def part_of(access: TensorAccess) -> TensorAccess:
        return replace(access, ranks=(*access.ranks, SPLIT)) if access.tensor in split else access

    made = [e.rewritten(part_of) for e in workload.einsums if e is not last]
    row = str(workload.einsum("QK_max").output).removeprefix("QK_max")
    part, whole = row.replace("]", f",{SPLIT.lower()}]"), str(last.output)
    inner = whole.removeprefix(last.output.tensor)
    partial = f"AV{inner.replace(']', f',{SPLIT.lower()}]')}"
    merging = (
        ("QK_top", f"QK_top{row} = max(QK_max{part})"),
        ("QK_scale", f"QK_scale{part} = exp(QK_max{part} - QK_top{row})"),
        ("QK_all", f"QK_all{row} = QK_sum{part} * QK_scale{part}"),
        ("AV_all", f"AV_all{inner} = {partial} * QK_scale{part}"),
        (last.name, f"{whole} = AV_all{inner} / QK_all{row}"),
    )
    einsums = tuple(parse_einsum(text, name=n, unit="vector") for n, text in merging)
    sizes = {**workload.rank_sizes, SPLIT: parts, keys: workload.rank_sizes[keys] // parts}
    first = tuple(e.name for e in made)
    operators = {o: tuple(n for n in of if n in first) for o, of in workload.operators.items()}
    return replace(
        workload,
        rank_sizes=sizes,
        einsums=(*made, *einsums),
        mask=workload.mask and replace(workload.mask, parts=parts * workload.mask.parts),
        operators={**operators, MERGE: tuple(e.name for e in einsums)},
        core=(*first, *(e.name for e in einsums)) if workload.core else (),
    )


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
    inside = {n: [m for m in workload.ancestors[n] if m in names] for n in names}
    for einsum in ordered:
        latest = 0
        for tensor in (a.tensor for a in einsum.inputs):
            maker = workload.producers.get(tensor)
            if maker in found:
                reduced = workload.einsum(maker).reduced_ranks
                waits = tensor not in einsum.so_far and any(r in einsum.ranks for r in reduced)
                latest = max(latest, found[maker] + (waits and not einsum.each))
        found[einsum.name] = latest
    for einsum in ordered:
        if not inside[einsum.name]:
            readers = [e for e in ordered if e.reads(einsum.output.tensor)]
            found[einsum.name] = min((found[e.name] for e in readers), default=0)
    return found


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
    if form not in LATENTS:
        condition = f"one of {', '.join(LATENTS)}"
        raise SpecError(expected(f"{workload.name}: latent", condition, form))
    if workload.latent not in ("rebuilt", "any"):
        condition = f"a latent that is rebuilt, to use it as {form}"
        raise SpecError(expected(workload.name, condition, workload.latent))
    return _absorbed(workload) if form == "absorbed" else replace(workload, latent=form)


def _absorbed(workload: Workload) -> Workload:
    # The last of the attention: its quotients where the softmax is online, else AV itself.
    last = "AV_div" if any(e.name == "AV_div" for e in workload.einsums) else "AV"
    wide = ("B", "H", "P", "L")
    inside = [e.name for e in workload.einsums if e.output.tensor in ("AV", last)]

    def change(access: TensorAccess) -> TensorAccess:
        if access.tensor == "V":
            return replace(access, tensor="CKV", ranks=("B", "M", "L"))
        return replace(access, ranks=wide) if access.tensor in ("AV", last) else access

    def after(access: TensorAccess) -> TensorAccess:
        return replace(access, tensor="OV") if access.tensor == last else access

    einsums: list[Einsum] = []
    for einsum in workload.einsums:
        if einsum.name == "QKE":
            einsums += [parse_einsum(_QUERY), parse_einsum(_SCORE)]
        elif einsum.name not in ("K", "V"):
            einsums.append(einsum.rewritten(change if einsum.name in inside else after))
        if einsum.name == last:
            einsums.append(parse_einsum(f"OV[b,h,p,f] = {last}[b,h,p,l] * WV[h,f,l]"))
    tensors = {a.tensor for e in einsums for a in e.accesses}
    core = tuple(n for n in workload.core if n not in REBUILT)
    return replace(
        workload,
        einsums=tuple(einsums),
        tensor_bits={t: n for t, n in workload.tensor_bits.items() if t in tensors},
        latent="absorbed",
        core=(*ABSORBED, *core, "OV") if core else (),
    )
