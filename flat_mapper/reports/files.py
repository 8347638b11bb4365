"""The files of an answer, made in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flat_mapper.reports.answers import Comparison, Evaluation, SearchResult
from flat_mapper.reports.folder import RESULT
from flat_mapper.reports.plots import figures
from flat_mapper.spec.answers import answer_json
from flat_mapper.timeloop.headroom import held_words
from flat_mapper.timeloop.write import lower_fused
from flat_mapper.timeloop.write_mapper import lower_for_mapper


def mapping_files(answer: Evaluation | SearchResult) -> dict[str, bytes]:
    """The result, the record, Timeloop's files per Einsum, and the plots."""
    files = record_files(answer)
    name = answer.mapspace if isinstance(answer, SearchResult) else "mapping"
    files |= figures({name: answer.result})
    return files | {RESULT: result_file(answer.kind, answer.to_dict(), files)}


def comparison_files(comparison: Comparison) -> dict[str, bytes]:
    """The table as JSON, the plots, and a folder of files per mapspace."""
    files: dict[str, bytes] = {}
    for name, row in comparison.feasible.items():
        inside = record_files(row)
        inside[RESULT] = result_file(row.kind, row.to_dict(), inside)
        files |= {f"{name}/{path}": data for path, data in inside.items()}
    files |= figures({name: row.result for name, row in comparison.feasible.items()})
    return files | {RESULT: result_file(comparison.kind, comparison.to_dict(), files)}


def record_files(answer: Evaluation | SearchResult) -> dict[str, bytes]:
    """fused-mapping.yaml with the architectures beside it, and Timeloop's files per Einsum.

    Of layers of several kinds, a folder of these for each: layers-1, layers-2, ...
    """
    if isinstance(answer, SearchResult) and answer.layers:
        found: dict[str, bytes] = {}
        for number, part in enumerate(answer.layers, 1):
            found |= {f"layers-{number}/{name}": d for name, d in record_files(part).items()}
        return found
    lowered = lower_fused(answer.workload, answer.platform, answer.mapping)
    return {name: file.text.encode() for name, file in lowered.items()}


def mapper_folder(priced: Evaluation) -> dict[str, bytes]:
    """The files of timeloop-mapper that hold each Einsum to the fusion, in the folder `mapper`."""
    held = held_words(priced.workload, priced.platform, priced.mapping)
    lowered = lower_for_mapper(priced.workload, priced.platform, priced.mapping, held)
    return {f"mapper/{name}": file.text.encode() for name, file in lowered.items()}


def result_file(kind: str, document: Mapping[str, object], files: Iterable[str]) -> bytes:
    """An answer as its result.json, which lists the files beside it, and itself."""
    return f"{answer_json(kind, {**document, 'files': [*files, RESULT]})}\n".encode()
