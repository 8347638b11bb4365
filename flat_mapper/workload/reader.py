"""A problem file read as a workload.

    problem:
      name: bert-base             # by default the file's name
      source: where the sizes come from
      ranks: {B: 64, H: 12, P: 512, M: P, E: D / H, F: D / H, D: 768, FF: 4 * D}
      word_bits: 16               # the default
      tensor_bits: {QK: 32}       # where a tensor differs from word_bits
      layers: 12                  # blocks of the model, one after another; by default 1
      feed_forward: plain         # or gated: two products up, joined point by point
      attention: {softmax: row, kv_heads: 4, phase: prefill}   # all of it may be left out: {}

A size is an integer, or arithmetic over other ranks. The short form is the cascade of
`flat_mapper.workload.cascade`: its ranks are B, H, P, M, E, F, and for the block around it D (by
default H * E) and FF (by default 4 * D). H counts query heads. `kv_heads` (or a rank G) counts the
heads of keys and values where query heads share them; then the cascade has G groups and, as its H,
the heads of one group. `phase: decode` says that all but P of the M keys and values come from a
cache. `mask: causal` or `mask: {window: 1024}` (`flat_mapper.workload.mask_reader`) leaves out what
is masked. `softmax` is row, online, online-2pass or any (`flat_mapper.workload.softmax`). In place
of `attention`, a cascade may be written out, in the notation of `flat_mapper.workload.notation`
(and of `flat_mapper.workload.einsum_reader`, where an Einsum says how it stands to shared loops),
and with ranks of any name:

      einsums:
      - T[i,k] = A[i,j] * W1[j,k]
      - {name: activation, einsum: "R[i,k] = relu(T[i,k])", unit: vector}
      - Y[i,l] = R[i,k] * W2[k,l]

A problem of Timeloop (a shape and an instance) is read as a workload of one Einsum, by the rules of
`flat_mapper.workload.timeloop`; its templates are rendered as `flat_mapper.spec.templating` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from flat_mapper.base.errors import Faults, SpecError, expected
from flat_mapper.spec.document import (
    BITS,
    COUNT,
    Section,
    did_you_mean,
    place,
    refuse_unknown,
    section_of,
    take,
    take_choice,
    unknown_key,
)
from flat_mapper.spec.sizes import size_of, sizes_of
from flat_mapper.spec.templating import load_document
from flat_mapper.spec.yamlio import is_text, load
from flat_mapper.workload.cascade import Scope, block
from flat_mapper.workload.cascade import scope as scoped
from flat_mapper.workload.einsum_reader import read_einsum
from flat_mapper.workload.graph import Softmax, Workload
from flat_mapper.workload.graph import faults as workload_faults
from flat_mapper.workload.heads import FEED_FORWARDS, GROUP, PHASES, FeedForward, Phase
from flat_mapper.workload.mask import Mask
from flat_mapper.workload.mask_reader import mask_of, read_mask
from flat_mapper.workload.softmax import SOFTMAXES
from flat_mapper.workload.timeloop import problem_faults, read_problem

PROBLEM_KEYS = (
    *("name", "source", "ranks", "word_bits", "tensor_bits", "layers", "feed_forward"),
    *("attention", "einsums", "mask"),
)
ATTENTION_KEYS = ("softmax", "kv_heads", "phase")
CORE_RANKS = ("B", "H", "P", "M", "E", "F")
BLOCK_RANKS = ("D", "FF")
SEQUENCE_RANKS = ("P", "M")
DEFAULT_WORD_BITS = 16  # FLAT, ASPLOS'23: all data are 16 bit

_UNCHANGED: Mapping[str, object] = MappingProxyType({})


def load_workload(
    source: str | Path,
    scope: Scope = "attention",
    *,
    sizes: Mapping[str, object] = _UNCHANGED,
    phase: str = "",
    softmax: str = "",
    mask: str = "",
) -> Workload:
    """The workload of a problem file, cut to a scope.

    source: a path, or the YAML text itself.
    scope:  `attention`, `block` or `model`; see `flat_mapper.workload.cascade.scope`.
    sizes:  ranks that take the place of the file's (integers or expressions); ranks that the file
            works out from them follow.
    phase:  takes the place of the file's. In `decode` the sequence is the cache: P is 1 (or what
            `sizes` says) and M what it would have been.
    softmax: takes the place of the file's: row, online, online-2pass or any.
    mask:   takes the place of the file's: causal, window=N, or both with a comma.
    raises: SpecError with the first fault; `check_problem` has them all.
    """
    faults = Faults()
    form = _named("softmax", softmax, SOFTMAXES)
    asked = _Asked(phase=_named("phase", phase, PHASES), softmax=form, mask=mask_of(mask))
    workload = _workload(source, sizes, asked, faults)
    if workload is not None and phase == "decode":
        missing = [rank for rank in SEQUENCE_RANKS if rank not in workload.rank_sizes]
        if missing:
            got = ", ".join(workload.rank_sizes)
            raise SpecError(expected(f"{workload.name}: decode", "ranks P and M", got))
        step = {"P": 1, **sizes, "M": workload.rank_sizes["M"]}
        workload = _workload(source, step, asked, faults)
    if workload is None:
        raise SpecError(faults[0])
    return scoped(workload, scope)


def check_problem(source: str | Path) -> list[str]:
    """Everything wrong with a problem file, a line each; empty for a sound one."""
    faults = Faults()
    _workload(source, _UNCHANGED, _Asked(), faults)
    return faults


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A caller's words in the place of the file's."""

    phase: Phase | None = None
    softmax: Softmax | None = None
    mask: Mask | None = None


def _named[Word: str](what: str, word: str, known: tuple[Word, ...]) -> Word | None:
    """The one of some words; None for no word."""
    for one in known:
        if one == word:
            return one
    if word:
        raise SpecError(
            expected(what, f"one of {', '.join(known)}", word, did_you_mean(word, known))
        )
    return None


def sequence_sizes(length: int, phase: str = "") -> dict[str, object]:
    """Sizes of a sequence length: of queries (P) and keys (M); in decode of the cache (M) alone."""
    return dict.fromkeys(("M",) if phase == "decode" else SEQUENCE_RANKS, length)


def set_ranks(workload: Workload, sizes: Mapping[str, object]) -> Workload:
    """The workload at other sizes: integers, or expressions over its present ones.

    A rank that the file works out from another stays as it is; `load_problem(sizes=...)` moves it.
    """
    where = f"{workload.name}: ranks"
    for rank in sizes:
        if rank not in workload.rank_sizes:
            known = ", ".join(workload.rank_sizes)
            hint = did_you_mean(rank, workload.rank_sizes)
            raise SpecError(expected(where, f"one of {known}", rank, hint))
    return workload.with_ranks(
        {r: size_of(size, workload.rank_sizes, f"{where}.{r}") for r, size in sizes.items()}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """The outline of a problem file."""

    problem: Section
    where: str  # path: problem
    stem: str
    ranks: Section
    changes: Mapping[str, object]  # sizes that a caller puts in
    asked: _Asked

    @property
    def names(self) -> tuple[str, ...]:
        """Every rank that has a size."""
        return tuple({**self.ranks, **self.changes})


def _workload(
    source: str | Path, changes: Mapping[str, object], asked: _Asked, faults: Faults
) -> Workload | None:
    """The whole workload of a problem file; None where there are faults."""
    document = faults.attempt(_document, source)
    if document is None:
        return None
    problem = document.get("problem")
    if isinstance(problem, Mapping) and "shape" in problem:
        return _foreign(document, changes, faults)
    file = faults.attempt(_file, document, changes, asked)
    if file is None:
        return None
    unknown = [key for key in file.problem if key not in PROBLEM_KEYS]
    faults.extend(unknown_key(key, file.problem, PROBLEM_KEYS, file.where) for key in unknown)
    sizes = sizes_of(file.ranks, changes, f"{file.where}.ranks", faults)
    cascade = _short if "attention" in file.problem else _written
    workload = cascade(file, sizes, faults)
    name = faults.attempt(_word, file, "name")
    cited = faults.attempt(_word, file, "source")
    word_bits = faults.attempt(_count, file, "word_bits", DEFAULT_WORD_BITS)
    tensor_bits = faults.attempt(_tensor_bits, file, workload)
    mask = faults.attempt(read_mask, file.problem, file.where)
    layers = faults.attempt(_count, file, "layers", 1)
    if faults or workload is None:
        return None
    return replace(
        workload,
        name=name or file.stem,
        source=cited or "",
        word_bits=word_bits or DEFAULT_WORD_BITS,
        tensor_bits=tensor_bits or {},
        repeat=layers or 1,
        mask=file.asked.mask or mask,
    )


def _document(source: str | Path) -> Section:
    """The document of a file, rendered where it is a template, or of a text."""
    document = load(source) if is_text(source) else load_document(source)
    return section_of(document, document.source if isinstance(document, Section) else str(source))


def _foreign(document: Section, changes: Mapping[str, object], faults: Faults) -> Workload | None:
    """The one Einsum of a Timeloop problem."""
    where, problem = document.source, section_of(document["problem"], document.source)
    mixed = [key for key in ("attention", "einsums") if key in problem]
    if mixed:
        condition = "one of attention, einsums, or Timeloop's shape"
        faults.append(expected(f"{where}: problem", condition, f"shape and {mixed[0]}"))
        return None
    variables = section_of(document.get("variables") or {}, where)
    names = {key: value for key, value in variables.items() if isinstance(value, int)}
    lines = problem_faults(document, where, names)
    faults.extend(lines)
    if lines:
        return None
    workload = read_problem(document, where, names)
    shape = section_of(problem["shape"], where)
    if not shape.get("name"):
        workload = replace(workload, name=Path(where).stem)
    return faults.attempt(set_ranks, workload, changes)


def _file(document: Section, changes: Mapping[str, object], asked: _Asked) -> _File:
    """The outline of a file; raises where there is nothing to go on with."""
    name = document.source
    problem = section_of(take(document, "problem", dict, name), name)
    refuse_unknown(document, ("problem",), name)
    where = f"{name}: problem"
    forms = [key for key in ("attention", "einsums") if key in problem]
    if len(forms) != 1:
        got = " and ".join(forms) or f"the keys {', '.join(problem)}"
        raise SpecError(expected(where, "either attention or einsums", got))
    ranks = section_of(take(problem, "ranks", dict, where), where)
    stem = Path(name).stem
    return _File(problem=problem, where=where, stem=stem, ranks=ranks, changes=changes, asked=asked)


def _short(file: _File, sizes: Mapping[str, int], faults: Faults) -> Workload | None:
    """The block around the attention that a file describes."""
    _check_ranks(file, (*CORE_RANKS, GROUP, *BLOCK_RANKS), faults)
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
    """A file's attention, and the layer after it."""

    softmax: Softmax
    kv_heads: int | None
    phase: Phase
    feed_forward: FeedForward


def _form(file: _File, sizes: Mapping[str, int]) -> _Form:
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


def _written(file: _File, sizes: Mapping[str, int], faults: Faults) -> Workload | None:
    """The cascade that a file writes out."""
    if file.asked.softmax:
        condition = "attention in the problem, whose softmax can be chosen"
        faults.append(expected(f"{file.where}: softmax", condition, "einsums"))
    if "feed_forward" in file.problem:
        at = place(file.where, file.problem, "feed_forward")
        faults.append(expected(at, "attention beside it", "einsums", "write the layer out"))
    items = faults.attempt(take, file.problem, "einsums", list, file.where)
    if items is None:
        return None
    place_of = place(file.where, file.problem, "einsums")
    read = [faults.attempt(read_einsum, item, f"{place_of}.{i}") for i, item in enumerate(items)]
    einsums = tuple(einsum for einsum in read if einsum)
    if len(einsums) < len(read):
        return None
    _check_ranks(file, dict.fromkeys(r for e in einsums for r in e.ranks), faults)
    declared = {rank: sizes.get(rank, 1) for rank in file.names}
    faults.extend(workload_faults(file.where, declared, einsums))
    if faults:
        return None
    return faults.attempt(Workload, name=file.stem, rank_sizes=sizes, einsums=einsums)


def _check_ranks(file: _File, known: Iterable[str], faults: Faults) -> None:
    """Note the ranks that the cascade does not have."""
    listed, where = tuple(known), f"{file.where}.ranks"
    for name in file.names:
        if name not in listed:
            at = place(where, file.ranks, name, shown=False)
            hint = did_you_mean(name, listed)
            faults.append(expected(at, f"ranks among {', '.join(listed)}", name, hint))


def _word(file: _File, key: str) -> str:
    return str(take(file.problem, key, str, file.where, ""))


def _count(file: _File, key: str, default: int) -> int:
    within = BITS if key == "word_bits" else COUNT
    return take(file.problem, key, int, file.where, default, above=0, within=within)


def _tensor_bits(file: _File, workload: Workload | None) -> dict[str, int]:
    where = f"{file.where}.tensor_bits"
    section = section_of(take(file.problem, "tensor_bits", dict, file.where, {}), where)
    for tensor in section:
        known = workload.tensor_ranks if workload else section
        if tensor not in known:
            at = place(where, section, tensor, shown=False)
            hint = did_you_mean(tensor, known)
            raise SpecError(expected(at, f"tensors among {', '.join(known)}", tensor, hint))
    return {tensor: take(section, tensor, int, where, above=0, within=BITS) for tensor in section}
