"""The package from Python: names or values in, answers out.

An argument that is a value of the package is taken as it is; a word is a shipped name, and a path
is a file.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from csv import writer
from dataclasses import astuple, fields, replace
from io import StringIO
from math import inf
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from flat_mapper.api.defaults import derived_mapspace
from flat_mapper.api.devices import Devices
from flat_mapper.api.layers import best_of_layers, noted, search_results, sourced
from flat_mapper.api.options import answers
from flat_mapper.api.questions import (
    DEFAULT,
    DERIVED,
    AskCompare,
    AskEvaluate,
    AskLoadProblem,
    AskNeed,
    AskSearch,
    Best,
    Chip,
    Name,
    OfMapping,
    OnCluster,
    Part,
    WithTools,
)
from flat_mapper.arch.reader import variables_of
from flat_mapper.arch.values import Architecture, Platform
from flat_mapper.arch.words import fitted, with_sums
from flat_mapper.backends.registry import get_backend
from flat_mapper.base.budget import Budget, Pruned, part_of
from flat_mapper.base.errors import SpecError, UnpricedError, expected
from flat_mapper.base.formats import csv_cell
from flat_mapper.cost_model.chip.evaluation import evaluate as native
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.devices.cluster import Cluster, arch_of
from flat_mapper.energy.tables import ACCELERGY, Art, Ert, load_ert, unpriced
from flat_mapper.mapper.group.incumbent import OBJECTIVES, Objective
from flat_mapper.mapper.solve.certificate import Solution
from flat_mapper.mapping.check import check_record
from flat_mapper.mapping.space import Mapspace
from flat_mapper.mapping.space_reader import SCHEDULES, load_mapspace, unmatched_rules
from flat_mapper.reports.answers import Comparison, Evaluation, SearchResult, joined
from flat_mapper.spec import catalog
from flat_mapper.spec.document import BITS, among, checked
from flat_mapper.spec.templating import load_document
from flat_mapper.spec.timeloopfe import IN_MEMORY, plain_document
from flat_mapper.spec.yamlio import check_own, is_text, write_text
from flat_mapper.workload import reader as problem_yaml
from flat_mapper.workload.cascade import GROUP, SCOPES, Scope
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


@answers(AskLoadProblem)
def load_problem(asked: AskLoadProblem) -> Workload:
    """A workload that is given is itself, at the sizes, lengths and widths that are asked for.

    Of a specification in memory its one Einsum.
    """
    return workload_of(asked)


def workload_of(asked: AskLoadProblem) -> Workload:
    """The workload of a question."""
    source, lengths = asked.problem, _lengths(asked)
    if isinstance(source, str | Path) or (isinstance(source, Mapping) and is_config(source)):
        source = problem_source(source)
    sizes = ranks_of(asked)
    words = {n: getattr(asked, n) for n in ("scope", "phase", "softmax", "mask", "layers")}
    if isinstance(source, Workload | Mapping):
        one = lengths if isinstance(lengths, Lengths) else None
        only = {**words, "lengths": "list" if lengths is not one else ""}
        for word in (w for w, value in only.items() if value):  # a value is not read again
            got = f"a {type(source).__name__}"
            raise SpecError(expected(word, "a problem by name, file or text", got))
        found = source if isinstance(source, Workload) else _in_memory(source)
        found = _at_lengths(problem_yaml.set_ranks(found, sizes), one)
    else:
        scope = scope_of(words.pop("scope"))
        found = problem_yaml.load_workload(source, scope, sizes=sizes, lengths=lengths, **words)
    return with_widths(found, asked)


def problem_source(problem: Name | Mapping[str, object]) -> Name:
    """The text of a problem, or its file; of a model's configuration that of its import."""
    source: Name | Mapping[str, object] = problem
    if isinstance(problem, str | Path) and not is_text(problem):
        source = catalog.resolve("problems", problem)
    if is_config(load_document(source) if isinstance(source, Path) else source):
        from flat_mapper.importers.hf import config_problem

        return config_problem(source)
    assert not isinstance(source, Mapping)
    return source


def is_config(document: object) -> bool:
    """True of what a model's config.json says."""
    return isinstance(document, Mapping) and "model_type" in document


def ranks_of(asked: Part) -> dict[str, object]:
    """Ranks that a question sets one by one."""
    heads = {} if asked.kv_heads is None else {GROUP: asked.kv_heads}
    return heads | {n: size for n, size in (asked.sizes or {}).items() if n not in edits_of(asked)}


def edits_of(asked: Part) -> dict[str, object]:
    """Attributes of its chip that a question sets, such as `GLB.size`; a rank has no dot."""
    sizes = (asked.sizes or {}) if hasattr(asked, "arch") else {}
    return {name: value for name, value in sizes.items() if "." in name}


def _lengths(asked: AskLoadProblem) -> Lengths | tuple[Lengths, ...] | None:
    """The lengths of a problem, of one number or of several."""
    seq, lengths = asked.seq, asked.lengths
    if seq is not None and lengths is not None:
        raise SpecError(expected("seq", "either seq or lengths", "both"))
    if seq is not None:
        return sequence_lengths(checked(seq, int, "seq", above=0), asked.phase)
    return lengths if isinstance(lengths, Lengths | None) else ragged_lengths(lengths, asked.phase)


def _in_memory(source: Mapping[str, object]) -> Workload:
    """The one Einsum of a specification."""
    from flat_mapper.workload.timeloop import read_problem

    document = plain_document(source)
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


def with_widths(workload: Workload, asked: Part, held: Container[str] | None = None) -> Workload:
    """The workload with the widths of values that are asked for.

    held: tensors whose own widths are meant; by default all.
    """
    if asked.word_bits is not None:
        bits = checked(asked.word_bits, int, "word_bits", above=0, within=BITS)
        workload = replace(workload, word_bits=bits, states_bits=True)
    own = {t: n for t, n in (asked.bits or {}).items() if held is None or t in held}
    each = tuple(with_widths(one, asked) for one in workload.sequences)
    if not own and not each:
        return workload
    return replace(workload, tensor_bits={**workload.tensor_bits, **own}, sequences=each)


@answers(AskSearch)
def search(asked: AskSearch) -> SearchResult | OnCluster | Infeasible:
    """An `Infeasible` is false, and says why when its result is asked for.

    Of a cluster it is a `Sharded`: placements, what moves, and each device's mappings.
    The objective is latency where nothing says what the chip's components cost, and the answer
    says so.
    """
    with logged(asked) as budget:  # reading counts, too
        chip = arch_of(asked.arch, asked.data, edits_of(asked))
        if isinstance(chip, Cluster):
            placed = {} if asked.mapspace in DERIVED else load_mapspace(asked.mapspace).placement
            devices = devices_of(asked, chip, budget, asked.mapspace)
            return devices.answer({**placed, **(asked.placement or {})})
        (found,) = _best(asked, chip, (asked.mapspace,), budget).rows.values()
        return found


@answers(AskCompare)
def compare(asked: AskCompare) -> Comparison | OnCluster:
    """Each search has its share of the seconds that are left."""
    budget = asked.spend()  # reading counts, too
    chip = arch_of(asked.arch, asked.data, edits_of(asked))
    if isinstance(chip, Cluster):
        return devices_of(asked, chip, budget).compared()
    return _best(asked, chip, asked.mapspaces, budget)


def devices_of(
    asked: AskSearch | AskCompare | AskNeed,
    cluster: Cluster,
    budget: Budget,
    mapspace: Mapspace | Name = DEFAULT,
) -> Devices:
    """The problem of a question on its cluster, as far as a cluster takes it.

    raises: SpecError for what is not known of a cluster's network, or not searched there.
    """
    cascade, where = workload_of(asked), f"--arch {cluster.name}"
    cascade.one_kind(where)
    goal = objective_of("latency" if isinstance(asked, AskNeed) else asked.objective)
    said = () if goal == "latency" else ("energy of links unknown, searched for latency alone",)
    if goal == "energy" or budget.limits.energy_j < inf:
        got = "energy" if goal == "energy" else "--max-energy"
        raise SpecError(expected(where, "a search for latency", got, "energy of links is unknown"))
    counted = "native" if isinstance(asked, AskNeed) else asked.backend
    if counted != "native" or getattr(asked, "log", None):
        change = "leave out --backend and --log: each part is a search of its own"
        raise SpecError(expected(where, "the native model, without a log", counted, change))
    table, _, priced = known_energies(cluster.chip, asked.ert, "latency")

    def spaces(part: Workload) -> Mapspace:
        return mapspace_of(mapspace, part, fitted(cluster.chip, part).platform, asked.schedule)

    return Devices(cascade, cluster, spaces, table, budget, (*said, *priced))


def _best(
    asked: AskSearch | AskCompare,
    platform: Platform,
    mapspaces: Sequence[Mapspace | Name],
    budget: Budget,
) -> Comparison:
    """The best mapping of each mapspace, in the order of the names."""
    goal = objective_of(asked.objective)
    edited = [f"{platform.name} with {name} = {value}" for name, value in edits_of(asked).items()]
    with tools_of(asked):
        get_backend(asked.backend)
        cascade = with_sums(workload_of(asked), platform)
        fit = fitted(platform, cascade.each_kind[0])
        chip = fit.platform
        table, art, said = known_energies(chip, asked.ert, goal)
        goal = "latency" if said else goal
        searched = unpriced(chip) if table.unknown else table  # of equals not the dearest
        spaces = [mapspace_of(m, cascade, chip, asked.schedule) for m in mapspaces]
        _check_spaces(asked, spaces, chip)
        before = list[tuple[Solution, ...]]()

        def best(i: int, space: Mapspace) -> SearchResult | Infeasible:
            found = best_of_layers(
                *(cascade, chip, space, searched),
                objective=goal,
                progress=part_of(asked.progress, i, len(spaces), space.name),
                budget=budget.part(len(spaces) - i),
                before=before,
            )
            if isinstance(found, Infeasible):
                return found
            before.append(found)
            if searched is not table:
                found = tuple(_repriced(one, chip, table) for one in found)
            notes = (*edited, *fit.notes, *said)
            kinds = search_results(found, cascade, space, chip, (table, art), notes)
            return _again(joined(cascade, kinds), asked.ert, asked.backend)

        rows = {space.name: best(i, space) for i, space in enumerate(spaces)}
    return Comparison(workload=cascade, platform=chip, objective=goal, rows=rows)


def _check_spaces(
    asked: AskSearch | AskCompare, spaces: Sequence[Mapspace], chip: Platform
) -> None:
    """Raise SpecError for placements on a chip, and unless each mapspace is named once."""
    placed = [f"{space.name}: placement" for space in spaces if space.placement]
    if isinstance(asked, AskSearch) and asked.placement:
        placed.append("placement")
    if placed:
        got = f"the chip {chip.name}"
        raise SpecError(expected(placed[0], "a cluster, such as 8xh100", got))
    names = [space.name for space in spaces]
    if not names or len(set(names)) < len(names):
        got = ", ".join(names) or "none"
        raise SpecError(expected("mapspaces", "at least one, each once", got))


OF_DEVICE = "ask of its chip, at the sizes that `map` gives a device"
OF_LINKS = "energy of links is unknown: ask `map` of it, for latency"


def one_chip(
    source: Chip,
    data: Mapping[str, object] | None,
    change: str,
    edits: Mapping[str, object] = MappingProxyType({}),
) -> Platform:
    """The chip of a question that is not asked of a cluster; change: what is asked in its place."""
    found = arch_of(source, data, edits)
    if isinstance(found, Cluster):
        got = f"the cluster {found.name}"
        raise SpecError(expected("arch", "one chip, for this question", got, change))
    return found


@contextmanager
def logged(asked: Best) -> Iterator[Budget]:
    """The budget of a question, whose log of what was left out is written in the end."""
    budget, path = asked.spend(), asked.log
    head = [one.name for one in fields(Pruned)]
    if path is not None:
        check_own(Path(path), ",".join(head))
        budget.cuts = []
    yield budget
    if budget.cuts is not None and path is not None:
        text = StringIO()
        rows = writer(text, lineterminator="\n")
        rows.writerow(head)
        rows.writerows([csv_cell(cell) for cell in astuple(cut)] for cut in budget.cuts)
        write_text(Path(path), text.getvalue())


@contextmanager
def tools_of(asked: WithTools) -> Iterator[None]:
    """Timeloop's tools called as a question says."""
    seconds = asked.backend_timeout
    if asked.timeloop_cmd is None and seconds is None:
        yield
        return
    from flat_mapper.timeloop.run import commanded

    with commanded(asked.timeloop_cmd, None if seconds is None else str(seconds)):
        yield


def mapspace_of(
    mapspace: Mapspace | Name, workload: Workload, platform: Platform, schedule: str = ""
) -> Mapspace:
    """A mapspace by name, under another schedule if asked, whose rules all apply to something.

    raises: SpecError where one does not, and for a schedule that the chip cannot run.
    """
    word = str(mapspace) if isinstance(mapspace, str) else ""
    derived = word in DERIVED
    found = derived_mapspace(word, workload, platform) if derived else load_mapspace(mapspace)
    if schedule:
        said = among("schedule", schedule, SCHEDULES)
        if found.fusion.fuses:
            found = replace(found, fusion=replace(found.fusion, schedule=said))
    for fault in unmatched_rules(found, workload, platform):
        raise SpecError(fault)
    return found.on(platform.matrix)


def recorded(asked: OfMapping, *, sound: bool = True) -> MappingRecord:
    """A mapping with what it maps: a record, or that of a file, a folder, an answer.

    sound:  it must not contradict its problem or its chip.
    raises: SpecError for what cannot be read, MappingError for such a contradiction.
    """
    from flat_mapper.mapping.record import RECORD, MappingRecord, read_record

    chip = None if asked.arch is None else one_chip(asked.arch, asked.data, OF_DEVICE)
    mapping, where = asked.mapping, "mapping"
    if isinstance(mapping, str | Path):
        path, where = Path(mapping), str(mapping)
        try:
            read = read_record(path / RECORD if path.is_dir() else path, chip)
        except SpecError as error:
            from flat_mapper.devices.record import cluster_record

            if (cluster := cluster_record(path)) is None:
                raise
            where, change = str(cluster), "`evaluate --execute` runs it"
            condition = "one chip's record, for this question"
            raise SpecError(expected(where, condition, "a cluster's", change)) from error
    else:
        mapping.workload.one_kind("a mapping of its own")
        read = MappingRecord(
            workload=mapping.workload,
            platform=chip or mapping.platform,
            mapping=mapping.mapping,
            arch=(),
        )
    if sound:
        check_record(read, where)
    return read


@answers(AskEvaluate)
def evaluate(asked: AskEvaluate) -> Evaluation | Infeasible:
    """A mapping that contradicts its problem or its chip is a `MappingError`."""
    with tools_of(asked):
        evaluator = get_backend(asked.backend)
        read = recorded(asked)
        fit = fitted(read.platform, read.workload)
        table, art, said = known_energies(fit.platform, asked.ert)
        result = evaluator.evaluate(fit.workload, fit.platform, read.mapping, table)
    if isinstance(result, Infeasible):
        return result
    priced = noted(sourced(result, fit.platform, table, art), (*fit.notes, *said))
    return Evaluation(workload=fit.workload, platform=fit.platform, result=priced)


def _again(mapped: SearchResult, ert: Ert | Name | None, backend: str) -> SearchResult | Infeasible:
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
    return joined(mapped.workload, answers)


def _repriced(one: Solution, chip: Platform, table: Ert) -> Solution:
    """A found mapping with the energies that are known."""
    result = native(one.workload, chip, one.result.mapping, table)
    assert isinstance(result, Result)
    return replace(one, result=replace(result, notes=one.result.notes))


def objective_of(word: str) -> Objective:
    """The objective of that name."""
    return among("objective", word, OBJECTIVES)


def scope_of(word: str) -> Scope | None:
    """The scope of that name; none for an empty word, which leaves it to the problem."""
    return among("scope", word, SCOPES) if word else None


def energies(
    platform: Platform | Architecture, ert: str | Path | Ert | None
) -> tuple[Ert, Art | None]:
    """The energies of a platform: a table's, a file's, Accelergy's, or hwcomponents'.

    The last two come with areas; the word `accelergy` asks for it. A table must price the whole
    matrix path; the vector path is left out where softmax is free.

    raises: UnpricedError where nothing says what a component costs.
    """
    return known_energies(platform, ert, "energy")[:2]


def _energies(
    platform: Platform | Architecture, ert: str | Path | Ert | None
) -> tuple[Ert, Art | None]:
    if ert == ACCELERGY:
        from flat_mapper.timeloop.accelergy import chosen_accelergy

        return chosen_accelergy().price(platform)
    if ert is not None:
        table = ert if isinstance(ert, Ert) else load_ert(ert)
        return table.covering(platform.matrix if isinstance(platform, Platform) else platform), None
    from flat_mapper.energy.hwcomponents import price_with_hwcomponents

    return price_with_hwcomponents(platform)


def known_energies(
    platform: Platform | Architecture, ert: str | Path | Ert | None, objective: str = ""
) -> tuple[Ert, Art | None, tuple[str, ...]]:
    """The energies of a platform as far as something says them, and what is to be said of it.

    objective: of a search, which then goes for latency alone.
    raises:    UnpricedError where nothing says what a component costs, and energy was asked for.
    """
    table, art = _energies(platform, ert)
    if not table.unknown:
        return table, art, ()
    names, reason = ", ".join(table.unknown), next(iter(table.unknown.values()))
    if objective == "energy" or isinstance(platform, Architecture):
        raise UnpricedError(reason)
    nodes = [node for arch in platform.paths for node in arch.components]
    if any(n.name in table.unknown and "DRAM" not in n.component_class for n in nodes):
        art = None  # the area of a part of a chip is none
    instead = ", searched for latency alone" if objective else ""
    return table, art, (f"energy of {names} unknown{instead}: {reason}",)
