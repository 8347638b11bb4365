"""The multi-Einsum graph: ranks, tensors, Einsums, and the workload that joins them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from math import prod
from typing import Any, Literal

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.formats import DEFAULT, SUMS, TensorWidth, Width, Widths, stored_bits
from flat_mapper.spec.catalog import tensor_width_of
from flat_mapper.spec.document import BITS, among, checked, unknown_word
from flat_mapper.workload.einsum import (
    Einsum,
    TensorAccess,
    faults,
    is_sound,
    predecessors,
    producers_of,
    viewed,
)
from flat_mapper.workload.mask import NO_MASK, LayerKind, Mask, most_parts, pairs
from flat_mapper.workload.roles import (
    NO_ROLES,
    Roles,
    members_within,
    operator_faults,
    role_faults,
)

Softmax = Literal["row", "online", "online-2pass", "any", "none"]
LatentForm = Literal["rebuilt", "absorbed", "any", "none"]


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A cascade of Einsums over shared ranks: a directed acyclic graph whose edges are tensors."""

    name: str
    rank_sizes: Mapping[str, int]
    einsums: tuple[Einsum, ...]
    word_bits: int = 16
    states_bits: bool = field(default=True, compare=False)  # False: values are an arch's words
    tensor_bits: Mapping[str, TensorWidth] = field(default_factory=dict)  # where not word_bits
    softmax: Softmax = "none"
    latent: LatentForm = "none"  # how keys and values that are kept as a latent are used
    source: str = ""
    mask: Mask | None = None  # which keys a query may see, by the ranks that `roles` names
    unseen: int = 0  # first keys that no query sees, beside those of `rank_sizes`
    repeat: int = 1  # times the whole cascade runs, one after another (layers of a model)
    of_layers: int = field(default=0, compare=False)  # the model's, where this is one of them
    layers: tuple[LayerKind, ...] = ()  # where masks differ: what it stands for, see `each_kind`
    sequences: tuple[Workload, ...] = ()  # of a ragged batch: one for each length
    other_layers: tuple[LayerKind, ...] = field(default=(), compare=False)  # and what it does not
    roles: Roles = NO_ROLES  # what the ranks stand for, as far as it is said
    operators: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # one row-wise unit each
    core: tuple[str, ...] = field(default=(), compare=False)  # of the short form: the attention
    left_out: tuple[str, ...] = field(default=(), compare=False)  # the problem's other Einsums
    left_out_macs: int = field(default=0, compare=False)  # of those that a model has once
    dropped: tuple[str, ...] = field(default=(), compare=False)  # of a model, by its import
    wider: str = field(default="block", compare=False)  # the scope that has those
    views: Mapping[str, str] = field(default_factory=dict)  # tensor: the one that it is, rearranged
    weights: Mapping[str, int] = field(default_factory=dict, compare=False)  # parameters held
    absent: Mapping[str, str] = field(default_factory=dict)  # tensor: a level where it has no words

    def __post_init__(self) -> None:
        ranks, views = self.rank_sizes, self.views
        if not is_sound(ranks, self.einsums, views):
            raise SpecError(next(faults(self.name, ranks, self.einsums, views)))
        checked(self.word_bits, int, f"{self.name}: word_bits", above=0, within=BITS)
        for key, width in self.tensor_bits.items():
            tensor_width_of(width, f"{self.name}: {key}")
            if key == width == SUMS:
                raise SpecError(expected(f"{self.name}: {key}", "bits, or a number format", width))
            if key not in self.tensor_ranks and key != SUMS:
                where, known = f"{self.name}: tensor_bits", self.tensor_ranks
                raise SpecError(unknown_word(where, "one of", key, known))
        parts = most_parts((self.mask, *(kind.mask for kind in self.layers)))
        found = role_faults(self.name, self.roles, self.rank_sizes, parts)
        names = tuple(e.name for e in self.einsums)
        for fault in chain(found, operator_faults(self.name, self.operators, names)):
            raise SpecError(fault)
        checked(self.repeat, int, f"{self.name}: repeat", above=0)

    @property
    def all_layers(self) -> int:
        """Times that the cascade runs, layers of every kind together."""
        return sum(kind.count for kind in self.layers) or self.repeat

    @property
    def held_layers(self) -> int:
        """Layers of the model, all of which have weights and caches; it may be one of them."""
        return max(self.all_layers, self.of_layers)

    @property
    def each_kind(self) -> tuple[Workload, ...]:
        """A workload for each kind of its layers, at each length; itself where all are alike."""
        if self.sequences:
            return tuple(kind for one in self.sequences for kind in one.each_kind)
        kinds = ((kind.mask, kind.count) for kind in self.layers)
        return tuple(replace(self, layers=(), mask=m, repeat=n) for m, n in kinds) or (self,)

    def of_kind(self, kind: LayerKind) -> Workload:
        """The layers of one kind alone; it knows the others by name."""
        others = tuple(other for other in self.layers if other != kind)
        return replace(self, layers=(), mask=kind.mask, repeat=kind.count, other_layers=others)

    def one_kind(self, where: str) -> None:
        """Raise SpecError where layers or lengths differ: what follows takes one kind of them."""
        if lengths := len(self.sequences):
            raise SpecError(expected(where, "one length", f"{lengths} of them", "choose --seq N"))
        if self.layers:
            words = " or ".join(
                f"--layers {k.mask.words if k.mask else NO_MASK}" for k in self.layers
            )
            got = ", ".join(str(kind) for kind in self.layers)
            raise SpecError(expected(where, "layers of one kind", got, f"choose {words}"))

    @cached_property
    def cuts(self) -> tuple[tuple[str, str, str], ...]:
        """Each Einsum that reads a view, with the Einsum that made it, and the view's name.

        A view is what another Einsum wrote, under other ranks: keys by their position as queries
        made them, tokens by their expert. It has to be whole in DRAM before it is read.
        """
        return tuple(viewed(self.einsums, self.views))

    @cached_property
    def producers(self) -> dict[str, str]:
        """Of every tensor that an Einsum writes, the name of that Einsum.

        Where several write it, the one that does not merely update it.
        """
        return producers_of(self.einsums)

    @cached_property
    def ancestors(self) -> dict[str, tuple[str, ...]]:
        """Of every Einsum, the names of those it depends on, near or far, in execution order.

        The keys are in execution order too: topological, ties by declaration.
        """
        waits = predecessors(self.einsums, self.views)
        closure: dict[str, set[str]] = {}
        while len(closure) < len(waits):
            ready = next(n for n, w in waits.items() if n not in closure and closure.keys() >= w)
            closure[ready] = waits[ready].union(*(closure[n] for n in waits[ready]))
        return {name: tuple(n for n in closure if n in far) for name, far in closure.items()}

    @cached_property
    def ordered(self) -> tuple[Einsum, ...]:
        """Einsums in execution order: topological, ties by declaration."""
        return tuple(self.einsum(n) for n in self.ancestors)

    @cached_property
    def tensor_ranks(self) -> dict[str, tuple[str, ...]]:
        """Ranks of every tensor, in the order of first mention."""
        return {a.tensor: a.ranks for e in self.einsums for a in e.accesses}

    @cached_property
    def _accesses(self) -> dict[str, TensorAccess]:
        return {a.tensor: a for e in self.einsums for a in e.accesses}

    @cached_property
    def intermediates(self) -> tuple[str, ...]:
        """Tensors that one Einsum writes and another reads."""
        read = {a.tensor for e in self.einsums for a in e.inputs}
        return tuple(t for t in self.tensor_ranks if t in self.producers and t in read)

    @cached_property
    def _named(self) -> dict[str, Einsum]:
        return {e.name: e for e in self.einsums}

    @cached_property
    def _readers(self) -> dict[str, tuple[Einsum, ...]]:
        found: dict[str, list[Einsum]] = {}
        for einsum in self.einsums:
            for tensor in dict.fromkeys(einsum.operands):
                found.setdefault(tensor, []).append(einsum)
        return {tensor: tuple(readers) for tensor, readers in found.items()}

    def readers(self, tensor: str) -> tuple[Einsum, ...]:
        """The Einsums that have a tensor among their inputs, in their written order."""
        return self._readers.get(tensor, ())

    def einsum(self, name: str) -> Einsum:
        """The Einsum of that name."""
        if (einsum := self._named.get(name)) is not None:
            return einsum
        names = ", ".join(e.name for e in self.einsums)
        raise SpecError(expected(self.name, f"one of the Einsums {names}", name))

    def named(self, names: Iterable[str]) -> list[Einsum]:
        """The Einsums of some names, in their order."""
        return [self.einsum(n) for n in names]

    def made_by(self, names: Iterable[str]) -> set[str]:
        """Tensors that some Einsums write."""
        return {e.output.tensor for e in self.named(names)}

    def width(self, tensor: str, level: str = "") -> Width:
        """Width of a tensor at a level: its own, else the tensor's `default`, else that of a word.

        Where no level is named, what a compute unit sees.
        """
        width = self._own_width(tensor)
        if isinstance(width, Mapping):
            return width.get(level, width.get(DEFAULT, self.word_bits))
        return width

    def _own_width(self, tensor: str) -> TensorWidth:
        own = self.tensor_bits.get(tensor, self.word_bits)
        return self.tensor_bits.get(SUMS, self.word_bits) if own == SUMS else own

    def every_width(self, tensor: str) -> tuple[object, ...]:
        """Widths of a tensor at all levels, to compare with another's."""
        own = self._own_width(tensor)
        levels = sorted(own.items()) if isinstance(own, Mapping) else []
        return self.width(tensor), *levels

    def bits(self, tensor: str, level: str = "") -> float:
        """Bits that a value of a tensor takes at a level; see `width`."""
        return 0 if self.absent.get(tensor) == level else stored_bits(self.width(tensor, level))

    def share(self, tensor: str, level: str) -> float:
        """Words of `word_bits` that one value of a tensor takes at a level."""
        bits = self.bits(tensor, level)
        return bits // self.word_bits if bits % self.word_bits == 0 else bits / self.word_bits

    @cached_property
    def widths(self) -> Widths:
        """Widths of its tensors; `share` of those where it is not 1."""
        return Widths(
            shares={t: share for t in self.tensor_bits if (share := self.share(t, "")) != 1},
            widths={t: self.width(t) for t in self.tensor_bits},
            levels={
                t: {level: self.share(t, level) for level in own}
                for t in self.tensor_bits
                if isinstance(own := self._own_width(t), Mapping)
            },
            sums=self.sums if SUMS in self.tensor_bits else frozenset(),
        )

    @property
    def macs(self) -> int:
        """Those of one run."""
        return sum(self.iterations(e) for e in self.einsums if e.unit == "matrix")

    @cached_property
    def sums(self) -> frozenset[str]:
        """Tensors that some Einsum adds up."""
        return frozenset(e.output.tensor for e in self.einsums if e.adds_up)

    def iterations(self, einsum: Einsum) -> int:
        """Points of an Einsum's iteration space; for a matrix Einsum these are its MACs.

        Of an Einsum that runs in each pass of a loop: the points of one pass.
        """
        return prod(self.rank_sizes[r] for r in einsum.ranks if r not in einsum.each)

    def unmasked_iterations(self, einsum: Einsum) -> int:
        """Those of them whose query may see the key."""
        points, mask = self.iterations(einsum), self._mask_of(einsum)
        if mask is None:
            return points
        queries, keys = self.rank_sizes[self.roles.queries], self.rank_sizes[self.roles.keys]
        return points // (queries * keys) * pairs(mask, queries, keys)

    def tensor_words(self, tensor: str) -> int:
        """Words of a whole tensor."""
        return self._accesses[tensor].words(self.rank_sizes)

    def seen_words(self, einsum: Einsum, tensor: str) -> int:
        """Those of them that an Einsum needs: of keys, what some query may see; of both, pairs."""
        words, mask, ranks = self.tensor_words(tensor), self._mask_of(einsum), self.tensor_ranks
        if mask is None or self.roles.keys not in ranks[tensor]:
            return words
        queries, keys = self.rank_sizes[self.roles.queries], self.rank_sizes[self.roles.keys]
        if self.roles.queries in ranks[tensor]:
            return words * pairs(mask, queries, keys) // (queries * keys)
        every = keys * mask.parts
        first = every - queries
        low, high = replace(mask, parts=1).seen(first, every - 1, every)
        return words * (high - low) // every

    def _mask_of(self, einsum: Einsum) -> Mask | None:
        """The mask, where an Einsum runs over pairs of queries and keys."""
        pair = self.roles.masked
        return self.mask if pair and {*pair} <= einsum.own_ranks else None

    def with_ranks(self, sizes: Mapping[str, int]) -> Workload:
        """The same cascade at other rank sizes."""
        for rank in sizes:
            among(f"{self.name}: ranks", rank, self.rank_sizes)
        return replace(self, rank_sizes={**self.rank_sizes, **sizes})

    def subset(self, names: tuple[str, ...]) -> Workload:
        """The cascade reduced to some of its Einsums, with the ranks they need.

        Without attention it has no softmax and no latent whose form could be chosen.
        """
        kept = {e.name for e in self.named(names)}
        einsums = tuple(e for e in self.einsums if e.name in kept)
        ranks = {*chain.from_iterable((*e.ranks, *e.after) for e in einsums)}
        tensors = {*chain.from_iterable(e.tensors for e in einsums)}
        roles = self.roles.within(ranks)
        alike: dict[str, Any] = {"mask": None, "layers": (), "repeat": self.all_layers}
        core = tuple(n for n in self.core if n in kept)
        plain: dict[str, Any] = {"softmax": "none", "latent": "none"}
        return replace(
            self,
            einsums=einsums,
            rank_sizes=_among(ranks, self.rank_sizes),
            tensor_bits=_among({*tensors, SUMS}, self.tensor_bits),
            views={view: of for view, of in self.views.items() if {view, of} <= tensors},
            weights=_among(tensors, self.weights),
            roles=roles,
            operators=members_within(self.operators, kept),
            core=core,
            **({} if roles.masked else alike),
            **({} if core or not self.core else plain),
        )

    def between(self, first: str, last: str) -> tuple[str, ...]:
        """Names of the Einsums on the paths from one Einsum to another, both included."""
        path = {self.einsum(first).name, self.einsum(last).name}
        path.update(n for n in self.ancestors[last] if first in self.ancestors[n])
        return tuple(n for n in self.ancestors if n in path)

    def gaps(self, names: tuple[str, ...], where: str) -> Iterator[str]:
        """A line for each Einsum between two of a group that is left out of it."""
        for name, before in self.ancestors.items():
            if name in names or self.einsum(name).each or not set(names) & set(before):
                continue  # of one in each pass: with one pass there is nothing to correct
            if after := [n for n in names if name in self.ancestors[n]]:
                condition = f"{name} in it, because {after[0]} waits for it"
                yield expected(where, condition, ", ".join(names))

    def shareable_ranks(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Ranks that the shared loops of a fusion group may tile, in the order of `rank_sizes`.

        A shared loop runs the whole group once per tile. So its rank must belong to the iteration
        space of every Einsum of the group, and must not be one of `whole_row_ranks`. What is left
        is exact: such a rank is in every tensor the group passes on, so a consumer finds all it
        reads in the tile just made. An Einsum without the rank may say that it runs after that
        loop; see `inner_ranks`.

        raises: SpecError where an Einsum between two of the group is left out, or a cut is inside.
        """
        if names in self._shareable:
            return self._shareable[names]
        where = f"{self.name}: group {', '.join(names)}"
        group = self.named(names)
        for gap in self.gaps(names, where):
            raise SpecError(gap)
        for reader, maker, view in self.cuts:
            if {reader, maker} <= set(names):
                condition = f"{maker} and {reader} in two groups: {view} is read back from DRAM"
                raise SpecError(expected(where, condition, "one"))
        bound = self.whole_row_ranks(names)
        common = [r for r in self.rank_sizes if all(r in e.ranks or r in e.after for e in group)]
        return self._shareable.setdefault(names, tuple(r for r in common if r not in bound))

    @cached_property
    def _shareable(self) -> dict[tuple[str, ...], tuple[str, ...]]:
        return {}  # by group: no size of a rank says anything of them, so copies share it

    def inner_ranks(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Shareable ranks whose loops stand inside all other shared loops.

        A partial result is carried over its passes, which an Einsum reads, corrects in each or
        finishes after the last: with the loop innermost none leaves the buffer unfinished.
        """
        group = self.named(names)
        carried = {r for e in group for r in (*e.each, *e.after)}
        carried |= self._corrected(names)
        return tuple(r for r in self.shareable_ranks(names) if r in carried) if carried else ()

    def _corrected(self, names: tuple[str, ...]) -> set[str]:
        """Ranks over which an Einsum of the group reads a result of the group so far."""
        makers = (self.producers[t] for n in names for t in self.einsum(n).so_far)
        return {r for maker in makers if maker in names for r in self.einsum(maker).reduced_ranks}

    def whole_row_ranks(self, names: tuple[str, ...]) -> frozenset[str]:
        """Ranks that Einsums fused together must run over whole between two shared-loop steps.

        They are the ranks reduced by an Einsum of the group whose result another Einsum of the
        group reads: under a shared loop over such a rank the reader would see a partial result.
        A row softmax binds m this way. A reduction whose result leaves the group binds nothing: it
        accumulates over the shared loop. Nor does one whose readers take it `so_far` or run `after`
        the loop, as an online softmax does; without its corrections in the group m is bound.
        """
        group = self.named(names)
        bound = {
            r
            for e in group
            for r in e.reduced_ranks
            if r not in e.each and any(waits_for_all(g, e, r) for g in group)
        }
        left_out = {r for e in self.einsums if e.name not in names for r in e.each}
        return frozenset(bound | (left_out & self._corrected(names)))


def _among[T](names: Container[str], values: Mapping[str, T]) -> dict[str, T]:
    """The values of some names."""
    return {name: value for name, value in values.items() if name in names}


def waits_for_all(reader: Einsum, maker: Einsum, rank: str) -> bool:
    """True where a reader needs the whole of what its maker reduces over a rank."""
    tensor = maker.output.tensor
    reads = reader.reads(tensor)
    return reads and rank not in reader.after and tensor not in reader.so_far
