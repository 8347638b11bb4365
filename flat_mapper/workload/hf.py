"""A Hugging Face `config.json` read as a problem: `flat-mapper import-hf`.

The file is the one beside a model's weights; nothing is fetched. `ARCHITECTURES` says how each
`model_type` names its sizes, after the configuration classes of the library transformers
(huggingface.co/docs/transformers, "Configuration" of each model); where a class has a default and
files leave the key out, the default stands there. Read are the shapes of the attention and of the
layers around it, and which keys they see (`flat_mapper.workload.hf_layers`). Positions, norms and
vocabularies are not part of a problem.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.spec.document import Section, did_you_mean, place, section_of, take
from flat_mapper.spec.yamlio import load, scalar
from flat_mapper.workload.hf_layers import layer_kinds
from flat_mapper.workload.mask import NONE, LayerKind, Mask

StackPart = Literal["encoder", "decoder", "cross"]

LONGEST = 4096  # chosen: positions where none are asked for and the model has more
MODEL_WORD_BITS = 16  # chosen, where the file says nothing of 8 bits: what models are run with
# Keys that say the feed-forward layer is a mixture of experts.
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "num_experts_per_tok")

Default = int | str | None  # a size, the key of another size, or none: the key is required


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A configuration's names for the sizes of one stack of layers; each with its default."""

    layers: tuple[str, Default]
    heads: tuple[str, Default]
    width: tuple[str, Default]
    feed_forward: tuple[str, Default]
    positions: tuple[str, Default]  # as many as the model was made for
    kv_heads: tuple[str, Default] = ("", None)  # empty: each head has its own
    head_width: tuple[str, Default] = ("", None)  # empty: width / heads
    gated: bool = False
    keys: tuple[str, Default] = ("", None)  # positions of the keys, where they are others


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The stacks of an architecture; `inside` names a section that holds its text model."""

    stacks: Mapping[StackPart, Stack]
    inside: str = ""


def _decoder(
    *,
    heads: int | None = None,
    kv_heads: Default = "heads",
    head_width: int | None = None,
    positions: int | None = None,
) -> Stack:
    """The names that Llama's configuration has, and with it most decoders since."""
    return Stack(
        layers=("num_hidden_layers", None),
        heads=("num_attention_heads", heads),
        width=("hidden_size", None),
        feed_forward=("intermediate_size", None),
        positions=("max_position_embeddings", positions),
        kv_heads=("num_key_value_heads", kv_heads),
        head_width=("head_dim", head_width),
        gated=True,
    )


_BERT = Stack(
    layers=("num_hidden_layers", None),
    heads=("num_attention_heads", None),
    width=("hidden_size", None),
    feed_forward=("intermediate_size", None),
    positions=("max_position_embeddings", 512),
)
_VIT = Stack(
    layers=("num_hidden_layers", None),
    heads=("num_attention_heads", None),
    width=("hidden_size", None),
    feed_forward=("intermediate_size", None),
    positions=("patches", None),  # worked out by `_patches`
)
_GPT2 = Stack(
    layers=("n_layer", None),
    heads=("n_head", None),
    width=("n_embd", None),
    feed_forward=("n_inner", "4 * width"),
    positions=("n_positions", 1024),
)


def _t5(layers: tuple[str, Default]) -> Stack:
    return Stack(
        layers=layers,
        heads=("num_heads", None),
        width=("d_model", None),
        feed_forward=("d_ff", None),
        positions=("n_positions", 512),  # relative positions have no limit; T5 was trained at 512
        head_width=("d_kv", 64),
    )


def _whisper(side: str, positions: tuple[str, int], keys: tuple[str, Default]) -> Stack:
    return Stack(
        layers=(f"{side}_layers", None),
        heads=(f"{side}_attention_heads", None),
        width=("d_model", None),
        feed_forward=(f"{side}_ffn_dim", None),
        positions=positions,
        keys=keys,
    )


_TEXT, _SOUND = ("max_target_positions", 448), ("max_source_positions", 1500)
_LLAMA = Family(stacks={"decoder": _decoder(positions=2048)})
_GEMMA3 = _decoder(heads=8, kv_heads=4, head_width=256, positions=131072)
ARCHITECTURES: Mapping[str, Family] = {
    **dict.fromkeys(("bert", "roberta"), Family(stacks={"encoder": _BERT})),
    "vit": Family(stacks={"encoder": _VIT}),
    "gpt2": Family(stacks={"decoder": _GPT2}),
    **dict.fromkeys(("llama", "qwen2"), _LLAMA),
    "mistral": Family(stacks={"decoder": _decoder(kv_heads=8, positions=131072)}),
    "qwen3": Family(stacks={"decoder": _decoder(head_width=128, positions=32768)}),
    "gemma": Family(stacks={"decoder": _decoder(head_width=256, positions=8192)}),
    "gemma2": Family(stacks={"decoder": _decoder(head_width=256, positions=8192)}),
    "gemma3_text": Family(stacks={"decoder": _GEMMA3}),
    "gemma3": Family(stacks={"decoder": _GEMMA3}, inside="text_config"),
    "t5": Family(
        stacks={
            "encoder": _t5(("num_layers", None)),
            "decoder": _t5(("num_decoder_layers", "num_layers")),
            "cross": _t5(("num_decoder_layers", "num_layers")),
        }
    ),
    "whisper": Family(
        stacks={
            "encoder": _whisper("encoder", _SOUND, ("", None)),
            "decoder": _whisper("decoder", _TEXT, ("", None)),
            "cross": _whisper("decoder", _TEXT, _SOUND),
        }
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The shapes that a configuration gives."""

    model_type: str
    part: StackPart
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    width: int
    feed_forward: int
    gated: bool
    positions: int  # as many as the model was made for
    keys: int
    word_bits: int
    kinds: tuple[LayerKind, ...]  # layers by the keys that they see

    def to_dict(self) -> dict[str, object]:
        """The fields by name."""
        found = {name: getattr(self, name) for name in self.__slots__}
        return found | {"kinds": [kind.to_dict() for kind in self.kinds]}


def load_config(path: str | Path, part: str = "") -> Model:
    """The shapes of one part of a model; by default its encoder, or its only part.

    raises: SpecError for an architecture or a feature that is not read.
    """
    where = str(path)
    config = section_of(load(Path(path)), where)
    kind = take(config, "model_type", str, where)
    family = ARCHITECTURES.get(kind)
    if family is None:
        known = ", ".join(ARCHITECTURES)
        spot = place(where, config, "model_type")
        raise SpecError(
            expected(spot, f"one of {known}", str(kind), did_you_mean(kind, ARCHITECTURES))
        )
    chosen = _part(family, part, kind)
    if family.inside:
        config = section_of(take(config, family.inside, dict, where), where)
        where = f"{where}: {family.inside}"
    for key in EXPERTS:
        if config.get(key):
            condition = "one feed-forward layer for every position"
            got = f"{key} {config[key]}"
            raise SpecError(expected(where, condition, got, "write the block out as Einsums"))
    return _model(config, where, str(kind), chosen, family.stacks[chosen])


def _part(family: Family, part: str, kind: str) -> StackPart:
    if not part:
        return next(iter(family.stacks))
    for known in family.stacks:
        if known == part:
            return known
    condition = f"one of {', '.join(family.stacks)} of {kind}"
    raise SpecError(expected("part", condition, part, did_you_mean(part, family.stacks)))


def _model(config: Section, where: str, kind: str, part: StackPart, stack: Stack) -> Model:
    known: dict[str, int] = {}

    def size(name: str, key: tuple[str, Default]) -> int:
        known[name] = _size(config, where, key, known)
        return known[name]

    heads, width = size("heads", stack.heads), size("width", stack.width)
    per_head = size("head_width", stack.head_width) if config.get(stack.head_width[0]) else None
    if per_head is None and isinstance(stack.head_width[1], int):
        per_head = stack.head_width[1]
    if per_head is None:
        if width % heads:
            condition = f"a multiple of the {heads} heads, or a width of a head"
            raise SpecError(expected(place(where, config, stack.width[0]), condition, width))
        per_head = width // heads
    positions = _patches(config, where) if kind == "vit" else size("positions", stack.positions)
    gated = stack.gated or "gated" in str(config.get("feed_forward_proj") or "")
    layers = size("layers", stack.layers)
    return Model(
        model_type=kind,
        part=part,
        layers=layers,
        heads=heads,
        kv_heads=size("kv_heads", stack.kv_heads) if stack.kv_heads[0] else heads,
        head_width=per_head,
        width=width,
        feed_forward=size("feed_forward", stack.feed_forward),
        gated=gated,
        positions=positions,
        keys=size("keys", stack.keys) if stack.keys[0] else positions,
        word_bits=_word_bits(config),
        kinds=layer_kinds(config, where, kind, part, layers),
    )


def _size(config: Section, where: str, key: tuple[str, Default], known: Mapping[str, int]) -> int:
    """One size: of its key, else its default, which may be another size or another key."""
    name, default = key
    if config.get(name) is not None or default is None:
        return take(config, name, int, where, above=0)
    if isinstance(default, int):
        return default
    if default == "4 * width":
        return 4 * known["width"]
    return known[default] if default in known else take(config, default, int, where, above=0)


def _patches(config: Section, where: str) -> int:
    """Positions of a vision transformer: the patches of its image, and the class token."""
    image = take(config, "image_size", int, where, above=0)
    patch = take(config, "patch_size", int, where, above=0)
    if image % patch:
        condition = f"a multiple of patch_size {patch}"
        raise SpecError(expected(place(where, config, "image_size"), condition, image))
    return (image // patch) ** 2 + 1


def _word_bits(config: Section) -> int:
    kind = str(config.get("torch_dtype") or config.get("dtype") or "")
    return 8 if kind.startswith(("float8", "int8")) else MODEL_WORD_BITS


def problem_text(
    model: Model, name: str, origin: str, *, batch: int = 1, length: int = 0, layers: str = ""
) -> str:
    """The problem file of a model.

    name:   of the problem.
    origin: the file it comes from.
    length: positions; 0 for the model's own, at most LONGEST.
    layers: window or full: of a model that has layers with and without a window, those alone.
    """
    positions = length or min(model.positions, LONGEST)
    cross = model.part == "cross"
    keys = model.keys if cross and model.keys != model.positions else positions
    kinds = _chosen(model, origin, layers)
    count = sum(kind.count for kind in kinds)
    shared = "" if model.kv_heads == model.heads else f" over {model.kv_heads} key-value heads"
    others = model.layers - count
    lines = [
        f"# {name}: {count} layers, {model.heads} heads of {model.head_width}{shared}, "
        f"width {model.width}; N = {positions}",
        "#",
        f"# Source: {origin}, model_type {model.model_type}, its {model.part}; made for up to "
        f"{model.positions} positions.",
        f"# Chosen: batch {batch}, N = {positions}, {model.word_bits}-bit words.",
    ]
    if others:
        lines.append(f"# Chosen: the layers with {layers} attention, without the other {others}.")
    ranks = {
        **{"B": batch, "H": model.heads, "P": positions, "M": keys if cross else "P"},
        **{"E": model.head_width, "F": "E", "D": model.width, "FF": model.feed_forward},
    }
    attention = "softmax: row" + (f", kv_heads: {model.kv_heads}" if shared else "")
    lines += [
        "problem:",
        f"  name: {name if scalar(name) == name else json.dumps(name)}",
        f'  source: "{origin}"',
        "  ranks:",
    ]
    lines += [f"    {rank}: {size}" for rank, size in ranks.items()]
    lines += [f"  word_bits: {model.word_bits}", *_layer_lines(kinds)]
    lines += ["  feed_forward: gated"] if model.gated else []
    return "\n".join([*lines, f"  attention: {{{attention}}}", ""])


def _chosen(model: Model, origin: str, layers: str) -> tuple[LayerKind, ...]:
    """The kinds of layers that a problem is about."""
    if not layers:
        return model.kinds
    by_word = {"window" if k.mask and k.mask.window else "full": k for k in model.kinds}
    if layers not in by_word:
        condition = f"one of {', '.join(by_word)}"
        raise SpecError(expected(f"{origin}: --layers", condition, layers))
    return (by_word[layers],)


def _layer_lines(kinds: tuple[LayerKind, ...]) -> list[str]:
    """The layers of a problem with their masks."""
    if len(kinds) == 1:
        mask = kinds[0].mask
        return [f"  layers: {kinds[0].count}"] + ([f"  mask: {_mask_words(mask)}"] if mask else [])
    words = (_mask_words(kind.mask) if kind.mask else NONE for kind in kinds)
    counted = zip(kinds, words, strict=True)
    return ["  layers:", *(f"  - {{count: {k.count}, mask: {mask}}}" for k, mask in counted)]


def _mask_words(mask: Mask) -> str:
    causal = ", causal: true" if mask.causal else ""
    return "causal" if mask.window is None else f"{{window: {mask.window}{causal}}}"
