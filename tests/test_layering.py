"""Who may import whom, and who may do what."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "flat_mapper"

# Import order: a package imports from itself and from rows above its own.
_ROWS = """
base spec workload importers importers.graphs arch mapping energy execution
cost_model cost_model.chip
mapper.space mapper.bounds mapper.group mapper.chip mapper.solve
kernels timeloop backends reports running devices api explore explore.sweep page
cli
"""
ORDER = tuple(_ROWS.split())

# Modules whose function of the same name stays: `main` is what Python calls it everywhere.
SAME_NAME = {"cli.main", "mapper.solve.driver"}

# Who alone may import these packages.
OWNERS = {
    "yaml": ("spec.yamlio",),
    "onnx": ("importers.graphs.onnx_file",),
    "torch": ("importers.graphs.torch_graph",),
    "pandas": ("base.table",),
    "polars": ("base.table",),
    "matplotlib": ("reports.plots",),
    "accelforge": ("backends.accelforge*",),
    "hwcomponents": ("energy.hwcomponents",),
    "jinja2": ("spec.rendering", "page.*"),
    "rich": ("reports.*", "cli.*", "api.*"),
    "subprocess": ("base.process", "spec.templating"),
    "sqlite3": ("explore.sweep.*", "page.*"),
    "distributed": ("explore.sweep.engines",),
    "dask": ("explore.sweep.engines",),
    "optuna": ("explore.sweep.design_search",),
    "multiprocessing": ("base.parallel",),
    "concurrent": ("base.*", "explore.sweep.engines", "importers.graphs.onnx_file"),
    "pickle": (),
}
HEAVY = (
    "matplotlib",
    "accelforge",
    "hwcomponents",
    "rich",
    "jinja2",
    "numpy",
    "onnx",
    "torch",
)


def _sources() -> dict[str, ast.Module]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found[name if name == "__init__" else name.removesuffix(".__init__")] = ast.parse(
            path.read_text(encoding="utf-8"), filename=str(path)
        )
    return found


SOURCES = _sources()
PACKAGES = {n for n in SOURCES if any(m.startswith(f"{n}.") for m in SOURCES)}


def _row(module: str) -> int:
    """The row of a module's package; the two files above all packages stand below all rows."""
    return ORDER.index(module.rpartition(".")[0]) if "." in module else len(ORDER)


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


MODULES = [name for name in SOURCES if name not in PACKAGES]


def test_every_package_has_its_row() -> None:
    inner = {name.rpartition(".")[0] for name in MODULES if "." in name}
    assert inner == set(ORDER)


def test_a_package_only_says_what_it_is() -> None:
    """No package hands on the names of its modules."""
    offenders = [name for name in PACKAGES if len(SOURCES[name].body) > 1]
    assert offenders == []


def test_no_module_shares_its_name_with_something_in_it() -> None:
    """`from flat_mapper.a import b` would be a module here and a function there."""
    same = {
        module
        for module in MODULES
        for node in SOURCES[module].body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        if node.name == module.rpartition(".")[2]
    }
    assert same - SAME_NAME == set()


def test_no_upward_import() -> None:
    offenders = [
        f"{module} imports {name} from below itself"
        for module in MODULES
        if module != "__init__"  # it names what it hands out; nothing is imported before it is used
        for name in _own_imports(SOURCES[module])
        if name != "__init__" and _row(name) > _row(module)
    ]
    assert offenders == []


def test_the_referee_knows_nothing_of_what_it_judges() -> None:
    """The execution imports values, the graph and cycles of an operation: no rule of the model."""
    allowed = (
        *(
            "base.*",
            "spec.*",
            "workload.*",
            "arch.values",
            "arch.cores",
            "execution.*",
            "energy.tables",
        ),
        *("arch.cores", "mapping.values", "mapping.record", "mapping.resize"),
    )
    offenders = [
        f"{module} imports {name}"
        for module in MODULES
        if module.startswith("execution.")
        for name in _own_imports(SOURCES[module])
        if not any(fnmatch(name, pattern) for pattern in allowed)
    ]
    assert offenders == []


def test_studies_stand_on_the_public_names_alone() -> None:
    """`flat_mapper` and `flat_mapper.values`, and of these what is in their `__all__`."""
    offenders = []
    for path in sorted((PACKAGE.parent / "studies").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            inside = [n for n in names if n.split(".")[0] == "flat_mapper"]
            if set(inside) - {"flat_mapper", "flat_mapper.values"}:
                offenders.append(f"{path}: {', '.join(inside)}")
            if isinstance(node, ast.ImportFrom) and inside:
                public = import_module(inside[0]).__all__
                offenders += [f"{path}: {a.name}" for a in node.names if a.name not in public]
            modules = {"fm": "flat_mapper", "v": "flat_mapper.values"}
            short = ast.unparse(node.value) if isinstance(node, ast.Attribute) else ""
            if isinstance(node, ast.Attribute) and short in modules:
                known = import_module(modules[short]).__all__
                offenders += [] if node.attr in known else [f"{path}: {short}.{node.attr}"]
    assert offenders == []


def test_no_import_goes_in_a_circle() -> None:
    waits = {m: {n for n in _own_imports(SOURCES[m]) if n != "__init__"} for m in MODULES[1:]}
    tuple(TopologicalSorter(waits).static_order())  # raises CycleError


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
                if name in ("eval", "exec") or (name == "print" and not module.startswith("cli.")):
                    offenders.append(f"{module}:{node.lineno}: {name}()")
    assert offenders == []


def test_importing_the_package_loads_nothing_heavy() -> None:
    script = f"import sys, flat_mapper; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_page_of_the_architecture_has_every_package() -> None:
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = page.partition("```text")[2].partition("```")[0]
    for package in {name.partition(".")[0] for name in ORDER}:
        assert re.search(rf"\b{package}\b", listed), package
