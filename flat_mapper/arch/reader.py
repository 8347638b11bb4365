"""Timeloop v0.4 architecture files -> Architecture, Platform.

docs/howto/architecture.md has an example. One file may hold everything that Timeloop reads: only
the architecture, its variables, its compound components and its constraints are taken here.
Anything that would change a result and is not modelled is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from flat_mapper.arch.attributes import MODELLED, resolved_attributes
from flat_mapper.arch.constraints import listed_constraints
from flat_mapper.arch.cores import core_drift, power_limit_w, sums_at, units_at_once
from flat_mapper.arch.nodes import NodeReader
from flat_mapper.arch.quantities import CYCLE_SECONDS, plain_numbers
from flat_mapper.arch.values import Architecture, MemoryLevel, Platform, variable_faults
from flat_mapper.base.errors import Faults, SpecError, expected
from flat_mapper.spec import catalog
from flat_mapper.spec.document import (
    CYCLE_TIME,
    Section,
    Tagged,
    checked,
    did_you_mean,
    noun_of,
    place,
    refuse_unknown,
    section_of,
    take,
    take_list,
    take_section,
    unknown_key,
)
from flat_mapper.spec.rendering import SUFFIXES
from flat_mapper.spec.templating import load_document
from flat_mapper.spec.timeloopfe import IN_MEMORY, plain_document
from flat_mapper.spec.yamlio import is_text, load_text

_KEPT = ("architecture", "variables", "components")  # the document that lowering starts from
ChipFiles = str | Path | Sequence[str | Path]


def load_architecture(
    *sources: str | Path, data: Mapping[str, object] | None = None
) -> Architecture:
    """The architecture that one or more files, or texts, describe together.

    sources: paths; a string with a line break, or a colon and a blank, is the text itself.
    data:    values for the templates in them.
    raises:  SpecError with the first fault; `check_architecture` lists all.
    """
    path = "" if is_text(sources[0]) else str(sources[0])
    documents = [_document(source, data) for source in sources]
    return _sound(partial(_read, documents, _name_of(path), path or "text"))


def architecture_of(document: object, name: str = "architecture") -> Architecture:
    """The architecture of a document in memory; strings in it are expressions unless Quoted."""
    return _sound(partial(_read, [section_of(document, name)], name, name))


def load_platform(
    source: Platform | ChipFiles | Mapping[str, object],
    data: Mapping[str, object] | None = None,
    *,
    vector: Mapping[str, object] | None = None,
) -> Platform:
    """The matrix path of that name, and the vector path in NAME.sfu.yaml where that exists.

    source: a shipped name, a path, several files and folders that are joined as Timeloop's front
            end joins them, or a specification in memory (timeloopfe's, say); a platform is itself.
    data:   values of the names that templates in the files use.
    vector: the vector path beside a specification.
    raises: SpecError where nodes of the same name differ between the two.
    """
    if isinstance(source, Platform):
        return source
    if not isinstance(source, Mapping):
        return platform_of(platform_files(source, data))
    other = None if vector is None else plain_document(vector)
    matrix = plain_document(source)
    return platform_of(PlatformFiles(path=Path(IN_MEMORY), matrix=matrix, vector=other))


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformFiles:
    """The documents of a chip as they were read, before anything in them is worked out."""

    path: Path  # of the matrix path's file
    matrix: Section
    vector: Section | None = None

    @property
    def documents(self) -> tuple[Section, ...]:
        """Those of the paths that there are."""
        return (self.matrix,) if self.vector is None else (self.matrix, self.vector)


def platform_files(source: ChipFiles, data: Mapping[str, object] | None = None) -> PlatformFiles:
    """The documents of the chip of that name, or in those files and the .sfu.yaml beside them."""
    paths = _paths(source)
    documents = [_document(path, data) for path in paths]
    path = next((p for p, d in zip(paths, documents, strict=True) if "architecture" in d), paths[0])
    matrix = documents[0] if len(documents) == 1 else _merged(documents, str(path))
    beside = _beside(path)
    vector = _document(beside, data) if beside != path and beside.exists() else None
    plain = vector and plain_numbers(vector)
    return PlatformFiles(path=path, matrix=plain_numbers(matrix), vector=plain)


def _paths(source: ChipFiles) -> list[Path]:
    """The files of shipped names, paths and folders, each once; a folder's in their order."""
    listed = [source] if isinstance(source, str | Path) else list(source)
    found: dict[Path, Path] = {}
    for item in listed:
        folder = Path(item)
        if not folder.is_dir():
            path = catalog.resolve("arch", item)
            found.setdefault(path.resolve(), path)
            continue
        inside = [p for p in sorted(folder.iterdir()) if p.suffix in SUFFIXES]
        for path in (p for p in inside if ".sfu." not in p.name):
            found.setdefault(path.resolve(), path)
    if not found:
        condition = f"files named *{', *'.join(SUFFIXES)}"
        raise SpecError(expected(str(listed[0]) if listed else "arch", condition, "none"))
    return list(found.values())


def platform_of(files: PlatformFiles) -> Platform:
    """The chip that the documents describe.

    raises: SpecError with the first fault, and where nodes of the same name differ.
    """
    return _sound(partial(_chip, files))


def check_architecture(
    name_or_path: str | Path, data: Mapping[str, object] | None = None
) -> list[str]:
    """Everything that is wrong with an architecture file and the .sfu.yaml beside it."""
    faults = Faults()
    files = faults.attempt(platform_files, name_or_path, data)
    if files is not None:
        _chip(files, faults)
    return faults


def _chip(files: PlatformFiles, faults: Faults) -> Platform | None:
    """The chip, as far as it can be read; what cannot is noted."""
    paths = files.path, _beside(files.path)
    read = [
        faults.attempt(_read, [document], _name_of(str(path)), str(path), faults)
        for document, path in zip(files.documents, paths, strict=False)
    ]
    matrix, vector = read[0], read[1] if len(read) > 1 else None
    if matrix is None:
        return None
    if vector is not None and not faults:
        faults.extend(_disagreements(matrix, vector))
    return Platform(name=matrix.name, matrix=matrix, vector=vector)


def _sound[T](read: Callable[[Faults], T | None]) -> T:
    """Reading without a fault. raises: SpecError with the first one."""
    faults = Faults()
    found = faults.attempt(read, faults)
    if found is None or faults:
        raise SpecError(faults[0])
    return found


def _document(source: str | Path, data: Mapping[str, object] | None) -> Section:
    if is_text(source):
        return section_of(load_text(str(source), "text"), "text")
    return section_of(load_document(source, data), str(source))


def _name_of(path: str) -> str:
    """`edge` of arch/edge.yaml, `eyeriss_like` of eyeriss_like/arch.yaml."""
    if not path:
        return "architecture"
    stem = Path(path).name.partition(".")[0]
    parent = Path(path).parent.name
    return parent if parent and stem in ("arch", "architecture", "top") else stem


def _read(documents: Sequence[Section], name: str, path: str, faults: Faults) -> Architecture:
    """The architecture of documents that complete each other; faults inside are noted."""
    whole = _merged(documents, path)
    head = section_of(whole["architecture"], f"{path}: architecture")
    where = f"{head.source or path}: architecture"
    check_head(head, where)
    variables = variables_of(whole.get("variables"), path)
    faults.extend(variable_faults(documents, path))
    outside = listed_constraints(whole.get("constraints", []), f"{path}: constraints")
    # An expression may name the sizes of a problem in the same files.
    problem = whole.get("problem")
    instance = problem.get("instance") if isinstance(problem, Mapping) else None
    sized = {"spec": {"problem": {"instance": instance}}} if instance else {}
    reader = NodeReader({**sized, **variables}, faults, outside)
    reader.read(head["nodes"], f"{where}.nodes")
    for target in outside:
        if target not in reader.seen and not faults:
            known, hint = ", ".join(reader.seen), did_you_mean(target, reader.seen)
            where = f"{path}: constraints"
            faults.append(expected(where, f"a target among {known}", target, hint))
    cycle = reader.inherited.get("global_cycle_seconds", CYCLE_SECONDS)
    seconds = checked(cycle, float, f"{path}: global_cycle_seconds", above=0, within=CYCLE_TIME)
    if reader.compute is None:
        raise SpecError(faults[0])
    arch = Architecture(
        name=name,
        nodes=tuple(reader.nodes),
        compute=reader.compute,
        cycle_seconds=seconds,
        variables=variables,
        document={key: whole[key] for key in _KEPT if key in whole},
        path=path,
    )
    faults.attempt(power_limit_w, arch)
    faults.attempt(units_at_once, arch)
    faults.attempt(core_drift, arch)
    faults.attempt(sums_at, arch)
    return arch


def _beside(path: Path) -> Path:
    """The place of the vector path beside the matrix path's."""
    stem = path.name.partition(".")[0]
    return path.with_name(f"{stem}.sfu{'.yaml' if path.suffix else ''}")


def _disagreements(matrix: Architecture, vector: Architecture) -> list[str]:
    """Differences of levels of one name, one line each; shared ones are one resource."""
    theirs = {level.name: level for level in vector.levels}
    shared = [(level, theirs[level.name]) for level in matrix.levels if level.name in theirs]
    where, ours_at = vector.where, matrix.where
    if not shared:
        ours, names = matrix.levels[0].name, ", ".join(theirs)
        return [
            f"{where}: expected the level {ours!r} of {ours_at}, got only {names}; the two paths "
            "share the levels of the same name"
        ]
    faults = [
        f"{where}: {level.name}.{key}: expected {ours.get(key)} as in {ours_at}, got "
        f"{got.get(key)}; nodes of the same name must agree"
        for level, other in shared
        for ours, got in ((_shared(level), _shared(other)),)
        for key in ours | got
        if ours.get(key) != got.get(key)
    ]
    if matrix.cycle_seconds != vector.cycle_seconds:
        faults.append(
            f"{where}: global_cycle_seconds: expected {matrix.cycle_seconds} as in {ours_at}, "
            f"got {vector.cycle_seconds}"
        )
    ours_in, theirs_in = ([lv.name for lv in path.levels[1:]] for path in (matrix, vector))
    if ours_in and not {*ours_in} & {*theirs_in}:
        condition = f"a level on chip that {ours_at} has too ({', '.join(ours_in)})"
        change = f"call the buffer that both paths have {ours_in[0]} in both files"
        faults.append(expected(where, condition, ", ".join(theirs_in) or "none", change))
    return faults


def _shared(level: MemoryLevel) -> dict[str, object]:
    """The attributes that levels of one name have in common."""
    own = {f"attributes.{key}": value for key, value in level.attributes.items()}
    return {**own, "class": level.component_class, "instances": level.instances}


DUMPED = "dumped_by_timeloop_front_end"
_COPIES = re.compile(r"(?P<name>[^\[\]]+)(?:\[(?P<first>\d+)\.\.(?P<last>\d+)\])?")
_EMPTY = re.compile(r"inter_(?P<name>.+)_spatial")
_DUMMY = "dummy_storage"
# What the front end adds to the attributes of every component; none of it says anything.
_ADDED = ("meshX", "meshY", "power_gated_at", "has_power_gating", "version")
_OURS = (
    "architecture",
    "variables",
    "components",
    "constraints",
    "globals",
    "sparse_optimizations",
)
_OTHERS = ("problem", "mapping", "mapper", "mapspace", "ERT", "ART", DUMPED)
# Timeloop's front end takes any top-level key that contains one of these for that one.
_PARTS = ("components", "constraints", "mapping", "globals")


def check_head(head: Section, where: str) -> None:
    """Raise SpecError unless the architecture is in version 0.4's form."""
    version = str(head.get("version", "0.4"))
    if version != "0.4" or "subtree" in head:
        got = "the older subtree/local form" if "subtree" in head else f"version {version}"
        raise SpecError(
            f"{place(where, head, 'version', shown=False)}: expected version: 0.4 with nodes, got "
            f"{got}; convert the file to version 0.4"
        )
    refuse_unknown(head, ("version", "nodes"), where)
    take(head, "nodes", list, where)


def _merged(documents: Sequence[Section], path: str) -> Section:
    """The documents joined, under the keys that are read here."""
    whole = Section()
    if len(chips := [d.source or path for d in documents if "architecture" in d]) > 1:
        change = "remove a file; of several chips ask one at a time, or sweep over arch"
        raise SpecError(expected(chips[1], "files of one architecture", "a second one", change))
    for written in documents:
        source = written.source or path
        if "cluster" in written:
            change = "ask `map` of it, or name its chip"
            raise SpecError(expected(source, "one chip, for this question", "a cluster", change))
        document = hierarchy(written, source)
        for key, value in document.items():
            ours = _canonical(key, document, source)
            if ours == "problem":
                whole[ours] = value  # expressions may name its sizes
            elif value is not None and ours in _OURS:
                spot = place(source, document, key)
                whole[ours] = _joined(ours, whole.get(ours), value, spot)
    if "architecture" not in whole:
        keys = ", ".join(key for document in documents for key in document) or "none"
        raise SpecError(f"{path}: expected the key 'architecture', got the keys {keys}")
    return plain_numbers(whole)


def _canonical(key: str, document: Section, source: str) -> str:
    """The section that Timeloop's front end takes a top-level key for."""
    if key in (*_OURS, *_OTHERS):
        return key
    for part in _PARTS:
        if part in key:
            return part
    raise SpecError(unknown_key(key, document, (*_OURS, *_OTHERS), source))


def _joined(key: str, before: object, value: object, where: str) -> object:
    """One section of the files together."""
    if key in ("globals", "sparse_optimizations"):
        node = section_of(value, where)
        for inner in ("expression_custom_functions", "accelergy_plug_ins", "targets"):
            if node.get(inner):
                raise SpecError(
                    f"{where}.{inner}: expected none (they are not run or modelled), got "
                    f"{noun_of(node[inner])}; remove it"
                )
        return node
    if key in ("components", "constraints"):
        return [*_as_list(before), *_entries(key, value, where)]
    node = section_of(value, where)
    if before is None:
        return node
    earlier = section_of(before, where)
    for name in node:
        if name in earlier and earlier[name] != node[name]:
            raise SpecError(
                f"{place(where, node, name)}: expected {earlier[name]} as in an earlier "
                f"file, got {node[name]}; remove one"
            )
    return Section({**earlier, **node}, node.source, node.lines)


def _entries(key: str, value: object, where: str) -> list[object]:
    """The items of `components: {classes: [...]}` or `constraints: {targets: [...]}`."""
    if isinstance(value, list):
        return value
    inner = "classes" if key == "components" else "targets"
    node = section_of(value, where)
    refuse_unknown(node, ("version", inner), where)
    return _as_list(node.get(inner))


def _as_list(value: object) -> list[object]:
    """A list, with the lists inside it opened (include_all gives one per file)."""
    items: list[object] = []
    for item in value if isinstance(value, list) else ([] if value is None else [value]):
        items.extend(item if isinstance(item, list) else [item])
    return items


def variables_of(node: object, path: str) -> dict[str, object]:
    """The variables with their expressions worked out, each seeing those before it."""
    section = section_of({} if node is None else node, f"{path}: variables")
    where = f"{section.source or path}: variables"
    values = resolved_attributes(section, {}, where)
    version = values.pop("version", 0.4)
    if str(version) != "0.4":
        raise SpecError(f"{place(where, section, 'version')}: expected 0.4, got {version}")
    return values


def hierarchy(document: Section, where: str) -> Section:
    """The document with its architecture and constraints in version 0.4's form.

    One whose architecture has no `subtree` is returned as it is.
    raises: SpecError where copies of a component are no multiple of those above it.
    """
    node = document.get("architecture")
    if not isinstance(node, Mapping) or "subtree" not in node:
        return document
    head = section_of(node, f"{where}: architecture")
    walk = _Walk()
    walk.read(head, f"{where}: architecture")
    kept = {
        key: value
        for key, value in document.items()
        if key not in ("architecture", "architecture_constraints", DUMPED)
    }
    listed = document.get("architecture_constraints") or {}
    spot = f"{where}: architecture_constraints"
    targets = take_list(listed, "targets", dict, spot, ())
    constraints = [one for one in map(_constraint, targets) if one]
    if constraints:
        kept["constraints"] = constraints
    kept["architecture"] = Section({"version": "0.4", "nodes": walk.nodes}, head.source)
    return Section(kept, document.source, document.lines)


@dataclass(slots=True)
class _Walk:
    """Nodes so far, outermost first."""

    nodes: list[object] = field(default_factory=list)
    mesh: tuple[int, int] = (1, 1)  # copies of the last component
    empty: str = ""  # the name of an empty level that waits for its copies

    def read(self, tree: Section, where: str) -> None:
        """Read the components of a subtree, and its subtrees in turn."""
        if tree.get("attributes"):
            own = _plain(section_of(tree["attributes"], where))
            # The others were variables, worked out.
            own = Section({k: v for k, v in own.items() if k in MODELLED})
            name = str(tree.get("name", "system"))
            self.nodes.append(Tagged("!Container", Section({"name": name, "attributes": own})))
        for i, item in enumerate(take_list(tree, "local", dict, where, ())):
            self._component(section_of(item, f"{where}.local.{i}"), f"{where}.local.{i}")
        for i, item in enumerate(take_list(tree, "subtree", dict, where, ())):
            self.read(section_of(item, f"{where}.subtree.{i}"), f"{where}.subtree.{i}")

    def _component(self, body: Section, where: str) -> None:
        written = take(body, "name", str, where)
        found = _COPIES.fullmatch(written)
        if not found:
            raise SpecError(expected(f"{where}.name", "a name such as PE[1..16]", written))
        attributes = take_section(body, "attributes", where)
        count = int(found["last"] or 0) - int(found["first"] or 0) + 1
        x = take(attributes, "meshX", int, where, count, above=0)
        y = take(attributes, "meshY", int, where, 1, above=0)
        if x % self.mesh[0] or y % self.mesh[1]:
            condition = f"a multiple of the {self.mesh[0]} x {self.mesh[1]} instances above it"
            raise SpecError(expected(f"{where}: {written}", condition, f"{x} x {y}"))
        over = Section({"meshX": x // self.mesh[0], "meshY": y // self.mesh[1]})
        spatial = {"spatial": over} if (x, y) != self.mesh else {}
        self.mesh = x, y
        if self.empty and spatial:
            node = Section({"name": self.empty, **spatial})
            self.nodes.append(Tagged("!Container", node))
            spatial = {}
        self.empty = ""
        if body.get("class") == _DUMMY:
            name = _EMPTY.fullmatch(found["name"])
            self.empty = name["name"] if name else found["name"]
            return
        plain = {**body, "name": found["name"], "attributes": _plain(attributes), **spatial}
        plain.pop("required_actions", None)
        self.nodes.append(Tagged("!Component", Section(plain, body.source, body.lines)))


def _plain(attributes: Section) -> Section:
    """Attributes without those that the front end adds."""
    own = {k: v for k, v in attributes.items() if k not in _ADDED}
    return Section(own, attributes.source, attributes.lines)


def _constraint(node: object) -> Section | None:
    """One constraint on the node that it means; None for those of empty levels alone."""
    said = section_of(node, "architecture_constraints")
    empty = _EMPTY.fullmatch(str(said.get("target", "")))
    kind = {"bypass": "dataspace", "datatype": "dataspace"}.get(str(said.get("type")))
    changed = {"type": kind} if kind else {}
    if empty:
        if said.get("type") != "spatial":
            return None
        changed["target"] = empty["name"]
    return Section({**said, **changed}, said.source, said.lines)
