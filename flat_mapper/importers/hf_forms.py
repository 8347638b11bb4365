"""Parts of a Hugging Face model besides its products, in a layer and once: norms to vocabulary.

After the modeling files of the library transformers (huggingface.co/docs/transformers). A table's
value makes a section of a problem file (`flat_mapper.workload.short_form`) of a configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.spec.document import Section
from flat_mapper.workload.notation import UNARY

Form = dict[str, object]

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


def _qwen2(config: Section) -> Form:
    return {**_llama(config), "qkv_bias": True}


def _gpt_oss(config: Section) -> Form:
    return {"norm": "rms", "positions": "rotary", "bias": _flag(config, "attention_bias", True)}


def _qk_normed(config: Section) -> Form:
    return {**_llama(config), "qk_norm": True}


def _gemma2(config: Section) -> Form:
    return {**_llama(config), "norm_at": "around"}


def _gemma3(config: Section) -> Form:
    return {**_gemma2(config), "qk_norm": True}


def _bert(config: Section) -> Form:
    return {"norm": "layer", "norm_at": "after", "bias": True}


def _gpt2(config: Section) -> Form:
    return {"norm": "layer", "bias": True}


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


def _t5(config: Section) -> Form:
    return {"norm": "rms"}


def _whisper(config: Section) -> Form:
    return {"norm": "layer", "bias": True}


def _deepseek(config: Section) -> Form:
    latent = {
        "rank": config.get("kv_lora_rank", 512),
        "rotary": config.get("qk_rope_head_dim", 64),
    }
    if config.get("q_lora_rank"):
        latent["queries"] = config["q_lora_rank"]
    return {"norm": "rms", "positions": "rotary", "latent": latent}


def _tied(default: bool) -> Callable[[Section], Form]:
    def form(config: Section) -> Form:
        return {"tied": True} if _flag(config, "tie_word_embeddings", default) else {}

    return form


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
    **dict.fromkeys(("bert", "roberta", "distilbert"), _bert),
    **dict.fromkeys(("gpt2", "vit", "clip"), _gpt2),
    **dict.fromkeys(("llama", "mistral", "mixtral", "gemma", "phi3", "llama4"), _llama),
    "gpt_oss": _gpt_oss,
    "qwen2": _qwen2,
    "qwen3": _qk_normed,
    "gemma2": _gemma2,
    **dict.fromkeys(("gemma3", "gemma3_text"), _gemma3),
    "opt": _opt,
    "gpt_neox": _neox,
    "falcon": _falcon,
    "t5": _t5,
    "whisper": _whisper,
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
