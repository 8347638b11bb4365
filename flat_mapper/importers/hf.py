"""A Hugging Face `config.json` read as a problem: `flat-mapper import`.

The file is the one beside a model's weights; nothing is fetched. Read are the shapes of the
attention and of the layers around it, which keys they see and what else is in a layer and around
all of them, by the table of `flat_mapper.importers.hf_families`. `layer_types` lists each layer's
window where a file has it; older files go by rules of their own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.units import percent
from flat_mapper.importers.hf_families import (
    ARCHITECTURES,
    CAPS,
    NO_ATTENTION,
    OTHERS,
    SLIDING_WINDOW,
    Default,
    Family,
    HfForm,
    Stack,
    StackPart,
)
from flat_mapper.importers.problem import problem_file
from flat_mapper.spec.document import (
    COUNT,
    Range,
    Section,
    did_you_mean,
    place,
    section_of,
    take,
    take_list,
)
from flat_mapper.spec.yamlio import dump, load_text, load_yaml
from flat_mapper.workload.mask import NO_MASK, LayerKind, Mask
from flat_mapper.workload.notation import UNARY

CONFIG = "config.json"  # what errors call one that is in memory
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")  # of a problem
_NUMBERS = re.compile(r"[0-9]+|_")  # and parts, of the name of a type
LONGEST = 4096  # chosen: positions where none are asked for and the model has more
MODEL_WORD_BITS = 16  # chosen, where the file says nothing of 8 bits: what models are run with


@dataclass(frozen=True, slots=True, kw_only=True)
class HfModel:
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
    form: Mapping[str, object]  # the problem's section `layer`
    ends: Mapping[str, object]  # and `vocabulary`
    tensor_bits: Mapping[str, str] = field(default_factory=dict)  # formats of weights
    dense: int = 0  # other layers, whose feed-forward is no mixture of experts
    dropped: tuple[str, ...] = ()  # what the problem does not have, a line each
    chunk: int = 0  # positions of a chunk that attention does not leave; 0: there are none

    def to_dict(self) -> dict[str, object]:
        """The fields by name."""
        found = {name: getattr(self, name) for name in self.__slots__}
        kinds = [kind.to_dict() for kind in self.kinds]
        return found | {"kinds": kinds, "dropped": list(self.dropped)}


def load_config(source: str | Path | Mapping[str, object], part: str = "") -> HfModel:
    """The shapes of one part of a model; by default its encoder, or its only part.

    source: a config.json, or what it says.
    raises: SpecError for an architecture or a feature that is not read.
    """
    if isinstance(source, Mapping):
        config = section_of(load_text(dump(source), CONFIG), CONFIG)
    else:
        config = section_of(load_yaml(Path(source)), str(source))
    where, kind, family = config.source, str(config.get("model_type")), _family(config)
    config = Section({**family.defaults, **config}, config.source, config.lines)
    chosen, outer = next((p for p in family.stacks if part in ("", p)), None), config
    if chosen is None:
        condition = f"one of {', '.join(family.stacks)} of {kind}"
        raise SpecError(expected("part", condition, part, did_you_mean(part, family.stacks)))
    if inside := family.inside.get(chosen):
        config = section_of(take(config, inside, dict, where), where)
        where = f"{where}: {inside}"
    stack = family.stacks[chosen]
    known, form = _sizes(config, where, stack), _layer_form(config, where, chosen, family)
    counts, lacking = _kinds_of_layers(config, where, known["layers"], family, "experts" in form)
    gated = family.gated or "gated" in str(config.get("feed_forward_proj") or "")
    stored, chunk = _stored_formats(config, form, gated=gated), "attention_chunk_size"
    every = f"of {counts.total() + sum(lacking.values())} layers"
    left_out = [f"{count} {every} {what}" for what, count in lacking.items() if count]
    if lacking["without experts"] and _as_dense(config, form, known["feed_forward"]):
        share = lacking["without experts"] / (counts.total() + sum(lacking.values()))
        left_out[-1] += f", {percent(share)} of the MACs of all layers"
    return HfModel(
        model_type=kind,
        part=chosen,
        gated=gated,
        word_bits=_word_bits(config, where),
        kinds=_masked(counts, _is_causal(config, chosen)),
        form=form,
        ends=_ends_form(config, chosen, family),
        tensor_bits=stored,
        dense=lacking["without experts"],
        dropped=(*left_out, *dropped_parts(outer, config, family, stack, stored)),
        chunk=take(config, chunk, int, where, above=-1) if config.get(chunk) else 0,
        **{**known, "layers": counts.total()},
    )


def _as_dense(config: Section, form: HfForm, one: int) -> bool:
    """True where a layer without experts multiplies as often as one with them."""
    experts = form.get("experts")
    if not isinstance(experts, Mapping):
        return False
    used = (experts["per_token"] + experts.get("shared", 0)) * one
    return bool(config.get("intermediate_size") == used)


def _is_causal(config: Section, part: StackPart) -> bool:
    """True where a position sees those up to its own alone."""
    decodes = part == "decoder" or (part == "encoder" and bool(config.get("is_decoder")))
    return decodes and not config.get("use_bidirectional_attention")


def _masked(counts: Mapping[int | None, int], causal: bool) -> tuple[LayerKind, ...]:
    """The kinds of layers of their numbers by window."""
    masks = {w: Mask(causal=causal, window=w) if causal or w else None for w in counts}
    return tuple(LayerKind(count=n, mask=masks[w]) for w, n in counts.items())


def _family(config: Section) -> Family:
    """The family of a model. Raises SpecError where it is not read."""
    where = config.source
    kind = take(config, "model_type", str, where)
    if kind in ARCHITECTURES:
        return ARCHITECTURES[kind]
    condition = f"one of {', '.join(ARCHITECTURES)}"
    # Another version is another model: a near spelling is advised where no number differs.
    alike = [n for n in ARCHITECTURES if _NUMBERS.findall(n) == _NUMBERS.findall(kind)]
    change = OTHERS.get(kind) or did_you_mean(kind, alike)
    if kind in NO_ATTENTION:
        condition = "a model of attention layers"
        change = "state-space and recurrent layers are no attention; write the layer as Einsums"
    raise SpecError(expected(place(where, config, "model_type"), condition, str(kind), change))


# Sizes in the order in which they are read, each with what it is where a stack does not have it.
_OTHERWISE: Mapping[str, Default] = {
    **dict.fromkeys(("heads", "width", "head_width", "positions", "layers")),
    **{"kv_heads": "heads", "feed_forward": None, "keys": "positions"},
}


# Chosen: layers are looked at one by one, and the deepest that are published are some hundred.
_WITHIN = {"layers": Range(least=1, most=10_000)}


def _sizes(config: Section, where: str, stack: Stack) -> dict[str, int]:
    """All sizes of a stack."""
    known: dict[str, int] = {}
    for name in _OTHERWISE:
        known[name] = _size(config, where, stack, name, known)
    if known["heads"] % known["kv_heads"]:
        condition = f"key-value heads that divide the {known['heads']} heads"
        raise SpecError(expected(where, condition, known["kv_heads"]))
    return known


def _size(config: Section, where: str, stack: Stack, name: str, known: Mapping[str, int]) -> int:
    """One size: of its key, else its default."""
    key, default = stack.get(name, ("", _OTHERWISE[name]))
    if name == "head_width" and not config.get(key):
        if isinstance(default, int):
            return default
        width, heads = known["width"], known["heads"]
        if width % heads:
            condition = f"a multiple of the {heads} heads, or a width of a head"
            raise SpecError(expected(place(where, config, stack["width"][0]), condition, width))
        return width // heads
    if default is None or config.get(key) is not None:
        return take(config, key, int, where, above=0, within=_WITHIN.get(name, COUNT))
    if isinstance(default, str):
        return known[default] if default in known else take(config, default, int, where, above=0)
    return default if isinstance(default, int) else default(config, where, known)


_BITS = {  # of the words that the names of torch's types stand for; a model is run in 16 bits
    **dict.fromkeys(
        ("float32", "float", "float64", "bfloat16", "float16", "half", "auto", ""), MODEL_WORD_BITS
    ),
    **dict.fromkeys(("int8", "uint8", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz"), 8),
    **dict.fromkeys(("float8_e5m2fnuz", "float8"), 8),
}


def _word_bits(config: Section, where: str) -> int:
    key = "torch_dtype" if config.get("torch_dtype") else "dtype"
    kind = str(config.get(key) or "").removeprefix("torch.")
    if kind not in _BITS:
        condition = f"one of {', '.join(filter(None, _BITS))}"
        raise SpecError(expected(place(where, config, key), condition, kind))
    return _BITS[kind]


# Words of `layer_types`: those of chunks see all that came before here.
_SLIDING, _LINEAR = "sliding_attention", "linear_attention"
_LAYERS = (_SLIDING, "full_attention", "chunked_attention", _LINEAR)

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
# Keys that say how many experts a layer has, how many of them a token goes to, and of how many
# layers one has them.
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
_CHOSEN = ("num_experts_per_tok", "experts_per_token")
_STEPS = ("interleave_moe_layer_step", "decoder_sparse_step")


def _layer_form(config: Section, where: str, part: str, family: Family) -> HfForm:
    """The section `layer` of a model's part."""
    form = {**family.layer(config), "activation": _activation(config, where, family.activation)}
    if part == "cross":
        form["cross"] = True
    experts = _experts(config, where)
    return form | ({"experts": experts} if experts else {})


def _ends_form(config: Section, part: str, family: Family) -> HfForm:
    """The section `vocabulary` of a model's part; empty where it has none."""
    size = config.get("vocab_size")
    if family.ends is None or not isinstance(size, int) or part == "cross":
        return {}
    return {"size": size} | family.ends(config)


def _activation(config: Section, where: str, default: str) -> str:
    words = [str(config[k]) for k in _ACTIVATION_KEYS if config.get(k)]
    word = words[0] if words else default
    found = _ACTIVATIONS.get(word, word)
    if found not in UNARY:
        condition = f"an activation among {', '.join((*UNARY, *_ACTIVATIONS))}"
        raise SpecError(expected(f"{where}: activation", condition, word))
    return found


def _experts(config: Section, where: str) -> HfForm:
    counts = [config[k] for k in _EXPERTS if config.get(k)]
    if not counts:
        return {}
    chosen = [config[k] for k in _CHOSEN if config.get(k)]
    if not chosen:
        condition = f"how many experts a token goes to, {' or '.join(_CHOSEN)}"
        raise SpecError(expected(where, condition, "none"))
    shared = config.get("n_shared_experts") or (1 if config.get("interleave_moe_layer_step") else 0)
    if wide := take(config, "shared_expert_intermediate_size", int, where, 0, above=-1):
        one = take(config, "moe_intermediate_size", int, where, above=0)
        if wide % one:
            key = "shared_expert_intermediate_size"
            at, condition = place(where, config, key), f"a multiple of moe_intermediate_size {one}"
            raise SpecError(expected(at, condition, wide))
        shared = wide // one
    return {"count": counts[0], "per_token": chosen[0]} | ({"shared": shared} if shared else {})


def _listed(config: Section, where: str, layers: int) -> tuple[str, ...]:
    """The kind of each layer; empty where the file does not list them."""
    if config.get("layer_types") is None:
        return ()
    words = take_list(config, "layer_types", str, where)
    unknown = [w for w in words if w not in _LAYERS]
    if unknown or len(words) != layers:
        condition = f"{layers} words, each one of {', '.join(_LAYERS)}"
        got = unknown[0] if unknown else f"{len(words)} words"
        raise SpecError(expected(place(where, config, "layer_types"), condition, str(got)))
    return words


def _with_experts(config: Section, where: str, numbers: Sequence[int]) -> list[int]:
    """The layers that have experts, of some of a model of such."""
    first = take(config, "first_k_dense_replace", int, where, 0, above=-1)
    key = next((key for key in _STEPS if config.get(key) is not None), _STEPS[0])
    step = take(config, key, int, where, 1, above=0)
    plain = take_list(config, "mlp_only_layers", int, where, ())
    return [n for n in numbers if n >= first and (n + 1) % step == 0 and n not in plain]


def _kinds_of_layers(
    config: Section, where: str, layers: int, family: Family, experts: bool
) -> tuple[Counter[int | None], dict[str, int]]:
    """The layers that a problem has, by their window, and how many others there are of which kind.

    It has those of attention, of a mixture of experts those that have experts.
    """
    words = _listed(config, where, layers)
    attending = [
        n
        for n in range(layers)
        if (words[n] != _LINEAR if words else family.attends(config, n, where))
    ]
    numbers = _with_experts(config, where, attending) if experts else attending
    if not numbers:
        raise SpecError(expected(where, "layers of attention, of a mixture with experts", "none"))
    window: int | None = family.window(config) if callable(family.window) else family.window
    if SLIDING_WINDOW in config:
        window = take(config, SLIDING_WINDOW, int, where, None, above=0)
    slides = (words[n] == _SLIDING if words else family.windowed(config, n, where) for n in numbers)
    lacking = {
        "of linear attention": layers - len(attending),
        "without experts": len(attending) - len(numbers),
    }
    return Counter(window if one else None for one in slides), lacking


# Formats of weights by the `quant_method` of a quantization_config.
_STORED = {"mxfp4": "mxfp4", "fp8": "fp8_e4m3"}


def _stored_formats(config: Section, form: HfForm, *, gated: bool) -> dict[str, str]:
    """Formats of the weights that a file has in other words than the model's.

    MXFP4 is of the experts alone; fp8 of all products, unless the file leaves the attention's out.
    """
    said = config.get("quantization_config")
    said = said if isinstance(said, Mapping) else {}
    stored = _STORED.get(str(said.get("quant_method")))
    if stored is None:
        return {}
    experts, latent = form.get("experts"), form.get("latent")
    kinds = [""] if not isinstance(experts, Mapping) else ["X", *["S"] * ("shared" in experts)]
    names: list[str] = []
    if stored == "mxfp4":
        kinds = [kind for kind in kinds if kind == "X"]
    elif "attn" not in str(said.get("modules_to_not_convert")):
        names = ["WQ", "WK", "WV", "WO"]
        if isinstance(latent, Mapping):
            names += ["WQR", "WDKV", "WKR", *["WDQ"] * ("queries" in latent)]
    products = ("W1", "W3", "W2") if gated else ("W1", "W2")
    return dict.fromkeys([*names, *(f"{w}{kind}" for kind in kinds for w in products)], stored)


def config_problem(source: str | Path | Mapping[str, object]) -> str:
    """The problem file of a configuration: of its encoder or only part, at its own length."""
    path = Path("model" if isinstance(source, Mapping) else source)
    return problem_text(load_config(source), config_name(path), path.name)


def config_name(path: Path) -> str:
    """A model's name: of its folder where the file is called as all are."""
    name = path.absolute().parent.name if path.name == CONFIG else path.stem
    return name if NAME.fullmatch(name) else "model"


def problem_text(
    model: HfModel,
    name: str,
    origin: str,
    *,
    batch: int = 1,
    length: int = 0,
    layers: str = "",
    word_bits: int = 0,
) -> str:
    """The problem file of a model.

    name:   of the problem.
    origin: the file it comes from.
    length: positions; 0 for the model's own, at most LONGEST.
    word_bits: of a value; 0 for the model's own.
    layers: window or full: of a model that has layers with and without a window, those alone.
    """
    positions = length or min(model.positions, LONGEST)
    cross = model.part == "cross"
    keys = model.keys if cross and model.keys != model.positions else positions
    kinds = _chosen(model, origin, layers)
    count = sum(kind.count for kind in kinds)
    bits, shared = word_bits or model.word_bits, {}
    over = others = ""
    if model.kv_heads != model.heads:
        over, shared = f" over {model.kv_heads} key-value heads", {"kv_heads": model.kv_heads}
    if count < model.layers:
        others = f"{layers} attention, without the other {model.layers - count}."
    head = [
        f"{name}: {count} layers, {model.heads} heads of {model.head_width}{over}, "
        f"width {model.width}; N = {positions}",
        "",
        f"Source: {origin}, model_type {model.model_type}, its {model.part}; made for up to "
        f"{model.positions} positions.",
        f"Chosen: batch {batch}, N = {positions}, {bits}-bit words.",
        *[f"Chosen: the layers with {others}"] * bool(others),
    ]
    problem: dict[str, object] = {
        "name": name,
        "source": origin,
        "ranks": {
            **{"B": batch, "H": model.heads, "P": positions, "M": keys if cross else "P"},
            **{"E": model.head_width, "F": "E", "D": model.width, "FF": model.feed_forward},
        },
        "word_bits": bits,
        "tensor_bits": model.tensor_bits,
        **_layers_of(kinds),
        "feed_forward": "gated" * model.gated,
        "attention": {"softmax": "row", **shared},
        "layer": model.form,
        "vocabulary": model.ends,
        "dropped": model.dropped,
    }
    return problem_file(head, problem)


def _chosen(model: HfModel, origin: str, layers: str) -> tuple[LayerKind, ...]:
    """The kinds of layers that a problem is about."""
    if not layers:
        return model.kinds
    by_word = {"window" if k.mask and k.mask.window else "full": k for k in model.kinds}
    if layers not in by_word:
        condition = f"one of {', '.join(by_word)}"
        raise SpecError(expected(f"{origin}: --layers", condition, layers))
    return (by_word[layers],)


def _layers_of(kinds: tuple[LayerKind, ...]) -> dict[str, object]:
    """The layers of a problem with their masks."""
    if len(kinds) > 1:
        return {"layers": [{"count": 0, "mask": NO_MASK} | kind.to_dict() for kind in kinds]}
    only = kinds[0].to_dict()
    return {"layers": only.pop("count"), **only}


# Keys that the importer reads besides a stack's own sizes, or that say the same in another stack;
# then those that change no count: names, tokens, training, constants that a value is scaled by,
# angles of positions, and choices of the largest of some weights.
_KNOWN = """
    model_type torch_dtype dtype is_decoder use_bidirectional_attention sliding_window
    sliding_window_pattern layer_types use_sliding_window max_window_layers image_size
    patch_size feed_forward_proj is_gated_act dense_act_fn hidden_act activation_function
    activation hidden_activation num_local_experts num_experts n_routed_experts
    num_experts_per_tok experts_per_token n_shared_experts interleave_moe_layer_step
    first_k_dense_replace decoder_sparse_step mlp_only_layers moe_intermediate_size
    shared_expert_intermediate_size full_attention_interval attention_bias qkv_bias
    bias enable_bias do_layer_norm_before
    use_parallel_residual new_decoder_architecture multi_query num_kv_heads parallel_attn
    num_ln_in_parallel_attn kv_lora_rank q_lora_rank qk_rope_head_dim qk_nope_head_dim
    v_head_dim index_n_heads index_head_dim local_attention global_attn_every_n_layers
    tie_word_embeddings vocab_size max_position_embeddings n_positions
    num_key_value_heads num_layers num_decoder_layers encoder_layers decoder_layers d_model
    num_heads encoder_attention_heads decoder_attention_heads encoder_ffn_dim decoder_ffn_dim
    max_source_positions max_target_positions intermediate_size intermediate_size_mlp
    relative_attention_num_buckets relative_attention_max_distance attention_chunk_size

    architectures auto_map transformers_version _name_or_path name_or_path use_cache
    cache_implementation return_dict pruned_heads torchscript problem_type finetuning_task
    id2label label2id task_specific_params begin_suppress_tokens suppress_tokens
    mm_tokens_per_image vocab_type init_std pretraining_tp router_aux_loss_coef aux_loss_alpha
    seq_aux router_jitter_noise ep_size hidden_size_ratio rotary_emb_base for_llm_compressor
    original_max_position_embeddings initial_context_length max_length n_ctx
    query_pre_attn_scalar routed_scaling_factor norm_topk_prob n_group topk_group topk_method
    moe_layer_freq embedding_multiplier residual_multiplier attention_multiplier logits_scaling
    attn_scale floor_scale attn_temperature_tuning scale_attn_weights
    scale_attn_by_inverse_layer_idx scale_embedding is_encoder_decoder type_vocab_size
    position_embedding_type num_channels num_mel_bins encoder_stride num_hidden_layers
    reorder_and_upcast_attn tokenizer_class attn_implementation _attn_implementation
    num_return_sequences apply_spec_augment use_weighted_layer_sum
"""
_IDLE = re.compile(  # of these, as they are formed; linear attention is in no problem
    r"\w+_token_(id|index)|(\w+_)?(dropout|layerdrop)(_\w+)?|\w+_pdrop|\w+_norm_eps(ilon)?"
    r"|(rope|summary|initializer|gradient_checkpointing)(_\w+)?"
    r"|output_(attentions|hidden_states|router_logits)|linear_\w+"
)
_KEYS: Mapping[str, str] = {
    **CAPS,
    "index_topk": "the keys that an indexer picks for each query (DSA): all are seen here",
    "swiglu_limit": "the clamp of the gated activation",
    "alibi": "the linear biases of the scores (ALiBi)",
    "use_qk_norm": "the norm of queries and keys",
    "no_rope_layers": "layers without rotary positions: all have them here",
    "no_rope_layer_interval": "layers without rotary positions: all have them here",
    "mlp_bias": "the biases of the feed-forward layer",
    "partial_rotary_factor": "the words of a head that are not turned: all are here",
    "rotary_pct": "the words of a head that are not turned: all are here",
    "num_nextn_predict_layers": "the layers that predict further tokens",
    "word_embed_proj_dim": "the projections between the embedding's width and the model's",
    "projection_dim": "the projection behind the last layer",
    "scoring_func": "the router's own function: its weights are a softmax here",
    "vision_config": "the vision part of the model",
    "audio_config": "the audio part of the model",
    "text_config": "the text part of the model",
}
_PLAIN = {"scoring_func": "softmax", "rotary_pct": 1, "partial_rotary_factor": 1}  # as it is here


def dropped_parts(
    outer: Section, config: Section, family: Family, stack: Stack, stored: Mapping[str, str]
) -> tuple[str, ...]:
    """Parts that are not in the problem of a model's part, a line each.

    outer: the whole file; config: the section of the part, which may be the same.
    stored: the formats of weights that are in the problem.
    """
    lacking = (one(config) if callable(one) else one for one in family.lacks)
    found, known = [*filter(None, lacking)], {*_KNOWN.split(), *dict(stack.values())}
    for section in (config,) if outer is config else (outer, config):
        for key, value in section.items():
            if value != config and key not in known and _says_something(str(key), value):
                found += _words(key, value, stored)
    return tuple(dict.fromkeys(found))


def _says_something(key: str, value: object) -> bool:
    """True of a key that changes a count, and has a value that does."""
    off = value is None or value is False or value in (0, "", [], {}, _PLAIN.get(key))
    return not off and not _IDLE.fullmatch(key)


def _words(key: str, value: object, stored: Mapping[str, str]) -> list[str]:
    """The line of a key that is not in the problem, or what of it is not."""
    if key == "quantization_config":
        said = value if isinstance(value, Mapping) else {}
        if not stored:
            method = said.get("quant_method") or "a format of their own"
            return [f"{key}: weights in {method}; --bits sets it"]
        block, scheme = said.get("weight_block_size"), said.get("activation_scheme")
        lacks = [f"a scale for each {' x '.join(map(str, block))} weights"] if block else []
        lacks += [f"activations in the weights' format, scaled {scheme}"] if scheme else []
        return [f"{key}: {line}" for line in lacks]
    if key in _KEYS:
        return [f"{key}: {_KEYS[key]}"]
    shown = value if isinstance(value, bool | int | float | str) else "a section"
    return [f"{key} ({shown}): unknown here, and not in the problem"]
