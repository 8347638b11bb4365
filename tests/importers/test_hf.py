"""Configurations of Hugging Face models as problems. The fixtures have the keys such files have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_hf_families import DEEPSEEK, FAMILIES, GLM4, GPT_OSS, LLAMA4, OLMO2, QWEN3_NEXT, SMOLLM3

from flat_mapper.api import calls as api
from flat_mapper.base.errors import SpecError
from flat_mapper.cli.main import main
from flat_mapper.importers.hf import load_config, problem_text
from flat_mapper.importers.hf_families import ARCHITECTURES
from flat_mapper.workload.mask import Mask
from flat_mapper.workload.reader import load_workload

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_hidden_layers": 32,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-05,
    "torch_dtype": "bfloat16",
    "vocab_size": 128256,
}
MISTRAL = {**LLAMA, "model_type": "mistral", "sliding_window": 4096, "vocab_size": 32000}
QWEN2 = {
    **LLAMA,
    **{"model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944},
    **{"num_attention_heads": 28, "num_key_value_heads": 4, "num_hidden_layers": 28},
    **{"use_sliding_window": False, "sliding_window": 131072},
}
QWEN3 = {
    **LLAMA,
    **{"model_type": "qwen3", "hidden_size": 2560, "intermediate_size": 9728, "head_dim": 128},
    **{"num_hidden_layers": 36, "num_key_value_heads": 8},
}
GEMMA = {
    **{"model_type": "gemma", "hidden_size": 2048, "intermediate_size": 16384, "head_dim": 256},
    **{"num_attention_heads": 8, "num_key_value_heads": 1, "num_hidden_layers": 18},
}
GEMMA2 = {**GEMMA, "model_type": "gemma2", "num_key_value_heads": 4, "sliding_window": 4096}
GEMMA3 = {
    "model_type": "gemma3",
    "text_config": {
        **{"model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240},
        **{"num_hidden_layers": 34, "sliding_window": 1024},
    },
    "vision_config": {"model_type": "siglip_vision_model", "hidden_size": 1152},
}
GPT2 = {"model_type": "gpt2", "n_embd": 768, "n_head": 12, "n_layer": 12, "n_inner": None}
BERT = {
    **{"model_type": "bert", "hidden_size": 768, "intermediate_size": 3072},
    **{"num_attention_heads": 12, "num_hidden_layers": 12, "max_position_embeddings": 512},
}
VIT = {
    **{"model_type": "vit", "hidden_size": 768, "intermediate_size": 3072, "image_size": 224},
    **{"num_attention_heads": 12, "num_hidden_layers": 12, "patch_size": 16},
}
T5 = {
    **{"model_type": "t5", "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_heads": 8},
    **{"num_layers": 6, "n_positions": 512, "feed_forward_proj": "relu"},
}
WHISPER = {
    **{"model_type": "whisper", "d_model": 1280, "encoder_layers": 32, "decoder_layers": 32},
    **{"encoder_attention_heads": 20, "decoder_attention_heads": 20},
    **{"encoder_ffn_dim": 5120, "decoder_ffn_dim": 5120},
    **{"max_source_positions": 1500, "max_target_positions": 448},
}


def written(tmp_path: Path, config: object, name: str = "config.json") -> Path:
    path = tmp_path / name
    path.write_text(json.dumps(config))
    return path


# What each becomes: (layers, heads, heads of keys, width of a head, D, FF, P, M).
MODELS = [
    (LLAMA, "", (32, 32, 8, 128, 4096, 14336, 4096, 4096)),
    (MISTRAL, "", (32, 32, 8, 128, 4096, 14336, 4096, 4096)),
    (QWEN2, "", (28, 28, 4, 128, 3584, 18944, 4096, 4096)),
    (QWEN3, "", (36, 32, 8, 128, 2560, 9728, 4096, 4096)),
    (GEMMA, "", (18, 8, 1, 256, 2048, 16384, 4096, 4096)),
    (GEMMA2, "", (18, 8, 4, 256, 2048, 16384, 4096, 4096)),
    (GEMMA3, "decoder", (5, 8, 4, 256, 2560, 10240, 4096, 4096)),
    (GPT2, "", (12, 12, 12, 64, 768, 3072, 1024, 1024)),
    (BERT, "", (12, 12, 12, 64, 768, 3072, 512, 512)),
    (VIT, "", (12, 12, 12, 64, 768, 3072, 197, 197)),
    (T5, "", (6, 8, 8, 64, 512, 2048, 512, 512)),
    (T5, "cross", (6, 8, 8, 64, 512, 2048, 512, 512)),
    (WHISPER, "", (32, 20, 20, 64, 1280, 5120, 1500, 1500)),
    (WHISPER, "decoder", (32, 20, 20, 64, 1280, 5120, 448, 448)),
    (WHISPER, "cross", (32, 20, 20, 64, 1280, 5120, 448, 1500)),
]


@pytest.mark.parametrize(("config", "part", "shape"), MODELS)
def test_a_configuration_becomes_its_problem(tmp_path: Path, config, part, shape):
    model = load_config(written(tmp_path, config), part)
    text = problem_text(model, "mine", "config.json")
    workload = load_workload(text, "model", layers="causal" if len(model.kinds) > 1 else "")
    sizes = workload.rank_sizes
    kv_heads = sizes.get("G", sizes["H"])
    heads = sizes["H"] * sizes.get("G", 1)
    found = (workload.repeat, heads, kv_heads, sizes["E"], sizes["D"], sizes["FF"])
    assert (*found, sizes["P"], sizes["M"]) == shape
    gated = config["model_type"] not in ("gpt2", "bert", "vit", "t5", "whisper")
    assert ("GATE" in workload.producers) == gated


def test_every_family_is_tried():
    tried = {config["model_type"] for config, _, _ in MODELS}
    tried |= {config["model_type"] for config in FAMILIES}
    assert set(ARCHITECTURES) - tried == {"roberta", "gemma3_text"}  # as bert, as inside gemma3


@pytest.mark.parametrize(
    ("config", "preset"),
    [(LLAMA, "llama3-8b"), (QWEN2, "qwen25-7b"), (GPT2, "gpt2"), (WHISPER, "whisper-large")],
)
def test_presets_say_the_same(tmp_path: Path, config, preset: str):
    text = problem_text(load_config(written(tmp_path, config)), "mine", "config.json")
    ours, theirs = load_workload(text, "model"), api.load_problem(preset, scope="model")
    assert dict(ours.rank_sizes) == dict(theirs.rank_sizes)
    assert (ours.einsums, ours.repeat) == (theirs.einsums, theirs.repeat)


def test_details_of_a_file(tmp_path: Path):
    gated = {**T5, "feed_forward_proj": "gated-gelu", "num_decoder_layers": 8}
    assert load_config(written(tmp_path, gated)).gated
    assert load_config(written(tmp_path, gated), "decoder").layers == 8
    eight = {**LLAMA, "torch_dtype": "float8_e4m3fn"}
    assert load_config(written(tmp_path, eight)).word_bits == 8
    for config, window in ((MISTRAL, 4096), (QWEN2, None), (LLAMA, None)):
        model = load_config(written(tmp_path, config))
        for length, cut in ((4096, None), (8192, window)):
            text = problem_text(model, "mine", "config.json", length=length)
            assert load_workload(text).mask == Mask(causal=True, window=cut)
    text = problem_text(load_config(written(tmp_path, BERT)), "b", "c", batch=8, length=128)
    assert {"    B: 8", "    P: 128", "    M: P"} <= set(text.splitlines())


REFUSED = [
    ({**LLAMA, "model_type": "mixed"}, "", "model_type: expected one of bert, .*got 'mixed'"),
    ({**LLAMA, "model_type": "lama"}, "", "got 'lama'; did you mean 'llama'"),
    ({"hidden_size": 4096}, "", r"config\.json: expected the key 'model_type'"),
    (
        {**LLAMA, "num_local_experts": 8},
        "",
        "how many experts a token goes to",
    ),
    ({**LLAMA, "hidden_size": "4096"}, "", r"hidden_size: expected int > 0, got '4096'"),
    ({**LLAMA, "num_hidden_layers": 0}, "", r"num_hidden_layers: expected int > 0, .*got 0"),
    ({**LLAMA, "num_hidden_layers": 10**9}, "", "num_hidden_layers: expected .* 1 to 10000, got"),
    ({**LLAMA, "hidden_size": 4100}, "", "hidden_size: expected a multiple of the 32 heads"),
    ({**VIT, "image_size": 225}, "", "image_size: expected a multiple of patch_size 16, got 225"),
    ({"model_type": "gemma3"}, "", "expected the key 'text_config'"),
    (LLAMA, "encoder", "part: expected one of decoder of llama, got 'encoder'"),
    (WHISPER, "crss", "part: expected one of encoder, decoder, cross of whisper, got 'crss'"),
    ([1, 2], "", r"config\.json: expected a mapping"),
]


@pytest.mark.parametrize(("config", "part", "message"), REFUSED)
def test_what_is_not_read_is_refused(tmp_path: Path, config, part: str, message: str):
    with pytest.raises(SpecError, match=message):
        load_config(written(tmp_path, config), part)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = written(tmp_path, LLAMA)
    target = tmp_path / "mine.yaml"
    assert main(["import", str(path), "--batch", "4", "-o", str(target)]) == 0
    assert f"{target}: written" in capsys.readouterr().out
    assert load_workload(target).rank_sizes["B"] == 4
    assert main(["check", str(target)]) == 0
    for name in ("llama-3.1-8b.yaml", "3.1.yaml", "null.yaml", "v1.5"):
        dotted = tmp_path / name
        assert main(["import", str(path), "-o", str(dotted)]) == 0
        assert load_workload(dotted).name == name.removesuffix(".yaml")
    capsys.readouterr()
    assert main(["import", str(path), "--seq", "128"]) == 0
    assert "    P: 128" in capsys.readouterr().out
    assert main(["import", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kv_heads"] == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.json"], "nowhere.json"),
        (["{}", "--seq", "0"], "--seq: expected int > 0, got 0"),
        (["{}", "--batch", "x"], "--batch: expected int > 0, got 'x'"),
        (["{}", "-o", "my model.yaml"], "-o: expected a file name of letters"),
    ],
)
def test_the_command_refuses(tmp_path: Path, capsys, arguments: list[str], message: str):
    path = written(tmp_path, LLAMA)
    assert main(["import", *[a.format(path) if a == "{}" else a for a in arguments]]) == 2
    assert message in capsys.readouterr().err


DROPPED = [
    ({**LLAMA, "rope_theta": 5e5, "use_cache": True, "pretraining_tp": 1}, []),
    (GPT2, []),
    (BERT, []),
    ({**LLAMA, "quantization_config": {"quant_method": "fp8"}}, []),
    ({**LLAMA, "quantization_config": {"quant_method": "gptq"}}, ["weights in gptq"]),
    (
        {
            **DEEPSEEK,
            "quantization_config": {
                **{"quant_method": "fp8", "activation_scheme": "dynamic"},
                "weight_block_size": [128, 128],
            },
        },
        ["a scale for each 128 x 128 weights", "activations in the weights' format"],
    ),
    (QWEN3_NEXT, ["36 of 48 layers of linear attention", "gates", "partial_rotary_factor"]),
    (OLMO2, ["norm of queries and keys over all heads"]),
    (GLM4, ["partial_rotary_factor"]),
    (SMOLLM3, ["no_rope_layer_interval"]),
    ({**LLAMA, "attention_multiplier_of_mine": 0.5}, ["attention_multiplier_of_mine (0.5)"]),
    ({**LLAMA, "a_part": {"layers": 3}, "nothing": None}, ["a_part (a section)"]),
    (GEMMA2, ["attn_logit_softcapping", "final_logit_softcapping"]),
    (GEMMA3, ["vision_config"]),
    ({**T5, "relative_attention_num_buckets": 32}, ["relative positions"]),
    ({**GPT_OSS, "quantization_config": {"quant_method": "mxfp4"}}, ["sinks"]),
    (
        {**DEEPSEEK, "v_head_dim": 64, "num_nextn_predict_layers": 1},
        ["without experts", "router's bias", "v_head_dim", "num_nextn_predict_layers"],
    ),
    (LLAMA4, ["attention_chunk_size", "use_qk_norm", "no_rope_layers"]),
]


@pytest.mark.parametrize(
    ("config", "named"), DROPPED, ids=[f"{c['model_type']}-{i}" for i, (c, _) in enumerate(DROPPED)]
)
def test_what_an_import_drops_is_named(
    tmp_path: Path, config: dict[str, object], named: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """On the way, in the JSON, in the file, and by who reads the file."""
    (tmp_path / "config.json").write_text(json.dumps(config))
    words = ["import", str(tmp_path / "config.json"), "-o", str(tmp_path / "p.yaml")]
    assert main([*words, "--json"]) == 0
    dropped = json.loads(capsys.readouterr().out)["dropped"]
    assert main(words) == 0
    said = capsys.readouterr().out
    for word in named:
        assert any(word in line for line in dropped), (word, dropped)
    if not named:
        assert dropped == []
    assert [f"dropped: {line}" for line in dropped] == said.splitlines()[:-1]
    assert list(load_workload(tmp_path / "p.yaml").dropped) == dropped


def test_an_answer_and_its_record_name_what_an_import_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.yaml").write_text(
        "problem: {ranks: {B: 1, H: 2, P: 4, M: P, E: 4, F: 4}, dropped: [sinks], attention: {}}"
    )
    problem = ("--problem", str(tmp_path / "p.yaml"))
    assert main(["map", "--arch", "edge", *problem, "-o", str(tmp_path / "out")]) == 0
    assert "not in the problem: sinks" in capsys.readouterr().out
    assert main(["evaluate", str(tmp_path / "out" / "fused-mapping.yaml")]) == 0
    assert "not in the problem: sinks" in capsys.readouterr().out
