"""The evaluators of fused mappings by name; a module is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from flat_mapper.backends.base import Backend
from flat_mapper.document import did_you_mean
from flat_mapper.errors import BackendError, SpecError, expected


def _native() -> Backend:
    from flat_mapper.backends.native import NativeBackend

    return NativeBackend()


BACKENDS: Mapping[str, Callable[[], Backend]] = MappingProxyType({"native": _native})


def get_backend(name: str) -> Backend:
    """The backend of that name, ready to run.

    raises: SpecError listing the names, BackendError saying what is missing.
    """
    make = BACKENDS.get(name)
    if make is None:
        condition = f"one of {', '.join(BACKENDS)}"
        raise SpecError(expected("backend", condition, name, did_you_mean(name, BACKENDS)))
    backend = make()
    missing = backend.missing()
    if missing:
        raise BackendError(missing)
    return backend
