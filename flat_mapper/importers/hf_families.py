"""Facts of each family of models that `import` knows: its sizes, its layers, its ends, its windows.

After the configuration classes and the modeling files of the library transformers
(huggingface.co/docs/transformers); where a class has a default and files leave the key out, the
default stands here. A form is a section of a problem file (`flat_mapper.workload.layers`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.spec.document import Section, place, take

StackPart = Literal["encoder", "decoder", "cross"]
HfForm = dict[str, object]
_Sizes = Mapping[str, int]

SLIDING_WINDOW = "sliding_window"
_POSITIONS = "max_position_embeddings"
# State-space and recurrent models, and those most of whose layers are.
NO_ATTENTION = (
    *("mamba", "mamba2", "falcon_mamba", "rwkv", "jamba", "bamba", "zamba", "zamba2"),
    *("nemotron_h", "falcon_h1", "granitemoehybrid"),
)

# Others, with what is not read of them.
OTHERS = {
    "deepseek_v32": (
        "its sparse attention, an indexer that picks keys for each query (DSA), is not modelled; "
        "model_type: deepseek_v3 in the file takes the attention as dense"
    ),
    "minimax_text_01": (
        "seven of eight layers are linear attention, which is not modelled; "
        "model_type: mixtral in the file takes all layers as softmax attention"
    ),
}

# A size where a file leaves its key out: a number, another size or its key, or a function of the
# configuration, its place and the sizes so far; None: the key is required.
Default = int | str | Callable[[Section, str, _Sizes], int] | None
LayerRule = Callable[[Section, int, str], bool]  # of a configuration, a layer's number, the file
Stack = Mapping[str, tuple[str, Default]]  # keys of one stack's sizes, in the order of their need


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One architecture.

    layer:    form of a layer; ends: of the vocabulary, where they are known.
    activation: where a file names none.
    inside:   sections of a file that hold its stacks, where some do.
    windowed: whether a layer has the window, and attends: whether it is one of attention at all,
              where they are not listed.
    defaults: keys and their values where a file leaves them out.
    lacks:    parts that a problem does not have, whatever the keys: lines, or functions of the
              configuration that give one, or an empty one.
    """

    stacks: Mapping[StackPart, Stack]
    layer: Callable[[Section], HfForm]
    ends: Callable[[Section], HfForm] | None = None
    activation: str = "silu"
    gated: bool = False
    inside: Mapping[StackPart, str] = field(default_factory=dict)
    windowed: LayerRule = lambda *_: False
    attends: LayerRule = lambda *_: True
    defaults: Mapping[str, object] = field(default_factory=dict)
    window: int | Callable[[Section], int] = 4096  # where a file leaves it out
    lacks: tuple[str | Callable[[Section], str], ...] = ()


def _wide(config: Section, where: str, known: _Sizes) -> int:
    return 4 * known["width"]


def _patches(config: Section, where: str, known: _Sizes) -> int:
    """Positions of a vision transformer: the patches of its image, and the class token."""
    image = take(config, "image_size", int, where, above=0)
    patch = take(config, "patch_size", int, where, above=0)
    if image % patch:
        condition = f"a multiple of patch_size {patch}"
        raise SpecError(expected(place(where, config, "image_size"), condition, image))
    return (image // patch) ** 2 + 1


def _whole_patches(config: Section, where: str, known: _Sizes) -> int:
    """Positions of SigLIP: the whole patches of its image, without a class token."""
    image = take(config, "image_size", int, where, 224, above=0)
    return (image // take(config, "patch_size", int, where, 16, above=0)) ** 2


def _falcon_kv_heads(config: Section, where: str, known: _Sizes) -> int:
    """Falcon's heads of keys and values: one, or a number of its newer architecture."""
    if config.get("new_decoder_architecture"):
        return take(config, "num_kv_heads", int, where, known["heads"], above=0)
    return 1 if config.get("multi_query", True) else known["heads"]


def _stack(required: str, **others: tuple[str, Default]) -> Stack:
    """Keys of heads, width, layers and feed-forward layer, and sizes by name."""
    names = zip(("heads", "width", "layers", "feed_forward"), required.split(), strict=True)
    return {**{name: (key, None) for name, key in names}, **others}


def _like_bert(positions: int | None, **others: tuple[str, Default]) -> Stack:
    keys = "num_attention_heads hidden_size num_hidden_layers intermediate_size"
    return _stack(keys, positions=(_POSITIONS, positions), **others)


def _decoder(
    positions: int,
    kv_heads: Default = "heads",
    head_width: int | None = None,
    **others: tuple[str, Default],
) -> Mapping[StackPart, Stack]:
    """The names that Llama's configuration has, and with it most decoders since."""
    kv, width = ("num_key_value_heads", kv_heads), ("head_dim", head_width)
    return {"decoder": _like_bert(positions, kv_heads=kv, head_width=width, **others)}


def _t5(layers: tuple[str, Default]) -> Stack:
    """Relative positions have no limit; T5 was trained at 512."""
    keys, positions = "num_heads d_model num_layers d_ff", ("n_positions", 512)
    return _stack(keys, layers=layers, head_width=("d_kv", 64), positions=positions)


def _whisper(side: str, **positions: tuple[str, Default]) -> Stack:
    keys = f"{side}_attention_heads d_model {side}_layers {side}_ffn_dim"
    return _stack(keys, **positions)


Entry = object | Callable[[Section], object]


def _form(**entries: Entry) -> Callable[[Section], HfForm]:
    """A section by its keys: each a value, or one of the configuration; None leaves it out."""

    def form(config: Section) -> HfForm:
        found = {key: one(config) if callable(one) else one for key, one in entries.items()}
        return {key: value for key, value in found.items() if value is not None}

    return form


def _flag(config: Section, key: str, default: bool) -> bool:
    value = config.get(key)
    return default if value is None else bool(value)


def _is(key: str, default: bool) -> Callable[[Section], bool]:
    return lambda config: _flag(config, key, default)


def _if(*keys: str, default: bool = False) -> Callable[[Section], bool | None]:
    """True where one of the keys says so; an entry that is left out otherwise."""
    return lambda config: any(_flag(config, key, default) for key in keys) or None


def _llama(**others: Entry) -> Callable[[Section], HfForm]:
    bias = _if("attention_bias", "qkv_bias")
    return _form(**{"norm": "rms", "positions": "rotary", "qkv_bias": bias, **others})


def _falcon_norms(config: Section) -> bool | None:
    new = _flag(config, "new_decoder_architecture", False)
    return (new and config.get("num_ln_in_parallel_attn") != 1) or None


def _latent(config: Section) -> HfForm:
    found = {"rank": config.get("kv_lora_rank", 512), "rotary": config.get("qk_rope_head_dim", 64)}
    queries = config.get("q_lora_rank")
    return {**found, "queries": queries} if queries else found


def _tied(default: bool) -> Callable[[Section], HfForm]:
    return _form(tied=_if("tie_word_embeddings", default=default))


def _rows(key: str, default: int, more: int = 0, **others: Entry) -> Callable[[Section], HfForm]:
    """A table of positions; more: rows of it that stand for none (OPT's offset)."""

    def rows(config: Section) -> int:
        found = config.get(key) or default
        return found + more if isinstance(found, int) else default

    return _form(positions=rows, **others)


def _later(config: Section, layer: int, where: str) -> bool:
    if not take(config, "use_sliding_window", bool, where, False):
        return False
    return layer >= take(config, "max_window_layers", int, where, 28, above=-1)


def _each_other(config: Section, layer: int, where: str) -> bool:
    return layer % 2 == 0


def _where_stated(config: Section, layer: int, where: str) -> bool:
    return config.get(SLIDING_WINDOW) is not None


def _each(key: str, interval: int) -> Callable[[Section, int, str], bool]:
    """True of the last layer of each so many, which a key says."""

    def last(config: Section, layer: int, where: str) -> bool:
        return (layer + 1) % take(config, key, int, where, interval, above=0) == 0

    return last


_fourth, _sixth = _each("no_rope_layer_interval", 4), _each("sliding_window_pattern", 6)


def _third(config: Section, layer: int, where: str) -> bool:
    """ModernBERT's layers that see everything: the first of each so many."""
    return layer % take(config, "global_attn_every_n_layers", int, where, 3, above=0) == 0


def _unturned(config: Section, layer: int, where: str) -> bool:
    """SmolLM3's window: of layers without rotary positions, where it is used at all."""
    return bool(config.get("use_sliding_window")) and _fourth(config, layer, where)


def _narrow_values(config: Section) -> str:
    value, key = config.get("v_head_dim", 128), config.get("qk_nope_head_dim", 128)
    said = f"v_head_dim: values of {value} words; they have {key} here, as the keys"
    return said if value != key else ""


def _chunks(config: Section) -> str:
    size = config.get("attention_chunk_size", 8192)
    chunks = "beyond, most layers see their own chunk alone, and here all that came before"
    return f"attention_chunk_size: up to {size} positions as it is; {chunks}" if size else ""


def _unless(key: str, line: str) -> Callable[[Section], str]:
    """The note on what is lacking where a file leaves out the key that says whether it is there."""
    return lambda config: "" if key in config else f"{key}: {line}"


CAPS = {
    "attn_logit_softcapping": "the cap of the scores by a tanh",
    "final_logit_softcapping": "the cap of the vocabulary's scores by a tanh",
}


_TEXT, _SOUND = ("max_target_positions", 448), ("max_source_positions", 1500)
_VIT: Stack = {**_like_bert(None), "positions": ("", _patches)}
_LLAMA = Family(stacks=_decoder(2048), layer=_llama(), ends=_tied(False), gated=True)
_GEMMA = replace(_LLAMA, stacks=_decoder(8192, "heads", 256), ends=_tied(True), activation="gelu")
_GEMMA3 = replace(
    _GEMMA,
    stacks=_decoder(131072, 4, 256, heads=("num_attention_heads", 8)),
    layer=_llama(norm_at="around", qk_norm=True),
    windowed=lambda *layer: not _sixth(*layer),
)
_BERT = Family(
    stacks={"encoder": _like_bert(512)},
    layer=_form(norm="layer", norm_at="after", bias=True),
    ends=_rows(_POSITIONS, 512, types=2, norm_in=True, norm_out=False, head="pooler"),
    activation="gelu",
)
_PLAIN = replace(_BERT, layer=_form(norm="layer", bias=True), ends=None)
_HEAD = "the head before the vocabulary: a product, its activation and a norm"
_PATCHES = ("the projection of the patches, and what stands behind the last layer",)
_TURNED = "no_rope_layers: every fourth layer has no rotary positions; all have them here"
_QWEN3_MOE = replace(
    _LLAMA,
    stacks=_decoder(32768, 4, feed_forward=("moe_intermediate_size", 768)),
    layer=_llama(qk_norm=True),
    windowed=_later,
    defaults={"num_experts": 128, "num_experts_per_tok": 8},
)
_DEEPSEEK = replace(
    _LLAMA,
    stacks={
        "decoder": _like_bert(
            4096,
            head_width=("qk_nope_head_dim", 128),
            feed_forward=("moe_intermediate_size", None),
        )
    },
    layer=_form(norm="rms", positions="rotary", latent=_latent),
    lacks=("the router's bias of each expert", _narrow_values),
)
_CAPPED = tuple(_unless(key, line) for key, line in CAPS.items())
_GPT2 = _stack(
    "n_head n_embd n_layer n_inner",
    positions=("n_positions", 1024),
    feed_forward=("n_inner", _wide),
)

ARCHITECTURES: Mapping[str, Family] = {
    "bert": _BERT,
    "roberta": _BERT,
    "vit": replace(_PLAIN, stacks={"encoder": _VIT}, lacks=_PATCHES),
    "siglip": replace(
        _PLAIN,
        stacks={"encoder": {**_VIT, "positions": ("", _whole_patches)}},
        inside={"encoder": "vision_config"},
        lacks=_PATCHES,
    ),
    "modernbert": replace(
        _PLAIN,
        stacks={"encoder": _like_bert(8192)},
        layer=_form(norm="layer", positions="rotary"),
        ends=_form(tied=True, norm_in=True),
        gated=True,
        windowed=lambda *layer: not _third(*layer),
        window=lambda config: take(config, "local_attention", int, "", 128, above=1) // 2 + 1,
        lacks=("the first layer has no norm before its attention, and here one", _HEAD),
    ),
    "gpt2": replace(
        _PLAIN,
        stacks={"decoder": _GPT2},
        ends=_rows("n_positions", 1024, tied=True),
    ),
    "llama": _LLAMA,
    "granite": _LLAMA,
    "qwen2": replace(_LLAMA, layer=_llama(qkv_bias=True), windowed=_later),
    "mistral": replace(_LLAMA, stacks=_decoder(131072, 8), windowed=lambda *_: True),
    "qwen3": replace(
        _LLAMA,
        stacks=_decoder(32768, "heads", 128),
        layer=_llama(qk_norm=True),
        windowed=_later,
    ),
    "qwen3_moe": _QWEN3_MOE,
    "qwen3_next": replace(
        _QWEN3_MOE,
        windowed=lambda *_: False,
        attends=_each("full_attention_interval", 4),
        defaults={
            **{"num_key_value_heads": 2, "head_dim": 256, "partial_rotary_factor": 0.25},
            **{"num_experts": 512, "num_experts_per_tok": 10, "moe_intermediate_size": 512},
            "shared_expert_intermediate_size": 512,
        },
        lacks=("the gates of the attention's output and of the shared expert",),
    ),
    "olmo2": replace(
        _LLAMA,
        layer=_llama(norm_at="behind", qk_norm=True),
        lacks=("the norm of queries and keys over all heads: each head has its own here",),
    ),
    "glm4": replace(
        _LLAMA,
        stacks=_decoder(131072, 2, 128),
        layer=_llama(norm_at="around", qkv_bias=_if("attention_bias", default=True)),
        defaults={"partial_rotary_factor": 0.5},
    ),
    "smollm3": replace(
        _LLAMA,
        stacks=_decoder(32768, 4),
        ends=_tied(True),
        windowed=_unturned,
        defaults={"no_rope_layer_interval": 4},
    ),
    "gemma": _GEMMA,
    "gemma2": replace(_GEMMA, layer=_llama(norm_at="around"), windowed=_each_other, lacks=_CAPPED),
    "gemma3_text": _GEMMA3,
    "gemma3": replace(_GEMMA3, inside={"decoder": "text_config"}),
    "mixtral": replace(_LLAMA, stacks=_decoder(131072, 8), windowed=_where_stated),
    "phi3": replace(_LLAMA, stacks=_decoder(4096), windowed=_where_stated),
    "gpt_oss": replace(
        _LLAMA,
        stacks=_decoder(131072, 8, 64),
        layer=_form(norm="rms", positions="rotary", bias=_is("attention_bias", True)),
        windowed=_each_other,
        window=128,
        lacks=("attention sinks: a learned score of each head, one more column of the softmax",),
    ),
    "deepseek_v2": replace(_DEEPSEEK, lacks=(_narrow_values,)),
    "deepseek_v3": _DEEPSEEK,
    "kimi_k2": _DEEPSEEK,
    "llama4": replace(
        _LLAMA,
        stacks=_decoder(131072, 8, 128),
        inside={"decoder": "text_config"},
        lacks=(
            _chunks,
            _unless("use_qk_norm", "the norm of queries and keys"),
            lambda c: "" if c.get("no_rope_layers") else _TURNED,
        ),
    ),
    "gpt_neox": replace(
        _PLAIN,
        stacks={"decoder": _like_bert(2048)},
        layer=_form(
            norm="layer",
            positions="rotary",
            bias=True,
            parallel=_if("use_parallel_residual", default=True),
            two_norms=_if("use_parallel_residual", default=True),
        ),
        ends=_tied(False),
    ),
    "falcon": replace(
        _PLAIN,
        stacks={
            "decoder": _like_bert(
                2048,
                kv_heads=("", _falcon_kv_heads),
                feed_forward=("ffn_hidden_size", _wide),
            )
        },
        layer=_form(
            norm="layer",
            bias=_is("bias", False),
            positions=lambda c: None if c.get("alibi") else "rotary",
            parallel=lambda c: (
                _flag(c, "new_decoder_architecture", False)
                or _flag(c, "parallel_attn", True)
                or None
            ),
            two_norms=_falcon_norms,
        ),
        ends=_tied(True),
    ),
    "opt": replace(
        _PLAIN,
        stacks={"decoder": _like_bert(2048, feed_forward=("ffn_dim", None))},
        layer=_form(
            norm="layer",
            bias=_is("enable_bias", True),
            norm_at=lambda c: None if _flag(c, "do_layer_norm_before", True) else "after",
        ),
        ends=_rows(_POSITIONS, 2048, 2, tied=True),
        activation="relu",
    ),
    "distilbert": replace(
        _BERT,
        stacks={"encoder": _stack("n_heads dim n_layers hidden_dim", positions=(_POSITIONS, 512))},
        ends=_rows(_POSITIONS, 512, norm_in=True, norm_out=False, head="none"),
    ),
    "clip": replace(
        _PLAIN,
        stacks={"encoder": _VIT, "decoder": _like_bert(77)},
        inside={"encoder": "vision_config", "decoder": "text_config"},
        lacks=_PATCHES,
    ),
    "t5": Family(
        stacks={
            "encoder": _t5(("num_layers", None)),
            "decoder": _t5(("num_decoder_layers", "num_layers")),
            "cross": _t5(("num_decoder_layers", "num_layers")),
        },
        layer=_form(norm="rms"),
        activation="relu",
        lacks=("relative positions: the bias that is added to the scores",),
    ),
    "whisper": replace(
        _PLAIN,
        stacks={
            "encoder": _whisper("encoder", positions=_SOUND),
            "decoder": _whisper("decoder", positions=_TEXT),
            "cross": _whisper("decoder", positions=_TEXT, keys=_SOUND),
        },
        lacks=("the convolutions before the encoder",),
    ),
}
