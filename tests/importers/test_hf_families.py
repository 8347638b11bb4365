"""import over families of models: parameters and MACs of the released configurations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import flat_mapper as fm
from flat_mapper.base.errors import SpecError
from flat_mapper.importers.hf import load_config, problem_text
from flat_mapper.spec.yamlio import load_text
from flat_mapper.workload.layers import totals
from flat_mapper.workload.reader import load_workload

# Sizes from the released config.json of each model; other keys do not matter here.
LLAMA = {"num_hidden_layers": 32, "num_attention_heads": 32, "hidden_size": 4096}
MIXTRAL = LLAMA | {
    **{"model_type": "mixtral", "intermediate_size": 14336, "num_key_value_heads": 8},
    **{"num_local_experts": 8, "num_experts_per_tok": 2, "vocab_size": 32000},
    "sliding_window": None,
}
PHI3 = {
    **{"model_type": "phi3", "num_hidden_layers": 32, "num_attention_heads": 32},
    **{"hidden_size": 3072, "intermediate_size": 8192, "num_key_value_heads": 32},
    **{"vocab_size": 32064, "sliding_window": 2047, "hidden_act": "silu"},
}
NEOX = {
    **{"model_type": "gpt_neox", "num_hidden_layers": 44, "num_attention_heads": 64},
    **{"hidden_size": 6144, "intermediate_size": 24576, "vocab_size": 50432},
    "hidden_act": "gelu_fast",
}
FALCON = {
    **{"model_type": "falcon", "num_hidden_layers": 32, "num_attention_heads": 71},
    **{"hidden_size": 4544, "vocab_size": 65024, "multi_query": True, "parallel_attn": True},
}
OPT = {
    **{"model_type": "opt", "num_hidden_layers": 12, "num_attention_heads": 12, "ffn_dim": 3072},
    **{"hidden_size": 768, "vocab_size": 50272, "max_position_embeddings": 2048},
    "activation_function": "relu",
}
DISTILBERT = {
    **{"model_type": "distilbert", "n_layers": 6, "n_heads": 12, "dim": 768, "hidden_dim": 3072},
    **{"vocab_size": 30522, "activation": "gelu"},
}
GPT_OSS = {
    **{"model_type": "gpt_oss", "num_hidden_layers": 24, "num_attention_heads": 64},
    **{"hidden_size": 2880, "intermediate_size": 2880, "num_key_value_heads": 8, "head_dim": 64},
    **{"num_local_experts": 32, "num_experts_per_tok": 4, "vocab_size": 201088},
    **{"sliding_window": 128, "attention_bias": True},
    "layer_types": ["sliding_attention", "full_attention"] * 12,
}
DEEPSEEK = {
    **{"model_type": "deepseek_v3", "num_hidden_layers": 61, "num_attention_heads": 128},
    **{"hidden_size": 7168, "moe_intermediate_size": 2048, "qk_nope_head_dim": 128},
    **{"v_head_dim": 128, "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_rope_head_dim": 64},
    **{"n_routed_experts": 256, "num_experts_per_tok": 8, "n_shared_experts": 1},
    **{"first_k_dense_replace": 3, "vocab_size": 129280, "hidden_act": "silu"},
    "intermediate_size": 18432,
}
DEEPSEEK2 = {
    **DEEPSEEK,
    **{"model_type": "deepseek_v2", "num_hidden_layers": 60, "hidden_size": 5120},
    **{"moe_intermediate_size": 1536, "n_routed_experts": 160, "n_shared_experts": 2},
    **{"num_experts_per_tok": 6, "first_k_dense_replace": 1, "intermediate_size": 12288},
}
KIMI = {**DEEPSEEK, "model_type": "kimi_k2", "num_attention_heads": 64, "n_routed_experts": 384}
GRANITE = {
    **{"model_type": "granite", "hidden_size": 4096, "intermediate_size": 12800},
    **{"num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 40},
    **{"embedding_multiplier": 12.0, "logits_scaling": 16.0, "vocab_size": 49155},
}
MODERNBERT = {
    **{"model_type": "modernbert", "hidden_size": 768, "intermediate_size": 1152},
    **{"num_attention_heads": 12, "num_hidden_layers": 22, "local_attention": 128},
    **{"global_attn_every_n_layers": 3, "vocab_size": 50368},
}
SIGLIP = {
    "model_type": "siglip",
    "text_config": {"model_type": "siglip_text_model", "hidden_size": 1152},
    "vision_config": {
        **{"hidden_size": 1152, "intermediate_size": 4304, "num_attention_heads": 16},
        **{"num_hidden_layers": 27, "image_size": 384, "patch_size": 14},
    },
}
LLAMA4 = {
    "model_type": "llama4",
    "text_config": {
        **{"num_hidden_layers": 48, "num_attention_heads": 40, "num_key_value_heads": 8},
        **{"hidden_size": 5120, "intermediate_size": 8192, "num_local_experts": 16},
        **{"num_experts_per_tok": 1, "interleave_moe_layer_step": 1, "vocab_size": 202048},
        "attention_chunk_size": 8192,
    },
}
CLIP = {
    "model_type": "clip",
    "text_config": {
        **{"num_hidden_layers": 12, "num_attention_heads": 8, "hidden_size": 512},
        **{"intermediate_size": 2048, "hidden_act": "quick_gelu"},
    },
    "vision_config": {
        **{"num_hidden_layers": 12, "num_attention_heads": 12, "hidden_size": 768},
        **{"intermediate_size": 3072, "image_size": 224, "patch_size": 32},
    },
}

QWEN3_MOE = {
    **{"model_type": "qwen3_moe", "num_hidden_layers": 48, "num_attention_heads": 32},
    **{"hidden_size": 2048, "head_dim": 128, "moe_intermediate_size": 768, "vocab_size": 151936},
}
QWEN3_NEXT = {
    **{"model_type": "qwen3_next", "num_hidden_layers": 48, "num_attention_heads": 16},
    **{"hidden_size": 2048, "full_attention_interval": 4, "linear_num_value_heads": 32},
}
OLMO2 = LLAMA | {"model_type": "olmo2", "intermediate_size": 11008, "vocab_size": 100352}
GLM4 = LLAMA | {
    **{"model_type": "glm4", "num_hidden_layers": 40, "intermediate_size": 13696},
    "vocab_size": 151552,
}
SMOLLM3 = {
    **{"model_type": "smollm3", "num_hidden_layers": 36, "num_attention_heads": 16},
    **{"hidden_size": 2048, "intermediate_size": 11008, "vocab_size": 128256},
}

FAMILIES = (
    *(MIXTRAL, PHI3, NEOX, FALCON, OPT, DISTILBERT, GPT_OSS, DEEPSEEK, LLAMA4, CLIP),
    *(QWEN3_MOE, QWEN3_NEXT, OLMO2, GLM4, SMOLLM3),
    *(DEEPSEEK2, KIMI, GRANITE, MODERNBERT, SIGLIP),
)


def _text(tmp_path: Path, config: dict[str, object], part: str = "", **chosen: object) -> str:
    model = load_config(_written(tmp_path, config), part)
    return problem_text(model, "mine", "config.json", **chosen)


def _written(tmp_path: Path, config: dict[str, object]) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def _problem(text: str) -> dict[str, Any]:
    problem: dict[str, Any] = load_text(text, "mine")["problem"]
    return problem


def _parameters(text: str) -> int:
    layers, once = load_workload(text, "model"), load_workload(text, "vocabulary")
    return totals(layers)["parameters"] * layers.repeat + totals(once)["parameters"]


@pytest.mark.parametrize(
    ("config", "parameters"),
    [  # as transformers counts the released checkpoints
        (MIXTRAL, 46_702_792_704),
        (PHI3, 3_821_079_552),
        (NEOX, 20_554_567_680),
        (FALCON, 6_921_720_704),
        (OPT, 125_239_296),
        (DISTILBERT, 66_362_880),
        (QWEN3_MOE, 30_532_122_624),
        (OLMO2, 7_298_617_344 - 32 * 2 * 31 * 128),  # one weight of q and k norms for all heads
        (GLM4, 9_400_279_040),
        (SMOLLM3, 3_075_098_624),
    ],
    ids=lambda value: value["model_type"] if isinstance(value, dict) else "",
)
def test_parameters_are_those_of_the_released_model(tmp_path, config, parameters):
    assert _parameters(_text(tmp_path, config)) == parameters


def test_macs_of_a_mixture_with_latent_attention(tmp_path):
    """One of DeepSeek-V3's 58 layers with experts, by hand; 64 positions."""
    text = _text(tmp_path, DEEPSEEK, length=64)
    dense = "3 of 61 layers without experts, 4.9% of the MACs of all layers"
    assert dense in _problem(text)["dropped"]
    layers = load_workload(text, "model")
    assert layers.repeat == 58
    made = 7168 * 1536 + 1536 * 128 * 192 + 7168 * 576 + 512 * 128 * 256 + 128 * 128 * 7168
    experts = 9 * 3 * 7168 * 2048 + 7168 * 256
    pairs = 128 * 64 * 64 * (192 + 128)
    assert totals(layers)["macs"] == 64 * (made + experts) + pairs
    core = load_workload(text)
    assert [e.name for e in core.einsums][:5] == ["K", "V", "QKE", "QKR", "QK"]
    assert "WDKV" not in core.tensor_ranks


@pytest.mark.parametrize(
    ("config", "macs"),
    [
        (KIMI, 480 * (7168 * 1536 + 1536 * 64 * 192 + 7168 * 576 + 512 * 64 * 256 + 64 * 128 * 7168
                     + 9 * 3 * 7168 * 2048 + 7168 * 384) + 64 * 480 * 480 * 320),
        (DEEPSEEK2, 480 * (5120 * 1536 + 1536 * 128 * 192 + 5120 * 576 + 512 * 128 * 256
                          + 128 * 128 * 5120 + 8 * 3 * 5120 * 1536 + 5120 * 160)
         + 128 * 480 * 480 * 320),
        (GRANITE, 480 * (4096 * 48 * 128 + 4096 * 4096 + 3 * 4096 * 12800) + 2 * 32 * 480**2 * 128),
        (MODERNBERT, 480 * (4 * 768**2 + 3 * 768 * 1152) + 2 * 12 * 480**2 * 64),
    ],
    ids=lambda one: one["model_type"] if isinstance(one, dict) else "",
)  # fmt: skip
def test_macs_of_families_that_have_the_form_of_others(tmp_path, config, macs):
    assert totals(load_workload(_text(tmp_path, config, length=480), "layer"))["macs"] == macs


def test_local_layers_of_modernbert_see_half_of_the_window_on_either_side(tmp_path):
    kinds = load_config(_written(tmp_path, MODERNBERT)).kinds
    assert {(k.count, k.mask.window if k.mask else None) for k in kinds} == {(8, None), (14, 65)}


def test_siglip_has_whole_patches_and_no_class_token(tmp_path):
    assert load_config(_written(tmp_path, SIGLIP)).positions == 27**2


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (
            "deepseek_v32",
            r"sparse attention, .* \(DSA\), is not modelled; model_type: deepseek_v3",
        ),
        ("minimax_text_01", r"seven of eight layers are linear attention, .* model_type: mixtral"),
        ("qwen2_5_vl", r"got 'qwen2_5_vl'$"),
    ],
)
def test_another_version_is_another_model(tmp_path, kind, words):
    with pytest.raises(SpecError, match=words) as error:
        load_config(_written(tmp_path, {**DEEPSEEK, "model_type": kind}))
    assert "did you mean" not in str(error.value)


def test_an_answer_says_in_its_first_line_which_layers_it_lacks(tmp_path):
    small = {"num_hidden_layers": 4, "num_attention_heads": 2, "hidden_size": 64, "vocab_size": 100}
    config = {**QWEN3_NEXT, **small, "num_key_value_heads": 1, "head_dim": 8, "num_experts": 4}
    config |= {"num_experts_per_tok": 1, "moe_intermediate_size": 16}
    text = _text(tmp_path, config | {"shared_expert_intermediate_size": 16}, length=8)
    found = str(fm.search(text, "edge", "any", scope="model", gap=0.5))
    assert "on edge, without 3 of 4 layers of linear attention, edp" in found.splitlines()[0]
    workload = fm.load_problem(text, scope="model")
    share = 8 * 64 * 100 / (8 * 64 * 100 + workload.macs)
    assert f"LOGITS, {share:.1%} of all MACs; --scope vocabulary has them" in found


def test_layers_of_gpt_oss_alternate(tmp_path):
    text = _text(tmp_path, GPT_OSS, length=1024, layers="window")
    window = load_workload(text, "layer")
    assert (window.mask.window, window.mask.causal) == (128, True)
    assert _problem(text)["layer"]["experts"] == {"count": 32, "per_token": 4}
    assert window.rank_sizes["T"] == 1024 * 4 // 32
    products = 1024 * 2880 * (64 + 2 * 8) * 64 + 1024 * 64 * 64 * 2880 + 2 * 64 * 1024 * 1024 * 64
    assert totals(window)["macs"] == products + 1024 * 2880 * (4 * 3 * 2880 + 32)


def test_llama4_has_a_shared_expert_and_chunks(tmp_path):
    text = _text(tmp_path, LLAMA4, length=16384)
    experts = {"count": 16, "per_token": 1, "shared": 1}
    assert _problem(text)["layer"]["experts"] == experts
    layer = load_workload(text, "layer")
    assert str(layer.mask) == "causal"
    assert "attention_chunk_size: up to 8192 positions as it is; beyond" in layer.dropped[0]
    listed = {"layer_types": ["chunked_attention", "full_attention"] * 24}
    config = {**LLAMA4, "text_config": {**LLAMA4["text_config"], **listed}}
    assert load_workload(_text(tmp_path, config), "model").repeat == 48


def test_layers_of_attention_alone_are_imported(tmp_path):
    """Of Qwen3-Next every fourth; its projections, one of 512 experts and a shared one, by hand."""
    text = _text(tmp_path, QWEN3_NEXT, length=512)
    assert "36 of 48 layers of linear attention" in _problem(text)["dropped"]
    model = load_workload(text, "model")
    assert (model.repeat, model.rank_sizes["G"], model.rank_sizes["E"]) == (12, 2, 256)
    projected = 2048 * (16 + 2 * 2 + 16) * 256
    experts = (10 + 1) * 3 * 2048 * 512 + 2048 * 512
    assert totals(model)["macs"] == 512 * (projected + experts) + 2 * 16 * 512**2 * 256
    listed = {**QWEN3_NEXT, "layer_types": ["linear_attention"] * 47 + ["full_attention"]}
    assert load_workload(_text(tmp_path, listed), "model").repeat == 1
    sparse = {**QWEN3_MOE, "decoder_sparse_step": 2, "mlp_only_layers": [1, 2]}
    assert load_workload(_text(tmp_path, sparse), "model").repeat == 23
    with pytest.raises(SpecError, match=r"expected layers of attention, .* got 'none'"):
        _text(tmp_path, {**QWEN3_NEXT, "full_attention_interval": 49})


def test_norms_behind_a_sublayer(tmp_path):
    layer = load_workload(_text(tmp_path, OLMO2), "layer")
    assert "X" in {a.tensor for a in layer.einsum("Q_in").inputs}
    assert {a.tensor for a in layer.einsum("R1").inputs} == {"M1", "X"}


def test_smollm3_may_have_a_window_where_nothing_is_turned(tmp_path):
    config = {**SMOLLM3, "use_sliding_window": True, "sliding_window": 512}
    kinds = load_workload(_text(tmp_path, config), "model").layers
    assert [(k.count, k.mask.window) for k in kinds] == [(27, None), (9, 512)]


@pytest.mark.parametrize(
    ("config", "said", "bits"),
    [
        (GPT_OSS, {"quant_method": "mxfp4"}, {"WQ": 16, "W1X": 4.25, "W2X": 4.25, "W3X": 4.25}),
        (DEEPSEEK, {"quant_method": "fp8"}, {"WDQ": 8, "WO": 8, "W1X": 8, "W1S": 8, "WR": 16}),
        (
            {**LLAMA, "model_type": "llama", "intermediate_size": 11008},
            {"quant_method": "fp8", "modules_to_not_convert": ["*.self_attn"]},
            {"WQ": 16, "W1": 8, "W2": 8, "W3": 8},
        ),
    ],
    ids=["mxfp4", "fp8", "left out"],
)
def test_weights_have_the_format_of_the_file(tmp_path, config, said, bits):
    """Stored bits, a block's scale in them; activations keep the model's width."""
    text = _text(tmp_path, {**config, "quantization_config": said})
    layer = load_workload(text, "layer")
    assert {tensor: layer.bits(tensor, "DRAM") for tensor in bits} == bits
    assert layer.bits("X", "DRAM") == 16
    assert load_workload(text).bits("Q", "DRAM") == 16


def test_clip_is_two_models(tmp_path):
    picture = load_workload(_text(tmp_path, CLIP), "layer")
    words = load_workload(_text(tmp_path, CLIP, "decoder"), "layer")
    assert (picture.rank_sizes["P"], picture.rank_sizes["D"], picture.mask) == (50, 768, None)
    assert (words.rank_sizes["P"], words.rank_sizes["D"], str(words.mask)) == (77, 512, "causal")


def test_falcon_and_neox_are_parallel(tmp_path):
    falcon = load_workload(_text(tmp_path, FALCON), "layer")
    assert (falcon.rank_sizes["G"], falcon.rank_sizes["H"]) == (1, 71)
    assert {a.tensor for a in falcon.einsum("UP").inputs} == {"N1", "W1"}
    neox = load_workload(_text(tmp_path, NEOX), "layer")
    assert "N2" in {a.tensor for a in neox.einsum("UP_dot").inputs}
    assert "X" in {a.tensor for a in neox.einsum("N2_sum").inputs}


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("mamba", "expected a model of attention layers, got 'mamba'; state-space"),
        ("jamba", "expected a model of attention layers, got 'jamba'; state-space"),
        ("bloom", "model_type: expected one of bert, .*, got 'bloom'"),
    ],
)
def test_other_models_are_refused_with_the_reason(tmp_path, kind, reason):
    with pytest.raises(SpecError, match=reason):
        _text(tmp_path, {"model_type": kind, "hidden_size": 768})
