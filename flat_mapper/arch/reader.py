"""Timeloop v0.4 architecture files -> Architecture, Platform.

    variables: {version: 0.4, technology: "22nm", global_cycle_seconds: 1 / 940e6}
    architecture:
      version: 0.4
      nodes:
      - !Component {name: DRAM, class: DRAM, attributes: {width: 64, datawidth: 16}}
      - !Container {name: PE, spatial: {meshX: 32, meshY: 32}}
      - !Component {name: MAC, class: intmac}

One file may hold everything that Timeloop reads (problem, mapping, mapper, ...): only the
architecture, its variables, its compound components and its constraints are taken here. Anything
that would change a result and is not modelled is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flat_mapper.arch.constraints import listed_constraints
from flat_mapper.arch.cores import power_limit_w
from flat_mapper.arch.document import check_head, merged, variables_of
from flat_mapper.arch.nodes import NodeReader
from flat_mapper.arch.values import Architecture, MemoryLevel, Platform, variable_faults
from flat_mapper.base.errors import Faults, SpecError, expected
from flat_mapper.spec import catalog
from flat_mapper.spec.document import CYCLE_TIME, Section, checked, did_you_mean, section_of
from flat_mapper.spec.rendering import SUFFIXES
from flat_mapper.spec.templating import load_document
from flat_mapper.spec.timeloopfe import IN_MEMORY, document_of
from flat_mapper.spec.yamlio import load_text

_KEPT = ("architecture", "variables", "components")  # the document that lowering starts from
Files = str | Path | Sequence[str | Path]
CYCLE_SECONDS = 1e-9  # s; where global_cycle_seconds is not given (Timeloop's tutorials use it)


def load_architecture(
    *sources: str | Path, data: Mapping[str, object] | None = None
) -> Architecture:
    """The architecture that one or more files, or texts, describe together.

    sources: paths; a string with a line break is the text itself.
    data:    values for the templates in them.
    raises:  SpecError with the first fault; `check_architecture` lists all.
    """
    path = "" if _is_text(sources[0]) else str(sources[0])
    documents = [_document(source, data) for source in sources]
    return _sound(documents, _name_of(path), path or "text")


def architecture_of(document: object, name: str = "architecture") -> Architecture:
    """The architecture of a document in memory; strings in it are expressions unless Quoted."""
    return _sound([section_of(document, name)], name, name)


def load_platform(
    source: Platform | Files | Mapping[str, object],
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
    matrix = architecture_of(document_of(source), IN_MEMORY)
    other = architecture_of(document_of(vector), f"{IN_MEMORY}.sfu") if vector is not None else None
    return _platform(matrix, other)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformFiles:
    """The documents of a chip as they were read, before anything in them is worked out."""

    path: Path  # of the matrix path's file
    matrix: Section
    vector: Section | None = None


def platform_files(source: Files, data: Mapping[str, object] | None = None) -> PlatformFiles:
    """The documents of the chip of that name, or in those files and the .sfu.yaml beside them."""
    paths = _paths(source)
    documents = [_document(path, data) for path in paths]
    path = next((p for p, d in zip(paths, documents, strict=True) if "architecture" in d), paths[0])
    matrix = documents[0] if len(documents) == 1 else merged(documents, str(path))
    beside = _vector_file(path)
    vector = _document(beside, data) if beside else None
    return PlatformFiles(path=path, matrix=matrix, vector=vector)


def _paths(source: Files) -> list[Path]:
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
    matrix = _sound([files.matrix], _name_of(str(files.path)), str(files.path))
    beside = _vector_file(files.path)
    if files.vector is None or beside is None:
        return _platform(matrix, None)
    return _platform(matrix, _sound([files.vector], _name_of(str(beside)), str(beside)))


def _platform(matrix: Architecture, vector: Architecture | None) -> Platform:
    for fault in _disagreements(matrix, vector) if vector else ():
        raise SpecError(fault)
    return Platform(name=matrix.name, matrix=matrix, vector=vector)


def _sound(documents: Sequence[Section], name: str, path: str) -> Architecture:
    faults = Faults()
    arch = faults.attempt(_read, documents, name, path, faults)
    if arch is None or faults:
        raise SpecError(faults[0])
    return arch


def check_architecture(
    name_or_path: str | Path, data: Mapping[str, object] | None = None
) -> list[str]:
    """Everything that is wrong with an architecture file and the .sfu.yaml beside it."""
    faults = Faults()
    path = faults.attempt(catalog.resolve, "arch", name_or_path)
    read = []
    for one in (path, _vector_file(path)) if path else ():
        document = faults.attempt(_document, one, data) if one else None
        if document is not None:
            read.append(faults.attempt(_read, [document], _name_of(str(one)), str(one), faults))
    if not faults and len(read) > 1 and read[0] and read[1]:
        faults.extend(_disagreements(read[0], read[1]))
    return faults


def _document(source: str | Path, data: Mapping[str, object] | None) -> Section:
    if isinstance(source, str) and _is_text(source):
        return section_of(load_text(source, "text"), "text")
    return section_of(load_document(source, data), str(source))


def _is_text(source: str | Path) -> bool:
    return isinstance(source, str) and "\n" in source


def _name_of(path: str) -> str:
    """`edge` of arch/edge.yaml, `eyeriss_like` of eyeriss_like/arch.yaml."""
    if not path:
        return "architecture"
    stem = Path(path).name.partition(".")[0]
    parent = Path(path).parent.name
    return parent if parent and stem in ("arch", "architecture", "top") else stem


def _read(documents: Sequence[Section], name: str, path: str, faults: Faults) -> Architecture:
    """The architecture of documents that complete each other; faults inside are noted."""
    whole = merged(documents, path)
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
    return arch


def _vector_file(path: Path) -> Path | None:
    """The file of the vector path beside that of the matrix path."""
    stem = path.name.partition(".")[0]
    beside = path.with_name(f"{stem}.sfu.yaml")
    return beside if beside != path and beside.exists() else None


def _disagreements(matrix: Architecture, vector: Architecture) -> list[str]:
    """Differences of levels of one name, one line each; shared ones are one resource."""
    theirs = {level.name: level for level in vector.levels}
    shared = [(level, theirs[level.name]) for level in matrix.levels if level.name in theirs]
    where, ours_at = vector.path or vector.name, matrix.path or matrix.name
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
    return faults


def _shared(level: MemoryLevel) -> dict[str, object]:
    """What levels of one name have in common."""
    own = {f"attributes.{key}": value for key, value in level.attributes.items()}
    return {**own, "class": level.component_class, "instances": level.instances}
