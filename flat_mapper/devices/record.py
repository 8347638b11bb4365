"""cluster-mapping.yaml: the complete record of a path over many devices, written and read.

    cluster_mapping:
      version: 1
      workload: {...}                    # as a fused mapping's record has it
      core: [QK, ..., AV]                # Einsums of the attention, tensors that are weights, and
      weights: [W]                       # layers of the model
      layers: 80
      cluster: {chip: h100.yaml, ...}    # as a cluster's file; the chip's stand beside the record
      start: {X: P@x}                    # placements: RANK@AXIS, +@AXIS of a pending sum, or whole
      steps:
      - einsums: [QK, ..., AV]
        division: P@x
        way: keys gathered, queries folded
        needs: {Q: P@x}
        gives: {AV: P@x}
        parts: [part-1.yaml, part-2.yaml]    # of each work of a device a fused mapping's record
      end: {R2: P@x}
      latency_s: 0.0052                  # of one run

What is read is worked out again from the workload, the cluster, the starts and the divisions: a
record that says anything else is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf, isclose
from pathlib import Path

from flat_mapper.arch.reader import PlatformFiles, platform_files, platform_of
from flat_mapper.arch.words import fitted
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.devices.cluster import Cluster, cluster_document, cluster_of
from flat_mapper.devices.path import DevicePath, PartSeconds, Paths
from flat_mapper.devices.ways import Sharding, Work
from flat_mapper.energy.tables import unpriced
from flat_mapper.mapper.solve.certificate import Solution
from flat_mapper.mapping.check import check_record
from flat_mapper.mapping.record import MappingRecord, read_record, read_workload, workload_document
from flat_mapper.spec.document import (
    Section,
    refuse_unknown,
    section_of,
    take,
    take_list,
    take_section,
    take_words,
)
from flat_mapper.spec.yamlio import load_yaml
from flat_mapper.timeloop.write import LoweredFile, record_files
from flat_mapper.workload.einsum import nameless
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.softmax import SPLIT, alternatives, with_splits

CLUSTER_RECORD = "cluster-mapping.yaml"
_VERSION = 1
_KEYS = (
    *("version", "workload", "core", "weights", "layers", "cluster"),
    *("start", "steps", "end", "latency_s"),
)
_SAME = 1e-9  # relative: seconds that are equal


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRecord:
    """The contents of a record. parts: the mapping of each work of a device."""

    workload: Workload
    paths: Paths
    plan: DevicePath
    parts: Mapping[Work, MappingRecord]


def cluster_record(source: object) -> Path | None:
    """The path of a cluster's record, where a file is one, or a folder has one."""
    if not isinstance(source, str | Path):
        return None
    path = Path(source) / CLUSTER_RECORD if Path(source).is_dir() else Path(source)
    found = load_yaml(path) if path.is_file() else None
    return path if isinstance(found, Mapping) and "cluster_mapping" in found else None


def cluster_files(
    workload: Workload, cluster: Cluster, plan: DevicePath, parts: Mapping[Work, Solution]
) -> dict[str, bytes]:
    """The record of an answer, those of its parts, and the files of the chip."""
    files, names = dict[str, LoweredFile](), dict[int, str]()
    named: dict[Work, str] = {}
    for work in (w for s in plan.steps for w in s.way.works):
        one = parts[work]  # which several works may have
        name = names.setdefault(id(one), f"part-{len(names) + 1}.yaml")
        named[work] = name
        if name not in files:
            files |= record_files(one.workload, cluster.chip, one.result.mapping, name)
    document = _document(workload, cluster, plan, named)
    comment = ("A mapping on a cluster; `flat-mapper evaluate FILE --execute` runs it.",)
    record = LoweredFile(document={"cluster_mapping": document}, comment=comment)
    return {name: file.text.encode() for name, file in {CLUSTER_RECORD: record, **files}.items()}


def _document(
    workload: Workload, cluster: Cluster, plan: DevicePath, parts: Mapping[Work, str]
) -> dict[str, object]:
    steps, words = [step.way for step in plan.steps], cluster.placed
    return {
        "version": _VERSION,
        "workload": workload_document(workload),
        "core": list(workload.core),
        "weights": list(workload.weights),
        "layers": workload.held_layers,
        "cluster": cluster_document(cluster, f"{cluster.chip.name}.yaml"),
        "start": {tensor: words(at) for tensor, at in plan.start.items()},
        "steps": [{**w.to_dict(words), "parts": [parts[work] for work in w.works]} for w in steps],
        "end": {tensor: words(at) for tensor, at in plan.end.items()},
        "latency_s": plan.seconds,
    }


def read_cluster_record(path: Path) -> ClusterRecord:
    """A record from its file, whose every word is what its divisions come to.

    raises: SpecError for what cannot be read, or contradicts itself.
    """
    document, where = load_yaml(path), f"{path}: cluster_mapping"
    refuse_unknown(document, ("cluster_mapping",), str(path))
    said = section_of(take(document, "cluster_mapping", dict, str(path)), where)
    refuse_unknown(said, _KEYS, where)
    if (got := take(said, "version", int, where)) != _VERSION:
        raise SpecError(expected(f"{where}.version", f"version {_VERSION}", got))
    workload = read_workload(take_section(said, "workload", where, required=True))
    core, weights = (take_words(said, key, where, None) for key in ("core", "weights"))
    layers = take(said, "layers", int, where, above=0)
    workload = replace(workload, core=core, weights=dict.fromkeys(weights, 1), of_layers=layers)
    paths = _paths(path, said, workload, where)
    named, parts = dict[Work, str](), dict[Work, MappingRecord]()
    ways = [*_ways(path, paths, said, where, named, parts)]
    begun, cluster = said.get("start"), paths.cluster
    starts = [s for s in paths.starts() if {t: cluster.placed(at) for t, at in s} == begun]
    plan = paths.followed(starts[0], ways) if starts else None
    if plan is None or {n for way in ways for n in way.names} != set(workload.ancestors):
        condition = "a start, and steps of every Einsum that lead to an end"
        raise SpecError(expected(where, condition, "others", "map again"))
    _check_equal(_document(workload, paths.cluster, plan, named), said, where)
    return ClusterRecord(workload=workload, paths=paths, plan=plan, parts=parts)


def _ways(
    path: Path,
    paths: Paths,
    said: Section,
    where: str,
    named: dict[Work, str],
    parts: dict[Work, MappingRecord],
) -> Iterator[Sharding]:
    """The ways of all steps; of each work the file and its record are noted, and its seconds."""
    known = dict[str, tuple[MappingRecord, float]]()
    for i, step in enumerate(take_list(said, "steps", dict, where)):
        spot, own = f"{where}.steps.{i}", section_of(step, where)
        names = take_words(own, "einsums", spot, None)
        way = _way(paths, names, {k: v for k, v in own.items() if k != "parts"}, spot)
        files = take_words(own, "parts", spot, None)
        if len(files) != len(works := way.works):
            raise SpecError(expected(f"{spot}.parts", f"{len(works)} records", len(files)))
        for work, name in zip(works, files, strict=True):
            if name not in known:
                known[name] = _priced(path, name, paths.cluster, f"{spot}.parts")
            named[work], parts[work] = name, known[name][0]
            paths.solved[work] = PartSeconds(known[name][1], known[name][1])
            own_work = work.workload(paths.workload)
            _check_part(own_work, parts[work].workload, f"{path.parent / name}")
        yield way


def _paths(path: Path, said: Section, workload: Workload, where: str) -> Paths:
    """The search of which the record is one path; nothing is known of its parts."""
    node = take(said, "cluster", dict, where)
    name = take(node, "chip", str, f"{where}.cluster")
    files = platform_files(_beside(path, name, f"{where}.cluster.chip"))
    own = PlatformFiles(path=path, matrix=Section({"cluster": node}, source=str(path)))
    fit = fitted(platform_of(files), workload)
    return Paths(
        workload=fit.workload,
        cluster=cluster_of(own, fit.platform),
        low=lambda _: 0.0,
        solve=lambda *_: PartSeconds(inf, inf),
    )


def _way(paths: Paths, names: tuple[str, ...], said: Mapping[str, object], where: str) -> Sharding:
    for way in paths.ways.of(names) if set(names) <= set(paths.workload.ancestors) else ():
        if way.to_dict(paths.cluster.placed) == said:
            return way
    condition = "a division that its Einsums allow, with what that needs and gives"
    raise SpecError(expected(where, condition, said.get("division"), "map again"))


def _priced(path: Path, name: str, cluster: Cluster, where: str) -> tuple[MappingRecord, float]:
    """A part's record, sound, and its seconds."""
    part = _beside(path, name, where)
    read = read_record(part, cluster.chip)
    check_record(read, str(part))
    found = evaluate(read.workload, cluster.chip, read.mapping, unpriced(cluster.chip))
    if not isinstance(found, Result):
        raise SpecError(f"{part}: {found}")
    return read, found.latency_s


def _beside(path: Path, name: str, where: str) -> Path:
    """A file of a record's folder: a record may come from anybody, and name no other."""
    if Path(name).name != name:
        raise SpecError(expected(where, "files beside the record", name))
    return path.parent / name


def _check_part(asked: Workload, got: Workload, where: str) -> None:
    """Raise SpecError unless a cascade is, in some form and names, no less than what is asked."""
    needs, has = _border_words(asked), _border_words(got)
    same = len(needs) == len(has) and all(n <= h for n, h in zip(needs, has, strict=True))
    if not same or (got.mask is None) != (asked.mask is None):
        raise SpecError(expected(where, f"tensors of {needs} words", has, "map again"))
    own, *forms = (nameless(one.einsums)[0] for one in (got, *_forms(asked, got)))
    if own not in forms:
        texts = zip(got.einsums, own, strict=True)
        wrong = [e.text for e, one in texts if not any(one in form for form in forms)]
        condition = f"the Einsums {', '.join(asked.ancestors)} in some form"
        raise SpecError(expected(where, condition, "; ".join(wrong) or "others", "map again"))


def _border_words(one: Workload) -> list[int]:
    """Words of what a cascade reads and of what it leaves, the fewest first."""
    made = one.producers
    ends = [t for t in one.tensor_ranks if t not in made or not one.readers(t)]
    return sorted(one.tensor_words(t) for t in ends)


def _forms(asked: Workload, got: Workload) -> list[Workload]:
    """The forms of a cascade that another may be; its keys in as many parts."""
    parts, keys = got.rank_sizes.get(SPLIT), asked.roles.keys
    if not parts:
        return [*alternatives(asked)]
    online = [one for one in alternatives(asked) if one.softmax == "online"]
    sizes = {r: -(-n // parts) * parts for r, n in asked.rank_sizes.items() if r == keys}
    return [with_splits(one.with_ranks(sizes), parts) for one in online]


def _check_equal(right: object, said: object, where: str) -> None:
    """Raise SpecError where a record says what its divisions do not come to."""
    if isinstance(right, Mapping) and isinstance(said, Mapping):
        for key in dict.fromkeys((*right, *said)):
            _check_equal(right.get(key), said.get(key), f"{where}.{key}")
    elif isinstance(right, list) and isinstance(said, list | tuple) and len(right) == len(said):
        for i, (one, other) in enumerate(zip(right, said, strict=True)):
            _check_equal(one, other, f"{where}.{i}")
    elif isinstance(right, float) and isinstance(said, float | int):
        if not isclose(right, said, rel_tol=_SAME):
            raise SpecError(expected(where, f"{right:.12g}", said, "map again"))
    elif right != said:
        raise SpecError(expected(where, str(right), said, "map again"))
