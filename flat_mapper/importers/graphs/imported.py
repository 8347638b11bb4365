"""Result of an import: a problem of one cascade, and what is not in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.table import Printed
from flat_mapper.importers.graphs.cascade import GraphCascade, bounded
from flat_mapper.importers.graphs.values import EinsumLine, GraphAxis, Tensor, flat, parted
from flat_mapper.importers.problem import problem_file
from flat_mapper.workload.einsum import MAX_EINSUMS
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import Mask, mask_document
from flat_mapper.workload.notation import format_einsum, parse_einsum
from flat_mapper.workload.roles import Roles, declared_document

LEAST_SHARE = 0.999  # of a model's multiply-accumulates that an import has
NO_RANK = "ONE"  # of a tensor of one word


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Imported(Printed):
    """A model's graph as one cascade."""

    workload: Workload
    cuts: tuple[str, ...]  # operators between two of its Einsums that are none
    notes: tuple[str, ...]
    macs: int
    cut_macs: int
    weight_words: int

    @property
    def share(self) -> float:
        """The part of the model's multiply-accumulates that is in the cascade."""
        return self.macs / (self.macs + self.cut_macs) if self.macs else 0.0

    def check_share(self) -> None:
        """Raise SpecError where too few of the multiply-accumulates are in it."""
        whole = self.macs + self.cut_macs
        if whole == 0:
            condition = (
                "a graph with a product of tensors, whose multiply-accumulates can be mapped"
            )
            raise SpecError(expected(self.workload.name, condition, "none"))
        if self.share < LEAST_SHARE:
            condition = f"at least {LEAST_SHARE:.1%} of the multiply-accumulates in Einsums"
            change = f"left out are {'; '.join(self.cuts) or 'none'}"
            got = f"{self.macs:,} of {whole:,}"
            raise SpecError(expected(self.workload.name, condition, got, change))

    def to_dict(self) -> dict[str, object]:
        """The figures by name."""
        return {
            "name": self.workload.name,
            "einsums": len(self.workload.einsums),
            "macs": self.macs,
            "macs_share": self.share,
            "weight_words": self.weight_words,
            "cuts": list(self.cuts),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        """The contents, and the cuts, a line each."""
        left = f", {self.cut_macs:,} cut" if self.cut_macs else ""
        return "\n".join(
            [
                f"{self.workload.name}: {len(self.workload.einsums)} Einsums, {self.macs:,} MACs "
                f"({self.share:.4%} of the graph's MACs{left}), {self.weight_words:,} words of "
                "weights",
                *(f"cut: {cut}; its result is read from DRAM" for cut in self.cuts),
                *self.notes,
            ]
        )

    def problem_text(self, origin: str) -> str:
        """The problem file."""
        work = self.workload
        head = [
            f"{work.name}: {len(work.einsums)} Einsums out of {origin}",
            "",
            f"Source: {origin}; {self.macs:,} multiply-accumulates, {self.share:.4%} of the "
            f"graph's; {self.weight_words:,} words of weights.",
            *(f"Cut: {cut}" for cut in self.cuts),
            *self.notes,
        ]
        problem: dict[str, object] = {
            "name": work.name,
            "source": origin,
            "ranks": dict(work.rank_sizes),
            "word_bits": work.word_bits,
            "mask": mask_document(work.mask) if work.mask else None,
            **declared_document(work.roles, work.operators),
            "views": dict(work.views),
            "dropped": [*self.cuts, *self.notes],
        }
        return problem_file(head, problem, map(format_einsum, work.einsums))


def finished(graph: GraphCascade, name: str) -> Imported:
    """The problem of a graph.

    raises: SpecError where too few of the multiply-accumulates are in it.
    """
    lines = parted(graph.lines, graph.parts, graph.outputs)
    if not lines:
        condition = "a graph with products of tensors, or functions of their words"
        raise SpecError(expected(name, condition, "none"))
    bounded(lines, MAX_EINSUMS, "Einsums")  # parts may have made more of them
    workload = _cascade(graph, lines, name)
    macs = sum(workload.iterations(e) for e in workload.einsums if e.unit == "matrix")
    tensors = dict.fromkeys(t for line in lines for t in line.inputs)
    cuts = [cut for cut in graph.cuts if cut[1] in tensors or cut[2]]
    found = Imported(
        workload=workload,
        cuts=tuple(map(_cut_text, cuts)),
        notes=tuple(dict.fromkeys(graph.notes)),
        macs=macs,
        cut_macs=sum(macs for *_, macs in cuts),
        weight_words=sum((graph.tables | {t.name: t.parameters for t in tensors}).values()),
    )
    found.check_share()
    return found


def _cut_text(cut: tuple[str, Tensor, int]) -> str:
    operator, result, macs = cut
    return f"{operator} {result.name}" + (f", {macs:,} multiply-accumulates" if macs else "")


def _cascade(graph: GraphCascade, lines: list[EinsumLine], name: str) -> Workload:
    """The lines as Einsums over named ranks."""
    names = _rank_names(graph, lines)
    tensors = [t for line in lines for t in (line.output, *line.inputs)]
    roles, mask = _attention(graph, names)
    return Workload(
        name=name,
        rank_sizes={n: axis.size for axis, n in names.items()}
        | ({} if all(t.leaves for t in tensors) else {NO_RANK: 1}),
        einsums=tuple(parse_einsum(_text(line, names)) for line in lines),
        roles=roles,
        mask=mask,
        operators=dict(_operators(lines)),
        views={t.name: r.name for t in tensors if not t.made and (r := t.root)},
    )


def _rank_names(graph: GraphCascade, lines: list[EinsumLine]) -> dict[GraphAxis, str]:
    """A name for each axis of the Einsums, in order of first use; hints first."""
    _hint_widths(graph, lines)
    hinted: dict[GraphAxis, str] = {}
    for axes, hint in graph.hints:
        leaves = flat(axes)
        for leaf in leaves if len(leaves) == 1 else ():
            hinted.setdefault(leaf, hint)
    tensors = [t for line in lines for t in (line.output, *line.inputs)]
    counts, names = Counter[str](), {}
    for axis in dict.fromkeys(leaf for t in tensors for leaf in t.leaves):
        hint = hinted.get(axis, "R")
        counts[hint] += 1
        names[axis] = hint if counts[hint] == 1 else f"{hint}{counts[hint]}"
    return names


def _hint_widths(graph: GraphCascade, lines: list[EinsumLine]) -> None:
    """E and F of an attention: what its scores sum over, and what its values have of their own."""
    keys = {leaf for _, _, k in graph.attentions for leaf in flat(k)}
    for line in lines:
        if line.form != "{0} * {1}" or len(line.inputs) != 2:
            continue
        left, right = (set(t.leaves) for t in line.inputs)
        made = set(line.output.leaves)
        lost = (left & right) - made
        if keys & made and keys & (left ^ right):
            graph.hints += [((a,), "E") for a in lost]
        elif keys & lost:
            graph.hints += [((a,), "F") for a in right - left]


def _text(line: EinsumLine, names: dict[GraphAxis, str]) -> str:
    def access(tensor: Tensor) -> str:
        ranks = ",".join(names[leaf] for leaf in tensor.leaves) or NO_RANK
        return f"{tensor.name}[{ranks.lower()}]"

    return f"{access(line.output)} = {line.form.format(*map(access, line.inputs))}"


def _operators(lines: list[EinsumLine]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The row-wise operators, each under the name of its last Einsum."""
    seen = []
    for line in lines:
        if len(line.operator) > 1 and line.operator not in seen:
            seen.append(line.operator)
            members = [n for n in line.operator if n in lines]
            kind = "softmax" if any(n.form.startswith("exp") for n in members) else "norm"
            last = members[-1].output.name
            yield f"{kind}_{last}", tuple(n.output.name for n in members)


def _attention(graph: GraphCascade, names: dict[GraphAxis, str]) -> tuple[Roles, Mask | None]:
    """Roles of the ranks and the mask, where all attentions have the same."""
    found: dict[str, str] = {}
    for i, role in enumerate(("batch", "queries", "keys")):
        axes = flat(axis for dims in graph.attentions for axis in dims[i])
        ranks = {names[leaf] for leaf in axes if leaf in names}
        found |= dict.fromkeys([role], *ranks) if len(ranks) == 1 else {}
    roles = Roles.of(found)
    if len(graph.masks) > 1:
        said = "Masks differ among attentions: none is in the problem, so all keys are seen."
        graph.notes.append(said)
    elif any(graph.masks) and not roles.masked:
        graph.notes.append("A mask is left out: attentions differ in their queries or keys.")
    alone = roles.masked and len(graph.masks) == 1
    return roles, next(iter(graph.masks)) if alone else None
