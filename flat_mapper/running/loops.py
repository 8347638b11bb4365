"""One group of a record as a function in C: its loops in its order, what is shared in buffers.

The meaning of a record is that of `execution`: its nests (`FlatNest`), who shares a place at the
shared level (`held_in`), which old value is corrected (`copied`), what an Einsum does at a point
(`arithmetic`). Here it is written down as loops. A loop's variable is the coordinate of its rank,
which begins at the variable of the loop around it: no index is put together.

    outer loops    tiles given out to cores, one after another; then the shared loops in time
    from, to DRAM  a tile is packed where the last loop over one of its ranks begins, and a result
                   unpacked where that ends; one that comes again is read back first
    Einsums        in execution order inside the outer loops; one that lacks the last, behind them
    inner loops    those in time in the record's order; then those in space, reduced ranks first
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from math import prod

from flat_mapper.arch.values import Platform
from flat_mapper.base.errors import MappingError, expected
from flat_mapper.execution.cores import CoresRun
from flat_mapper.execution.group import copied
from flat_mapper.execution.link import DRAM, FlatNest, NestLoop
from flat_mapper.execution.real_numbers import arithmetic
from flat_mapper.execution.shared import GroupFacts, held_in
from flat_mapper.execution.turn import masked
from flat_mapper.mapping.cores import merged
from flat_mapper.mapping.values import FusedMapping, largest_extent
from flat_mapper.running.words import CodeLines, identifiers, joined_to, number, point, quiet
from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.graph import Workload

_Coordinates = Mapping[str, str]  # of each rank the variable that has it, or 0


class GroupText:
    """One group's tiles and its function."""

    def __init__(self, whole: Workload, chip: Platform, mapping: FusedMapping, number: int) -> None:
        self.whole, self.number, self.out = whole, number, CodeLines()
        self.tensors = identifiers(whole.tensor_ranks, "t")
        self.ranks = identifiers(whole.rank_sizes, "r")
        group, policy, sizes = mapping.groups[number - 1], mapping.policy, whole.rank_sizes
        if parts := merged(whole, group):
            condition = "results of which one tile has all"
            raise MappingError(expected("lower: c", condition, f"parts of {', '.join(parts)}"))
        given = {p.rank: largest_extent(group, p.rank) for p in group.given_out}
        self.tile = {r: given.get(r, n) for r, n in sizes.items()}
        run = CoresRun(
            workload=whole, platform=chip, group=group, policy=policy, dram={}, order=group.names
        )
        self.facts: GroupFacts = run.facts({r: (0, n) for r, n in self.tile.items()})
        self.level = group.level or self.facts.shared
        self.holder, self.nests = held_in(self.facts, policy), self.facts.nests
        self.outputs = tuple(dict.fromkeys(e.output.tensor for e in self.facts.einsums))
        self.given = frozenset(given)
        self.cores = len(group.given_out)
        self.loops = [_steps(p.rank, p.factor, given[p.rank]) for p in group.given_out]
        self.loops += self._shared()
        self.ragged = {r for nest in self.nests.values() for r in nest.ragged}
        self.ragged |= {r for r, n in given.items() if sizes[r] % n}
        self.variables = [""] * len(self.loops)  # of the outer loops
        self.layouts = {t: self._layout(first) for t, first in self.holder.items()}

    def _shared(self) -> Iterator[NestLoop]:
        """The outer loops in time; of a group of one Einsum its own at DRAM."""
        loops = [p for p in self.facts.group.shared if p.factor > 1]
        found: dict[int, NestLoop] = {}
        for nest in self.nests.values():
            steps = nest.temporal[: nest.dram_loops]
            own = [i for i, p in enumerate(loops) if p.rank in nest.einsum.ranks]
            for i, s in zip(own if len(self.nests) > 1 else range(len(steps)), steps, strict=True):
                if s.rank not in nest.einsum.each:
                    found.setdefault(i, s)
        yield from (found[i] for i in sorted(found))

    # Where things stand: inside so many of the outer loops.

    def _depth(self, ranks: Sequence[str]) -> int:
        """Loops within which a tile stays the same; each core's tile begins anew."""
        return max([self.cores, *(i for i, p in enumerate(self.loops, 1) if p.rank in ranks)])

    def _place(self, tensor: str) -> int:
        """The same, of a tensor's tile."""
        return self._depth(self._ranks(tensor))

    def _turns(self, einsum: Einsum) -> int:
        """Loops within which an Einsum runs once.

        raises: MappingError where it lacks one further out than another.
        """
        depth = self._depth(einsum.ranks)
        lacked = [p.rank for p in self.loops[self.cores : depth] if p.rank not in einsum.ranks]
        if lacked:
            condition = f"the shared loops that {einsum.name} lacks innermost"
            raise MappingError(expected("lower: c", condition, ", ".join(lacked)))
        return depth

    def _again(self, tensor: str) -> bool:
        """True if a loop comes back to a result, with others between."""
        loops = self.loops[self.cores : self._place(tensor)]
        return any(p.rank not in self._ranks(tensor) for p in loops)

    @cached_property
    def carried(self) -> dict[str, int]:
        """Results that go on from pass to pass, and the loops within which such a pass stands."""
        found = {}
        for nest in self.nests.values():
            tensor, depth = nest.einsum.output.tensor, self._turns(nest.einsum)
            grows = nest.einsum.updates or self._reduces(nest)
            if grows and (self._again(tensor) or self._place(tensor) < depth):
                found[tensor] = depth
        return found

    def _reduces(self, nest: FlatNest) -> bool:
        """True if some loop is over a rank that the output lacks."""
        loops = {*(p.rank for p in self.loops[self.cores :]), *(s.rank for s in nest.steps)}
        return not loops.isdisjoint(nest.einsum.reduced_ranks)

    def buffered(self, nest: FlatNest, tensor: str) -> bool:
        """True if an Einsum finds a tensor of its own in a buffer."""
        return self.facts.at(nest, tensor) in nest.keepers(tensor)

    def _moves(self, tensor: str) -> bool:
        """True if a tile comes from or goes to DRAM."""
        users = [n for n in self.nests.values() if n.einsum.touches(tensor)]
        return any(DRAM in n.keepers(tensor) and self.buffered(n, tensor) for n in users)

    def _ranks(self, tensor: str) -> tuple[str, ...]:
        return self.whole.tensor_ranks[tensor]

    def reach(self, rank: str) -> int:
        """Reach of a rank in one pass of the outer loops."""
        strides = [p.stride for p in self.loops if p.rank == rank]
        users = [n for n in self.nests.values() if rank in {*n.sizes} - {*n.einsum.each}]
        inside = strides[-1] if strides else max(n.extent(rank, 1) for n in users)
        return min(inside, self.tile[rank])

    def _shape(self, tensor: str) -> tuple[int, ...]:
        return tuple(map(self.reach, self.layouts[tensor]))

    def _layout(self, tensor: str) -> tuple[str, ...]:
        """Ranks of a buffer; the one that its first Einsum has lanes over comes last."""
        ranks = self._ranks(tensor)
        for nest in (n for n in self.nests.values() if n.einsum.touches(tensor)):
            lanes = self._lanes(nest)
            if lanes and lanes[-1].rank in ranks and self.buffered(nest, tensor):
                return (*(r for r in ranks if r != lanes[-1].rank), lanes[-1].rank)
        return ranks

    def _lanes(self, nest: FlatNest) -> list[NestLoop]:
        """Loops in space: reduced ranks, then the output's in their order."""
        out = nest.einsum.output.ranks
        return sorted(nest.spatial, key=lambda s: out.index(s.rank) if s.rank in out else -1)

    @property
    def words(self) -> int:
        """Words of all tiles."""
        return sum(prod(self._shape(first)) for first in {*self.holder.values()})

    @property
    def private_words(self) -> int:
        """Words that the levels below the tiles' keep of what has no tile, all copies as one."""
        found = 0
        for nest in self.nests.values():
            for access in (a for a in nest.einsum.accesses if not self.buffered(nest, a.tensor)):
                kept = [nest.level_slots[at] for at in nest.keepers(access.tensor) if at != DRAM]
                slot = min(kept, default=nest.slot_count)
                steps = (s for s in nest.steps if s.slot >= slot or not s.temporal)
                found += prod(s.factor for s in steps if s.rank in access.ranks)
        return found

    def write(self, out: CodeLines) -> None:
        """The group's lines."""
        self.out = out
        out.add(
            "",
            f"// Group {self.number}: {quiet(', '.join(self.nests))}; tiles at {quiet(self.level)}",
        )
        for tensor in dict.fromkeys(self.holder.values()):
            sharing = " and ".join(t for t, first in self.holder.items() if first == tensor)
            comment = f"{sharing}[{', '.join(self.layouts[tensor])}] at {self.level}"
            out.array(self._buffer(tensor), self._shape(tensor), quiet(comment))
        with out.block(f"static void group_{self.number}(void)"):
            self._inside(0, dict.fromkeys(self.whole.rank_sizes, "0"))

    # Identifiers and places in arrays

    def _buffer(self, tensor: str) -> str:
        return f"tile_{self.tensors[self.holder[tensor]]}_{self.number}"

    def _fresh(self, tensor: str) -> str:
        """True where a result that is carried begins in this pass."""
        return f"fresh_{self.tensors[tensor]}"

    def _at_dram(self, tensor: str, at: _Coordinates) -> str:
        index = "".join(f"[{at[r]}]" for r in self._ranks(tensor)) or "[0]"
        return f"dram_{self.tensors[tensor]}{index}"

    def _in_tile(self, tensor: str, at: _Coordinates, begin: _Coordinates) -> str:
        index = "".join(f"[{_minus(at[r], begin[r])}]" for r in self.layouts[tensor]) or "[0]"
        return f"{self._buffer(tensor)}{index}"

    def _end(self, rank: str, start: str) -> str:
        """End of a rank: behind a core's loop over it a variable, else its size."""
        inside = rank in self.given and start != "0"
        return f"{self.ranks[rank]}_end" if inside else str(self.whole.rank_sizes[rank])

    def _enter(self, loops: Iterable[NestLoop], at: dict[str, str]) -> list[str]:
        """The lines that begin some loops, whose variables are noted."""
        heads = []
        for loop in loops:
            rank, start, reach = loop.rank, at[loop.rank], loop.factor * loop.stride
            level = 0 if start == "0" else int(start.rpartition("_")[2]) + 1
            at[rank] = name = f"{self.ranks[rank]}_{level}"
            test = f"{name} < {reach}" if start == "0" else f"{name} < {start} + {reach}"
            if rank in self.ragged:
                test += f" && {name} < {self._end(rank, start)}"
            step = f"{name}++" if loop.stride == 1 else f"{name} += {loop.stride}"
            heads.append(f"for (long {name} = {start}; {test}; {step})")
        return heads

    # Outer loops, from the outermost in

    def _inside(self, depth: int, at: _Coordinates) -> None:
        """All that stands inside so many outer loops."""
        if depth == self.cores:
            self._begin_tile(at)
        self._open(depth, at)
        if depth < len(self.loops):
            loop = self.loops[depth]
            inside = dict(at)
            heads = self._enter([loop], inside)
            self.variables[depth] = inside[loop.rank]
            kind = "shared" if len(self.nests) > 1 else "DRAM"
            kind = "cores" if depth < self.cores else kind
            with self.out.block(*heads, end=f"  // {kind}: {quiet(loop.rank)}={loop.factor}"):
                self._skip(depth + 1)
                self._inside(depth + 1, inside)
        nests = [n for n in self.nests.values() if self._turns(n.einsum) == depth]
        for nest in nests:
            self._old(nest, at)
        for nest in nests:
            self._einsum(nest, at)
        self._close(depth, at)

    def _begin_tile(self, at: _Coordinates) -> None:
        """A core's tile: where it ends, and no result so far."""
        for rank in self.given & self.ragged:
            end, size = self._end(rank, at[rank]), self.whole.rank_sizes[rank]
            self.out.add(f"long {end} = {at[rank]} + {self.tile[rank]};")
            self.out.add(f"if ({end} > {size}) {end} = {size};")
        for tensor in filter(self._again, self.carried):
            own = [p for p in self.loops[self.cores :] if p.rank in self._ranks(tensor)]
            name = f"seen_{self.tensors[tensor]}"
            sizes = "".join(f"[{p.factor}]" for p in own) or "[1]"
            self.out.add(f"static char {name}{sizes};  // tiles with a result so far")
            self.out.add(f"memset({name}, 0, sizeof {name});")

    def _skip(self, depth: int) -> None:
        """Leave out a pass in which no query may see a key.

        Where queries are given out, no pass of such a tile that one of its queries sees.
        """
        pair = self.whole.roles.masked or ()
        if self.whole.mask is None or len(self.nests) == 1:
            return
        of_tile = {*pair[:1]} & self.given
        last = {
            p.rank: i
            for i, p in enumerate(self.loops)
            if p.rank in pair and (i < self.cores or p.rank not in of_tile)
        }
        if len(last) == 2 and max(last.values()) + 1 == depth:
            at = [(self.variables[last[r]], self.loops[last[r]].stride) for r in pair]
            bounds = ", ".join(f"{name}, {name} + {stride}" for name, stride in at)
            self.out.add(f"if (!sees({bounds})) continue;  // masked")

    def _seen(self, tensor: str) -> str:
        """The mark of a result's tile, by the passes of its loops."""
        before, index = dict.fromkeys(self.whole.rank_sizes, "0"), ""
        for i, (name, loop) in enumerate(zip(self.variables, self.loops, strict=True)):
            if i >= self.cores and loop.rank in self._ranks(tensor):
                index += f"[({_minus(name, before[loop.rank])}) / {loop.stride}]"
            before[loop.rank] = name
        return f"seen_{self.tensors[tensor]}{index or '[0]'}"

    def _open(self, depth: int, at: _Coordinates) -> None:
        """Results begin, or go on; inputs come."""
        for tensor in (t for t in self.carried if self._place(t) == depth):
            again = self._again(tensor)
            start = f"!{self._seen(tensor)}" if again else "1"
            self.out.add(f"int {self._fresh(tensor)} = {start};")
            if again and self._moves(tensor):
                with self.out.block(f"if (!{self._fresh(tensor)})"):
                    self._move(tensor, at, leaves=False)
        for tensor in (t for t in self.holder if t not in self.outputs and self._moves(t)):
            if self._place(tensor) == depth:
                self._move(tensor, at, leaves=False)

    def _close(self, depth: int, at: _Coordinates) -> None:
        """Results are no longer at their beginning, and leave."""
        for tensor, turns in self.carried.items():
            if turns == depth:
                self.out.add(f"{self._fresh(tensor)} = 0;")
        for tensor in (t for t in self.outputs if self._place(t) == depth):
            if tensor in self.carried and self._again(tensor):
                self.out.add(f"{self._seen(tensor)} = 1;")
            if self._moves(tensor):
                self._move(tensor, at, leaves=True)

    def _move(self, tensor: str, at: _Coordinates, *, leaves: bool) -> None:
        """Copy a tile between DRAM and its buffer."""
        self.out.add(f"// {quiet(tensor)} {'to' if leaves else 'from'} DRAM")
        with self._every(tensor, at) as each:
            there, here = self._at_dram(tensor, each), self._in_tile(tensor, each, at)
            self.out.add(f"{there} = {here};" if leaves else f"{here} = {there};")

    @contextmanager
    def _every(self, tensor: str, at: _Coordinates) -> Iterator[_Coordinates]:
        """Loops over a tile."""
        each, reach = dict(at), {r: self.reach(r) for r in self._ranks(tensor)}
        heads = self._enter([_steps(r, n, 1) for r, n in reach.items() if n > 1], each)
        with self.out.block(*heads):
            yield each

    # Einsums

    def _old(self, nest: FlatNest, at: _Coordinates) -> None:
        """The value that a correction starts from, before its maker makes a new one."""
        source, made = copied(self.facts, nest.einsum), nest.einsum.output.tensor
        if not source or made not in self.carried:
            return
        self.out.add(f"// The old {quiet(source)}")
        with self.out.block(f"if (!{self._fresh(made)})"), self._every(made, at) as each:
            self.out.add(f"{self._in_tile(made, each, at)} = {self._in_tile(source, each, at)};")

    def _einsum(self, nest: FlatNest, begin: _Coordinates) -> None:
        """An Einsum at its turn."""
        out, einsum, how = self.out, nest.einsum, arithmetic(nest.einsum)
        out.add(f"// {quiet(str(einsum.text or einsum.name))}")
        result, at = einsum.output.tensor, dict(begin)

        def ref(tensor: str) -> str:
            buffered = self.buffered(nest, tensor)
            return self._in_tile(tensor, at, begin) if buffered else self._at_dram(tensor, at)

        reduced, lanes = set(einsum.reduced_ranks), self._lanes(nest)
        time = nest.temporal[nest.dram_loops :]
        found = masked(self.whole, einsum) if self.whole.mask else None
        pair, hidden = found or ((), 0.0)

        def seen(value: str) -> str:
            """A value, or that of what no query may see."""
            if not pair:
                return value
            bounds = ", ".join(f"{at[r]}, {at[r]} + 1" for r in pair)
            return f"(sees({bounds}) ? {value} : {number(hidden)})"

        grows = self._reduces(nest) and not einsum.updates
        # What begins at minus infinity stays there, whatever is added.
        early = grows and hidden != 0 and how.joint == "*"
        with out.block(*self._enter(time, at)):
            if grows:
                first = [self._fresh(result)] * (result in self.carried)
                looped = dict.fromkeys(s.rank for s in time if s.rank in reduced)
                first += [f"{at[r]} == {begin[r]}" for r in looped]
                outside = dict(at)
                heads = [f"if ({' && '.join(first)})"] * bool(first)
                heads += self._enter([s for s in lanes if s.rank not in reduced], at)
                with out.block(*heads):
                    start = number(how.neutral)
                    out.add(f"{ref(result)} = {seen(start) if early else start};")
                at.update(outside)
            with out.block(*self._enter(lanes, at)):
                operands = [ref(tensor) for tensor in how.operands]
                if result in how.operands:
                    old = number(how.old)
                    if result in self.carried:
                        old = f"({self._fresh(result)} ? {old} : {ref(result)})"
                    operands[how.operands.index(result)] = old
                value = point(how, operands)
                value = value if early else seen(value)
                out.add(
                    joined_to(how, ref(result), value) if grows else f"{ref(result)} = {value};"
                )


def _steps(rank: str, factor: int, stride: int) -> NestLoop:
    """A loop of no nest."""
    return NestLoop(slot=0, rank=rank, factor=factor, stride=stride, temporal=True)


def _minus(one: str, other: str) -> str:
    return "0" if one == other else one if other == "0" else f"{one} - {other}"
