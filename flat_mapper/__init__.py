"""The best fused mapping of attention on a spatial accelerator, from Timeloop's own files.

    import flat_mapper as fm

    best = fm.search(fm.load_problem("bert-base"), fm.load_platform("edge"), "flat")
    print(best)                # the table, the loop tree, the certificate
    best.to_dict()             # the same, for machines

Everything is imported when it is first used.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flat_mapper.answers_saved import load_results
    from flat_mapper.api import compare, evaluate, load_problem, model_files, need, search
    from flat_mapper.arch_yaml import load_architecture, load_platform
    from flat_mapper.attention import attention
    from flat_mapper.fronts import front
    from flat_mapper.generation import generate
    from flat_mapper.mapspace_yaml import load_mapspace

__version__ = "0.1.0"
__all__ = [
    "__version__",
    "attention",
    "compare",
    "evaluate",
    "front",
    "generate",
    "load_architecture",
    "load_mapspace",
    "load_platform",
    "load_problem",
    "load_results",
    "model_files",
    "need",
    "search",
]

_HOMES = {
    "attention": "attention",
    "compare": "api",
    "evaluate": "api",
    "front": "fronts",
    "generate": "generation",
    "load_architecture": "arch_yaml",
    "load_mapspace": "mapspace_yaml",
    "load_platform": "arch_yaml",
    "load_problem": "api",
    "load_results": "answers_saved",
    "model_files": "api",
    "need": "api",
    "search": "api",
}


class _Package(ModuleType):
    """The package. Three of its functions are called like modules of it, and stay functions."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _HOMES and isinstance(value, ModuleType):
            return  # the import system binds a module to its package; imports do not need it
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> object:
    """A public name, imported now."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
