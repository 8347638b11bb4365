"""An Einsum, its mapping and its chip in Timeloop's terms: documents, nothing is written here.

Timeloop reads permutations letter by letter, so a rank with a longer name gets a letter here.
`processed_document` is the one file that the raw timeloop-model reads by itself: what the front end
makes of v0.4 files, a `subtree`/`local` architecture with instance counts in the names, and an
empty level `inter_NAME_spatial` for each fanout NAME. It can say what the front end cannot:
remainders, `P=32,5`. Energies and areas have Accelergy's form: timeloop-model takes them in its
place.
Source: timeloopfe, common/version_transpilers/v4_to_v3.py; Timeloop, src/model/topology.cpp.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import ceil

from flat_mapper.arch.cores import reads_apart
from flat_mapper.arch.nodes import CLASS_WORDS
from flat_mapper.arch.values import Architecture, ComputeUnit, Fanout, MemoryLevel
from flat_mapper.base.errors import MappingError, SpecError, expected
from flat_mapper.base.formats import SUMS, words
from flat_mapper.energy.tables import Ert, operation_cycles
from flat_mapper.mapping.cores import core_count
from flat_mapper.mapping.values import EinsumMapping, Loop, Slot, rank_extent, sized_workload
from flat_mapper.spec.document import Edit, Quoted, edited_nodes
from flat_mapper.workload.einsum import Einsum, TensorAccess
from flat_mapper.workload.graph import Workload

TIMELOOP_VERSION = 0.4


def node_entries(
    workload: Workload, arch: Architecture, mapping: EinsumMapping, *, raw: bool = False
) -> list[dict[str, object]]:
    """Entries of an Einsum's mapping on every node, outermost node first.

    A fanout of one instance has no entry: Timeloop does not know it as a spatial level.
    raw:    in the raw reader's form, not the front end's: loops as words, and a fanout as an empty
            level that has spatial loops and keeps nothing.
    raises: MappingError where a rank has two loops at one node, as Timeloop writes one factor, and
            where the loops do not hold the problem.
    """
    einsum = workload.einsum(mapping.einsum)
    innermost, found = arch.nodes.index(arch.levels[-1]), list[dict[str, object]]()
    tensors = [a.tensor for a in einsum.accesses]
    for place, node in enumerate(arch.nodes):
        if isinstance(node, MemoryLevel):
            loops = _written(einsum, node.name, mapping.at(Slot(node.name, "temporal")), raw)
            kept = mapping.kept_at(node.name)
            keep = [t for t in tensors if t in kept]
            bypass = [t for t in tensors if t not in kept]
            kind = "bypass" if raw else "dataspace"
            found.append({"target": node.name, "type": "temporal", **loops})
            found.append({"target": node.name, "type": kind, "keep": keep, "bypass": bypass})
        elif node.fanout_x * node.fanout_y > 1:
            found += _spatial(einsum, node, mapping, bare=place > innermost, raw=raw)
    _check_holds(workload, einsum, mapping)
    return found


def _spatial(
    einsum: Einsum, node: Fanout, mapping: EinsumMapping, *, bare: bool, raw: bool
) -> Iterator[dict[str, object]]:
    """Entries of a fanout; bare: of computes alone, with no storage in it."""
    tensors = [a.tensor for a in einsum.accesses]
    x = mapping.at(Slot(node.name, "x"))
    loops = _written(einsum, node.name, (*mapping.at(Slot(node.name, "y")), *x), raw)
    # What is read apart is not handed on either, nor anything to bare computes.
    apart = [t for t in tensors if reads_apart(node, t)]
    own = {"no_link_transfer": tensors if bare else apart, "no_reuse": apart}
    said = {"split": len(x), **{key: names for key, names in own.items() if names}}
    target = empty_level(node.name) if raw else node.name
    yield {"target": target, "type": "spatial", **loops, **said}
    if raw:
        ones = " ".join(f"{letter}=1" for letter in rank_letters(einsum).values())
        yield {"target": target, "type": "temporal", **loops, "factors": ones}
        yield {"target": target, "type": "bypass", "keep": [], "bypass": tensors}


def _written(einsum: Einsum, node: str, loops: Sequence[Loop], raw: bool) -> dict[str, object]:
    """Factors and permutation of every rank: `P=32`, or `P=32,5` where the last pass is shorter.

    Ours run outermost first and Timeloop's innermost first; ranks without a loop stand outermost.
    """
    letters, ranks = rank_letters(einsum), [loop.rank for loop in loops]
    by_rank = dict(zip(ranks, loops, strict=True))
    if twice := [rank for i, rank in enumerate(ranks) if rank in ranks[:i]]:
        raise MappingError(
            f"{einsum.name}: {node}: expected one loop over {twice[0]} (Timeloop writes "
            "one factor per rank and node), got two; join them, or write the fanout as two"
        )
    every = [by_rank.get(rank, Loop(rank, 1)) for rank in letters]
    factors = [
        f"{letters[p.rank]}={p.factor}" + (f",{p.final}" if p.final != p.factor else "")
        for p in every
    ]
    outermost_first = [*(rank for rank in letters if rank not in by_rank), *by_rank]
    order = [letters[rank] for rank in reversed(outermost_first)]
    if raw:
        return {"factors": " ".join(factors), "permutation": "".join(order)}
    return {"factors": factors, "permutation": order}


def empty_level(name: str) -> str:
    """The name of the level that the front end puts in the place of a fanout."""
    return f"inter_{name}_spatial"


def rank_letters(einsum: Einsum) -> dict[str, str]:
    """Timeloop's one-letter dimension for each rank: its own name where that is one letter."""
    taken = {rank for rank in einsum.ranks if len(rank) == 1 and rank in string.ascii_letters}
    letters = {}
    for rank in einsum.ranks:
        letter = rank
        if rank not in taken:
            wishes = (*rank.upper(), *string.ascii_uppercase, *string.ascii_lowercase)
            letter = next(c for c in wishes if c in string.ascii_letters and c not in taken)
            taken.add(letter)
        letters[rank] = letter
    return letters


def _check_holds(workload: Workload, einsum: Einsum, mapping: EinsumMapping) -> None:
    """Refuse a mapping whose loops are not over the whole problem.

    So whatever writes a mapping cannot write one that holds no problem.
    """
    for rank in einsum.ranks:
        extent, size = rank_extent(mapping, rank), workload.rank_sizes[rank]
        if extent != size:
            condition = f"loops over {size}, as a Timeloop file has them"
            raise MappingError(
                expected(f"{einsum.name}: {rank}", condition, f"loops over {extent}")
            )


def problem_document(workload: Workload, einsum: Einsum) -> dict[str, object]:
    """The Timeloop problem of one Einsum over its full rank sizes."""
    letters = rank_letters(einsum)
    spaces: list[dict[str, object]] = []
    for access in einsum.accesses:
        space: dict[str, object] = {
            "name": access.tensor,
            "projection": _projection(access, letters),
        }
        spaces.append(space | ({"read_write": True} if access.is_output else {}))
    shape: dict[str, object] = {"name": einsum.name, "dimensions": list(letters.values())}
    steps = sorted({step for a in einsum.accesses for dim in a.sums for _, step in dim} - {1})
    if steps:
        shape["coefficients"] = [{"name": _coefficient(step), "default": step} for step in steps]
    shape["data_spaces"] = spaces
    sizes = {letters[rank]: workload.rank_sizes[rank] for rank in einsum.ranks}
    return {"problem": {"version": TIMELOOP_VERSION, "shape": shape, "instance": sizes}}


def _projection(access: TensorAccess, letters: dict[str, str]) -> list[list[list[str]]]:
    """A tensor's dimensions, each a list of terms."""
    dims = access.sums or tuple(((rank, 1),) for rank in access.ranks)
    return [
        [[letters[rank], *([_coefficient(step)] if step > 1 else [])] for rank, step in dim]
        for dim in dims
    ]


def _coefficient(step: int) -> str:
    """The name of a step that is not 1; Timeloop's terms have names only."""
    return f"step{step}"


def problem_comment(workload: Workload, arch: Architecture, einsum: Einsum) -> tuple[str, ...]:
    """A comment with what a reader of the problem must know and cannot see in it."""
    comment = []
    if einsum.operation != "mul":
        comment.append(
            f"Timeloop knows products only: this is a problem of the same shape, so its counts and "
            f"cycles hold, but each point is {'an' if einsum.operation[0] in 'aeiou' else 'a'} "
            f"{einsum.operation}, not a multiplication."
        )
    renamed = [f"{c} = {r}" for r, c in rank_letters(einsum).items() if r != c]
    if renamed:
        comment.append(f"Timeloop's dimensions are single letters: {', '.join(renamed)}.")
    odd = [a.tensor for a in einsum.accesses if a.tensor in workload.widths.tensors]
    if odd:
        widths = ", ".join(f"{t} {words(workload.tensor_bits[t])}" for t in odd)
        comment.append(
            f"Timeloop counts words of one width; not {workload.word_bits} bits wide: {widths}."
        )
    if einsum.output.tensor in workload.widths.sums:
        comment.append(
            f"Timeloop's sums are as wide as what is done; here they are wider where they go on, "
            f"{words(workload.tensor_bits[SUMS])} bits."
        )
    cycles = operation_cycles(arch, einsum, workload.widths)
    if cycles != 1:
        comment.append(f"Timeloop counts a cycle an operation; it takes {cycles:g} here.")
    return tuple(comment)


_VERSION = Quoted("0.4")
_EMPTY = "dummy_storage"
# What the front end says of a component that does not say it itself, before it asks Accelergy,
# which prices by it: edge's GLB is read for 71.9 pJ with two banks, and for 72.9 pJ with one.
# Source: timeloopfe 5603893, v4/arch.py, Attributes and StorageAttributes, without what is None.
_FILLED_IN: dict[str, object] = {"has_power_gating": False}
_FILLED_IN_STORAGE: dict[str, object] = {
    **_FILLED_IN,
    "n_banks": 2,
    "cluster_size": 1,
    "reduction_supported": True,
    "multiple_buffering": 1,
    "min_utilization": 0,
    "allow_overbooking": False,
}


def processed_document(
    workload: Workload, arch: Architecture, mapping: EinsumMapping, *, handed_on: bool = False
) -> dict[str, object]:
    """Architecture, problem and mapping of one Einsum in one document for `timeloop-model`.

    handed_on: computes with no storage beside them take words from their neighbours, as Timeloop
               has it; by default they do not, as the native model has it.
    """
    workload = sized_workload(workload, mapping)
    entries = node_entries(workload, arch, mapping, raw=True)
    for entry in entries if handed_on else ():
        entry.pop("no_link_transfer", None)
    problem = problem_document(workload, workload.einsum(mapping.einsum))
    return {**_architecture(arch), **problem, "mapping": entries, **_compound(arch)}


def _architecture(arch: Architecture, *, filled_in: bool = False) -> dict[str, object]:
    """Every component with the number of its instances, and the fanouts as empty levels.

    filled_in: without the empty levels, and with what the front end fills in.
    """
    local: list[dict[str, object]] = []
    mesh_x = mesh_y = 1
    for node in arch.nodes:
        if isinstance(node, MemoryLevel):
            local.append(_component(node, mesh_x, mesh_y, filled_in=filled_in))
        elif node.fanout_x * node.fanout_y > 1:
            empty = {"width": 1, "depth": 1, "datawidth": 1, "meshX": mesh_x, "meshY": mesh_y}
            name = f"{empty_level(node.name)}[1..{mesh_x * mesh_y}]"
            local += [{"name": name, "class": _EMPTY, "attributes": empty}] * (not filled_in)
            mesh_x, mesh_y = mesh_x * node.fanout_x, mesh_y * node.fanout_y
    local.append(_component(arch.compute, mesh_x, mesh_y, filled_in=filled_in))
    attributes: dict[str, object] = {"global_cycle_seconds": arch.cycle_seconds}
    if filled_in:
        # Components inherit them; the first that is of a technology speaks for all.
        own = [n.attributes for n in _components(arch).values() if "technology" in n.attributes]
        technology = {"technology": own[0]["technology"]} if own else {}
        attributes = {**_literals({**technology, **arch.variables}), **attributes}
    tree = {"name": "system", "attributes": attributes, "local": local}
    return {"architecture": {"version": _VERSION, "subtree": [tree]}}


def _compound(arch: Architecture) -> dict[str, object]:
    """The compound components where an architecture has any."""
    classes = arch.document.get("components")
    return {"compound_components": {"version": _VERSION, "classes": classes}} if classes else {}


def accelergy_document(arch: Architecture) -> dict[str, object]:
    """The same without the empty levels, for Accelergy alone, with what the front end fills in.

    Words stay in quotes, or Accelergy takes "22nm" for an expression; it asks every subtree for a
    technology as well.
    """
    return {**_architecture(arch, filled_in=True), **_compound(arch)}


def _component(
    node: MemoryLevel | ComputeUnit, mesh_x: int, mesh_y: int, *, filled_in: bool
) -> dict[str, object]:
    stores = isinstance(node, MemoryLevel)
    kind, own = "storage" if stores else "compute", node.component_class
    known = any(word in own for word in CLASS_WORDS[kind])
    named = {"class": own} if known else {"class": kind, "subclass": own}
    attributes = {**_literals(node.attributes), "meshX": mesh_x, "meshY": mesh_y}
    if filled_in:
        buffer = any(word in named["class"] for word in CLASS_WORDS["storage"])
        attributes = {**(_FILLED_IN_STORAGE if buffer else _FILLED_IN), **attributes}
    return {
        "name": f"{node.name}[1..{mesh_x * mesh_y}]",
        **named,
        "attributes": attributes,
        "required_actions": ["read", "write", "update", "leak"] if stores else ["compute"],
    }


def _literals(attributes: Mapping[str, object]) -> dict[str, object]:
    """Attributes that nobody has to work out: words in quotes, whole numbers as integers."""
    literals: dict[str, object] = {}
    for key, value in attributes.items():
        if isinstance(value, str):
            literals[key] = Quoted(value)
        elif isinstance(value, float) and value.is_integer():
            literals[key] = int(value)
        else:
            literals[key] = value
    return literals


def ert_document(arch: Architecture, ert: Ert) -> dict[str, object]:
    """Energies in Accelergy's form, for exactly the actions that a dense mapping performs."""
    tables = []
    for name, node in _components(arch).items():
        stores = isinstance(node, MemoryLevel)
        actions = ("read", "write", "update") if stores else ("compute",)
        energies = {action: ert.energy(node.name, action) for action in actions}
        energies |= {"leak": 0.0} if stores else {}
        arguments = {"global_cycle_seconds": arch.cycle_seconds, "action_latency_cycles": 1}
        listed = [
            {"name": action, "arguments": arguments, "energy": float(pj)}
            for action, pj in energies.items()
        ]
        tables.append({"name": name, "actions": listed})
    return {"ERT": {"version": Quoted("0.4"), "tables": tables}}


def art_document(arch: Architecture) -> dict[str, object]:
    """Areas of nothing: Timeloop wants the table, and no count or energy depends on it."""
    tables = [{"name": name, "area": 0.0} for name in _components(arch)]
    return {"ART": {"version": Quoted("0.4"), "tables": tables}}


def _components(arch: Architecture) -> dict[str, MemoryLevel | ComputeUnit]:
    """Levels and compute unit by the full name that Timeloop looks them up with."""
    return {f"system.{n.name}[1..{n.instances}]": n for n in arch.components}


Bodies = tuple[Mapping[str, object], ...]

# Every attribute that says how much a level holds (Timeloop, src/model/buffer.cpp, ParseSpecs).
DEPTH_KEYS = ("depth", "memory_depth", "data_storage_depth", "entries", "sizeKB")


def architecture_document(arch: Architecture, edit: Edit) -> dict[str, object]:
    """The architecture as it was loaded, every named node edited."""
    if "architecture" not in arch.document:
        condition = "an architecture loaded from v0.4 YAML, to write it again"
        raise SpecError(expected(arch.where, condition, "one without a document"))
    document = dict(arch.document)
    document["architecture"] = edited_nodes(document["architecture"], edit)
    if document.get("components"):
        document["components"] = {"version": TIMELOOP_VERSION, "classes": document["components"]}
    else:
        document.pop("components", None)
    return document


def without_constraints(body: Mapping[str, object]) -> Bodies:
    """A node without its constraints.

    Timeloop's front end joins those with the mapping's entries, and refuses a pair that says
    different things.
    """
    return ({key: value for key, value in body.items() if key != "constraints"},)


def as_loaded(body: Mapping[str, object]) -> Bodies:
    """A node as it is."""
    return (body,)


def with_depth(arch: Architecture, name: str, depth: int) -> Architecture:
    """The architecture, and its document, with another depth (rows) of one level.

    Counts and cycles do not depend on a depth, only whether tiles fit; energies do where
    Accelergy is asked.
    """

    def deep(attributes: Mapping[str, object]) -> dict[str, object]:
        others = {key: value for key, value in attributes.items() if key not in DEPTH_KEYS}
        return {**others, "depth": depth}

    def edit(body: Mapping[str, object]) -> Bodies:
        attributes = body.get("attributes")
        if not isinstance(attributes, Mapping):
            return as_loaded(body)
        return ({**body, "attributes": deep(attributes)},)

    level = arch.level(name)
    attributes, words = deep(level.attributes), depth * level.row_words
    there = replace(level, attributes=attributes, capacity_words=words)
    nodes = [there if node is level else node for node in arch.nodes]
    return _with_nodes(arch, nodes, {name: edit})


def in_one_row(arch: Architecture, level: str) -> Architecture:
    """The architecture, and its document, with all instances of a level side by side.

    Of several fanouts outside it, or of one with two axes, the innermost has all copies on x: a
    round of tiles is of any number, which need not be a product that fits two axes. Levels between
    that would have fewer instances so keep nothing (`timeloop.rounds`).
    """
    outside = arch.outside(level)
    fanouts = [node for node in outside if isinstance(node, Fanout)]
    if [node.fanout_y for node in fanouts] in ([], [1]):
        return arch
    last, cores = fanouts[-1], core_count(arch, level)
    rules = next(filter(None, (node.constraints for node in fanouts)), last.constraints)
    row = replace(last, fanout_x=cores, fanout_y=1, constraints=rules)
    single = (replace(n, instances=1) if isinstance(n, MemoryLevel) else n for n in outside)
    own = [row if node is last else node for node in single if node not in fanouts[:-1]]
    copies = dict.fromkeys((node.name for node in fanouts), 1) | {last.name: cores}

    def edit(body: Mapping[str, object]) -> Bodies:
        return ({**body, "spatial": {"meshX": copies[str(body["name"])]}},)

    return _with_nodes(arch, [*own, *arch.nodes[len(outside) :]], dict.fromkeys(copies, edit))


def holding(arch: Architecture, words: int) -> tuple[Architecture, bool]:
    """The architecture with a depth at its outermost level, and whether that is news.

    Timeloop's Python bindings want a depth of every memory. It is one that holds so many words.
    """
    dram = arch.levels[0]
    if dram.capacity_words is not None or any(key in dram.attributes for key in DEPTH_KEYS):
        return arch, False
    return with_depth(arch, dram.name, ceil(words * dram.multiple_buffering / dram.row_words)), True


def unfolded(
    arch: Architecture, mapping: EinsumMapping
) -> tuple[Architecture, EinsumMapping, tuple[str, ...]]:
    """The two with every fanout that has one rank on both axes written as two, and its name.

    Timeloop writes one factor per rank and node. A container NAME becomes NAME_y around NAME_x, one
    axis each, which counts the same: seen on random mappings with the two ways of writing it. Only
    containers with nothing of their own can be divided; `node_entries` refuses the others.
    """
    names = _on_both_axes(arch, mapping)

    def edit(body: Mapping[str, object]) -> Bodies:
        name, mesh = body["name"], body.get("spatial")
        spatial = mesh if isinstance(mesh, Mapping) else {}
        outer = {**body, "name": f"{name}_y", "spatial": {"meshY": spatial.get("meshY", 1)}}
        return outer, {"name": f"{name}_x", "spatial": {"meshX": spatial.get("meshX", 1)}}

    nodes = list[MemoryLevel | Fanout]()
    for node in arch.nodes:
        if isinstance(node, Fanout) and node.name in names:
            nodes.append(Fanout(name=f"{node.name}_y", fanout_y=node.fanout_y))
            node = Fanout(name=f"{node.name}_x", fanout_x=node.fanout_x)
        nodes.append(node)
    loops = tuple(
        (Slot(f"{slot.node}_{slot.axis}", slot.axis) if slot.node in names else slot, at)
        for slot, at in mapping.loops
    )
    divided = _with_nodes(arch, nodes, dict.fromkeys(names, edit)) if names else arch
    return divided, replace(mapping, loops=loops), names


def _on_both_axes(arch: Architecture, mapping: EinsumMapping) -> tuple[str, ...]:
    """Fanouts with a loop over one rank on either axis, and nothing of their own beside."""
    parts, found = {part.name for part in arch.components}, list[str]()
    for fanout in arch.fanouts if "architecture" in arch.document else ():
        x, y = ({p.rank for p in mapping.at(Slot(fanout.name, axis))} for axis in ("x", "y"))
        if fanout.name not in parts and not fanout.constraints and x & y:
            found.append(fanout.name)
    return tuple(found)


def _with_nodes(
    arch: Architecture, nodes: Sequence[MemoryLevel | Fanout], edits: Mapping[str, Edit]
) -> Architecture:
    """The architecture with other nodes, and its document edited accordingly, by node."""
    document = dict(arch.document)
    if "architecture" in document:
        document["architecture"] = edited_nodes(
            document["architecture"], lambda body: edits.get(str(body["name"]), as_loaded)(body)
        )
    return replace(arch, nodes=tuple(nodes), document=document)
