"""A mask as files and the command line say it.

mask: causal
mask: {window: 1024}                  # on either side
mask: {window: 1024, causal: true}    # a sliding window over what came before

--mask causal    --mask window=1024    --mask causal,window=1024
"""

from __future__ import annotations

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.spec.document import Section, place, refuse_unknown, section_of, take
from flat_mapper.workload.mask import Mask

WORDS = "causal, window=N or causal,window=N"


def read_mask(section: Section, where: str) -> Mask | None:
    """The mask under the key `mask` of a section; None where there is none."""
    node = section.get("mask")
    if node is None:
        return None
    spot = place(where, section, "mask")
    if isinstance(node, str):
        if str(node) != "causal":
            raise SpecError(expected(spot, "causal, or {window: N}", str(node)))
        return Mask(causal=True)
    inside = f"{where}.mask"
    part = section_of(node, inside)
    refuse_unknown(part, ("causal", "window"), inside)
    window = take(part, "window", int, inside, None, above=0) if "window" in part else None
    causal = take(part, "causal", bool, inside, False)
    if not causal and window is None:
        raise SpecError(expected(spot, "causal, a window, or both", "neither"))
    return Mask(causal=causal, window=window)


def mask_document(mask: Mask) -> object:
    """The mask as `read_mask` reads it."""
    if mask.window is None:
        return "causal"
    return {"window": mask.window, **({"causal": True} if mask.causal else {})}


def mask_of(words: str, where: str = "--mask") -> Mask | None:
    """The mask of some words; None for none."""
    causal, window = False, None
    for word in filter(None, (w.strip() for w in words.split(","))):
        key, equals, value = (part.strip() for part in word.partition("="))
        if key == "causal" and not equals:
            causal = True
        elif key == "window" and value.isdigit() and int(value) > 0:
            window = int(value)
        else:
            raise SpecError(expected(where, WORDS, word))
    return Mask(causal=causal, window=window) if causal or window else None
