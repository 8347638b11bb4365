"""The package from Python: names or values in, answers out.

An argument that is a value of the package is taken as it is; a word is a shipped name, and a path
is a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Unpack

from flat_mapper.api.defaults import COMPARED, DEFAULT, DERIVED, derived_mapspace
from flat_mapper.api.layers import best_of_layers, noted, search_results, sourced, together
from flat_mapper.arch.reader import load_platform, variables_of
from flat_mapper.arch.values import Architecture, Platform
from flat_mapper.arch.words import fitted
from flat_mapper.backends.registry import get_backend
from flat_mapper.base.budget import Budget, Progress, Spend, part_of
from flat_mapper.base.errors import SpecError, UnpricedError, expected
from flat_mapper.base.formats import TensorWidth
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.energy.tables import ACCELERGY, Art, Ert, load_ert, unpriced
from flat_mapper.mapper.group.incumbent import OBJECTIVES, Objective
from flat_mapper.mapping.check import check_record
from flat_mapper.mapping.space import Mapspace
from flat_mapper.mapping.space_reader import unmatched_rules
from flat_mapper.reports.answers import Comparison, Evaluation, SearchResult
from flat_mapper.spec import catalog
from flat_mapper.spec.document import checked, did_you_mean
from flat_mapper.spec.timeloopfe import IN_MEMORY, document_of
from flat_mapper.spec.yamlio import is_text
from flat_mapper.workload import reader as problem_yaml
from flat_mapper.workload.cascade import SCOPES, Scope
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.problem_file import (
    Lengths,
    at_keys,
    ragged_lengths,
    sequence_lengths,
    sequence_sizes,
)

if TYPE_CHECKING:  # at run time both are imported where they are asked for
    from flat_mapper.mapping.record import MappingRecord

UNCHANGED: Mapping[str, object] = MappingProxyType({})
NO_BITS: Mapping[str, TensorWidth] = MappingProxyType({})

Name = str | Path
Source = Name | Mapping[str, object]  # the latter: a specification in memory, timeloopfe's or plain
type Recorded = Name | Evaluation | MappingRecord  # what has a mapping


def load_problem(
    source: Workload | Source,
    scope: Scope | None = None,
    *,
    seq: int | None = None,
    sizes: Mapping[str, object] = UNCHANGED,
    lengths: Lengths | Sequence[int] | None = None,
    phase: str = "",
    softmax: str = "",
    mask: str = "",
    layers: str = "",
    bits: Mapping[str, TensorWidth] = NO_BITS,
) -> Workload:
    """The workload of a shipped problem or of a file, cut to a scope, at other sizes if asked.

    source: a shipped name, a path, the YAML text of a problem, or a specification in memory: one
            Einsum, its problem. A workload is itself, at other sizes and widths if asked; a window
            that its own length made as good as none does not come back.
    scope: attention, block, layer, model or vocabulary; by default the attention of a problem
           in the short form, and the whole of a cascade that is written out.
    seq: positions of queries and keys, in decode of the cache; in place of the problem's.
    lengths: of queries and keys each, where they differ, by the ranks that the roles name; or a
             list: of each sequence of a ragged batch, in place of the batch too.
    phase: `prefill` or `decode`, in place of the file's; see `flat_mapper.workload.reader`.
    softmax: row, online, online-2pass or any, in place of the file's.
    mask: causal, window=N, or both with a comma, in place of the file's.
    layers: the mask of the kind of layers that is meant, where the problem has several.
    bits: of tensors of the scope, or their number formats, beside or in place of the file's
          `tensor_bits`.
    """
    asked = _asked(seq, lengths, phase)
    words = {"phase": phase, "softmax": softmax, "mask": mask, "layers": layers}
    if not isinstance(source, Workload | Mapping):
        path = source if is_text(source) else catalog.resolve("problems", source)
        found = problem_yaml.load_workload(path, scope, sizes=sizes, lengths=asked, **words)
        return with_bits(found, bits)
    one = asked if isinstance(asked, Lengths) else None
    only = {"scope": scope, **words, "lengths": "list" if asked is not one else ""}
    for word in (w for w, value in only.items() if value):  # a value is not read again
        got = f"a {type(source).__name__}"
        raise SpecError(expected(word, "a problem by name, file or text", got))
    found = source if isinstance(source, Workload) else _in_memory(source)
    found = problem_yaml.set_ranks(found, sizes)
    return with_bits(_at_lengths(found, one), bits)


def _asked(
    seq: int | None, lengths: Lengths | Sequence[int] | None, phase: str
) -> Lengths | tuple[Lengths, ...] | None:
    """The lengths of a problem, of one number or of several."""
    if seq is not None and lengths is not None:
        raise SpecError(expected("seq", "either seq or lengths", "both"))
    if seq is not None:
        return sequence_lengths(checked(seq, int, "seq", above=0), phase)
    return lengths if isinstance(lengths, Lengths | None) else ragged_lengths(lengths, phase)


def _in_memory(source: Mapping[str, object]) -> Workload:
    """The one Einsum of a specification."""
    from flat_mapper.workload.timeloop import read_problem

    document = document_of(source)
    variables = variables_of(document.get("variables"), IN_MEMORY)
    return replace(read_problem(document, IN_MEMORY, variables), states_bits=False)


def _at_lengths(workload: Workload, lengths: Lengths | None) -> Workload:
    """A workload with other numbers of queries and keys; those that no query sees are left out."""
    asked = sequence_sizes(lengths, workload.roles, workload.name)
    if lengths is None:
        return workload
    if workload.sequences:
        workload.one_kind(f"{workload.name}: seq")
    keys = workload.roles.keys
    sizes = {rank: checked(n, int, rank) for rank, n in asked.items() if rank != keys}
    return at_keys(workload.with_ranks(sizes), lengths.keys)


def with_bits(workload: Workload, bits: Mapping[str, TensorWidth]) -> Workload:
    """The workload with other widths of some of its tensors."""
    if not bits:
        return workload
    each = tuple(with_bits(one, bits) for one in workload.sequences)
    return replace(workload, tensor_bits={**workload.tensor_bits, **bits}, sequences=each)


def search(
    workload: Workload | Source,
    platform: Platform | Source,
    mapspace: Mapspace | Name = DEFAULT,
    ert: Ert | Name | None = None,
    *,
    seq: int | None = None,
    scope: Scope | None = None,
    objective: str = "edp",
    schedule: str = "",
    progress: Progress | None = None,
    **spend: Unpack[Spend],
) -> SearchResult | Infeasible:
    """The best mapping of a workload in a mapspace, or why there is none: `flat-mapper map`.

    workload, platform, mapspace: values, shipped names or files; see `load_problem` and its like.
               Without a mapspace the chip and the problem say which; the answer has it in a line.
    seq:       positions of queries and keys, in place of the problem's.
    scope:     attention, block, layer or model; by default what the problem says.
    ert:       a table, its file, or `accelergy` to run that; by default hwcomponents prices.
    objective: latency, energy or edp; ties are broken by the other two. Latency where nothing
               says what the chip's components cost, and the answer says so.
    schedule:  of the fused Einsums, in place of the mapspace's: interleaved, overlapped or any.
    progress:  called with the share done and what is being searched.
    spend:     time_limit in seconds, gap as a share, memory_limit in MB, limits of the answer, or a
               `budget`. The search ends at a proven gap of 0.1 % or after 60 s, unless they say
               else: gap=0 and time_limit=inf ask for the rest, and so does a gap alone.
    returns:   an answer, or an `Infeasible`: false, and it says why when its result is asked for.
    """
    found = compare(
        *(workload, platform, (mapspace,), ert),
        seq=seq,
        scope=scope,
        objective=objective,
        schedule=schedule,
        progress=progress,
        **spend,
    )
    return next(iter(found.rows.values()))


def compare(
    workload: Workload | Source,
    platform: Platform | Source,
    mapspaces: Sequence[Mapspace | Name] = COMPARED,
    ert: Ert | Name | None = None,
    *,
    seq: int | None = None,
    scope: Scope | None = None,
    objective: str = "edp",
    schedule: str = "",
    progress: Progress | None = None,
    **spend: Unpack[Spend],
) -> Comparison:
    """The best mapping of each mapspace; the first is what the others are held against.

    mapspaces: by default nothing fused, and what `search` takes.
    seq, scope, ert, objective: as for `search`.
    schedule: of the fused Einsums, in place of the mapspaces' own.
    spend:    as for `search`, of all searches together; each gets its share of the seconds left.
    """
    cascade = load_problem(workload, scope, seq=seq)
    budget = Budget.of(**spend)
    fit = fitted(load_platform(platform), cascade.each_kind[0])
    chip = fit.platform
    goal = objective_of(objective)
    table, art, said = known_energies(chip, ert, goal)
    goal = "latency" if said else goal
    spaces = [mapspace_of(m, cascade, chip, schedule) for m in mapspaces]
    names = [space.name for space in spaces]
    if not names or len(set(names)) < len(names):
        got = ", ".join(names) or "none"
        raise SpecError(expected("mapspaces", "at least one, each once", got))
    rows: dict[str, SearchResult | Infeasible] = {}
    for i, space in enumerate(spaces):
        found = best_of_layers(
            *(cascade, chip, space, table),
            objective=goal,
            progress=part_of(progress, i, len(spaces), space.name),
            budget=budget.part(len(spaces) - i),
        )
        if isinstance(found, Infeasible):
            rows[space.name] = found
            continue
        kinds = search_results(found, cascade, space, chip, (table, art), (*fit.notes, *said))
        rows[space.name] = together(cascade, kinds)
    return Comparison(workload=cascade, platform=chip, objective=goal, rows=rows)


def mapspace_of(
    mapspace: Mapspace | Name, workload: Workload, platform: Platform, schedule: str = ""
) -> Mapspace:
    """A mapspace by name, under another schedule if asked, whose rules all apply to something."""
    from flat_mapper.mapping.space_reader import SCHEDULES, load_mapspace

    word = str(mapspace) if isinstance(mapspace, str) else ""
    derived = word in DERIVED
    found = derived_mapspace(word, workload, platform) if derived else load_mapspace(mapspace)
    if schedule:
        said = _among("schedule", schedule, SCHEDULES)
        if found.fusion.fuses:
            found = replace(found, fusion=replace(found.fusion, schedule=said))
    for fault in unmatched_rules(found, workload, platform):
        raise SpecError(fault)
    return found


def recorded(mapping: Recorded, platform: Platform | Source | None = None) -> MappingRecord:
    """A mapping with what it maps, as it stands: a record, or that of a file, a folder, an answer.

    raises: SpecError for what cannot be read.
    """
    from flat_mapper.mapping.record import RECORD, MappingRecord, read_record

    chip = None if platform is None else load_platform(platform)
    if isinstance(mapping, str | Path):
        path = Path(mapping)
        return read_record(path / RECORD if path.is_dir() else path, chip)
    mapping.workload.one_kind("a mapping of its own")
    return MappingRecord(
        workload=mapping.workload,
        platform=chip or mapping.platform,
        mapping=mapping.mapping,
        arch=(),
    )


def evaluate(
    mapping: Recorded,
    platform: Platform | Source | None = None,
    ert: Ert | Name | None = None,
    *,
    backend: str = "native",
) -> Evaluation | Infeasible:
    """A mapping priced again.

    mapping:  a fused-mapping.yaml, a folder that has one, an answer, or a record as a value.
    platform: another chip than the mapping's own.
    raises:   MappingError for a mapping that contradicts its problem or its chip.
    """
    evaluator = get_backend(backend)
    read = recorded(mapping, platform)
    check_record(read, str(mapping) if isinstance(mapping, str | Path) else "mapping")
    fit = fitted(read.platform, read.workload)
    table, art, said = known_energies(fit.platform, ert)
    result = evaluator.evaluate(read.workload, fit.platform, read.mapping, table)
    if isinstance(result, Infeasible):
        return result
    priced = noted(sourced(result, fit.platform, table, art), (*fit.notes, *said))
    return Evaluation(workload=read.workload, platform=fit.platform, result=priced)


def again(mapped: SearchResult, ert: Ert | Name | None, backend: str) -> SearchResult | Infeasible:
    """A found mapping priced by another backend."""
    if backend == mapped.result.backend:
        return mapped
    answers = []
    for part in mapped.layers or (mapped,):
        table, art = energies(part.platform, ert)
        found = get_backend(backend).evaluate(part.workload, part.platform, part.mapping, table)
        if not isinstance(found, Result):
            return found
        answers.append(replace(part, result=sourced(found, part.platform, table, art)))
    return together(mapped.workload, answers)


def objective_of(word: str) -> Objective:
    """The objective of that name."""
    return _among("objective", word, OBJECTIVES)


def scope_of(word: str) -> Scope | None:
    """The scope of that name; none for an empty word, which leaves it to the problem."""
    return _among("scope", word, SCOPES) if word else None


def _among[W: str](what: str, word: str, known: tuple[W, ...]) -> W:
    for one in known:
        if one == word:
            return one
    condition = f"one of {', '.join(known)}"
    raise SpecError(expected(what, condition, word, did_you_mean(word, known)))


def compared_again(comparison: Comparison, ert: Ert | Name | None, backend: str) -> Comparison:
    """Found mappings priced by another backend."""
    rows = {
        name: row if isinstance(row, Infeasible) else again(row, ert, backend)
        for name, row in comparison.rows.items()
    }
    return replace(comparison, rows=rows)


def energies(
    platform: Platform | Architecture, ert: str | Path | Ert | None
) -> tuple[Ert, Art | None]:
    """The energies of a platform: a table's, a file's, Accelergy's, or hwcomponents'.

    The last two come with areas; the word `accelergy` asks for it. A table must price the whole
    matrix path; the vector path is left out where softmax is free.
    """
    if ert == ACCELERGY:
        from flat_mapper.timeloop.accelergy import chosen_accelergy

        return chosen_accelergy().price(platform)
    if ert is not None:
        table = ert if isinstance(ert, Ert) else load_ert(ert)
        return table.covering(platform.matrix if isinstance(platform, Platform) else platform), None
    from flat_mapper.energy.pricing import price_with_hwcomponents

    return price_with_hwcomponents(platform)


def known_energies(
    platform: Platform, ert: str | Path | Ert | None, objective: str = ""
) -> tuple[Ert, Art | None, tuple[str, ...]]:
    """The energies of a platform, none where nothing says them, and what is to be said of it.

    objective: of a search, which then goes for latency alone.
    raises:    UnpricedError where nothing says what a component costs, and energy was asked for.
    """
    try:
        return *energies(platform, ert), ()
    except UnpricedError as error:
        if objective == "energy":
            raise
        instead = "searched for latency alone" if objective else "times alone"
        return unpriced(platform), None, (f"energies unknown, {instead}: {error}",)
