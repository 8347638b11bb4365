"""The constraints that an architecture's nodes carry, as rules of a mapspace.

docs/howto/mapspace.md has them. A name that no Einsum has is an error, as it is to timeloop-mapper;
a rank or a tensor of one Einsum says nothing to the others. A factor above its rank's size is
passed over, and so is everything about a rank of size 1, whose loops are no loops. `maximize_dims`
fixes the factors of each list of ranks at divisors with the largest product that the node has room
for. Under !Parallel a tensor passes the branches that do not keep it. Source: Timeloop,
src/mapping/constraints.cpp; timeloopfe, v4/processors.

Chips that are written for the layers of convolutions name `Inputs`, `Weights`, `Outputs` and the
ranks of a layer: docs/timeloop.md says what these are in an Einsum, declared (`data_spaces`) or by
its roles. Ranks of all three are groups (G), which constraints of a layer leave free.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from flat_mapper.arch.constraints import kept_in, parallel_branches, tensors_of
from flat_mapper.arch.cores import NO_MULTICAST
from flat_mapper.arch.nodes import FactorLimits, largest_on_mesh, read_factors, read_order
from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel, Platform
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.mapping.sharing import crosses_dram, shared_level
from flat_mapper.mapping.space import KeepRule, Mapspace, SlotRule, partitions
from flat_mapper.spec.document import Section, section_of, take, unknown_word
from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.softmax import alternatives

LAYER = ("Inputs", "Weights", "Outputs")  # Timeloop, problem-shapes/cnn-layer.yaml
_RANKS = ("C", "M", "K", "N", "P", "Q", "R", "S", "G")
KEPT_KEYS = ("keep", "bypass", "keep_only", "bypass_only")
_LISTS = (
    *KEPT_KEYS,
    *("no_iteration_over_dataspaces", "must_iterate_over_dataspaces"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Meaning of the names in a chip's constraints in one Einsum."""

    tensors: Mapping[str, str]  # by data space
    ranks: Mapping[str, tuple[str, ...]]  # by rank of a layer; empty: the problem's own names
    where: str

    def section(self, body: Section) -> Section:
        """One constraint of a node in the Einsum's names."""
        said = dict(body)
        for key in _LISTS:
            listed = said.get(key)
            if isinstance(listed, list):
                said[key] = list(self.names(listed))
        if self.ranks:
            known = tuple(self.ranks)
            for key in ("factors", "factors_only"):
                if said.get(key) is not None:
                    said[key] = list(self._factors(said[key], known, key))
            order = read_order(said.get("permutation"), known, f"{self.where}.permutation")
            if order:
                said["permutation"] = [r for name in order for r in self.ranks[name]]
            if isinstance(split := said.get("split"), int) and split < len(order):
                said["split"] = sum(len(self.ranks[name]) for name in order[:split])
        return Section(said, body.source, body.lines, body.where)

    def names(self, listed: Sequence[str]) -> tuple[str, ...]:
        """Tensors for data spaces; those that the Einsum has not are left out."""
        bound = (name if name == "*" else self.tensors.get(name, "") for name in listed)
        return tuple(name for name in bound if name)

    def _factors(self, value: object, known: tuple[str, ...], key: str) -> Iterator[str]:
        found = read_factors(value, known, f"{self.where}.{key}")
        for sign, factors in (("=", found.exact), ("<=", found.at_most)):
            for name, factor in factors.items():
                ranks = self.ranks[name]
                if len(ranks) > 1 and factor > 1:
                    condition = f"one rank for {name}, where its factor is {factor}"
                    raise SpecError(expected(f"{self.where}.{key}", condition, ", ".join(ranks)))
                yield from (f"{rank}{sign}{factor}" for rank in ranks)


def binding(arch: Architecture, einsum: Einsum, workload: Workload) -> Binding | None:
    """The names of a chip's constraints for one Einsum; None where they are the problem's own.

    raises: SpecError where it is neither declared nor clear which operand is which.
    """
    names = _names(arch)
    where = f"{arch.where}: {einsum.name}"
    declared = workload.roles.data_spaces.get(einsum.name)
    if declared is None and names <= set(workload.tensor_ranks):
        return None
    if declared is None and names <= set(LAYER):
        declared = _layer(einsum, workload, where)
    if declared is None:
        return None  # somebody else says which name is unknown
    for name, tensor in declared.items():
        if not einsum.touches(tensor):
            spot, own = f"{where}: data_spaces.{name}", sorted(einsum.tensors)
            raise SpecError(unknown_word(spot, "a tensor among", tensor, own))
    ranks = _ranks(einsum, workload, declared) if set(declared) <= set(LAYER) else {}
    return Binding(tensors=declared, ranks=ranks, where=where)


def _names(arch: Architecture) -> set[str]:
    """The data spaces that the constraints of a chip name."""
    said = (body for node in arch.nodes for body in node.constraints.values())
    bodies = [body for body in said if isinstance(body, Mapping)]
    lists = [body.get(key) for body in bodies for key in _LISTS]
    lists += [level.keeps_only for level in arch.levels]
    return {name for some in lists if isinstance(some, list | tuple) for name in some} - {"*"}


def _layer(einsum: Einsum, workload: Workload, where: str) -> dict[str, str]:
    """An Einsum's tensors as the inputs, weights and outputs of a layer."""
    bound = {"Outputs": einsum.output.tensor}
    if len(einsum.inputs) == 1:
        return {"Inputs": einsum.inputs[0].tensor, **bound}
    for rank in (workload.roles.queries, workload.roles.keys):
        having = [a.tensor for a in einsum.inputs if rank in a.ranks]
        others = [a.tensor for a in einsum.inputs if rank not in a.ranks]
        if len(having) == len(others) == 1:
            return {"Inputs": having[0], "Weights": others[0], **bound}
    condition = "one operand with the rank of its queries or keys, which is the Inputs"
    change = f"declare data_spaces: {{{einsum.name}: {{Inputs: ..., Weights: ...}}}} in the problem"
    raise SpecError(expected(where, condition, ", ".join(einsum.operands), change))


def _ranks(
    einsum: Einsum, workload: Workload, tensors: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """An Einsum's ranks as those of a layer, by the data spaces that have them."""
    has = {name: workload.tensor_ranks[tensor] for name, tensor in tensors.items()}
    inputs, weights = has.get("Inputs", ()), has.get("Weights", ())
    found: dict[str, list[str]] = {name: [] for name in _RANKS}
    for rank in filter(einsum.ranks.__contains__, workload.rank_sizes):
        shared = "G" if rank in inputs else "M"
        beside = shared if rank in weights else "N"
        found[beside if rank in einsum.output.ranks else "C"].append(rank)
    position = [r for r in (workload.roles.queries, workload.roles.keys) if r in found["N"]][:1]
    found["P"] = position
    found["N"] = [r for r in found["N"] if r not in position]
    return {name: tuple(ranks) for name, ranks in {**found, "K": found["M"]}.items()}


def binding_notes(platform: Platform, workload: Workload) -> tuple[str, ...]:
    """A line on each chip whose names had to be bound: what they stand for."""
    lines = []
    for arch, unit in zip(platform.paths, ("matrix", "vector"), strict=False):
        said = []
        for einsum in (e for e in workload.einsums if e.unit == unit):
            found = binding(arch, einsum, workload)
            if found and einsum.name not in workload.roles.data_spaces:
                pairs = (f"{name} {tensor}" for name, tensor in found.tensors.items())
                said.append(f"{einsum.name}: {', '.join(pairs)}")
        if said:
            lines.append(f"{arch.name}: data spaces taken as {'; '.join(said)}")
    return tuple(lines)


def check_branches(arch: Architecture, einsum: Einsum, bound: Binding | None) -> None:
    """Under !Parallel, every tensor of an Einsum has a branch, as Timeloop's front end demands."""
    where = f"{arch.where}: !Parallel"
    for branches in parallel_branches(arch):
        kept = set[str]().union(*(kept_in(branch, where, {}) for branch in branches))
        kept = kept if bound is None else set(bound.names(tuple(kept)))
        lost = [] if "*" in kept else [t for t in einsum.tensors if t not in kept]
        if lost and len(branches) > 1:
            condition = f"a branch that keeps each tensor of {einsum.name}"
            change = f"add `- !Nothing {{constraints: {{dataspace: {{keep: [{lost[0]}]}}}}}}`"
            raise SpecError(expected(where, condition, f"none for {', '.join(lost)}", change))


GIVE_TILES = "use --mapspace cores, or write fusion: {cores: any, level: any}"
_LOOPS = (
    *("factors", "factors_only", "permutation"),
    *("no_iteration_over_dataspaces", "must_iterate_over_dataspaces"),
    *("maximize_dims", "maximize_dims_capacity"),
)
_HONOURED: Mapping[str, tuple[str, ...]] = {
    "temporal": _LOOPS,
    "spatial": (*_LOOPS, "split"),
    "dataspace": KEPT_KEYS,
}


def with_arch_rules(mapspace: Mapspace, platform: Platform, workload: Workload) -> Mapspace:
    """The mapspace without the mappings that a platform's own nodes forbid.

    raises: SpecError where a constraint cannot be honoured, names nothing of the workload, or
            contradicts the mapspace; and where the hierarchy is none that can be searched.
    """
    _refuse_windows(workload)
    mapspace = mapspace.sharing(shared_level(platform).name)
    slots: list[SlotRule] = []
    keeps: list[KeepRule] = []
    charged = mapspace.policy.softmax == "charged" and not workload.mask
    for cascade in alternatives(workload, charged=charged):
        groups = chain.from_iterable(partitions(cascade, mapspace)[::-1])
        names = dict.fromkeys(chain.from_iterable(group.names for group in groups))
        for einsum in cascade.named(names):
            arch = platform.path(einsum.unit)
            check_hierarchy(arch)
            bound = binding(arch, einsum, cascade)
            check_branches(arch, einsum, bound)
            for node in _nodes(arch, einsum, cascade, bound):
                slots += node.slot_rules()
                keeps += node.keep_rules()
    own, agreed = _distinct(keeps), _agreed(mapspace, _distinct(keeps))
    found = replace(mapspace, slots=(*mapspace.slots, *_distinct(slots)), keeps=agreed)
    _check_inside(replace(found, keeps=own), platform, workload)
    return found


def _distinct[R](rules: Iterable[R]) -> tuple[R, ...]:
    """Each rule once."""
    found: list[R] = []
    for rule in rules:
        if rule not in found:
            found.append(rule)
    return tuple(found)


def _refuse_windows(workload: Workload) -> None:
    for einsum in workload.einsums:
        for tensor in einsum.windowed:
            condition = "plain ranks in every tensor, where mappings are searched for"
            change = "`flat-mapper evaluate` prices a mapping of a convolution"
            where = f"{workload.source or workload.name}: {einsum.name}"
            got = str(next(a for a in einsum.accesses if a.tensor == tensor))
            raise SpecError(expected(where, condition, got, change))


def _nodes(
    arch: Architecture, einsum: Einsum, workload: Workload, bound: Binding | None
) -> Iterator[_Node]:
    for node in arch.nodes:
        where = f"{arch.where}: {node.name}.constraints"
        said = {kind: body for kind, body in node.constraints.items() if body}
        groups = {kind: section_of(body, f"{where}.{kind}") for kind, body in said.items()}
        only = node.keeps_only if isinstance(node, MemoryLevel) else None
        if bound:
            groups = {kind: bound.section(body) for kind, body in groups.items()}
            only = only and bound.names(only)
        if groups or only is not None:
            yield _Node(
                node=node,
                only=only,
                where=where,
                groups=groups,
                einsum=einsum,
                workload=workload,
                arch=arch,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    """One node with constraints, under one Einsum."""

    node: MemoryLevel | Fanout
    only: tuple[str, ...] | None  # tensors of its branch under !Parallel
    where: str
    groups: Mapping[str, Section]
    einsum: Einsum
    workload: Workload
    arch: Architecture

    def slot_rules(self) -> Iterator[SlotRule]:
        """Rules about the node's loops."""
        for kind, body in self._stated():
            if kind not in ("temporal", "spatial"):
                continue
            factors, order = self._factors(body), self._order(body)
            x, y = self._axes(body, order) if kind == "spatial" else (None, None)
            first = order if kind == "temporal" else ()
            if factors.exact or factors.at_most or first or x is not None:
                yield SlotRule(
                    node=self.node.name,
                    kind="temporal" if kind == "temporal" else "spatial",
                    einsum=self.einsum.name,
                    factors=factors.exact,
                    at_most=factors.at_most,
                    innermost=self._looped(first),
                    x=x,
                    y=y,
                )

    def keep_rules(self) -> Iterator[KeepRule]:
        """Rules about the tensors that the level keeps."""
        if not isinstance(self.node, MemoryLevel):
            return
        body, only = dict(self._stated()).get("dataspace", Section()), self.only
        own, where = self.einsum.tensors, f"{self.where}.dataspace"
        passing = () if only is None else tuple(t for t in own if t not in only)
        keep, bypass = kept_tensors(body, own, tuple(self.workload.tensor_ranks), where, passing)
        if bypass and self.node.name == self.arch.levels[0].name:
            got = ", ".join(bypass)
            raise SpecError(expected(f"{where}.bypass", "every tensor kept off chip", got))
        if keep or bypass:
            yield KeepRule(
                level=self.node.name,
                einsum=self.einsum.name,
                keep=keep,
                bypass=bypass,
            )

    def _stated(self) -> Iterator[tuple[str, Section]]:
        """The constraints that say something, by kind; all of them can be honoured."""
        for kind, body in self.groups.items():
            said = {k: v for k, v in body.items() if v not in (None, False, [], "")}
            if (kind == "spatial") != isinstance(self.node, Fanout):
                got = f"{kind} on {self.node.name}"
                raise SpecError(expected(body.where, "spatial constraints on fanouts only", got))
            for key, value in said.items():
                if key in NO_MULTICAST and kind == "spatial":
                    if value is not True:  # `cost_model.reuse` counts by it
                        tensors_of(body, key, body.where, tuple(self.workload.tensor_ranks))
                    continue
                if key not in (*_HONOURED[kind], "target", "type"):
                    condition = f"constraints that the search honours: {', '.join(_HONOURED[kind])}"
                    got = f"{key}: {value}"
                    raise SpecError(expected(body.where, condition, got, "remove it"))
            said |= {"split": body["split"]} if body.get("split") is not None else {}
            yield kind, Section(said, body.source, body.lines, body.where)

    def _axes(
        self, body: Section, order: tuple[str, ...]
    ) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
        """The ranks along X and along Y; None where both are free."""
        node = self.node
        assert isinstance(node, Fanout)
        split = take(body, "split", int, default=None, above=-1)
        if split is None:
            if order and min(node.fanout_x, node.fanout_y) > 1:
                condition = "split beside permutation where a fanout has two axes"
                raise SpecError(expected(body.where, condition, "none", "add split: N"))
            return None, None
        # Ranks without a place in the permutation stand outside those that have one.
        every = self._every_rank
        rest = tuple(r for r in every if r not in order)
        if len(order) < split < len(every) and self._looped(rest):
            condition = f"at most {len(order)}, the ranks of the permutation, or all {len(every)}"
            raise body.wrong("split", condition, split, "name more ranks")
        placed = (*order, *rest)
        return self._looped(placed[:split]), self._looped(placed[split:])

    def _looped(self, ranks: Sequence[str]) -> tuple[str, ...]:
        """Those of some ranks that can have a loop here."""
        return tuple(r for r in ranks if r in self._loop_ranks)

    def _factors(self, body: Section) -> FactorLimits:
        """Factors by rank; those that say nothing are left out."""
        where, known = body.where, tuple(self.workload.rank_sizes)
        found = read_factors(body.get("factors"), known, f"{where}.factors")
        if "factors_only" in body:
            only = read_factors(body["factors_only"], known, f"{where}.factors_only")
            found = only.joined(found).joined(_ones(self._loop_ranks))
        for key in ("no_iteration_over_dataspaces", "must_iterate_over_dataspaces"):
            if key in body:
                tensors = tensors_of(body, key, where, tuple(self.workload.tensor_ranks))
                reached = {r for a in self.einsum.accesses if a.tensor in tensors for r in a.ranks}
                closed = (r for r in self._loop_ranks if (r in reached) == key.startswith("no_"))
                found = _ones(closed).joined(found)
        if "maximize_dims" in body:
            found = found.joined(self._maximized(body, found))
        return found.over({r: self.workload.rank_sizes[r] for r in self._loop_ranks})

    def _maximized(self, body: Section, found: FactorLimits) -> FactorLimits:
        """The factors of the lists of `maximize_dims`, one list after another.

        Their ranks have what the exact factors of all nodes leave, and the node has room for what
        its own exact factors leave; on a mesh every rank lies along one axis.
        """
        node, known = self.node, tuple(self.workload.rank_sizes)
        left = self._left(known)
        room = take(body, "maximize_dims_capacity", int, default=None, above=0)
        if room is not None:
            copies, along = (room, 1), dict.fromkeys(left, "x")
        elif isinstance(node, Fanout):
            x, y = self._axes(body, self._order(body))
            copies = (node.fanout_x, node.fanout_y)
            along = {**dict.fromkeys(x or (), "x"), **dict.fromkeys(y or (), "y")}
        else:
            condition = "maximize_dims_capacity beside maximize_dims: a level has no fanout"
            raise SpecError(expected(body.where, condition, "none"))
        groups = take(body, "maximize_dims", list)
        groups = groups if isinstance(groups[0], list) else [groups]
        fixed = {r: n for r, n in found.exact.items() if n > 1}
        exact: dict[str, int] = {}
        for i, group in enumerate(groups):
            spot = f"{body.where}.maximize_dims.{i}"
            order = read_order(group, known, spot)
            for rank in filter(found.exact.__contains__, order):
                condition = "ranks whose factor the node does not fix"
                raise SpecError(expected(spot, condition, rank))
            sizes = {r: left[r] for r in order if r in left}
            exact |= largest_on_mesh(sizes, {**fixed, **exact}, copies, along)
        return FactorLimits(exact=exact)

    def _left(self, known: tuple[str, ...]) -> dict[str, int]:
        """Of each rank that can have a loop, what the exact factors of all nodes leave."""
        left = {r: self.workload.rank_sizes[r] for r in self._loop_ranks}
        for other in _fixed_factors(self.arch, known):
            for rank in left.keys() & other.keys():
                if other[rank] and left[rank] % other[rank] == 0:
                    left[rank] //= other[rank]
        return left

    def _order(self, body: Section) -> tuple[str, ...]:
        """The ranks of the permutation, innermost first."""
        known = tuple(self.workload.rank_sizes)
        return read_order(body.get("permutation"), known, f"{body.where}.permutation")

    @property
    def _every_rank(self) -> tuple[str, ...]:
        """The Einsum's ranks in the problem's order."""
        return tuple(r for r in self.workload.rank_sizes if r in self.einsum.ranks)

    @property
    def _loop_ranks(self) -> tuple[str, ...]:
        """The Einsum's ranks that can have a loop."""
        return tuple(r for r in self._every_rank if self.workload.rank_sizes[r] > 1)


def kept_tensors(
    body: Section,
    own: tuple[str, ...],
    known: tuple[str, ...],
    where: str,
    passing: tuple[str, ...] = (),
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The tensors of an Einsum that a constraint has a level keep, and those that it lets by.

    own: of the Einsum, known: of all. passing: those that go by another branch.
    """
    found: dict[str, tuple[str, ...]] = {"keep": (), "bypass": passing}
    for key, other in (("keep", "bypass"), ("bypass", "keep")):
        only = tensors_of(body, f"{key}_only", where, known)
        listed = (*tensors_of(body, key, where, known), *only)
        found[key] += tuple(t for t in own if t in listed)
        if f"{key}_only" in body:
            found[other] += tuple(t for t in own if t not in only)
    keep, bypass = (tuple(dict.fromkeys(tensors)) for tensors in found.values())
    for tensor in sorted({*keep} & {*bypass}):
        raise SpecError(expected(where, f"{tensor} kept or bypassed", "both"))
    return keep, bypass


def _ones(ranks: Iterable[str]) -> FactorLimits:
    return FactorLimits(exact=dict.fromkeys(ranks, 1))


def _fixed_factors(arch: Architecture, known: tuple[str, ...]) -> Iterator[Mapping[str, int]]:
    """The exact factors that each node of an architecture has for its loops."""
    for node in arch.nodes:
        for kind, body in node.constraints.items():
            if kind != "dataspace" and isinstance(body, Mapping) and body.get("factors"):
                where = f"{arch.where}: {node.name}.constraints.{kind}.factors"
                yield read_factors(body["factors"], known, where).exact


def _agreed(mapspace: Mapspace, keeps: tuple[KeepRule, ...]) -> tuple[KeepRule, ...]:
    """The mapspace's rules about tensors and the nodes'; they must not contradict each other."""
    for node in keeps:
        for rule in mapspace.keep_rules(node.einsum, node.level):
            for tensor in (*rule.keep, *node.keep):
                if tensor in (*rule.bypass, *node.bypass):
                    where = f"{mapspace.name}: constraints: {node.level}"
                    condition = f"{tensor} kept or bypassed as the architecture says"
                    raise SpecError(expected(where, condition, "the opposite", "change one"))
    return (*mapspace.keeps, *keeps)


def check_levels(arch: Architecture) -> None:
    """Refuse what no search can walk."""
    if len(arch.levels) < 2:
        names = ", ".join(lv.name for lv in arch.levels)
        raise SpecError(expected(arch.where, "DRAM and at least one level on chip", names))


def check_hierarchy(arch: Architecture) -> None:
    """Refuse what the search of one array cannot walk: it starts at the level that all share."""
    check_levels(arch)
    where, shared = arch.where, arch.levels[1]
    for node in arch.outside(shared.name):
        if isinstance(node, Fanout) and node.copies > 1:
            condition = f"no fanout outside {shared.name}, the outermost level on chip"
            got = f"{node.fanout_x} x {node.fanout_y} copies of it"
            raise SpecError(expected(f"{where}: {node.name}", condition, got, GIVE_TILES))


def _check_inside(mapspace: Mapspace, platform: Platform, workload: Workload) -> None:
    """A tensor that a fused group hands on inside the shared level cannot bypass that level.

    Refused where the architecture's rules rule out every alternative; of several the search leaves
    those out. Where a mapspace's own rules do, nothing is feasible, and the answer names them.
    """
    if not any(rule.bypass for rule in mapspace.keeps):
        return
    level = shared_level(platform).name
    found = [  # of each alternative, what some group of it keeps and a rule bypasses
        [
            tensor
            for group in groups
            for name in (group.names if group.fused else ())
            for rule in mapspace.keep_rules(name, level)
            for tensor in rule.bypass
            if not crosses_dram(workload, group.names, tensor)
        ]
        for groups in partitions(workload, mapspace)
    ]
    if found and all(found):
        tensor = found[0][0]
        condition = f"tensors other than {tensor}, which a fused group keeps"
        where = f"{platform.name}: {level}: bypass"
        raise SpecError(expected(where, condition, tensor, "do not fuse it"))
