"""Parts of a Hugging Face model besides its products: norms to vocabulary, and the keys it sees.

After the modeling files of the library transformers (huggingface.co/docs/transformers). A table's
value makes a section of a problem file (`flat_mapper.workload.layers`) of a configuration.

A decoder attends to what came before, a sliding window of w to the w nearest of that. `layer_types`
lists each layer where a file has it; older files go by rules of their own (`_WINDOWED`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.spec.document import Section, place, take, take_list
from flat_mapper.workload.mask import LayerKind, Mask
from flat_mapper.workload.notation import UNARY

Form = dict[str, object]

WINDOW = "sliding_window"
_SLIDING, _FULL = "sliding_attention", "full_attention"

# A configuration's names of activations, where they are not the notation's.
_ACTIVATIONS: Mapping[str, str] = {
    **dict.fromkeys(("gelu_new", "gelu_pytorch_tanh", "quick_gelu", "gelu_fast"), "gelu"),
    "gelu_python": "gelu",
    "swish": "silu",
    "gated-gelu": "gelu",
}
_ACTIVATION_KEYS = (
    *("hidden_act", "activation_function", "activation", "hidden_activation"),
    *("feed_forward_proj", "dense_act_fn"),
)
# Keys that say how many experts a layer has, and how many of them a token goes to.
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
_CHOSEN = ("num_experts_per_tok", "experts_per_token")


def layer_form(config: Section, where: str, kind: str, part: str) -> Form:
    """The section `layer` of a model's part; empty for a kind that is not in the table."""
    if kind not in _LAYERS:
        return {}
    form = {**_LAYERS[kind](config), "activation": _activation(config, where, kind)}
    if part == "cross":
        form["cross"] = True
    experts = _experts(config, where)
    return form | ({"experts": experts} if experts else {})


def ends_form(config: Section, kind: str, part: str) -> Form:
    """The section `vocabulary` of a model's part; empty where it has none."""
    size = config.get("vocab_size")
    if kind not in _ENDS or not isinstance(size, int) or part == "cross":
        return {}
    return {"size": size} | _ENDS[kind](config)


def _activation(config: Section, where: str, kind: str) -> str:
    words = [str(config[k]) for k in _ACTIVATION_KEYS if config.get(k)]
    word = words[0] if words else {"llama": "silu", "gpt2": "gelu"}.get(kind, _DEFAULTS[kind])
    found = _ACTIVATIONS.get(word, word)
    if found not in UNARY:
        condition = f"an activation among {', '.join((*UNARY, *_ACTIVATIONS))}"
        raise SpecError(expected(f"{where}: activation", condition, word))
    return found


def _experts(config: Section, where: str) -> Form:
    counts = [config[k] for k in _EXPERTS if config.get(k)]
    if not counts:
        return {}
    chosen = [config[k] for k in _CHOSEN if config.get(k)]
    if not chosen:
        condition = f"how many experts a token goes to, {' or '.join(_CHOSEN)}"
        raise SpecError(expected(where, condition, "none"))
    shared = config.get("n_shared_experts") or (1 if config.get("interleave_moe_layer_step") else 0)
    return {"count": counts[0], "per_token": chosen[0]} | ({"shared": shared} if shared else {})


def _flag(config: Section, key: str, default: bool) -> bool:
    value = config.get(key)
    return default if value is None else bool(value)


def _llama(config: Section) -> Form:
    bias = _flag(config, "attention_bias", False) or _flag(config, "qkv_bias", False)
    return {"norm": "rms", "positions": "rotary"} | ({"qkv_bias": True} if bias else {})


def _like_llama(**other: object) -> Callable[[Section], Form]:
    return lambda config: {**_llama(config), **other}


def _form(**form: object) -> Callable[[Section], Form]:
    return lambda _: dict(form)


def _gpt_oss(config: Section) -> Form:
    return {"norm": "rms", "positions": "rotary", "bias": _flag(config, "attention_bias", True)}


def _opt(config: Section) -> Form:
    before = _flag(config, "do_layer_norm_before", True)
    form: Form = {"norm": "layer", "bias": _flag(config, "enable_bias", True)}
    return form if before else {**form, "norm_at": "after"}


def _neox(config: Section) -> Form:
    form: Form = {"norm": "layer", "positions": "rotary", "bias": True}
    if _flag(config, "use_parallel_residual", True):
        form |= {"parallel": True, "two_norms": True}
    return form


def _falcon(config: Section) -> Form:
    new = _flag(config, "new_decoder_architecture", False)
    form: Form = {"norm": "layer", "bias": _flag(config, "bias", False)}
    if not _flag(config, "alibi", False):
        form["positions"] = "rotary"
    if new or _flag(config, "parallel_attn", True):
        two = new and config.get("num_ln_in_parallel_attn") != 1
        form |= {"parallel": True} | ({"two_norms": True} if two else {})
    return form


def _deepseek(config: Section) -> Form:
    latent = {
        "rank": config.get("kv_lora_rank", 512),
        "rotary": config.get("qk_rope_head_dim", 64),
    }
    if config.get("q_lora_rank"):
        latent["queries"] = config["q_lora_rank"]
    return {"norm": "rms", "positions": "rotary", "latent": latent}


def _tied(default: bool) -> Callable[[Section], Form]:
    key = "tie_word_embeddings"
    return lambda config: {"tied": True} if _flag(config, key, default) else {}


def _with_positions(
    key: str, extra: Form, default: int, more: int = 0
) -> Callable[[Section], Form]:
    """A table of positions; more: rows of it that stand for none (OPT's offset)."""

    def form(config: Section) -> Form:
        rows = config.get(key) or default
        return {"positions": rows + more if isinstance(rows, int) else default, **extra}

    return form


_POOLED: Form = {"types": 2, "norm_in": True, "norm_out": False, "head": "pooler"}
_LAYERS: Mapping[str, Callable[[Section], Form]] = {
    **dict.fromkeys(
        ("bert", "roberta", "distilbert"), _form(norm="layer", norm_at="after", bias=True)
    ),
    **dict.fromkeys(("gpt2", "vit", "clip", "whisper"), _form(norm="layer", bias=True)),
    **dict.fromkeys(("llama", "mistral", "mixtral", "gemma", "phi3", "llama4"), _llama),
    "gpt_oss": _gpt_oss,
    "qwen2": _like_llama(qkv_bias=True),
    "qwen3": _like_llama(qk_norm=True),
    "gemma2": _like_llama(norm_at="around"),
    **dict.fromkeys(("gemma3", "gemma3_text"), _like_llama(norm_at="around", qk_norm=True)),
    "opt": _opt,
    "gpt_neox": _neox,
    "falcon": _falcon,
    "t5": _form(norm="rms"),
    "deepseek_v3": _deepseek,
}
_DEFAULTS: Mapping[str, str] = {
    **dict.fromkeys(_LAYERS, "silu"),
    **dict.fromkeys(("bert", "roberta", "distilbert", "vit", "clip", "whisper", "falcon"), "gelu"),
    **dict.fromkeys(("gemma", "gemma2", "gemma3", "gemma3_text", "gpt_neox", "gpt2"), "gelu"),
    **dict.fromkeys(("opt", "t5"), "relu"),
}
_ENDS: Mapping[str, Callable[[Section], Form]] = {
    **dict.fromkeys(("llama", "mistral", "mixtral", "qwen2", "qwen3", "phi3"), _tied(False)),
    **dict.fromkeys(("llama4", "gpt_oss", "deepseek_v3", "gpt_neox"), _tied(False)),
    **dict.fromkeys(("gemma", "gemma2", "gemma3", "gemma3_text", "falcon"), _tied(True)),
    **dict.fromkeys(("bert", "roberta"), _with_positions("max_position_embeddings", _POOLED, 512)),
    "distilbert": _with_positions(
        "max_position_embeddings", {"norm_in": True, "norm_out": False, "head": "none"}, 512
    ),
    "gpt2": _with_positions("n_positions", {"tied": True}, 1024),
    "opt": _with_positions("max_position_embeddings", {"tied": True}, 2048, 2),
}


def _but_one(config: Section, layer: int, where: str) -> bool:
    pattern = take(config, "sliding_window_pattern", int, where, 6, above=0)
    return (layer + 1) % pattern != 0


def _later(config: Section, layer: int, where: str) -> bool:
    if not take(config, "use_sliding_window", bool, where, False):
        return False
    return layer >= take(config, "max_window_layers", int, where, 28, above=-1)


# Whether a layer has the window, by model_type; and the window where a file leaves it out.
_Rule = Callable[[Section, int, str], bool]
_WINDOWED: Mapping[str, tuple[_Rule, int]] = {
    "mistral": (lambda *_: True, 4096),
    "gemma2": (lambda _, layer, __: layer % 2 == 0, 4096),
    **dict.fromkeys(("gemma3_text", "gemma3"), (_but_one, 4096)),
    **dict.fromkeys(("qwen2", "qwen3"), (_later, 4096)),
    **dict.fromkeys(("mixtral", "phi3"), (lambda config, *_: config.get(WINDOW) is not None, 4096)),
    "gpt_oss": (lambda _, layer, __: layer % 2 == 0, 128),
}


def layer_kinds(
    config: Section, where: str, kind: str, part: str, layers: int
) -> tuple[LayerKind, ...]:
    """The kinds of layers that a part of a model has, each with how many there are."""
    causal = part == "decoder" or (part == "encoder" and bool(config.get("is_decoder")))
    if config.get("use_bidirectional_attention"):
        causal = False
    if kind not in _WINDOWED:
        return (LayerKind(count=layers, mask=Mask(causal=True) if causal else None),)
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
    seen = {w: Mask(causal=causal, window=w) if causal or w else None for w in counts}
    return tuple(LayerKind(count=n, mask=seen[w]) for w, n in counts.items())
