"""Who may import whom, who may do what, and how long files and functions may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "flat_mapper"
FILE_LINES = 400
FUNCTION_LINES = 60  # the aim is 40
FUNCTION_LIMITS = {"search.solve": 70}

# Import order: a module imports only from rows above its own, or from its left.
_ROWS = """
errors
units document specification textfiles yamlio expressions sizes templating catalog
mask workload einsum_notation einsum_yaml online_softmax attention_heads attention
timeloop_problem mask_yaml problem_yaml fuse_layers
hf_config
arch arch_constraints arch_factors arch_attributes arch_nodes arch_document arch_yaml
arch_edits
mapping resizing mapspace mapspace_part mapspace_constraints mapspace_yaml
hwcomponents_prices energy_tables operations energy_pricing
model model.nest model.footprint model.remainders model.accesses model.latency model.energy
model.result model.einsum_costs model.carried model.group model.held model.widths model.evaluate
arch_rules
loop_tree timeloop_terms timeloop_entries timeloop_mapping lower_processed
mapping_yaml lower_arch lower lower_mapper lower_mapper_processed
backends.base backends.native backends.timeloop_run backends.accelergy backends.timeloop_stats
backends.timeloop_frontend backends.timeloop
backends.timeloop_mapper_run backends.timeloop_mapper
backends.accelforge* backends
search.factors search.space search.rows search.by_tile search.around search.price search.ports
search.front search.objective search.table search.sheet search.outer search.row_tiles search.held
search.demand search.bounds search.picks search.contest search.sieve search.partial search.dominance
search.growth search.crowd search.twins search.single search.fused search.masked search.group
search.sequence search.solution search.realize search.tasks search.solve search.remainders
search.frontier search
parallel need* reproduce* crosscheck* sweep_spec sweep_store
report* plot* answers* checks* output* api* fronts
generation* sweep* __init__ cli* __main__
"""
ORDER = tuple(_ROWS.split())

# Who alone may import these packages.
OWNERS = {
    "yaml": ("yamlio",),
    "altair": ("report*",),
    "pandas": ("answers*",),
    "polars": ("answers*",),
    "networkx": ("workload",),
    "matplotlib": ("plot*",),
    "accelforge": ("backends.accelforge*",),
    "hwcomponents": ("hwcomponents_prices",),
    "jinja2": ("templating", "report*"),
    "rich": ("report*", "cli*", "api*"),
    "subprocess": ("backends.*",),
    "sqlite3": ("sweep_store", "sweep_export", "report_sources", "report_designs"),
    "distributed": ("sweep_engines",),
    "dask": ("sweep_engines",),
    "pyarrow": ("sweep_export",),
    "optuna": ("sweep_optimize",),
    "multiprocessing": ("parallel",),
    "concurrent": ("parallel", "backends.*"),
    "pickle": (),
}
HEAVY = ("networkx", "matplotlib", "accelforge", "hwcomponents", "rich", "jinja2", "numpy")


def _sources() -> dict[str, ast.Module]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found[name if name == "__init__" else name.removesuffix(".__init__")] = ast.parse(
            path.read_text(encoding="utf-8"), filename=str(path)
        )
    return found


SOURCES = _sources()


def _row(module: str) -> int | None:
    return next((i for i, pattern in enumerate(ORDER) if fnmatch(module, pattern)), None)


def _imports(tree: ast.AST) -> Iterator[str]:
    """Modules that a file names, wherever in it: `flat_mapper.x` as `flat_mapper.x`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            module = node.module or ""
            for alias in node.names:
                if alias.name == "__version__":
                    continue
                inner = f"{module}.{alias.name}"
                own = inner.removeprefix("flat_mapper.") in SOURCES
                yield inner if module.startswith("flat_mapper") and own else module


def _own_imports(tree: ast.AST) -> list[str]:
    names = [n.removeprefix("flat_mapper.") for n in _imports(tree) if n.startswith("flat_mapper")]
    return ["__init__" if name == "flat_mapper" else name for name in names]


def test_every_module_has_its_row() -> None:
    assert [name for name in SOURCES if _row(name) is None] == []


@pytest.mark.parametrize("module", SOURCES)
def test_no_upward_import(module: str) -> None:
    mine = _row(module)
    assert mine is not None
    family = ORDER[mine]
    upward = []
    for name in _own_imports(SOURCES[module]):
        row = _row(name)
        if row is None or row > mine or (row == mine and "*" not in family):
            upward.append(name)
    if module == "__init__":
        upward = []  # it names what it hands out; nothing is imported before it is used
    assert upward == [], f"{module} imports from below itself"


def test_owners() -> None:
    offenders = [
        f"{module} imports {package}"
        for module, tree in SOURCES.items()
        for name in _imports(tree)
        for package, owners in OWNERS.items()
        if name.split(".")[0] == package or name.split(".")[0].startswith(f"{package}_")
        if not any(fnmatch(module, owner) for owner in owners)
    ]
    assert offenders == []


def test_no_star_import_and_no_code_from_text() -> None:
    offenders = []
    for module, tree in SOURCES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and any(a.name == "*" for a in node.names):
                offenders.append(f"{module}:{node.lineno}: import *")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                name = node.func.id
                if name in ("eval", "exec") or (name == "print" and not module.startswith("cli")):
                    offenders.append(f"{module}:{node.lineno}: {name}()")
    assert offenders == []


def test_file_budget() -> None:
    lines = {
        str(path.relative_to(PACKAGE)): len(path.read_text(encoding="utf-8").splitlines())
        for path in PACKAGE.rglob("*.py")
    }
    assert {name: n for name, n in lines.items() if n > FILE_LINES} == {}


def test_function_budget() -> None:
    offenders = {}
    for module, tree in SOURCES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LIMITS.get(module, FUNCTION_LINES):
                    offenders[f"{module}.{node.name}"] = lines
    assert offenders == {}


def test_importing_the_package_loads_nothing_heavy() -> None:
    script = f"import sys, flat_mapper; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
