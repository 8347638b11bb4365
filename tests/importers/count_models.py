"""Counts of four released models by the libraries torch and transformers, without their weights.

    python tests/importers/count_models.py > tests/data/graphs/released.json

Parameters are those of the modules, multiply-accumulates those of torch's counter over a prompt of
128 positions, values of keys and values those of the library's own cache. Sizes are those of the
released configurations.
"""

from __future__ import annotations

import json
from typing import Any

POSITIONS = 128


def counted(model: Any) -> dict[str, int]:
    """The counts of one model, which lies on torch's device without data."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model.set_attn_implementation("eager")  # the counter does not see into a fused one
    if model.config.model_type == "mixtral":
        model.set_experts_implementation("batched_mm")  # a product of each token's own experts
    model.eval()
    ids = torch.zeros((1, POSITIONS), dtype=torch.long, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        found = model(ids)
    cache = getattr(found, "past_key_values", None)
    layers = cache.layers if cache is not None else []
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "macs": counter.get_total_flops() // 2,
        "kv_values": sum(layer.keys.numel() + layer.values.numel() for layer in layers),
    }


def released() -> dict[str, dict[str, int]]:
    """Counts by the names of the shipped problems."""
    import torch
    import transformers as tf

    wide = {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    }
    with torch.device("meta"):
        models = {
            "gpt2": tf.GPT2LMHeadModel(tf.GPT2Config()),
            "bert-base": tf.BertModel(tf.BertConfig()),
            "llama3-8b": tf.LlamaForCausalLM(tf.LlamaConfig(vocab_size=128256, **wide)),
            "mixtral-8x7b": tf.MixtralForCausalLM(tf.MixtralConfig(vocab_size=32000, **wide)),
        }
    return {name: counted(model) for name, model in models.items()}


if __name__ == "__main__":
    print(json.dumps(released(), indent=1))
