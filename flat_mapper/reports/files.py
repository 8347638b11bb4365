"""The files of an answer, made in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flat_mapper.reports.answers import Comparison, Evaluation, SearchResult
from flat_mapper.reports.fields import Document
from flat_mapper.reports.folder import RESULT
from flat_mapper.reports.plots import figures
from flat_mapper.reports.timeloop_files import TimeloopFiles, told_of
from flat_mapper.spec.answers import answer_json
from flat_mapper.timeloop.rounds import words_of_others
from flat_mapper.timeloop.write import Lowering, lower_for_mapper, lowered

KEY = "timeloop_files"


def mapping_files(answer: Evaluation) -> dict[str, bytes]:
    """The result, the record, Timeloop's files per Einsum, and the plots."""
    files = files_of_record(answer)
    name = answer.mapspace if isinstance(answer, SearchResult) else "mapping"
    document = saved_document(answer)
    files |= figures({name: document})
    return files | {RESULT: result_file(answer.kind, document, files)}


def comparison_files(comparison: Comparison) -> dict[str, bytes]:
    """The table as JSON, the plots, and a folder of files per mapspace."""
    files: dict[str, bytes] = {}
    documents = {name: saved_document(row) for name, row in comparison.feasible.items()}
    for name, row in comparison.feasible.items():
        inside = files_of_record(row)
        inside[RESULT] = result_file(row.kind, documents[name], inside)
        files |= {f"{name}/{path}": data for path, data in inside.items()}
    files |= figures(documents)
    return files | {RESULT: result_file(comparison.kind, comparison.to_dict(), files)}


def files_of_record(answer: Evaluation) -> dict[str, bytes]:
    """fused-mapping.yaml with the architectures beside it, and Timeloop's files per Einsum.

    Of layers of several kinds, a folder of these for each: layers-1, layers-2, ...
    """
    found: dict[str, bytes] = {}
    for name, part in _kinds(answer).items():
        inside = f"{name}/" if name else ""
        for path, file in _lowered(part).files.items():
            found[f"{inside}{path}"] = file.text.encode()
    return found


def told(answer: Evaluation) -> dict[str, TimeloopFiles]:
    """Files of `files_of_record` for Timeloop, by the folder of a kind of layers."""
    return {
        name: told_of(part.workload, part.result, _lowered(part))
        for name, part in _kinds(answer).items()
    }


def told_text(answer: Evaluation, where: str = "") -> str:
    """The same in a line for each kind of layers; where: a folder that these are in."""
    lines = []
    for name, files in told(answer).items():
        place = "/".join(filter(None, (where, name)))
        lines.append(f"{place}{': ' * bool(place)}{files}")
    return "\n".join(lines)


def saved_document(answer: Evaluation) -> Document:
    """An answer's JSON where its files are saved: with what Timeloop will say of them."""
    document, said = answer.to_dict(), [files.to_dict() for files in told(answer).values()]
    if not isinstance(answer, SearchResult) or not answer.layers:
        return document | {KEY: said[0]}
    rows = zip(document["layers"], said, strict=True)
    return document | {"layers": [row | {KEY: files} for row, files in rows]}


def _kinds(answer: Evaluation) -> dict[str, Evaluation]:
    """An answer's parts by the folder that each has."""
    if isinstance(answer, SearchResult) and answer.layers:
        return {f"layers-{number}": part for number, part in enumerate(answer.layers, 1)}
    return {"": answer}


def _lowered(answer: Evaluation) -> Lowering:
    return lowered(answer.workload, answer.platform, answer.mapping, answer.result.ert)


def mapper_folder(priced: Evaluation) -> dict[str, bytes]:
    """The files of timeloop-mapper that hold each Einsum to the fusion, in the folder `mapper`."""
    held = words_of_others(priced.workload, priced.platform, priced.mapping)
    lowered = lower_for_mapper(priced.workload, priced.platform, priced.mapping, held)
    return {f"mapper/{name}": file.text.encode() for name, file in lowered.items()}


def result_file(kind: str, document: Mapping[str, object], files: Iterable[str]) -> bytes:
    """An answer as its result.json, which lists the files beside it, and itself."""
    return f"{answer_json(kind, {**document, 'files': [*files, RESULT]})}\n".encode()
