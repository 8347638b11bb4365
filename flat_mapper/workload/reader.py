"""A problem file read as a workload: docs/howto/problem.md and models.md have its keys.

A size is an integer, or arithmetic over other ranks. The short form (`attention`) is the cascade of
`flat_mapper.workload.cascade`, or of `flat_mapper.workload.layers`; its H counts query heads, and
with `kv_heads`, or a rank G, those of one group. In place of it a cascade may be written out, in
the notation of `flat_mapper.workload.notation`, with ranks of any name: names alone say nothing.

A problem of Timeloop (a shape and an instance) is read as a workload of one Einsum, by the rules of
`flat_mapper.workload.timeloop`; its templates are rendered as `flat_mapper.spec.templating` does.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

from flat_mapper.base.errors import Faults, SpecError, expected
from flat_mapper.base.formats import SUMS, TensorWidth
from flat_mapper.spec.catalog import rank_size, section_sizes, widths_of
from flat_mapper.spec.document import (
    BITS,
    Section,
    among,
    refuse_unknown,
    section_of,
    take,
    take_section,
    take_words,
    unknown_keys,
    unknown_word,
)
from flat_mapper.spec.templating import load_document
from flat_mapper.spec.yamlio import is_text, load_yaml
from flat_mapper.workload.cascade import PHASES, Scope
from flat_mapper.workload.cascade import scope as scoped
from flat_mapper.workload.einsum import Einsum, uncorrected
from flat_mapper.workload.einsum import faults as workload_faults
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.layers import short_workload
from flat_mapper.workload.mask import NO_MASK, mask_of, most_parts
from flat_mapper.workload.notation import read_einsum
from flat_mapper.workload.problem_file import (
    VOCABULARY,
    File,
    Lengths,
    Replacements,
    check_ranks,
    chosen_layers,
    declared_roles,
    layers_of,
    listed_lengths,
    ragged,
    repeated,
    seen,
    sequence_ranks,
    sequence_sizes,
)
from flat_mapper.workload.roles import (
    Roles,
    operator_faults,
    read_data_spaces,
    read_operators,
    read_words,
    role_faults,
)
from flat_mapper.workload.softmax import SOFTMAXES

PROBLEM_KEYS = (
    *("name", "source", "ranks", "word_bits", "tensor_bits", "layers", "feed_forward"),
    *("attention", "layer", "vocabulary", "einsums", "mask", "roles", "operators", "views"),
    *("data_spaces", "lengths", "dropped"),
)
DEFAULT_WORD_BITS = 16  # FLAT, ASPLOS'23: all data are 16 bit

_FIELDS: Mapping[str, Callable[[File], Any]] = {  # of a workload, that a file says by itself
    "name": lambda file: str(take(file.problem, "name", str, default="")) or file.stem,
    "source": lambda file: str(take(file.problem, "source", str, default="")),
    "dropped": lambda file: take_words(file.problem, "dropped"),
    "word_bits": lambda file: take(
        file.problem, "word_bits", int, default=DEFAULT_WORD_BITS, above=0, within=BITS
    ),
}
_UNCHANGED: Mapping[str, object] = MappingProxyType({})


def load_workload(
    source: str | Path,
    scope: Scope | None = None,
    *,
    sizes: Mapping[str, object] = _UNCHANGED,
    lengths: Lengths | tuple[Lengths, ...] | None = None,
    phase: str = "",
    softmax: str = "",
    mask: str = "",
    layers: str = "",
) -> Workload:
    """The workload of a problem file, cut to a scope.

    source: a path, or the YAML text itself.
    scope:  `attention`, `block` or `model`; see `flat_mapper.workload.cascade.scope`. By default
            the attention of the short form, and all of a cascade that is written out.
    sizes:  ranks that take the place of the file's (integers or expressions); ranks that the file
            works out from them follow.
    lengths: of queries and keys, by the ranks that the problem's roles name; `sizes` goes before.
            Several are those of a ragged batch, in place of the file's `lengths`.
    phase:  takes the place of the file's. In `decode` the sequence is the cache: there is one query
            (or what `lengths` or `sizes` says), and as many keys as there would have been.
    softmax: takes the place of the file's: row, online, online-2pass or any.
    mask:   takes the place of the file's: causal, window=N, or both with a comma.
    layers: the mask, in the same words, of the kind of layers that is meant, where the problem has
            several. By default all in the scope `model`, else the most frequent.
    raises: SpecError with the first fault; `check_problem` has them all.
    """
    document = _document(source)
    if lengths is None:
        lengths = listed_lengths(document, phase) or None
    if isinstance(lengths, tuple):
        words = {"phase": phase, "softmax": softmax, "mask": mask, "layers": layers}
        each = [load_workload(source, scope, sizes=sizes, lengths=n, **words) for n in lengths]
        return ragged(each, sizes)
    asked = Replacements(
        softmax=among("softmax", softmax, SOFTMAXES) if softmax else None,
        phase=among("phase", phase, PHASES) if phase else None,
        mask=mask_of(mask),
        lengths=lengths,
        unmasked=mask.strip() == NO_MASK,
        scope=scope or "",
    )
    if phase == "decode":
        # Its queries are not known before its keys: until then there is nothing to mask.
        whole = _sound(document, sizes, replace(asked, mask=None, unmasked=True))
        queries, keys = sequence_ranks(whole.roles, f"{whole.name}: decode")
        stated = sequence_sizes(lengths, whole.roles, whole.name)
        sizes = {queries: 1, **stated, **sizes, keys: whole.rank_sizes[keys]}
        asked = replace(asked, lengths=None)
    workload = _sound(document, sizes, asked)
    return seen(scoped(chosen_layers(workload, layers), scope))


def _sound(document: Section, changes: Mapping[str, object], asked: Replacements) -> Workload:
    """The whole workload of a problem file; raises its first fault."""
    faults = Faults()
    workload = _workload(document, changes, asked, faults)
    if workload is None:
        raise SpecError(faults[0])
    return workload


def check_problem(source: str | Path) -> list[str]:
    """Everything wrong with a problem file, a line each; empty for a sound one."""
    faults = Faults()
    document = faults.attempt(_document, source)
    if document is not None:
        several = faults.attempt(listed_lengths, document, "")
        if several is not None:
            _workload(document, _UNCHANGED, Replacements(lengths=next(iter(several), None)), faults)
    return faults


def set_ranks(workload: Workload, sizes: Mapping[str, object]) -> Workload:
    """The workload at other sizes: integers, or expressions over its present ones.

    A rank that the file works out from another stays as it is; `load_problem(sizes=...)` moves it.
    """
    where = f"{workload.name}: ranks"
    if sizes and workload.sequences:
        workload.one_kind(where)
    if not sizes:
        return workload
    return workload.with_ranks(
        {r: rank_size(size, workload.rank_sizes, f"{where}.{r}") for r, size in sizes.items()}
    )


def _workload(
    document: Section, changes: Mapping[str, object], asked: Replacements, faults: Faults
) -> Workload | None:
    """The whole workload of a problem file; None where there are faults."""
    problem = document.get("problem")
    if isinstance(problem, Mapping) and "shape" in problem:
        return _foreign(document, changes, asked, faults)
    file = faults.attempt(_file, document, changes, asked)
    if file is None:
        return None
    faults.extend(unknown_keys(file.problem, PROBLEM_KEYS))
    sizes = section_sizes(file.ranks, file.changes, file.ranks.where, faults)
    cascade = short_workload if "attention" in file.problem else _written
    workload = cascade(file, sizes, faults)
    said: dict[str, Any] = {key: faults.attempt(read, file) for key, read in _FIELDS.items()}
    said["tensor_bits"] = faults.attempt(_tensor_bits, file, workload, sizes)
    kinds = faults.attempt(layers_of, file)
    spaces = faults.attempt(read_data_spaces, file.problem)
    if faults or workload is None or kinds is None:
        return None
    parts = most_parts(kind.mask for kind in kinds)
    faults.extend(role_faults(file.problem.where, workload.roles, workload.rank_sizes, parts))
    if faults:
        return None
    roles = replace(workload.roles, data_spaces=spaces or {})
    return replace(workload, **said, roles=roles, **repeated(workload, kinds))


def _document(source: str | Path) -> Section:
    """The document of a file, rendered where it is a template, or of a text."""
    document = load_yaml(source) if is_text(source) else load_document(source)
    return section_of(document, document.source if isinstance(document, Section) else str(source))


def _foreign(
    document: Section, changes: Mapping[str, object], asked: Replacements, faults: Faults
) -> Workload | None:
    """The one Einsum of a Timeloop problem."""
    from flat_mapper.workload.timeloop import problem_workload

    if asked.lengths:
        faults.attempt(sequence_sizes, asked.lengths, Roles(), f"{document.source}: problem")
        return None
    where, problem = document.where, take_section(document, "problem")
    mixed = [key for key in ("attention", "einsums") if key in problem]
    if mixed:
        condition = "one of attention, einsums, or Timeloop's shape"
        faults.append(expected(problem.where, condition, f"shape and {mixed[0]}"))
        return None
    variables = section_of(document.get("variables") or {}, where)
    names = {key: value for key, value in variables.items() if isinstance(value, int)}
    workload = problem_workload(document, where, names, faults)
    if workload is None:
        return None
    named = section_of(problem["shape"], where).get("name")
    name = workload.name if named else Path(where).stem
    return faults.attempt(set_ranks, replace(workload, name=name, states_bits=False), changes)


def _file(document: Section, changes: Mapping[str, object], asked: Replacements) -> File:
    """The outline of a file; raises where there is nothing to go on with."""
    problem = take_section(document, "problem", required=True)
    refuse_unknown(document, ("problem",))
    forms = [key for key in ("attention", "einsums") if key in problem]
    if len(forms) != 1:
        got = " and ".join(forms) or f"the keys {', '.join(problem)}"
        change = "" if forms else "for the usual attention write attention: {softmax: row}"
        raise SpecError(expected(problem.where, "either attention or einsums", got, change))
    ranks, roles = take_section(problem, "ranks", required=True), declared_roles(problem)
    return File(
        problem=problem,
        stem=Path(document.where).stem,
        ranks=ranks,
        changes={**sequence_sizes(asked.lengths, roles, problem.where), **changes},
        asked=asked,
        roles=roles,
    )


def _written(file: File, sizes: Mapping[str, int], faults: Faults) -> Workload | None:
    """The cascade that a file writes out."""
    where = file.problem.where
    _refuse_short(file, faults)
    einsums = _einsums(file, faults)
    if einsums is None:
        return None
    check_ranks(file, chain.from_iterable(e.ranks for e in einsums), faults)
    declared = {**dict.fromkeys(file.names, 1), **sizes}
    faults.extend(workload_faults(where, declared, einsums))
    if faults:
        return None
    operators = faults.attempt(read_operators, file.problem) or {}
    faults.extend(operator_faults(where, operators, tuple(e.name for e in einsums)))
    faults.extend(role_faults(where, file.roles, declared, 0))
    faults.extend(uncorrected(where, einsums))
    if faults:
        return None
    workload = Workload(
        name=file.stem,
        rank_sizes=sizes,
        einsums=einsums,
        roles=file.roles,
        operators=operators,
        views=faults.attempt(read_words, file.problem, "views") or {},
    )
    for operator, members in operators.items():
        parts = workload.named(members)
        if not any(e.so_far or e.each for e in parts):  # one that corrects itself may be in pieces
            faults.extend(workload.gaps(members, f"{where}.operators.{operator}"))
    return workload


def _refuse_short(file: File, faults: Faults) -> None:
    """Note what only the short form has."""
    if file.asked.softmax:
        condition = "attention in the problem, whose softmax can be chosen"
        faults.append(expected(f"{file.problem.where}: softmax", condition, "einsums"))
    for key in [k for k in ("feed_forward", "layer", "vocabulary") if k in file.problem]:
        at = file.problem.place(key)
        faults.append(expected(at, "attention beside it", "einsums", "write the layer out"))
    if file.asked.scope == VOCABULARY:
        condition = "attention and a vocabulary in the problem, for --scope vocabulary"
        faults.append(expected(file.problem.where, condition, "einsums"))


def _einsums(file: File, faults: Faults) -> tuple[Einsum, ...] | None:
    """The Einsums that a file lists; None where one cannot be read."""
    items, at = faults.attempt(take, file.problem, "einsums", list), file.problem.place("einsums")
    read = [faults.attempt(read_einsum, item, f"{at}.{i}") for i, item in enumerate(items or ())]
    return None if items is None or None in read else tuple(filter(None, read))


def _tensor_bits(
    file: File, workload: Workload | None, sizes: Mapping[str, int]
) -> dict[str, TensorWidth]:
    """Widths of the tensors of a scope; those that only another scope has are passed over."""
    section = take_section(file.problem, "tensor_bits")
    own: Container[str] = {*workload.tensor_ranks, SUMS} if workload else section
    for tensor in (t for t in section if t not in own):
        known = list(dict.fromkeys(_tensors(file, workload, sizes)))
        if tensor not in known:
            at = section.place(tensor, shown=False)
            raise SpecError(unknown_word(at, "tensors among", tensor, known))
    return {tensor: width for tensor, width in widths_of(section).items() if tensor in own}


def _tensors(file: File, workload: Workload | None, sizes: Mapping[str, int]) -> Iterator[str]:
    """Tensors of a problem in all its scopes."""
    yield from workload.tensor_ranks if workload else ()
    for scope in ("", "layer", "vocabulary") if "attention" in file.problem else ():
        other = replace(file, asked=replace(file.asked, scope=scope))
        found = short_workload(other, sizes, Faults())
        yield from found.tensor_ranks if found else ()
