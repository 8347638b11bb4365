"""Inputs under other names and in another order: what is left of them is their shape."""

from __future__ import annotations

import random
import re
import string
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from flat_mapper.arch.reader import load_platform
from flat_mapper.arch.values import Platform
from flat_mapper.mapping.space import KeepRule, Mapspace, SlotRule
from flat_mapper.spec import catalog
from flat_mapper.workload.einsum import Einsum, TensorAccess
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.roles import Roles
from flat_mapper.workload.softmax import made_again

Names = Mapping[str, str]


class Renaming:
    """New names of ranks, of tensors with their Einsums, and of nodes, drawn from a seed."""

    def __init__(self, workload: Workload, nodes: Iterable[str], seed: int) -> None:
        self.rng, self.again = random.Random(seed), made_again(workload)
        tensors = (*workload.tensor_ranks, *(e.name for e in workload.einsums))
        self.ranks = self._new(workload.rank_sizes)
        self.tensors = self._new(dict.fromkeys((*tensors, *workload.operators)))
        self.nodes = self._new(nodes)
        self.orders: dict[str, list[int]] = {}  # of each tensor's ranks

    def _new(self, names: Iterable[str]) -> dict[str, str]:
        listed = list(names)
        letters = string.ascii_uppercase
        drawn: set[str] = set()
        while len(drawn) < len(listed):
            drawn.add("".join(self.rng.choices(letters, k=3)))
        fresh = sorted(drawn)
        self.rng.shuffle(fresh)
        return dict(zip(listed, fresh, strict=True))

    def shuffled[T](self, items: Iterable[T]) -> list[T]:
        listed = list(items)
        self.rng.shuffle(listed)
        return listed

    def access(self, access: TensorAccess) -> TensorAccess:
        order = self.orders.setdefault(access.tensor, self.shuffled(range(len(access.ranks))))
        ranks = tuple(self.ranks[access.ranks[i]] for i in order)
        return replace(access, tensor=self.tensors[access.tensor], ranks=ranks)

    def einsum(self, einsum: Einsum) -> Einsum:
        commutes = einsum.operation in ("mul", "add") and not einsum.updates
        inputs = self.shuffled(einsum.inputs) if commutes else einsum.inputs
        return replace(
            einsum,
            name=self.tensors[einsum.name],
            output=self.access(einsum.output),
            inputs=tuple(self.access(a) for a in inputs),
            text="",
            each=tuple(self.ranks[r] for r in einsum.each),
            after=tuple(self.ranks[r] for r in einsum.after),
            so_far=tuple(self.tensors[t] for t in einsum.so_far),
        )

    def workload(self, workload: Workload) -> Workload:
        """The same cascade, its ranks and Einsums in another order; nothing of the short form."""
        roles = {name: self.ranks[rank] for name, rank in workload.roles.declared.items()}
        return Workload(
            name="renamed",
            rank_sizes={self.ranks[r]: n for r, n in self.shuffled(workload.rank_sizes.items())},
            einsums=tuple(self.einsum(e) for e in self.shuffled(workload.einsums)),
            word_bits=workload.word_bits,
            tensor_bits={self.tensors.get(t, t): n for t, n in workload.tensor_bits.items()},
            repeat=workload.repeat,
            mask=workload.mask,
            roles=Roles(**roles),
            operators={
                self.tensors[name]: tuple(self.tensors[n] for n in self.shuffled(members))
                for name, members in workload.operators.items()
            },
        )

    def mapspace(self, space: Mapspace) -> Mapspace:
        fusion = space.fusion
        # A cascade that is written out names whom the short form's groups take along.
        whole = ((*g, *(n for n, of in self.again.items() if of in g)) for g in fusion.groups)
        groups = tuple(tuple(self._tensor(n) for n in self.shuffled(g)) for g in whole)
        return replace(
            space,
            fusion=replace(fusion, groups=groups),
            slots=tuple(self._slot(s) for s in space.slots),
            keeps=tuple(self._keep(k) for k in space.keeps),
        )

    def _tensor(self, name: str) -> str:
        return self.tensors.get(name, f"{name}_gone")

    def _rank(self, name: str) -> str:
        return self.ranks.get(name, f"{name}_gone")

    def _slot(self, slot: SlotRule) -> SlotRule:
        axes = (None if a is None else tuple(self._rank(r) for r in a) for a in (slot.x, slot.y))
        x, y = axes
        return replace(
            slot,
            node=self.nodes.get(slot.node, slot.node),  # or the word for the shared level
            einsum=self._tensor(slot.einsum),
            factors={self._rank(r): n for r, n in slot.factors.items()},
            at_most={self._rank(r): n for r, n in slot.at_most.items()},
            innermost=tuple(self._rank(r) for r in slot.innermost),
            x=x,
            y=y,
        )

    def _keep(self, rule: KeepRule) -> KeepRule:
        return replace(
            rule,
            level=self.nodes[rule.level],
            einsum=self._tensor(rule.einsum),
            keep=tuple(self._tensor(t) for t in rule.keep),
            bypass=tuple(self._tensor(t) for t in rule.bypass),
        )

    def platform(self, name: str, folder: Path) -> Platform:
        """A shipped chip whose nodes have the new names."""
        path = catalog.resolve("arch", name)
        for source, target in (
            (path, folder / "chip.yaml"),
            (path.with_name(f"{name}.sfu.yaml"), folder / "chip.sfu.yaml"),
        ):
            text = source.read_text(encoding="utf-8")
            for old, new in self.nodes.items():
                text = re.sub(rf"\bname: {re.escape(old)}\b", f"name: {new}", text)
            target.write_text(text, encoding="utf-8")
        return load_platform(folder / "chip.yaml")


def nodes_of(platform: Platform) -> list[str]:
    """Names of all levels, fanouts and units."""
    paths = [platform.matrix, *filter(None, [platform.vector])]
    return list(
        dict.fromkeys(n for a in paths for n in (*(x.name for x in a.nodes), a.compute.name))
    )
