"""The running code: which lines of it a test reaches, and other code put in its place."""

from __future__ import annotations

import functools
import gc
import importlib
import sys
import types
from pathlib import Path

PLAIN = (int, float, bool, tuple)
Lines = int  # a bit for each line of some folders' files, file after file


@functools.cache
def line_bits(root: Path, parts: tuple[str, ...]) -> dict[str, int]:
    """The bit of line 0 of each file of the parts."""
    found, bit = {}, 0
    for path in sorted(p for part in parts for p in (root / part).rglob("*.py")):
        found[str(path.relative_to(root))] = bit
        bit += path.read_bytes().count(b"\n") + 2
    return found


def load(root: Path, parts: tuple[str, ...]) -> None:
    """Import every module of the parts, also those that nothing imports before it needs them."""
    for name in line_bits(root, parts):
        importlib.import_module(".".join(Path(name).with_suffix("").parts))


class Tracker:
    """The lines of some folders that are reached since it began."""

    def __init__(self, root: Path, parts: tuple[str, ...]) -> None:
        self.bits = {str(root / name): bit for name, bit in line_bits(root, parts).items()}
        self.reached: set[tuple[str, int]] = set()
        tool, events = sys.monitoring.PROFILER_ID, sys.monitoring.events
        sys.monitoring.use_tool_id(tool, "mutants")
        sys.monitoring.register_callback(tool, events.LINE, self._line)
        waiting = [f.__code__ for f in all_objects() if isinstance(f, types.FunctionType)]
        while waiting:
            code = waiting.pop()
            if code.co_filename in self.bits:
                sys.monitoring.set_local_events(tool, code, events.LINE)
                waiting += [c for c in code.co_consts if isinstance(c, types.CodeType)]

    def begin(self) -> None:
        """Forget what was reached before."""
        self.reached.clear()
        sys.monitoring.restart_events()

    def lines(self) -> Lines:
        """What was reached, a bit for each line."""
        found = bytearray(max(self.bits.values()) // 8 + 1000)
        for name, line in self.reached:
            bit = self.bits[name] + line
            found[bit // 8] |= 1 << bit % 8
        return int.from_bytes(found, "little")

    def _line(self, code: types.CodeType, line: int) -> object:
        self.reached.add((code.co_filename, line))
        return sys.monitoring.DISABLE


def swap(root: Path, relative: Path, text: str) -> None:
    """The code of a module's functions replaced by that of another text of its file."""
    path, old = root / relative, importlib.import_module(".".join(relative.with_suffix("").parts))
    new = types.ModuleType(old.__name__)
    new.__dict__.update(__package__=old.__package__, __file__=str(path))
    exec(compile(text, str(path), "exec"), new.__dict__)
    everything = [f for f in all_objects() if isinstance(f, types.FunctionType)]
    changed = {place(f): f for f in everything if f.__globals__ is new.__dict__}
    for function in everything:
        if function.__globals__ is old.__dict__ and place(function) in changed:
            other = changed[place(function)]
            function.__code__ = other.__code__
            swap_defaults(function, other)
    for name, cls in vars(new).items():
        if isinstance(cls, type) and cls.__module__ == old.__name__:
            swap_class(vars(old)[name], cls)
    clear_caches()


def swap_class(old: type, new: type) -> None:
    """Plain values of a class, and the defaults of a dataclass's fields."""
    for name, value in list(vars(new).items()):
        if type(value) in PLAIN and not name.startswith("__") and vars(old).get(name) != value:
            setattr(old, name, value)
    begin, other = vars(old).get("__init__"), vars(new).get("__init__")
    if isinstance(begin, types.FunctionType) and isinstance(other, types.FunctionType):
        swap_defaults(begin, other)


def swap_defaults(old: types.FunctionType, new: types.FunctionType) -> None:
    """Defaults that are plain values."""
    pairs = zip(old.__defaults__ or (), new.__defaults__ or (), strict=True)
    old.__defaults__ = tuple(b if type(b) in PLAIN else a for a, b in pairs) or None
    plain = {n: v for n, v in (new.__kwdefaults__ or {}).items() if type(v) in PLAIN}
    old.__kwdefaults__ = (old.__kwdefaults__ or {}) | plain or None


def place(function: types.FunctionType) -> tuple[str, int]:
    """What names a function in its file."""
    return function.__qualname__, function.__code__.co_firstlineno


def all_objects() -> list[object]:
    """Everything that the collector knows, what is frozen included."""
    gc.unfreeze()
    return gc.get_objects()


@functools.cache
def caches() -> list[functools._lru_cache_wrapper[object]]:
    """The functions of the package that keep answers."""
    found = (o for o in all_objects() if isinstance(o, functools._lru_cache_wrapper))
    return [c for c in found if str(c.__module__).startswith("flat_mapper")]


def clear_caches() -> None:
    """No answer kept from before."""
    for one in caches():
        one.cache_clear()
