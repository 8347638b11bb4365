"""Keys and values kept as one latent row for all heads, in the two equal forms of their use.

DeepSeek-V2's attention (arXiv:2405.04434, section 2.1) caches a latent CKV of L words and a key KR
of R words with the position, for all heads together. What a head needs of it can be had in two
ways, which differ in where a product stands, not in what comes out:

    rebuilt   K[b,h,m,e] = CKV[b,m,l] * WK[h,e,l]      keys and values of every head and position
              V[b,h,m,f] = CKV[b,m,l] * WV[h,f,l]      are made of the latent, also of those in
              QKE[b,h,p,m] = Q[b,h,p,e] * K[b,h,m,e]   the cache
              AV[b,h,p,f] = A[b,h,p,m] * V[b,h,m,f]

    absorbed  QC[b,h,p,l] = Q[b,h,p,e] * WK[h,e,l]     the query takes WK, the output WV: heads read
              QKE[b,h,p,m] = QC[b,h,p,l] * CKV[b,m,l]  the latent itself, as keys and as values
              AV[b,h,p,l] = A[b,h,p,m] * CKV[b,m,l]
              OV[b,h,p,f] = AV[b,h,p,l] * WV[h,f,l]

For few queries against many keys the second does less, for many queries the first. `any` is a
workload that stands for both, as `softmax: any` is one: a search asks both, and its answer says
which it is about.
"""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.workload.einsum import Einsum, TensorAccess
from flat_mapper.workload.graph import LatentForm, Workload
from flat_mapper.workload.notation import parse_einsum

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

    `any` keeps the rebuilt cascade; `latent_forms` has what it stands for.
    """
    if form not in LATENTS:
        condition = f"one of {', '.join(LATENTS)}"
        raise SpecError(expected(f"{workload.name}: latent", condition, form))
    if workload.latent not in ("rebuilt", "any"):
        condition = f"a latent that is rebuilt, to use it as {form}"
        raise SpecError(expected(workload.name, condition, workload.latent))
    return _absorbed(workload) if form == "absorbed" else replace(workload, latent=form)


def latent_forms(workload: Workload) -> tuple[Workload, ...]:
    """The cascades that a workload's latent leaves open: two where it is `any`."""
    if workload.latent != "any":
        return (workload,)
    return tuple(with_latent(workload, form) for form in ("rebuilt", "absorbed"))


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
