"""Costs of components by hwcomponents, remembered between runs.

A question is plain data, and so is its answer: hwcomponents is imported only when an answer is not
in the cache, a JSON file in the user's cache folder. The key of an answer holds the question and
the versions of the packages that gave it, so a new version asks again.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from flat_mapper.base.errors import BackendError, SpecError
from flat_mapper.base.units import PJ_PER_J
from flat_mapper.spec.document import PICOJOULES, did_you_mean
from flat_mapper.spec.yamlio import dump_json, read_text, write_text

PACKAGES = ("hwcomponents", "hwcomponents-cacti", "hwcomponents-library")
_MODULES = ("hwcomponents_cacti", "hwcomponents_library")
_UM2_PER_M2 = 1e12

_MICRON = "Micron, Ultra-Bandwidth Solutions, memory comparison, average device power"
# Memories that hwcomponents has no class for: pJ of a bit that is read or written, and who says so;
# no area, no leakage.
PUBLISHED: Mapping[str, tuple[float, str]] = {
    "LPDDR5": (7.0, "Lee et al., AiF, ISCA 2025, doi:10.1145/3695053.3731073, figure 17"),
    "LPDDR5X": (5.6, "20 % below LPDDR5: Samsung, first 14 nm LPDDR5X, 9 November 2021"),
    "GDDR6": (7.5, _MICRON),
    "GDDR6X": (7.25, _MICRON),
    "HBM2E": (6.0, _MICRON),
    "HBM3E": (3.9, "Samsung at the OCP Global Summit, October 2025"),
}

Argument = int | float | str
ComponentPrice = Mapping[str, float]  # pJ of each action, `area` in um2, `leak` in W


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceQuery:
    """One class of hwcomponents, what it is built from, and the actions to price."""

    class_name: str
    arguments: tuple[tuple[str, Argument], ...]  # those that the class does not take are left out
    actions: tuple[tuple[str, tuple[str, ...]], ...]  # ours, and its names for it in turn
    bits: int | None = None  # of one action, where the class scales its actions by it

    def __str__(self) -> str:
        given = ", ".join(
            f"{n}={v * 1e9:g} nm" if n == "tech_node" and isinstance(v, float) else f"{n}={v}"
            for n, v in self.arguments
        )
        per = f" per {self.bits} bits" if self.bits else ""
        said = f"{self.class_name}({given}){per}"
        if self.class_name in PUBLISHED:
            said += ", {:g} pJ a bit ({})".format(*PUBLISHED[self.class_name])
        return said


def versions() -> str:
    """The versions of what answers: `hwcomponents 1.0.114, ...`."""
    return _versions(PACKAGES, tuple(sys.path))


@lru_cache(maxsize=1)  # a process keeps what it has imported
def _versions(names: tuple[str, ...], places: tuple[str, ...]) -> str:
    known = dict(_installed(names, places))
    for name in names:
        if name not in known:
            raise BackendError(
                f"{name} is not installed; pip install {' '.join(names)}, or give energies in "
                "an ERT file"
            )
    return ", ".join(f"{name} {known[name]}" for name in names)


def _installed(names: tuple[str, ...], places: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Versions of the packages, by the names of the folders in which an installer notes them.

    What the standard library has for it reads the notes, and takes a tenth of a small search.
    """
    stems = {f"{name.replace('-', '_')}-": name for name in names}
    for place in reversed(places):  # the first of equals is the last one told
        with suppress(OSError), os.scandir(place or ".") as entries:
            for entry in entries:
                stem, dash, version = entry.name.removesuffix(".dist-info").partition("-")
                if stem + dash in stems and entry.name.endswith(".dist-info"):
                    yield stems[stem + dash], version


def prices(questions: Mapping[str, PriceQuery]) -> dict[str, ComponentPrice]:
    """The answer to every question, by the name of the component that asks.

    raises: BackendError where hwcomponents cannot answer, SpecError where the class is unknown.
    """
    source, path = versions(), cache_path()
    keys = {n: json.dumps([asdict(q), source], sort_keys=True) for n, q in questions.items()}
    kept, new = _remembered(path), dict[str, ComponentPrice]()
    answers: dict[str, ComponentPrice] = {}
    for name, question in questions.items():
        key = keys[name]
        if question.class_name in PUBLISHED and question.bits is not None:
            pj = PUBLISHED[question.class_name][0] * question.bits
            kept[key] = {"read": pj, "write": pj, "area": 0.0, "leak": 0.0}
        if key not in answers and not _is_kept(kept.get(key), question):
            new[key] = _asked(name, question)
        answers[key] = new[key] if key in new else kept[key]
    if new:
        with suppress(SpecError):  # a cache that cannot be written costs time, not the result
            known_now = {**_remembered(path), **new}
            write_text(path, dump_json({key: _entry(key, own) for key, own in known_now.items()}))
    return {name: answers[key] for name, key in keys.items()}


def cache_path() -> Path:
    """The cache file, in the folder that XDG_CACHE_HOME names or in ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(home) if home else Path(os.path.expanduser("~")) / ".cache"  # noqa: PTH111 (no error)
    return base / "flat-mapper" / "hwcomponents.json"


def _remembered(path: Path) -> dict[str, ComponentPrice]:
    """The entries of the cache, to be checked; a file that is not one is as good as none."""
    try:
        document = json.loads(read_text(path, is_input=False))
    except (SpecError, ValueError, RecursionError):
        return {}
    entries = document if isinstance(document, dict) else {}
    found: dict[str, Any] = {k: e.get("price") for k, e in entries.items() if isinstance(e, dict)}
    return {key: price for key, price in found.items() if entries[key] == _entry(key, price)}


def _entry(key: str, price: ComponentPrice) -> dict[str, object]:
    """A price as the cache has it: one that was changed by hand no longer has its digest."""
    written = json.dumps([key, price], sort_keys=True)
    return {"price": price, "sha256": sha256(written.encode()).hexdigest()}


def is_price(price: object, question: PriceQuery) -> bool:
    """True where something answers a question: an energy of each action, area and leakage."""
    names = {"area", "leak", *(name for name, _ in question.actions)}
    if not isinstance(price, dict) or set(price) != names:
        return False
    return all(type(n) in (int, float) and 0 <= n <= PICOJOULES.most for n in price.values())


def _is_kept(price: object, question: PriceQuery) -> bool:
    """True where an entry of the cache is believed; a class without a cost is always asked."""
    free = isinstance(price, dict) and any(price.get(name) == 0 for name, _ in question.actions)
    return not free and is_price(price, question)


def _asked(name: str, question: PriceQuery) -> ComponentPrice:
    """The answer of hwcomponents itself."""
    import inspect

    component_class = _class_of(name, question.class_name)
    try:
        taken = inspect.signature(component_class).parameters
        model = component_class(**{k: v for k, v in question.arguments if k in taken})
        answer = {"area": float(model.area) * _UM2_PER_M2, "leak": float(model.leak_power)}
        for action, aliases in question.actions:
            method = next(getattr(model, alias) for alias in aliases if hasattr(model, alias))
            bits = {} if question.bits is None else {"bits_per_action": question.bits}
            answer[action] = float(method(**bits).energy) * PJ_PER_J
    except Exception as err:  # whatever a component class raises is its answer
        reason = " ".join(str(err).split()) or type(err).__name__
        raise BackendError(
            f"{name}: hwcomponents cannot price {question}: {reason[:300]}; change its attributes, "
            "or give its energy in an ERT file"
        ) from err
    if not is_price(answer, question):
        raise BackendError(f"{name}: hwcomponents prices {question} as {answer}; give an ERT file")
    return answer


def _class_of(name: str, class_name: str) -> Any:
    """The component class of that name; only classes of components, whatever the name says."""
    import importlib

    from hwcomponents import ComponentModel

    modules = (vars(importlib.import_module(name)).items() for name in _MODULES)
    types = {key: value for own in modules for key, value in own if isinstance(value, type)}
    found = {k: v for k, v in types.items() if issubclass(v, ComponentModel) and k[0] != "_"}
    found.pop("ComponentModel", None)
    if class_name not in found:
        hint = did_you_mean(class_name, found) or f"known: {', '.join(sorted(found))}"
        raise SpecError(
            f"{name}: expected hwcomponents_class to be a class of {' or '.join(_MODULES)}, got "
            f"{class_name!r}; {hint}"
        )
    return found[class_name]
