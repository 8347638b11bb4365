"""The best fused mapping of attention on a spatial accelerator, from Timeloop's own files.

    import flat_mapper as fm

    best = fm.search("bert-base", "edge", "flat", seq=512)
    if best:                   # an Infeasible is false, and says why when its result is asked for
        print(best)            # the table, the loop tree, the certificate
        fm.save(best, "out")   # result.json, the record, Timeloop's files
    best.to_dict()             # the same, for machines

A problem, a chip, a mapspace is a shipped name, a path, or a value; a mapping is a record's path,
its folder, or an answer; a sweep, a configuration is a path or what it says.

    load_problem, load_platform, load_architecture, load_mapspace, attention   values of files
    check, why_not, this_machine, shipped                                      before a search
    search, compare, front, need, generate, tiles                              questions
    evaluate, execute, model, crosscheck                                       of a given mapping
    save, load, lower, report, load_results                                    files of answers
    sweep, optimize, plan_sweep, export_sweep                                  many questions
    import_problem                                                             of others' files

Each question is a command too (`search` is `flat-mapper map`); `help(fm.search)` has its options.
`flat_mapper.values` names the values themselves, for whoever builds a mapping or a chip by hand.

Errors are `FlatMapperError`: `SpecError` (bad input), `MappingError`, `BackendError` (a tool is
missing or failed), `NothingFeasible`. Everything is imported when it is first used.
"""

# Nothing is imported here, not even typing: `python -m flat_mapper` runs this while the working
# folder, with whatever lies in it, is still first on the module path.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from flat_mapper.api.calls import compare, evaluate, load_problem, search
    from flat_mapper.api.checks import check, why_not
    from flat_mapper.api.execution import crosscheck, execute
    from flat_mapper.api.files import load, lower, save, shipped
    from flat_mapper.api.imports import import_problem
    from flat_mapper.api.one_einsum import model
    from flat_mapper.api.programs import this_machine
    from flat_mapper.arch.reader import load_architecture, load_platform
    from flat_mapper.base.errors import (
        BackendError,
        FlatMapperError,
        MappingError,
        NothingFeasible,
        SpecError,
    )
    from flat_mapper.cost_model.result import Infeasible
    from flat_mapper.explore.generation import generate
    from flat_mapper.explore.kernel_tiles import tiles
    from flat_mapper.explore.need_search import need
    from flat_mapper.explore.pareto import front
    from flat_mapper.explore.sweep.design_search import optimize, plan_sweep
    from flat_mapper.mapping.space_reader import load_mapspace
    from flat_mapper.page.export import export_sweep
    from flat_mapper.page.saved import load_results, report, sweep
    from flat_mapper.workload.cascade import attention

__version__ = "0.2.0"

_HOMES = {
    "api.calls": "compare evaluate load_problem search",
    "api.checks": "check why_not",
    "api.execution": "crosscheck execute",
    "api.files": "load lower save shipped",
    "api.imports": "import_problem",
    "api.one_einsum": "model",
    "api.programs": "this_machine",
    "arch.reader": "load_architecture load_platform",
    "base.errors": "BackendError FlatMapperError MappingError NothingFeasible SpecError",
    "cost_model.result": "Infeasible",
    "explore.generation": "generate",
    "explore.kernel_tiles": "tiles",
    "explore.need_search": "need",
    "explore.pareto": "front",
    "explore.sweep.design_search": "optimize plan_sweep",
    "mapping.space_reader": "load_mapspace",
    "page.export": "export_sweep",
    "page.saved": "load_results report sweep",
    "workload.cascade": "attention",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}
# fmt: off
__all__ = [
    "BackendError", "FlatMapperError", "Infeasible", "MappingError", "NothingFeasible",
    "SpecError", "__version__", "attention", "check", "compare", "crosscheck", "evaluate",
    "execute", "export_sweep", "front", "generate", "import_problem", "load",
    "load_architecture", "load_mapspace", "load_platform", "load_problem", "load_results",
    "lower", "model", "need", "optimize", "plan_sweep", "report", "save", "search", "shipped",
    "sweep", "this_machine", "tiles", "why_not",
]
# fmt: on


def __getattr__(name: str) -> object:
    """A public name, imported now."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
