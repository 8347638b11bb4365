"""Exporter of the small models in tests/data/graphs, with torch and transformers.

    python tests/importers/export_models.py FOLDER

Weights are drawn at random, so that no two are the same tensor, and then left out of the files:
the importer looks at shapes alone. Beside each file's name the libraries' own count of parameters
is printed, and that of multiply-accumulates by torch's counter of floating-point operations.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

KEPT = 512  # words of a constant that stay in the file: masks and angles, biases
WIDTHS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
POSITIONS = 16


def models() -> Iterator[tuple[str, Any, tuple[Any, ...]]]:
    """Each model by name, with an input."""
    import torch
    import transformers as tf

    ids = torch.zeros((1, POSITIONS), dtype=torch.long)
    bert = tf.BertConfig(vocab_size=64, intermediate_size=128, max_position_embeddings=16, **WIDTHS)
    yield "bert", tf.BertModel(bert), (ids,)
    gpt2 = tf.GPT2Config(
        vocab_size=64, n_positions=16, n_embd=32, n_layer=2, n_head=4, use_cache=False
    )
    yield "gpt2", tf.GPT2LMHeadModel(gpt2), (ids,)
    vit = tf.ViTConfig(intermediate_size=128, image_size=32, patch_size=8, **WIDTHS)
    yield "vit", tf.ViTModel(vit), (torch.zeros((1, 3, 32, 32)),)
    llama = tf.LlamaConfig(
        vocab_size=64,
        intermediate_size=96,
        num_key_value_heads=2,
        max_position_embeddings=16,
        use_cache=False,
        **WIDTHS,
    )
    yield "llama", tf.LlamaForCausalLM(llama), (ids,)


def drawn(model: Any) -> None:
    """Draw all weights."""
    import torch

    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    model.eval()


def exported(model: Any, inputs: tuple[Any, ...], target: Path) -> dict[str, int]:
    """Write a model without its weights; what the libraries count of it."""
    import onnx
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    drawn(model)
    model.set_attn_implementation("eager")  # the counter does not see into a fused one
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*inputs)
    model.set_attn_implementation("sdpa" if model.config.model_type == "llama" else "eager")
    torch.onnx.export(model, inputs, str(target), dynamo=True, external_data=False)
    file = onnx.load(str(target))
    for weight in file.graph.initializer:
        words = weight.raw_data
        if len(words) > 4 * KEPT and weight.data_type == onnx.TensorProto.FLOAT:
            weight.ClearField("raw_data")
            weight.data_location = onnx.TensorProto.EXTERNAL
            weight.external_data.add(key="location", value="left_out")
    for node in file.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for part in (*file.graph.value_info, *file.graph.initializer, *file.graph.input, file.graph):
        part.ClearField("metadata_props")
    file.ClearField("metadata_props")
    target.write_bytes(file.SerializeToString())
    parameters = sum(p.numel() for p in model.parameters())
    return {"parameters": parameters, "macs": counter.get_total_flops() // 2}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    counts = {name: exported(m, given, folder / f"{name}.onnx") for name, m, given in models()}
    (folder / "counts.json").write_text(json.dumps(counts, indent=1) + "\n")
