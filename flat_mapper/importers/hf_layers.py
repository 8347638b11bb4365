"""Keys that the layers of a Hugging Face model see: causality, sliding windows, and their pattern.

After the modeling files of the library transformers: a decoder attends to what came before, a
sliding window of w to the w nearest of that. `layer_types` lists each layer where a file has it;
older files go by rules of their own (`_WINDOWED`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.spec.document import Section, place, take, take_list
from flat_mapper.workload.mask import LayerKind, Mask

WINDOW = "sliding_window"
_SLIDING, _FULL = "sliding_attention", "full_attention"


def _mask(causal: bool, window: int | None) -> Mask | None:
    return Mask(causal=causal, window=window) if causal or window else None


def _alternate(config: Section, layer: int, where: str) -> bool:
    return layer % 2 == 0


def _but_one(config: Section, layer: int, where: str) -> bool:
    pattern = take(config, "sliding_window_pattern", int, where, 6, above=0)
    return (layer + 1) % pattern != 0


def _later(config: Section, layer: int, where: str) -> bool:
    if not take(config, "use_sliding_window", bool, where, False):
        return False
    return layer >= take(config, "max_window_layers", int, where, 28, above=-1)


def _where_set(config: Section, layer: int, where: str) -> bool:
    return config.get(WINDOW) is not None


def _all(config: Section, layer: int, where: str) -> bool:
    return True


# Whether a layer has the window, by model_type; and the window where a file leaves it out.
_Rule = Callable[[Section, int, str], bool]
_WINDOWED: Mapping[str, tuple[_Rule, int]] = {
    "mistral": (_all, 4096),
    "gemma2": (_alternate, 4096),
    "gemma3_text": (_but_one, 4096),
    "gemma3": (_but_one, 4096),
    "qwen2": (_later, 4096),
    "qwen3": (_later, 4096),
    "mixtral": (_where_set, 4096),
    "phi3": (_where_set, 4096),
    "gpt_oss": (_alternate, 128),
}


def layer_kinds(
    config: Section, where: str, kind: str, part: str, layers: int
) -> tuple[LayerKind, ...]:
    """The kinds of layers that a part of a model has, each with how many there are."""
    causal = part == "decoder" or (part == "encoder" and bool(config.get("is_decoder")))
    if config.get("use_bidirectional_attention"):
        causal = False
    if kind not in _WINDOWED:
        return (LayerKind(count=layers, mask=_mask(causal, None)),)
    rule, default = _WINDOWED[kind]
    window = take(config, WINDOW, int, where, None, above=0) if WINDOW in config else default
    if config.get("layer_types") is not None:
        words = take_list(config, "layer_types", str, where)
        unknown = [w for w in words if w not in (_SLIDING, _FULL)]
        if unknown or len(words) != layers:
            condition = f"{layers} words, each {_SLIDING} or {_FULL}"
            got = unknown[0] if unknown else f"{len(words)} words"
            raise SpecError(expected(place(where, config, "layer_types"), condition, str(got)))
        sliding = [word == _SLIDING for word in words]
    else:
        sliding = [rule(config, layer, where) for layer in range(layers)]
    counts = Counter(window if one else None for one in sliding)
    return tuple(LayerKind(count=n, mask=_mask(causal, w)) for w, n in counts.items())
