"""Names of the sizes in the configurations of Hugging Face models, by family.

After the configuration classes of the library transformers (huggingface.co/docs/transformers,
"Configuration" of each model); where a class has a default and files leave the key out, the default
stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

StackPart = Literal["encoder", "decoder", "cross"]

NO_ATTENTION = ("mamba", "mamba2", "falcon_mamba", "rwkv")  # state-space and recurrent models

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
    """The stacks of an architecture; `inside` names the sections that hold them, where some do."""

    stacks: Mapping[StackPart, Stack]
    inside: Mapping[StackPart, str] = field(default_factory=dict)


_BERT = Stack(
    layers=("num_hidden_layers", None),
    heads=("num_attention_heads", None),
    width=("hidden_size", None),
    feed_forward=("intermediate_size", None),
    positions=("max_position_embeddings", 512),
)
_VIT = replace(_BERT, positions=("patches", None))  # worked out by `_patches`
_GPT2 = Stack(
    layers=("n_layer", None),
    heads=("n_head", None),
    width=("n_embd", None),
    feed_forward=("n_inner", "4 * width"),
    positions=("n_positions", 1024),
)
_OPT = replace(_BERT, feed_forward=("ffn_dim", None), positions=("max_position_embeddings", 2048))
_NEOX = replace(_BERT, positions=("max_position_embeddings", 2048))
_FALCON = replace(_NEOX, feed_forward=("ffn_hidden_size", "4 * width"))
_DISTILBERT = Stack(
    layers=("n_layers", None),
    heads=("n_heads", None),
    width=("dim", None),
    feed_forward=("hidden_dim", None),
    positions=("max_position_embeddings", 512),
)


def _decoder(
    *,
    heads: int | None = None,
    kv_heads: Default = "heads",
    head_width: int | None = None,
    positions: int | None = None,
) -> Stack:
    """The names that Llama's configuration has, and with it most decoders since."""
    return replace(
        _BERT,
        heads=("num_attention_heads", heads),
        positions=("max_position_embeddings", positions),
        kv_heads=("num_key_value_heads", kv_heads),
        head_width=("head_dim", head_width),
        gated=True,
    )


_DEEPSEEK = replace(
    _decoder(positions=4096),
    feed_forward=("moe_intermediate_size", None),
    kv_heads=("", None),
    head_width=("qk_nope_head_dim", 128),
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
_GEMMA3 = _decoder(heads=8, kv_heads=4, head_width=256, positions=131072)
ARCHITECTURES: Mapping[str, Family] = {
    **dict.fromkeys(("bert", "roberta"), Family(stacks={"encoder": _BERT})),
    "vit": Family(stacks={"encoder": _VIT}),
    "gpt2": Family(stacks={"decoder": _GPT2}),
    **dict.fromkeys(("llama", "qwen2"), Family(stacks={"decoder": _decoder(positions=2048)})),
    "mistral": Family(stacks={"decoder": _decoder(kv_heads=8, positions=131072)}),
    "qwen3": Family(stacks={"decoder": _decoder(head_width=128, positions=32768)}),
    "gemma": Family(stacks={"decoder": _decoder(head_width=256, positions=8192)}),
    "gemma2": Family(stacks={"decoder": _decoder(head_width=256, positions=8192)}),
    "gemma3_text": Family(stacks={"decoder": _GEMMA3}),
    "gemma3": Family(stacks={"decoder": _GEMMA3}, inside={"decoder": "text_config"}),
    "mixtral": Family(stacks={"decoder": _decoder(kv_heads=8, positions=131072)}),
    "phi3": Family(stacks={"decoder": _decoder(positions=4096)}),
    "gpt_oss": Family(stacks={"decoder": _decoder(kv_heads=8, head_width=64, positions=131072)}),
    "deepseek_v3": Family(stacks={"decoder": _DEEPSEEK}),
    "llama4": Family(
        stacks={"decoder": _decoder(kv_heads=8, head_width=128, positions=131072)},
        inside={"decoder": "text_config"},
    ),
    "gpt_neox": Family(stacks={"decoder": _NEOX}),
    "falcon": Family(stacks={"decoder": _FALCON}),
    "opt": Family(stacks={"decoder": _OPT}),
    "distilbert": Family(stacks={"encoder": _DISTILBERT}),
    "clip": Family(
        stacks={
            "encoder": _VIT,
            "decoder": replace(_BERT, positions=("max_position_embeddings", 77)),
        },
        inside={"encoder": "vision_config", "decoder": "text_config"},
    ),
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
