"""One colour a thing, in every figure and page.

What a chip has is strong, what it works on is light, and choices between results have a third set:
no two things of a chart look alike, and a thing looks the same in all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Chosen: told apart on white and on a dark page; light ones carry black letters.
COMPONENTS = (
    "#0072B2", "#D55E00", "#009E73", "#8F5FC4", "#B8860B", "#C2477F", "#6C757D", "#7A5C3E",
    "#117A8B", "#A33A3A", "#6B8500", "#5558AF",
)  # fmt: skip
TENSORS = (
    "#F2A65A", "#7CC6E8", "#8FCB7A", "#E98FB0", "#BFAEF2", "#E0C341", "#5FC9B8", "#EA8A74",
    "#B4C75A", "#BCA78E", "#98B4CE", "#D9A5DC",
)  # fmt: skip
CHOICES = (
    "#3B6FB6", "#E4572E", "#2E933C", "#A4036F", "#7A9E00", "#139C99", "#84420F", "#5B5F97"
)  # fmt: skip
DARKER = 0.7  # chosen


def hues(documents: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Colours of answers' components and tensors by kind and name.

    Components: levels from the outermost in, then units, then what else takes energy. Tensors, then
    Einsums that make none, of the first answer first.
    """
    answers = [(one["platform"], one["energy_by_pj"]) for one in documents]
    components = [
        *(name for chip, _ in answers for name in chip["levels"]),
        *(name for chip, by in answers for name in (*chip["units"], *by["component"])),
    ]
    tensors = [name for _, by in answers for name in (*by["tensor"], *by["einsum"])]
    return {"component": _each(components, COMPONENTS), "tensor": _each(tensors, TENSORS)}


def _each(names: Iterable[str], colours: Sequence[str]) -> dict[str, str]:
    """Colours one by one, and darker each time that there are no more."""
    found: dict[str, str] = {}
    for k, name in enumerate(dict.fromkeys(names)):
        again, which = divmod(k, len(colours))
        shades = (round(part * DARKER**again) for part in bytes.fromhex(colours[which][1:]))
        found[name] = f"#{bytes(shades).hex()}"
    return found
