"""Timeloop's Python front end: a stand-in under both of its names, and the real one."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType

import cases
import pytest
import small_platform as small

from flat_mapper.backends.agreement import compare_backends
from flat_mapper.backends.registry import get_backend
from flat_mapper.base.errors import BackendError
from flat_mapper.cost_model.result import EinsumStats, Result
from flat_mapper.spec.yamlio import load
from flat_mapper.timeloop.backend import TimeloopBackend
from flat_mapper.timeloop.run import NAMES, VARIABLE, FrontEnd, command_of, front_end

REPLAY = Path(__file__).parents[1] / "replay"
SCRIPT = shlex.join([sys.executable, str(REPLAY / "stand_in.py")])


@dataclass
class Specification:
    """What a front end reads, and the processed file that it recorded for it."""

    files: list[str]
    seen: list[list[str]] = field(default_factory=list)

    def processed(self) -> str:
        """The recorded file of the Einsum that the problem names."""
        documents = {Path(f).name: load(Path(f)) for f in self.files}
        assert list(documents) == ["arch.yaml", "problem.yaml", "mapping.yaml"]
        name = documents["problem.yaml"]["problem"]["shape"]["name"]  # type: ignore[index]
        run = REPLAY / "runs" / "timeloop-model" / f"fused-{name}"
        return (run / "processed.yaml").read_text()


def installed(
    monkeypatch: pytest.MonkeyPatch, package: str, error: str = ""
) -> list[Sequence[str]]:
    """A front end of that name for one test; the file lists that it was given."""
    seen: list[Sequence[str]] = []

    def from_yaml_files(files: list[str]) -> Specification:
        seen.append(files)
        return Specification(files=files)

    def text(specification: Specification, *, for_model: bool) -> str:
        assert for_model
        if error:
            raise KeyError(error)
        return specification.processed()

    names = (package, f"{package}.v4", f"{package}.common", f"{package}.common.backend_calls")
    if "." in package:
        names = (package.partition(".")[0], *names)
    for name in names:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    reader = type("Specification", (), {"from_yaml_files": staticmethod(from_yaml_files)})
    monkeypatch.setattr(sys.modules[f"{package}.v4"], "Specification", reader, raising=False)
    calls = sys.modules[f"{package}.common.backend_calls"]
    monkeypatch.setattr(calls, "_specification_to_yaml_string", text, raising=False)
    return seen


@pytest.fixture
def _none(monkeypatch: pytest.MonkeyPatch) -> None:
    """No front end, whatever is installed: an import of None in sys.modules fails."""
    for package in NAMES:
        monkeypatch.setitem(sys.modules, f"{package}.v4", None)


@pytest.mark.usefixtures("_none")
@pytest.mark.parametrize("package", NAMES)
def test_it_is_used_under_both_names(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = installed(monkeypatch, package)
    monkeypatch.setenv(VARIABLE, f"{SCRIPT} {{}}")
    backend = get_backend("timeloop")
    report = compare_backends(
        small.workload(), small.platform(), small.fused(), cases.ERT, [backend]
    )
    assert report.agrees
    answer = report.answers["timeloop"]
    assert isinstance(answer, Result)
    assert answer.extra["timeloop_front_end"] == f"{package}.v4"
    assert len(seen) == 6


@pytest.mark.usefixtures("_none")
def test_without_it_the_processed_file_is_written_here() -> None:
    assert front_end() is None
    backend = TimeloopBackend(command=command_of(f"{SCRIPT} {{}}"))
    result = backend.evaluate(small.workload(), small.platform(), small.fused(), cases.ERT)
    assert isinstance(result, Result)
    assert result.extra["timeloop_front_end"] == "none"


def test_a_remainder_goes_past_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = installed(monkeypatch, "timeloopfe")
    workload, nest = cases.remainder()
    command = command_of(f"{SCRIPT} {{}}")
    backend = TimeloopBackend(command=command, front_end=FrontEnd(package="timeloopfe"))
    found = backend.einsum(workload, small.platform().matrix, nest, cases.ERT)
    assert isinstance(found, EinsumStats)
    assert seen == []


def test_what_it_cannot_read_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    installed(monkeypatch, "timeloopfe", error="Unknown class vector_alu")
    backend = TimeloopBackend(
        command=command_of(f"{SCRIPT} {{}}"),
        folder=tmp_path,
        front_end=FrontEnd(package="timeloopfe"),
    )
    nest = small.fused().einsum_mappings["QK"]
    message = r"timeloopfe\.v4: expected files that it reads, got: 'Unknown class vector_alu'; /"
    with pytest.raises(BackendError, match=message):
        backend.einsum(small.workload(), small.platform().matrix, nest, cases.ERT)


@pytest.mark.needs_timeloop
@pytest.mark.parametrize("package", NAMES)
def test_the_real_one_makes_files_with_the_same_answer(
    package: str, record_property: Callable[[str, object], None]
) -> None:
    try:
        import_module(f"{package}.v4")
    except ImportError as error:
        if os.environ.get("FLAT_MAPPER_REQUIRE_TIMELOOPFE"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    for platform, fused in ((small.platform(), small.fused()), cases.overfull()):
        backend = TimeloopBackend(command=command_of(), front_end=FrontEnd(package=package))
        report = compare_backends(small.workload(), platform, fused, cases.ERT, [backend])
        assert report.agrees
        assert report.compared > 150
        record_property(f"mappings through {package}", 1)
        record_property(f"mappings through {package}, quantities", report.compared)
    doubled = (cases.doubled()[0], small.platform().matrix, cases.doubled()[1], cases.ERT)
    assert backend.einsum(*doubled) == replace(backend, front_end=None).einsum(*doubled)
