"""Energy and area of a platform's components from hwcomponents (CACTI and Aladdin inside).

RECIPES says which class of hwcomponents prices which Accelergy class; an attribute
`hwcomponents_class: "SRAM"` of a component overrides it, and every result carries the question
that was asked for each component. Leakage is their power at standby, in every cycle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flat_mapper.arch.attributes import technology_nm
from flat_mapper.arch.values import Architecture, ComputeUnit, MemoryLevel, Platform
from flat_mapper.base.errors import SpecError, UnpricedError, expected
from flat_mapper.base.units import PJ_PER_J
from flat_mapper.energy.hwcomponents import (
    PUBLISHED,
    Argument,
    ComponentPrice,
    PriceQuery,
    prices,
    versions,
)
from flat_mapper.energy.tables import FREE_ACTIONS, Art, Ert, Multiplier
from flat_mapper.spec.document import SCALE, checked, did_you_mean, take

OVERRIDE = "hwcomponents_class"
REGISTER_ROWS = 64  # chosen: `storage` up to this depth is registers; CACTI's arrays start there
ADDER_GROWTH = 2  # chosen: an accumulator is twice as wide as the factors, where not given

_STORE = (("read", ("read",)), ("write", ("write",)))
_COMPUTE = (("compute", ("compute", "mac", "multiply", "add", "compare", "count", "read")),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The way to price one Accelergy class."""

    class_name: str  # of hwcomponents; for dram: by the attribute `type`
    kind: str  # dram, array, register, file, compute: which arguments it takes


# Accelergy's class names, as Timeloop's users write them -> hwcomponents.
RECIPES: Mapping[str, Recipe] = {
    name: Recipe(class_name=class_name, kind=kind)
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
        price, origin = answers[name], str(question)
        if part and isinstance(node, MemoryLevel):
            price = _dearer(price, part)
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
    """What priced a chip, what it was assumed to have, and what nothing prices."""
    untyped = [
        name
        for name, question in questions.items()
        if question.class_name == _DEFAULT_DRAM and nodes[name][0].attributes.get("type") is None
    ]
    assumed = f"; {', '.join(untyped)} without type: {_DEFAULT_DRAM}" if untyped else ""
    lacking = f"; {', '.join(unknown)} unknown" if unknown else ""
    return versions() + assumed + lacking


def _dearer(price: ComponentPrice, part: ComponentPrice) -> ComponentPrice:
    """The price of a memory whose accesses cost no less than those of what is inside."""
    return {name: n if name == "area" else max(n, part[name]) for name, n in price.items()}


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
        return Recipe(class_name=name, kind="dram")
    known = {recipe.class_name: recipe for recipe in RECIPES.values()}
    known["AladdinRegister"] = Recipe(class_name="AladdinRegister", kind="register")
    return known.get(name) or Recipe(class_name=name, kind="override")


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
