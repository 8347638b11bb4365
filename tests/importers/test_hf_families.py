"""import over families of models: parameters and MACs of the released configurations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flat_mapper.base.errors import SpecError
from flat_mapper.importers.hf import load_config, problem_text
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

FAMILIES = (MIXTRAL, PHI3, NEOX, FALCON, OPT, DISTILBERT, GPT_OSS, DEEPSEEK, LLAMA4, CLIP)


def _text(tmp_path: Path, config: dict[str, object], part: str = "", **chosen: object) -> str:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return problem_text(load_config(path, part), "mine", "config.json", **chosen)


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
    ],
    ids=lambda value: value["model_type"] if isinstance(value, dict) else "",
)
def test_parameters_are_those_of_the_released_model(tmp_path, config, parameters):
    assert _parameters(_text(tmp_path, config)) == parameters


def test_macs_of_a_mixture_with_latent_attention(tmp_path):
    """One of DeepSeek-V3's 58 layers with experts, by hand; 64 positions."""
    text = _text(tmp_path, DEEPSEEK, length=64)
    assert "# The other 3 layers have no experts: they are not in it." in text
    layers = load_workload(text, "model")
    assert layers.repeat == 58
    made = 7168 * 1536 + 1536 * 128 * 192 + 7168 * 576 + 512 * 128 * 256 + 128 * 128 * 7168
    experts = 9 * 3 * 7168 * 2048 + 7168 * 256
    pairs = 128 * 64 * 64 * (192 + 128)
    assert totals(layers)["macs"] == 64 * (made + experts) + pairs
    core = load_workload(text)
    assert [e.name for e in core.einsums][:5] == ["K", "V", "QKE", "QKR", "QK"]
    assert "WDKV" not in core.tensor_ranks


def test_layers_of_gpt_oss_alternate(tmp_path):
    text = _text(tmp_path, GPT_OSS, length=1024, layers="window")
    window = load_workload(text, "layer")
    assert (window.mask.window, window.mask.causal) == (128, True)
    assert "experts: {count: 32, per_token: 4}" in text
    assert window.rank_sizes["T"] == 1024 * 4 // 32
    products = 1024 * 2880 * (64 + 2 * 8) * 64 + 1024 * 64 * 64 * 2880 + 2 * 64 * 1024 * 1024 * 64
    assert totals(window)["macs"] == products + 1024 * 2880 * (4 * 3 * 2880 + 32)


def test_llama4_has_a_shared_expert_and_chunks(tmp_path):
    text = _text(tmp_path, LLAMA4, length=4096)
    assert "experts: {count: 16, per_token: 1, shared: 1}" in text
    assert str(load_workload(text, "layer").mask) == "causal"
    with pytest.raises(SpecError, match="at most the 8192 positions of a chunk"):
        _text(tmp_path, LLAMA4, length=16384)


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


def test_a_model_without_attention_is_refused(tmp_path):
    with pytest.raises(SpecError, match=r"expected a model of attention layers, got 'mamba'"):
        _text(tmp_path, {"model_type": "mamba", "hidden_size": 768})
