"""Files of answers: what `-o` and `lower` write, and a saved mapping read again."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from flat_mapper.api.calls import Name, Recorded, Source, evaluate
from flat_mapper.arch.values import Platform
from flat_mapper.base.errors import NothingFeasible, SpecError, expected
from flat_mapper.cost_model.result import Infeasible
from flat_mapper.energy.tables import Ert
from flat_mapper.reports.answers import Comparison, Evaluation
from flat_mapper.reports.files import (
    comparison_files,
    mapper_folder,
    mapping_files,
    record_files,
    told,
)
from flat_mapper.reports.folder import RESULT, write_folder
from flat_mapper.reports.timeloop_files import TimeloopFiles
from flat_mapper.spec.answers import answer_json


def lower(
    mapping: Recorded,
    platform: Platform | Source | None = None,
    ert: Ert | Name | None = None,
    *,
    tool: str = "model",
) -> dict[str, bytes]:
    """Timeloop's files of a mapping, by name; with `tool="mapper"` timeloop-mapper's too.

    mapping, platform, ert: as for `evaluate`; an answer keeps its own energies.
    raises: SpecError where there is no folder to write, with the reason.
    """
    return lowered(mapping, platform, ert, tool=tool)[0]


def lowered(
    mapping: Recorded,
    platform: Platform | Source | None = None,
    ert: Ert | Name | None = None,
    *,
    tool: str = "model",
) -> tuple[dict[str, bytes], TimeloopFiles]:
    """The same, and what Timeloop will say of them."""
    if tool not in ("model", "mapper"):
        raise SpecError(expected("lower: tool", "model or mapper", tool))
    if ert is None and platform is None and isinstance(mapping, Evaluation):
        ert = mapping.result.ert
    found = evaluate(mapping, platform, ert)
    if not isinstance(found, Evaluation):
        raise NothingFeasible(found)
    said = told(found)[""]
    where = str(mapping) if isinstance(mapping, str | Path) else "lower"
    if said.none_for and not said.folders:
        raise SpecError(f"{where}: {'; '.join(said.none_for.values())}")
    if tool == "mapper" and any(group.on_cores for group in found.mapping.groups):
        condition = "Einsums on one array, for timeloop-mapper"
        raise SpecError(expected(where, condition, "tiles on many cores", "use --for model"))
    files = record_files(found) | (mapper_folder(found) if tool == "mapper" else {})
    return files, said


class Saveable(Protocol):
    """An answer of any question."""

    @property
    def kind(self) -> str:
        """Its name in the JSON."""

    def to_dict(self) -> dict[str, object]:
        """Its JSON."""


def save(answer: Saveable, folder: Name, *, force: bool = False) -> list[str]:
    """The files of an answer in a folder, as `-o` writes them, all or none; their names.

    Of mappings with records, Timeloop's files and figures; of answers with `files()` these; of
    others result.json alone.
    force: write into a folder that holds other files.
    """
    if isinstance(answer, Comparison):
        files = comparison_files(answer)
    elif isinstance(answer, Evaluation):
        files = mapping_files(answer)
    elif hasattr(answer, "files"):
        files = answer.files()
    else:
        files = {RESULT: f"{answer_json(answer.kind, answer.to_dict())}\n".encode()}
    return write_folder(Path(folder), files, force=force)


def load(folder: Name) -> Evaluation | Infeasible:
    """A saved mapping, priced again; `load_results` reads answers of other kinds."""
    return evaluate(Path(folder))
