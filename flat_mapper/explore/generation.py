"""Prefill and decode of a text: the cost of every step, summed over the growing cache.

Prefill takes N positions at once and yields the first new one. Each step of decode then takes `new`
positions (1, or as many as are speculated on) against a cache that they are part of: the k-th step
attends to N + k * new positions. The cache is kept in pages, as in vLLM (Kwon et al., SOSP 2023),
and a step goes over whole pages: it costs what its cache length, rounded up to a page, costs.

Searching a mapping for every length would be T searches. Lengths are cut into segments instead, by
a grid of eight lengths to a factor of two. The mapping of a segment is the best one at its end
(which has many divisors); a shorter cache runs the same tiles, fewer of them, and is priced by the
model, remainders included. So totals are exact sums over the steps, of mappings that are optimal at
the ends of the segments. On a cluster each step costs what the end of its segment costs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from flat_mapper.api import questions
from flat_mapper.api.calls import (
    edits_of,
    energies,
    problem_source,
    ranks_of,
    scope_of,
    search,
    with_widths,
)
from flat_mapper.api.options import answers
from flat_mapper.base import units
from flat_mapper.base.budget import part_of
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.formats import OFF_CHIP
from flat_mapper.base.table import Printed, grid
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.devices.answer import Sharded
from flat_mapper.devices.cluster import Cluster, arch_of
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.solve.certificate import Certificate
from flat_mapper.mapping.resize import resized_mapping
from flat_mapper.reports.answers import SearchResult
from flat_mapper.reports.fields import busy_text
from flat_mapper.reports.layers import with_others
from flat_mapper.reports.text import end_text, left_out_text
from flat_mapper.workload.cascade import Scope
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.problem_file import Lengths, at_keys, sequence_ranks
from flat_mapper.workload.reader import load_workload
from flat_mapper.workload.softmax import parts_of

PAGE = 16  # positions; vLLM's default block size (Kwon et al., SOSP 2023)
STEPS = 8  # chosen: segments to a factor of two of the cache length
_HEAD = (
    *("", "steps", "cache", "latency", "energy", "off-chip"),
    *("util.", "busy", "bottleneck", "granularity"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A scenario of generation."""

    prefill: int  # positions of the prompt
    decode: int  # positions after it
    new: int = 1  # positions of one step
    page: int = PAGE  # positions that the cache grows by

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise SpecError(expected(f"generate: {name}", "an integer > 0", value))

    @property
    def steps(self) -> int:
        """Steps of decode."""
        return -(-self.decode // self.new)

    def decoded(self, workload: Workload) -> int:
        """Positions decoded, of all sequences of the batch together."""
        return self.decode * workload.rank_sizes.get(workload.roles.batch, 1)

    def lengths(self) -> Counter[int]:
        """The number of steps at each cache length, in whole pages; ascending."""
        steps = range(1, self.steps + 1)
        return Counter(padded(self.prefill + step * self.new, self.page) for step in steps)


def padded(length: int, page: int) -> int:
    """A cache length in whole pages."""
    return -(-length // page) * page


def segment_end(length: int) -> int:
    """The end of a cache length's segment: the next multiple of an eighth of a power of two."""
    step = max(1, (1 << (length - 1).bit_length()) // (2 * STEPS))
    return padded(length, step)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCost:
    """A sum of steps, or one of them."""

    steps: int = 0
    cycles: int = 0
    latency_s: float = 0.0
    energy_pj: float = 0.0
    offchip_bytes: float = 0.0
    macs: int = 0

    @classmethod
    def of(cls, result: Result, steps: int = 1) -> StepCost:
        """So many steps at the cost of a result."""
        each = {n: steps * getattr(result, n) for n in cls.__slots__ if n != "steps"}
        return cls(steps=steps, **each)

    def __add__(self, other: StepCost) -> StepCost:
        return StepCost(**{n: getattr(self, n) + getattr(other, n) for n in self.__slots__})

    def row(self, name: str, length: int, result: Result | None = None) -> tuple[str, ...]:
        """A line of the table; with what is to be said of a single step's result."""
        told = ("", "", "", "")
        if result is not None:
            use, grain = units.percent(result.utilization), result.fused.granularity
            told = (use, busy_text(result.busy), result.bottleneck, grain)
        return (
            *(name, units.count(self.steps), units.count(length)),
            units.si(self.latency_s, "s"),
            units.si(units.joules_of(self.energy_pj), "J"),
            units.size(self.offchip_bytes),
            *told,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSegment:
    """Steps that run under one mapping."""

    mapped: SearchResult  # the best mapping at the segment's end
    results: Mapping[int, tuple[int, Result]]  # cache length: steps at it, and the cost of one

    @property
    def end(self) -> int:
        """The cache length that the mapping was searched for."""
        workload = self.mapped.workload
        return workload.rank_sizes[workload.roles.keys] * parts_of(workload)

    @property
    def cost(self) -> StepCost:
        """All its steps."""
        return sum((StepCost.of(r, n) for n, r in self.results.values()), StepCost())

    def to_dict(self) -> dict[str, object]:
        """The mapping's length, the steps at each length, and what they cost."""
        steps = {str(length): n for length, (n, _) in self.results.items()}
        return {"mapped_at": self.end, "steps_at": steps, **asdict(self.cost)}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Generation(Printed):
    """The cost of a text."""

    kind: ClassVar = "generate"  # of answers as JSON
    rows_at: ClassVar = ("segments",)
    scenario: Scenario
    prefill: SearchResult
    segments: tuple[StepSegment, ...]
    cache_bytes: float  # of keys and values at the end, all layers and sequences

    @property
    def decode(self) -> StepCost:
        """All steps of decode."""
        return sum((s.cost for s in self.segments), StepCost())

    @property
    def total(self) -> StepCost:
        """Prefill and decode."""
        return StepCost.of(self.prefill.result) + self.decode

    @property
    def tokens_per_s(self) -> float:
        """Positions decoded in a second, all sequences of the batch together."""
        return self.scenario.decoded(self.prefill.workload) / self.decode.latency_s

    @property
    def loosest(self) -> Certificate:
        """The certificate with the largest gap of all mappings."""
        every = [self.prefill.certificate, *(s.mapped.certificate for s in self.segments)]
        return max(every, key=lambda proof: (proof.gap, not proof.optimal))

    def to_dict(self) -> dict[str, object]:
        """The names of `flat-mapper generate --json`."""
        first, scenario = self.prefill, self.scenario
        return {
            "workload": first.workload.name,
            "arch": first.platform.name,
            "mapspace": first.mapspace,
            "objective": first.objective,
            "energy_source": first.result.energy_source,
            **asdict(scenario),
            "layers": first.workload.all_layers,
            "einsums": [e.name for e in first.workload.einsums],
            "left_out": list(first.workload.left_out),
            "other_layers": [kind.to_dict() for kind in first.workload.other_layers],
            "notes": list(first.result.notes),
            "time_to_first_s": first.result.latency_s,
            "tokens_per_s": self.tokens_per_s,
            "energy_pj_per_token": self.decode.energy_pj / scenario.decoded(first.workload),
            "cache_bytes": self.cache_bytes,
            "costs": {
                "prefill": asdict(StepCost.of(first.result)),
                "decode": asdict(self.decode),
                "total": asdict(self.total),
            },
            "segments": [s.to_dict() for s in self.segments],
            "search": self.loosest.to_dict(),
        }

    def __str__(self) -> str:
        first, scenario = self.prefill, self.scenario
        repeat = first.workload.all_layers
        layers = f"each of {repeat} layers" if repeat > 1 else "one layer"
        extent = f"{len(first.workload.einsums)} Einsums of {layers}"
        rows = [StepCost.of(first.result).row("prefill", scenario.prefill, first.result)]
        for segment in self.segments:
            for length in dict.fromkeys((min(segment.results), max(segment.results))):
                result = segment.results[length][1]
                rows.append(StepCost.of(result).row("  a step", length, result))
        last = max(self.segments[-1].results)
        rows += [self.decode.row("decode", last), self.total.row("total", last)]
        ends = ", ".join(str(s.end) for s in self.segments)
        each = self.decode.energy_pj / scenario.decoded(first.workload)
        lines = [
            f"{first.workload.name} on {first.platform.name}, {first.mapspace}, {extent}: prefill "
            f"{scenario.prefill}, then decode {scenario.decode} by {scenario.new}, "
            f"{units.si(self.total.latency_s, 's')}, {end_text(self.loosest)}",
            grid(rows, head=_HEAD, right=range(1, 7)),
            f"counted: {', '.join(e.name for e in first.workload.einsums)}, of {layers}, one after "
            "another",
            f"{units.si(self.tokens_per_s)} positions per second, "
            f"{units.si(units.joules_of(each), 'J')} each; "
            f"{units.si(first.result.latency_s, 's')} to the first",
            f"cache of {units.size(self.cache_bytes)} at the end, in pages of {scenario.page}; "
            f"mappings searched at {ends}, least {first.objective}",
            f"energies from {first.result.energy_source}",
            *first.result.notes,
            left_out_text(first.workload),
        ]
        return "\n".join(line for line in lines if line)


class StepsOnDevices(NamedTuple):
    """Steps on a cluster, each at the cost of the longest cache among them."""

    phase: str
    end: int
    steps: int
    answer: Sharded


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class GenerationOnDevices(Printed):
    """The seconds of a text on a cluster; segments: prefill, then those of decode."""

    kind: ClassVar = "generate-devices"  # of answers as JSON
    rows_at: ClassVar = ("segments",)
    scenario: Scenario
    segments: tuple[StepsOnDevices, ...]
    cache_bytes: float  # of keys and values at the end: all layers, sequences and devices

    @property
    def prefill(self) -> Sharded:
        """The answer of the prompt."""
        return self.segments[0].answer

    @property
    def decode_s(self) -> float:
        """Seconds of all steps of decode."""
        return sum(one.steps * one.answer.latency_s for one in self.segments[1:])

    @property
    def tokens_per_s(self) -> float:
        """Positions decoded in a second, all sequences of the batch together."""
        return self.scenario.decoded(self.prefill.workload) / self.decode_s

    def to_dict(self) -> dict[str, object]:
        """The names of `flat-mapper generate --json` where the chip is a cluster."""
        first = self.prefill
        return {
            "workload": first.workload.name,
            "arch": first.cluster.name,
            "cluster": first.cluster.to_dict(),
            "objective": "latency",
            **asdict(self.scenario),
            "time_to_first_s": first.latency_s,
            "decode_s": self.decode_s,
            "tokens_per_s": self.tokens_per_s,
            "cache_bytes": self.cache_bytes,
            "gap": units.finite(max(one.answer.gap for one in self.segments)),
            "segments": [
                {"phase": phase, "mapped_at": end, "times": times, **answer.to_dict()}
                for phase, end, times, answer in self.segments
            ],
        }

    def __str__(self) -> str:
        rows = [
            (
                phase,
                units.count(steps),
                units.count(end),
                units.si(one.latency_s, "s"),
                units.si(one.moving_s, "s"),
                units.si(one.plan.static + one.plan.peak, "B"),
                units.percent(one.gap, 2),
                one.words,
            )
            for phase, end, steps, one in self.segments
        ]
        first = self.prefill
        head = ("", "steps", "cache", "time of one", "moving", "room", "gap", "divided")
        return "\n".join(
            (
                f"{first.workload.name} on {first.cluster.name}: prefill {self.scenario.prefill}, "
                f"then decode {self.scenario.decode} by {self.scenario.new}, "
                f"{units.si(first.latency_s + self.decode_s, 's')}",
                first.cluster.title,
                grid(rows, head=head, right=range(1, 7)),
                f"{units.si(self.tokens_per_s)} positions per second; "
                f"{units.si(first.latency_s, 's')} to the first; a step costs what one at the "
                "cache in its line does",
                *first.notes,
            )
        )


@answers(questions.AskGenerate)
def generate(asked: questions.AskGenerate) -> Generation | questions.OnCluster | Infeasible:
    """Costs are of all layers, and each search has its share of the seconds that are left.

    The problem is a name, a file or its text, whose roles name queries and keys.
    raises: SpecError where a number of positions or a size cannot be.
    """
    budget, scope, sizes = asked.spend(), scope_of(asked.scope), ranks_of(asked)
    scenario = Scenario(**{one.name: getattr(asked, one.name) for one in fields(Scenario)})
    source = _source(asked, sizes)
    chip = arch_of(asked.arch, asked.data, edits_of(asked))
    table: Any = asked.ert if isinstance(chip, Cluster) else energies(chip, asked.ert)[0]
    lengths = scenario.lengths()
    ascending = groupby(lengths.items(), key=lambda one: segment_end(one[0]))
    own = {end: dict(some) for end, some in ascending}  # of each segment
    words = {"softmax": asked.softmax, "mask": asked.mask, "layers": asked.layers}

    def read(scope: Scope | None, cut: Lengths, phase: str) -> Workload:
        found = load_workload(source, scope, sizes=sizes, lengths=cut, phase=phase, **words)
        found = with_widths(found, asked)
        alone = found.repeat == 1 and scope not in ("vocabulary", "model")
        # A cache and a rate are of all layers.
        return _as_often(found, read("model", cut, phase)) if alone else found

    wanted = [("prefill", scenario.prefill, scenario.prefill)]
    wanted += [("decode", scenario.new, end) for end in own]
    found = []
    for number, (phase, positions, cache) in enumerate(wanted):
        cut = Lengths(queries=positions, keys=cache)
        mapped: Any = search(
            *(read(scope, cut, phase), chip, asked.mapspace, table),
            objective=asked.objective,
            schedule=asked.schedule,
            progress=part_of(asked.progress, number, len(wanted), f"{phase} at {cache}"),
            budget=budget.part(len(wanted) - number),
        )
        if isinstance(mapped, Infeasible):
            return mapped
        found.append(mapped)
    held = _cache_bytes(source, asked, max(lengths))
    if isinstance(chip, Cluster):
        counts = [1, *(sum(some.values()) for some in own.values())]
        steps = zip(wanted, counts, found, strict=True)
        return GenerationOnDevices(
            scenario=scenario,
            segments=tuple(StepsOnDevices(p, end, n, one) for (p, _, end), n, one in steps),
            cache_bytes=held,
        )
    segments = tuple(
        StepSegment(mapped=one, results={c: (n, at_length(one, table, c)) for c, n in some.items()})
        for one, some in zip(found[1:], own.values(), strict=True)
    )
    return Generation(scenario=scenario, prefill=found[0], segments=segments, cache_bytes=held)


def _source(asked: questions.AskGenerate, sizes: Mapping[str, object]) -> str | Path:
    """The problem of a text, whose positions are those of its steps."""
    if not isinstance(asked.problem, str | Path):
        got = f"a {type(asked.problem).__name__}"
        raise SpecError(expected("generate: problem", "a name, a file or its text", got))
    source = problem_source(asked.problem)
    workload = load_workload(source)
    sequence = sequence_ranks(workload.roles, f"{workload.name}: generate")
    for rank in (rank for rank in sequence if rank in sizes):
        condition = f"ranks other than {', '.join(sequence)}"
        raise SpecError(expected("generate: ranks", condition, rank, "set prefill and decode"))
    return source


def _as_often(workload: Workload, model: Workload) -> Workload:
    """A part of a layer as often as the model has it, in layers of the same kinds."""
    keys = workload.roles.keys
    return replace(
        workload,
        rank_sizes={**workload.rank_sizes, keys: model.rank_sizes[keys]},
        unseen=model.unseen,
        mask=model.mask,
        repeat=model.repeat,
        layers=model.layers,
        other_layers=model.other_layers,
    )


def at_length(mapped: SearchResult, ert: Ert, length: int) -> Result:
    """The cost of one step at a shorter cache than the mapping was searched for.

    Of keys in parts, all are as long as the longest.
    """
    if mapped.layers:
        first, *others = (at_length(part, ert, length) for part in mapped.layers)
        return with_others(first, others)
    keys = mapped.workload.roles.keys
    size = mapped.workload.rank_sizes[keys]
    workload = at_keys(mapped.workload, -(-length // parts_of(mapped.workload)))
    left = workload.rank_sizes[keys]
    if left == size:
        return mapped.result
    mapping = resized_mapping(mapped.mapping, mapped.workload, keys, left)
    result = evaluate(workload, mapped.platform, mapping, ert)
    assert isinstance(result, Result), f"tiles that fit at {size} fit at {length}: {result}"
    return result


def _cache_bytes(source: str | Path, asked: questions.AskGenerate, length: int) -> float:
    """Keys and values of all layers and sequences at the last step: what no query sees is kept."""
    lengths = Lengths(queries=1, keys=length)
    sizes = ranks_of(asked)
    model = load_workload(source, "model", sizes=sizes, lengths=lengths, phase="decode")
    if keys := model.roles.keys:
        model = model.with_ranks({keys: model.rank_sizes[keys] + model.unseen})
    # What has keys and nothing makes is kept from step to step: K and V in the short form, the
    # latent and the keys of positions in latent attention.
    held = [t for t, r in model.tensor_ranks.items() if keys in r and t not in model.producers]
    model = with_widths(model, asked, held)
    return model.all_layers * sum(
        units.bytes_of(model.tensor_words(t), model.bits(t, OFF_CHIP)) for t in held
    )
