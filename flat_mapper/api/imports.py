"""A problem made of somebody else's file: a model's configuration or graph, a folder of layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flat_mapper.api.calls import load_problem
from flat_mapper.api.options import answers
from flat_mapper.api.questions import AskImportProblem
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.table import Printed
from flat_mapper.importers.graphs.imported import Imported
from flat_mapper.importers.graphs.onnx_file import import_onnx
from flat_mapper.importers.graphs.torch_graph import import_torch
from flat_mapper.importers.hf import CONFIG, NAME, config_name, load_config, problem_text
from flat_mapper.importers.layer_fusion import fuse_layers
from flat_mapper.spec.document import BITS, checked
from flat_mapper.spec.yamlio import write_text
from flat_mapper.workload.graph import Workload

_OF_CONFIG, _OF_GRAPH = ("part", "layers", "batch", "seq", "word_bits"), ("word_bits",)


@dataclass(frozen=True, kw_only=True, repr=False)
class ImportedProblem(Printed):
    """A problem that was made of a file, and what is said of it."""

    kind: str  # of answers as JSON
    text: str  # the problem; empty where a folder has none of one shape
    document: Mapping[str, object]  # what was found in the file
    shown: str = ""  # in place of the problem
    said: str = ""  # beside it: what it does not have, how it was found
    written: str = ""  # where it is
    options: str = ""  # of a command that maps it

    @property
    def workload(self) -> Workload:
        """The problem as a value."""
        return load_problem(self.text)

    def to_dict(self) -> dict[str, object]:
        """The file's operators and notes, and where the problem is."""
        return {**self.document, "written": self.written}

    def __str__(self) -> str:
        if not self.written:
            return (self.shown or self.text).rstrip()
        command = f"flat-mapper map --problem {self.written} --arch ...{self.options}"
        return f"{self.said}{self.written}: written; {command}"


@answers(AskImportProblem)
def import_problem(asked: AskImportProblem) -> ImportedProblem:
    """The problem in a file whose kind its name and contents say; a graph is read without torch.

    raises: SpecError for what is not read; BackendError where a library that it needs is missing.
    """
    target = Path(asked.output) if asked.output else None
    found = _imported(asked, target)
    if target is None:
        return found
    write_text(target, found.text)
    return replace(found, written=str(target))


def _imported(asked: AskImportProblem, target: Path | None) -> ImportedProblem:
    """The problem by the kind of its file."""
    if asked.word_bits is not None:
        checked(asked.word_bits, int, "word_bits", above=0, within=BITS)
    if not isinstance(asked.file, str | Path | Mapping):
        return _of_graph(asked, import_torch(asked.file, name=asked.name or "model"), "model")
    path = Path(CONFIG if isinstance(asked.file, Mapping) else asked.file)
    if path.suffix == ".pt2":
        name = _name(asked, target, path.stem)
        return _of_graph(asked, import_torch(path, name=name), path.name)
    if path.suffix == ".onnx":
        name = _name(asked, target, path.stem)
        found = import_onnx(path, sizes=asked.sizes or {}, name=name)
        return _of_graph(asked, found, path.name, ("sizes",))
    return _of_folder(asked, target, path) if path.is_dir() else _of_config(asked, target, path)


def _of_folder(asked: AskImportProblem, target: Path | None, path: Path) -> ImportedProblem:
    _only(asked, (), "a folder of layers")
    layers = fuse_layers(path)
    name = asked.name or (target.name.partition(".")[0] if target else "fused")
    return ImportedProblem(
        kind="fuse-layers",
        text=layers.problem_text(name) if target or len(layers.shapes()) == 1 else "",
        document=layers.to_dict(),
        shown=str(layers),
        said=f"{layers}\n\n",
    )


def _of_config(asked: AskImportProblem, target: Path | None, path: Path) -> ImportedProblem:
    _only(asked, _OF_CONFIG, "a config.json")
    name = _name(asked, target, config_name(path))
    model = load_config(asked.file, asked.part)
    return ImportedProblem(
        kind="import-hf",
        text=problem_text(
            *(model, name, path.name),
            batch=1 if asked.batch is None else asked.batch,
            length=asked.seq or 0,
            layers=asked.layers,
            word_bits=asked.word_bits or 0,
        ),
        document=model.to_dict(),
        said="".join(f"dropped: {line}\n" for line in model.dropped),
    )


def _of_graph(
    asked: AskImportProblem, found: Imported, origin: str, known: Sequence[str] = ()
) -> ImportedProblem:
    _only(asked, (*known, *_OF_GRAPH), "a graph")
    if asked.word_bits:
        found = replace(found, workload=replace(found.workload, word_bits=asked.word_bits))
    return ImportedProblem(
        kind="import-graph",
        text=found.problem_text(origin),
        document=found.to_dict(),
        said=f"{found}\n",
        options=" --mapspace any",
    )


def _only(asked: AskImportProblem, known: Sequence[str], what: str) -> None:
    """Raise SpecError where something is asked for that a file of this kind has not."""
    for name in (*_OF_CONFIG, "sizes"):
        if name not in known and getattr(asked, name) not in (None, "", {}):
            condition = f"{' or '.join(known) or 'no such option'} of {what}"
            raise SpecError(expected(f"import: {name}", condition, getattr(asked, name)))


def _name(asked: AskImportProblem, target: Path | None, otherwise: str) -> str:
    """The problem's name: that of the file it is written to, where it is one."""
    if asked.name:
        return asked.name
    yaml = target is not None and target.suffix in (".yaml", ".yml")  # other dots are the name's
    name = (target.stem if yaml else target.name) if target else otherwise
    if NAME.fullmatch(name):
        return name
    if target:
        condition = "a file name of letters, digits, dots, - and _ before .yaml"
        raise SpecError(expected("-o", condition, target.name))
    return "model"
