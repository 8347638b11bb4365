"""Files of answers: what `-o` and `lower` write, and a saved mapping read again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from flat_mapper.api.calls import evaluate, workload_of
from flat_mapper.api.options import answers
from flat_mapper.api.programs import WRITERS, ProgramSaid, only_of_programs, program_of
from flat_mapper.api.questions import Answer, AskCompare, AskLoadProblem, AskLower, AskShipped, Name
from flat_mapper.base.errors import NothingFeasible, SpecError, expected
from flat_mapper.base.table import Printed, grid
from flat_mapper.cost_model.result import Infeasible
from flat_mapper.reports.answers import Comparison, Evaluation
from flat_mapper.reports.files import (
    KEY,
    comparison_files,
    files_of_record,
    mapper_folder,
    mapping_files,
    saved_document,
    told,
    told_text,
)
from flat_mapper.reports.folder import LISTING, RESULT, write_folder
from flat_mapper.reports.timeloop_files import TimeloopFiles
from flat_mapper.spec import catalog
from flat_mapper.spec.answers import answer_json
from flat_mapper.spec.document import among
from flat_mapper.spec.yamlio import dump_json


class Lowered(Printed, dict[str, bytes]):
    """Files for another tool by name, and what it will say of them, or a program's and its runs."""

    kind: ClassVar = "lower"  # of answers as JSON

    def __init__(self, files: Mapping[str, bytes], said: TimeloopFiles | ProgramSaid) -> None:
        super().__init__(files)
        self.said = said

    @property
    def exit_code(self) -> int:
        """1 where a program did not compute what it should."""
        return int(isinstance(self.said, ProgramSaid) and not self.said.right)

    def to_dict(self) -> dict[str, object]:
        """The names of the files, and what is said of them."""
        key = "program" if isinstance(self.said, ProgramSaid) else KEY
        return {"files": list(self), key: self.said.to_dict()}

    def __str__(self) -> str:
        return "\n".join((*self, str(self.said)))


@answers(AskLower)
def lower(asked: AskLower) -> Lowered:
    """The files by name; an answer keeps its own energies.

    raises: SpecError where there is nothing to write, with the reason; BackendError where a program
            is to run and a tool for that is missing.
    """
    mapping, ert = asked.mapping, asked.ert
    tool = among("lower: tool", asked.tool, ("model", "mapper", *WRITERS))
    if tool != "c":
        only_of_programs(asked)
    if ert is None and asked.arch is None and isinstance(mapping, Evaluation):
        ert = mapping.result.ert
    found = evaluate(mapping, asked.arch, ert, data=asked.data)
    if not isinstance(found, Evaluation):
        raise NothingFeasible(found)
    if tool in WRITERS:
        return Lowered(*program_of(asked, found))
    said = told(found)[""]
    _check_folders(asked, found, said)
    files = files_of_record(found) | (mapper_folder(found) if tool == "mapper" else {})
    return Lowered(files, said)


def _check_folders(asked: AskLower, found: Evaluation, said: TimeloopFiles) -> None:
    """Raise SpecError where Timeloop has nothing of a mapping."""
    where = str(asked.mapping) if isinstance(asked.mapping, str | Path) else "lower"
    if said.none_for and not said.folders:
        raise SpecError(f"{where}: {'; '.join(said.none_for.values())}")
    if asked.tool == "mapper" and any(group.on_cores for group in found.mapping.groups):
        condition = "Einsums on one array, for timeloop-mapper"
        raise SpecError(expected(where, condition, "tiles on many cores", "use --for model"))


@dataclass(frozen=True, kw_only=True, repr=False)
class ShippedFiles(Printed):
    """Shipped files: a line for each name, by kind."""

    kind: ClassVar = "list"  # of answers as JSON
    names: Mapping[str, Mapping[str, str]]

    def to_dict(self) -> dict[str, object]:
        """The lines by name, by kind."""
        return {kind: dict(lines) for kind, lines in self.names.items()}

    def __str__(self) -> str:
        return "\n".join(
            f"{kind}\n{grid([(f'  {name}', line) for name, line in lines.items()])}"
            for kind, lines in self.names.items()
        )


@answers(AskShipped)
def shipped(asked: AskShipped) -> ShippedFiles:
    """Each name stands where a file may."""
    every = catalog.CATALOG_KINDS
    wanted = (among("list", asked.kind, every),) if asked.kind else every
    return ShippedFiles(names={kind: dict(catalog.shipped_names(kind)) for kind in wanted})


def save(answer: Answer, folder: Name, *, force: bool = False) -> list[str]:
    """The files of an answer in a folder, as `-o` writes them, all or none; their names.

    Of mappings with records, Timeloop's files and figures; of others result.json, beside the files
    of an answer that has some.
    force: write into a folder that holds other files.
    """
    if isinstance(answer, Comparison):
        files = comparison_files(answer)
    elif isinstance(answer, Evaluation):
        files = mapping_files(answer)
    elif isinstance(answer, Lowered):
        files = dict(answer)
    else:
        files = answer.files() if hasattr(answer, "files") else {}
        if RESULT not in files:
            files[RESULT] = f"{answer_json(answer.kind, answer.to_dict())}\n".encode()
            files[LISTING] = dump_json({"files": [*files, LISTING]}).encode()
    return [n for n in write_folder(Path(folder), files, force=force) if n != LISTING]


def saved_answer(answer: Answer) -> dict[str, object]:
    """The JSON of an answer whose files are saved."""
    return saved_document(answer) if isinstance(answer, Evaluation) else answer.to_dict()


def text_of(answer: Answer, folder: Name, names: Sequence[str]) -> str:
    """The text of an answer whose files are in a folder, with what Timeloop will say of them."""
    if isinstance(answer, Lowered):
        return "\n".join((*(f"{folder}/{name}" for name in answer), str(answer.said)))
    parts: Mapping[str, Evaluation] = {}
    if isinstance(answer, Evaluation):
        parts = {"": answer}
    elif isinstance(answer, Comparison):
        parts = answer.feasible
    elif points := getattr(answer, "points", ()):
        parts = {str(number): point for number, point in enumerate(points, 1)}
    tops = dict.fromkeys(f"{n.partition('/')[0]}{'/' if '/' in n else ''}" for n in names)
    where = f"{len(names)} files in {folder}: {', '.join(tops)}"
    told = "".join(f"\n{told_text(part, name)}" for name, part in parts.items())
    return f"{answer}\n\n{where}{told}"


def folders_of(asked: object) -> list[str]:
    """Folders that the answer of a question may have, by what the question is about."""
    if not isinstance(asked, AskLoadProblem):
        return []
    workload = workload_of(asked)
    count = len(workload.each_kind)
    kinds = [f"layers-{i}" for i in range(1, count + 1)] if count > 1 else []
    names = [einsum.name for einsum in workload.einsums]
    inside = [*kinds, *(f"{kind}/{name}" for kind in kinds for name in names), *names]
    if not isinstance(asked, AskCompare):
        return inside
    spaces = [Path(str(getattr(space, "name", space))).stem for space in asked.mapspaces]
    return [f"{space}/{name}" for space in spaces for name in ("", *inside)]


def load(folder: Name) -> Evaluation | Infeasible:
    """A saved mapping, priced again; `load_results` reads answers of other kinds."""
    return evaluate(Path(folder))
