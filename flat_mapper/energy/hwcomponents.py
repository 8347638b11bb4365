"""Energy and area of a platform's components from hwcomponents (CACTI and Aladdin inside).

RECIPES says which class of hwcomponents prices which Accelergy class; an attribute
`hwcomponents_class: "SRAM"` of a component overrides it, and every result carries the question
that was asked for each component. Leakage is their power at standby, in every cycle.

Answers are remembered between runs. A question is plain data, and so is its answer: hwcomponents is
imported only when an answer is not in the cache, a JSON file in the user's cache folder. The key of
an answer holds the question and the versions of the packages that gave it, so a new version asks
again.
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
from typing import Any, NamedTuple

from flat_mapper.arch.attributes import technology_nm
from flat_mapper.arch.values import Architecture, ComputeUnit, MemoryLevel, Platform
from flat_mapper.base.errors import BackendError, SpecError, UnpricedError, expected
from flat_mapper.base.units import PJ_PER_J
from flat_mapper.energy.tables import FREE_ACTIONS, Art, Ert, Multiplier
from flat_mapper.spec.document import PICOJOULES, SCALE, checked, did_you_mean, take
from flat_mapper.spec.yamlio import dump_json, read_text, write_text

PACKAGES = ("hwcomponents", "hwcomponents-cacti", "hwcomponents-library")
_MODULES = ("hwcomponents_cacti", "hwcomponents_library")
_UM2_PER_M2 = 1e12

OVERRIDE = "hwcomponents_class"
REGISTER_ROWS = 64  # chosen: `storage` up to this depth is registers; CACTI's arrays start there
ADDER_GROWTH = 2  # chosen: an accumulator is twice as wide as the factors, where not given

_STORE = (("read", ("read",)), ("write", ("write",)))
_COMPUTE = (("compute", ("compute", "mac", "multiply", "add", "compare", "count", "read")),)
_MICRON = "Micron, Ultra-Bandwidth Solutions, memory comparison, average device power"
# Memories that hwcomponents has no class for: pJ of a bit that is read or written, and who says so;
# no area, no leakage. At second hand: no document of who made or measured it could be read.
PUBLISHED: Mapping[str, tuple[float, str]] = {
    "LPDDR5": (7.0, "at second hand: AiF, ISCA 2025, doi:10.1145/3695053.3731073, figure 17"),
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
    for name, question in questions.items():
        key = keys[name]
        if question.class_name in PUBLISHED and question.bits is not None:
            pj = PUBLISHED[question.class_name][0] * question.bits
            kept[key] = {"read": pj, "write": pj, "area": 0.0, "leak": 0.0}
        if key not in new and not _is_kept(kept.get(key), question):
            new[key] = _asked(name, question)
    if new:
        with suppress(SpecError):  # a cache that cannot be written costs time, not the result
            known_now = {**_remembered(path), **new}
            write_text(path, dump_json({key: _entry(key, own) for key, own in known_now.items()}))
    known = kept | new
    return {name: known[key] for name, key in keys.items()}


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


class Recipe(NamedTuple):
    """The way to price one Accelergy class."""

    class_name: str  # of hwcomponents; for dram: by the attribute `type`
    kind: str  # dram, array, register, file, compute: which arguments it takes


# Accelergy's class names, as Timeloop's users write them -> hwcomponents.
RECIPES: Mapping[str, Recipe] = {
    name: Recipe(class_name, kind)
    for class_name, kind, names in (
        ("", "dram", "DRAM"),
        ("SRAM", "array", "SRAM sram"),
        ("SmartBufferSRAM", "array", "smartbuffer_SRAM smartbuffer"),
        ("AladdinRegister", "file", "regfile smartbuffer_RF smartbuffer_regfile register reg"),
        ("AladdinRegister", "file", "aladdin_register"),
        ("AladdinIntMAC", "compute", "intmac mac compute"),
        ("AladdinAdder", "compute", "intadder aladdin_adder"),
        ("AladdinMultiplier", "compute", "intmultiplier aladdin_multiplier"),
        ("AladdinComparator", "compute", "comparator aladdin_comparator"),
    )
    for name in names.split()
}
_GENERIC_STORAGE = "storage"  # registers or an array, by its depth
_DRAM_CLASSES = ("LPDDR4", "LPDDR", "DDR3", "HBM2", "HBM3", "HBM4")  # of hwcomponents
_DRAM_TYPES = (*_DRAM_CLASSES, *PUBLISHED)
_UNPRICED_DRAM = ("DDR4", "DDR5", "GDDR5", "GDDR7", "LPDDR4X", "LPDDR6", "LPDDR2", "LPDDR3", "HBM")
_DEFAULT_DRAM = "LPDDR4"  # where an architecture gives no type; so does Accelergy's CACTI plug-in
_OPTIONAL = ("n_banks", "n_rw_ports")


_Nodes = Mapping[str, tuple[MemoryLevel | ComputeUnit, str]]  # each, and its place for errors


def price_with_hwcomponents(platform: Platform | Architecture) -> tuple[Ert, Art]:
    """The energy of every action in pJ, and the area of one instance in um2, per component.

    What a component costs that nothing prices is `unknown`, and counted as zero.
    raises: SpecError for a value that cannot be, BackendError where hwcomponents fails.
    """
    nodes = _components(platform)
    questions: dict[str, PriceQuery] = {}
    unknown: dict[str, str] = {}
    for name, (node, where) in nodes.items():
        try:
            questions[name] = _question(node, where)
        except UnpricedError as error:
            unknown[name] = str(error)
    inside = {name: inner for name in questions if (inner := _part(*nodes[name]))}
    answers = prices(questions | {f"{name} inside": inner for name, inner in inside.items()})
    levels: dict[str, Mapping[str, float]] = {}
    areas: dict[str, float] = {}
    provenance: dict[str, str] = {}
    multipliers: dict[str, Multiplier] = {}
    for name, question in questions.items():
        (node, where), part = nodes[name], answers.get(f"{name} inside")
        price, origin = answers[name], f"{question}{_instead(node)}"
        if part and isinstance(node, MemoryLevel):
            # An access costs no less than that of what is inside.
            dearer = {key: max(n, part[key]) for key, n in price.items()}
            price = dearer | {"area": price["area"]}
            origin = f"each access the dearer of {origin} and {inside[name]}"
        energies, areas[name], note = _scaled(node, price, where, platform.paths[0].cycle_seconds)
        levels[name], provenance[name] = energies, origin + note
        if part and isinstance(node, ComputeUnit):
            pj = part["compute"] * energies["compute"] / price["compute"]
            multipliers[name] = Multiplier(bits=_bits(node, where), pj=pj)
    source = _source(nodes, questions, unknown)
    ert = Ert(
        levels=levels | dict.fromkeys(unknown, FREE_ACTIONS),
        source=source,
        provenance=provenance,
        multipliers=multipliers,
        unknown=unknown,
    )
    return ert, Art(areas_um2=areas, source=source, provenance=provenance)


def _source(nodes: _Nodes, questions: Mapping[str, PriceQuery], unknown: Mapping[str, str]) -> str:
    """The line on what priced a chip, what it was assumed to have, and what nothing prices."""
    untyped = [
        name
        for name, question in questions.items()
        if question.class_name == _DEFAULT_DRAM and nodes[name][0].attributes.get("type") is None
    ]
    assumed = f"; {', '.join(untyped)} without type: {_DEFAULT_DRAM}" if untyped else ""
    lacking = f"; {', '.join(unknown)} unknown" if unknown else ""
    return versions() + assumed + lacking


def _components(platform: Platform | Architecture) -> _Nodes:
    """Every component once, with the file it stands in."""
    found: dict[str, tuple[MemoryLevel | ComputeUnit, str]] = {}
    for arch in platform.paths:
        for node in arch.components:
            found.setdefault(node.name, (node, f"{arch.where}: {node.name}"))
    return found


def _question(node: MemoryLevel | ComputeUnit, where: str) -> PriceQuery:
    """The question to ask for one component."""
    recipe = _recipe(node, where)
    if recipe.kind == "dram":
        if not isinstance(node, MemoryLevel):
            raise SpecError(f"{where}: expected the class of a compute unit, got a memory's")
        name = recipe.class_name or _dram_type(node, where)
        return PriceQuery(class_name=name, arguments=(), actions=_STORE, bits=_width(node))
    given: dict[str, Argument] = {}
    if recipe.kind == "override":  # whatever a class of hwcomponents could take
        skipped = ("technology", "global_cycle_seconds", OVERRIDE)
        plain = ((k, v) for k, v in node.attributes.items() if k not in skipped)
        given |= {k: v for k, v in plain if isinstance(v, int | float | str)}
    if isinstance(node, MemoryLevel):
        single = recipe.kind in ("register", "file")
        given |= {"width": _width(node)} if single else _array(node)
    else:
        operand, adder = _bits(node, where), node.attributes.get("adder_width")
        wide = ADDER_GROWTH * operand if adder is None else adder
        wide = checked(wide, int, f"{where}.attributes.adder_width", above=0)
        given |= {"width": operand, "multiplier_width": operand, "adder_width": wide}
    return _asked_of(recipe.class_name, node, where, given)


def _asked_of(
    class_name: str, node: MemoryLevel | ComputeUnit, where: str, given: dict[str, Argument]
) -> PriceQuery:
    """The question to a class, of a component's technology and what it is built from."""
    arguments = {"tech_node": _technology_m(node, where), **given}
    actions = _STORE if isinstance(node, MemoryLevel) else _COMPUTE
    return PriceQuery(
        class_name=class_name, arguments=tuple(sorted(arguments.items())), actions=actions
    )


def _part(node: MemoryLevel | ComputeUnit, where: str) -> PriceQuery | None:
    """A second question, of what is inside: a register file's array, a unit's multiplier.

    A row of a register file toggles as a register does; to find it among many takes an array's
    lines and decoder, which CACTI knows from 64 rows of 32 bits on and hwcomponents scales below.
    """
    recipe = _recipe(node, where)
    if recipe.kind == "file" and isinstance(node, MemoryLevel):
        return _asked_of("SRAM", node, where, _array(node))
    if recipe.class_name in ("AladdinIntMAC", "AladdinMultiplier") and recipe.kind == "compute":
        assert isinstance(node, ComputeUnit)
        return _asked_of("AladdinMultiplier", node, where, {"width": _bits(node, where)})
    return None


def _recipe(node: MemoryLevel | ComputeUnit, where: str) -> Recipe:
    override = node.attributes.get(OVERRIDE)
    if override is not None:
        return _recipe_of_class(checked(override, str, f"{where}.attributes.{OVERRIDE}"))
    stores, own = isinstance(node, MemoryLevel), node.component_class
    if isinstance(node, MemoryLevel) and own == _GENERIC_STORAGE:
        small = (node.capacity_words or 0) <= REGISTER_ROWS * node.row_words
        return RECIPES["regfile" if small else "SRAM"]
    fitting = {name: r for name, r in RECIPES.items() if (r.kind == "compute") != stores}
    recipe = fitting.get("DRAM" if "DRAM" in own else own)
    if recipe is None:
        known = [*fitting, *([_GENERIC_STORAGE] if stores else [])]
        hint = did_you_mean(own, known)
        raise UnpricedError(
            f"{where}: expected a class that hwcomponents prices ({', '.join(known)}), got "
            f"{own!r}; {hint + ' ' if hint else ''}or name one of its classes in the attribute "
            f'{OVERRIDE}: "...", or give energies in an ERT file'
        )
    return recipe


def _recipe_of_class(name: str) -> Recipe:
    """The way to price by a class of hwcomponents that a component names itself."""
    if name in _DRAM_TYPES:
        return Recipe(name, "dram")
    known = {recipe.class_name: recipe for recipe in RECIPES.values()}
    known["AladdinRegister"] = Recipe("AladdinRegister", "register")
    return known.get(name) or Recipe(name, "override")


def _dram_type(node: MemoryLevel, where: str) -> str:
    spot = f"{where}.attributes.type"
    given = node.attributes.get("type", _DEFAULT_DRAM)
    if given not in _DRAM_TYPES:
        condition = f"one of {', '.join(_DRAM_TYPES)} in quotes"
        if given in _UNPRICED_DRAM:
            change = "give its energy in an ERT file"
            raise UnpricedError(expected(spot, condition, str(given), change))
        raise SpecError(expected(spot, condition, str(given), 'write type: "LPDDR4"'))
    return str(given)


def _instead(node: MemoryLevel | ComputeUnit) -> str:
    """Words for what a component really is, where its file says that it is priced as another."""
    really = node.attributes.get("stands_for")
    return f", in place of {really}" if really else ""


def _technology_m(node: MemoryLevel | ComputeUnit, where: str) -> float:
    """The technology node in metres: of "22nm", or of a number in nm."""
    given = node.attributes.get("technology")
    size = technology_nm(given)
    if size is None:
        got = "none" if given is None else repr(given)
        kind = UnpricedError if given is None else SpecError
        raise kind(
            f'{where}.attributes.technology: expected a node such as "22nm", got {got}; write '
            'technology: "22nm" among the variables'
        )
    return float(f"{size}e-9")


def _width(node: MemoryLevel) -> int:
    return node.row_words * node.word_bits * node.cluster_size


def _rows(node: MemoryLevel) -> int:
    return -(-(node.capacity_words or 0) // node.row_words)


def _array(node: MemoryLevel) -> dict[str, Argument]:
    """Geometry in bits and rows. hwcomponents' SRAM wants the size as well as both of these."""
    width, rows = _width(node), _rows(node)
    optional = ((name, node.attributes.get(name)) for name in _OPTIONAL)
    given = {name: value for name, value in optional if isinstance(value, int) and value > 1}
    return {"width": width, "depth": rows, "size": rows * width, **given}


def _bits(node: ComputeUnit, where: str) -> int:
    """Bits of an operand: multiplier_width, else width, datawidth or adder_width."""
    names = ("multiplier_width", "width", "datawidth", "adder_width")
    given = [(n, node.attributes[n]) for n in names if node.attributes.get(n) is not None]
    if not given:
        raise UnpricedError(
            f"{where}.attributes: expected multiplier_width (bits of an operand), got none; "
            "add multiplier_width: 16"
        )
    return checked(given[0][1], int, f"{where}.attributes.{given[0][0]}", above=0)


def _scaled(
    node: MemoryLevel | ComputeUnit, price: ComponentPrice, where: str, cycle_seconds: float
) -> tuple[dict[str, float], float, str]:
    """Energies in pJ, the area of one instance in um2, and what was done to the answer.

    That of `leak` is of a cycle: power over the clock.
    """
    inside = f"{where}.attributes"
    scales = [
        take(node.attributes, key, float, inside, 1.0, above=0, within=SCALE)
        for key in ("energy_scale", "area_scale")
    ]
    energies = {action: pj * scales[0] for action, pj in price.items() if action != "area"}
    energies["leak"] *= PJ_PER_J * cycle_seconds
    if "write" in energies:
        energies["update"] = energies["write"]
    area, note = price["area"] * scales[1], ""
    kind = _recipe(node, where).kind
    if isinstance(node, MemoryLevel) and kind in ("register", "file"):
        rows = _rows(node)
        energies["leak"] *= rows if kind == "register" else 1
        area, note = area * rows, f", {rows} of them in area"
    for key, scale in zip(("energy", "area"), scales, strict=True):
        note += f", {key} x {scale:g}" if scale != 1 else ""
    return energies, area, note
