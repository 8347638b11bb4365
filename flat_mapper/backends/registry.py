"""The evaluators of fused mappings by name; a tool's module is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from flat_mapper.arch.values import Platform
from flat_mapper.base.errors import BackendError, SpecError, expected
from flat_mapper.cost_model.backend import Backend
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.energy.tables import Ert
from flat_mapper.mapping.values import FusedMapping
from flat_mapper.spec.document import did_you_mean
from flat_mapper.workload.graph import Workload


class NativeBackend:
    """The package's own model; it needs nothing else."""

    name = "native"

    def missing(self) -> str | None:
        """Nothing is ever missing."""
        return None

    def evaluate(
        self, workload: Workload, platform: Platform, mapping: FusedMapping, ert: Ert
    ) -> Result | Infeasible:
        """The mapping's cost, or why it does not fit."""
        return evaluate(workload, platform, mapping, ert)


def _timeloop() -> Backend:
    from flat_mapper.timeloop.backend import TimeloopBackend
    from flat_mapper.timeloop.run import command_of

    return TimeloopBackend(command=command_of())


def _accelforge() -> Backend:
    from flat_mapper.backends.accelforge import AccelforgeBackend

    return AccelforgeBackend()


BACKENDS: Mapping[str, Callable[[], Backend]] = MappingProxyType(
    {"native": NativeBackend, "timeloop": _timeloop, "accelforge": _accelforge}
)

BESIDE = "it is now python -m studies.mapper --record FILE, from the project's root"


def get_backend(name: str) -> Backend:
    """The backend of that name, ready to run.

    raises: SpecError listing the names, BackendError saying what is missing.
    """
    make = BACKENDS.get(name)
    if make is None:
        condition = f"one of {', '.join(BACKENDS)}"
        change = BESIDE if name == "timeloop-mapper" else did_you_mean(name, BACKENDS)
        raise SpecError(expected("backend", condition, name, change))
    backend = make()
    if missing := backend.missing():
        raise BackendError(missing)
    return backend


def version_text() -> str:
    """This package's version, and the backends that are found, a line each."""
    from flat_mapper import __version__

    lines = [f"flat-mapper {__version__}"]
    for name, made in BACKENDS.items():
        lines.append(f"  backend {name}: {made().missing() or 'found'}")
    return "\n".join(lines)
