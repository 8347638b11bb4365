"""The best fused mapping of attention on a spatial accelerator, from Timeloop's own files.

    import flat_mapper as fm

    best = fm.search(fm.load_problem("bert-base"), fm.load_platform("edge"), "flat")
    print(best)                # the table, the loop tree, the certificate
    best.to_dict()             # the same, for machines

Everything is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flat_mapper.api.calls import compare, evaluate, load_problem, model_files, search
    from flat_mapper.api.execution import execute
    from flat_mapper.arch.reader import load_architecture, load_platform
    from flat_mapper.explore.generation import generate
    from flat_mapper.explore.need_search import need
    from flat_mapper.explore.pareto import front
    from flat_mapper.mapping.space_reader import load_mapspace
    from flat_mapper.page.saved import load_results
    from flat_mapper.workload.cascade import attention

__version__ = "0.1.0"
__all__ = [
    "__version__",
    "attention",
    "compare",
    "evaluate",
    "execute",
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
    "attention": "workload.cascade",
    "compare": "api.calls",
    "evaluate": "api.calls",
    "execute": "api.execution",
    "front": "explore.pareto",
    "generate": "explore.generation",
    "load_architecture": "arch.reader",
    "load_mapspace": "mapping.space_reader",
    "load_platform": "arch.reader",
    "load_problem": "api.calls",
    "load_results": "page.saved",
    "model_files": "api.calls",
    "need": "explore.need_search",
    "search": "api.calls",
}


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
