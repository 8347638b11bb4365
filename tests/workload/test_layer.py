"""The whole layer: its Einsums, and the totals of models whose counts are published."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from flat_mapper.base.errors import SpecError
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.layers import Experts, Latent, LayerForm, layer, totals
from flat_mapper.workload.reader import load_workload

PROBLEMS = Path(__file__).parents[2] / "problems"
COUNTS = Path(__file__).parents[1] / "data" / "graphs" / "released.json"
RELEASED = json.loads(COUNTS.read_text(encoding="utf-8"))
SIZES = {"B": 2, "H": 4, "P": 4, "M": 8, "E": 4, "F": 4, "D": 16, "FF": 32}


def _model(name: str, **changes: int) -> dict[str, int]:
    """Totals over all layers and both ends."""
    layers = load_workload(PROBLEMS / f"{name}.yaml", "model", sizes=changes)
    once = load_workload(PROBLEMS / f"{name}.yaml", "vocabulary", sizes=changes)
    found, other = totals(layers), totals(once)
    return {key: n * layers.repeat + other[key] for key, n in found.items()}


def test_parameters_are_those_of_the_released_models():
    # What transformers counts in the released checkpoints; GPT-2's output has the embedding's.
    assert _model("gpt2")["parameters"] == 124_439_808
    assert _model("bert-base")["parameters"] == 109_482_240
    assert _model("llama3-8b")["parameters"] == 8_030_261_248
    assert _model("mixtral-8x7b")["parameters"] == 46_702_792_704


def test_macs_follow_the_configurations():
    """Products of each model by hand, from its sizes: n positions, all of them through the head."""
    n = 1024
    gpt2 = 12 * (n * (4 * 768**2 + 2 * 768 * 3072) + 2 * n * n * 768) + n * 768 * 50257
    assert _model("gpt2")["macs"] == gpt2
    n = 512
    bert = 12 * (n * (4 * 768**2 + 2 * 768 * 3072) + 2 * n * n * 768) + 768 * 768
    assert _model("bert-base", B=1)["macs"] == bert
    n, kv = 4096, 1024
    attention = n * (2 * 4096**2 + 2 * 4096 * kv) + 2 * n * n * 4096
    dense = n * 3 * 4096 * 14336
    assert _model("llama3-8b")["macs"] == 32 * (attention + dense) + n * 4096 * 128256
    mixture = 2 * dense + n * 4096 * 8  # two experts a token, and the router
    assert _model("mixtral-8x7b")["macs"] == 32 * (attention + mixture) + n * 4096 * 32000


@pytest.mark.parametrize("name", RELEASED)
def test_totals_are_what_torch_and_transformers_count(name):
    """Recorded by tests/importers/count_models.py; BERT has no cache, and no keys to come."""
    found, theirs = _model(name, B=1, P=128, M=128), RELEASED[name]
    assert found["parameters"] == theirs["parameters"]
    assert found["macs"] == theirs["macs"]
    if theirs["kv_values"]:
        assert found["kv_bytes"] == 2 * theirs["kv_values"]


def test_bytes_of_keys_and_values():
    """K and V: layers x positions x key-value heads x width x two bytes, twice."""
    assert _model("gpt2")["kv_bytes"] == 12 * 1024 * 12 * 64 * 2 * 2
    assert _model("llama3-8b")["kv_bytes"] == 32 * 4096 * 8 * 128 * 2 * 2
    assert _model("mixtral-8x7b", P=1)["kv_bytes"] == 32 * 1 * 8 * 128 * 2 * 2  # M follows P
    assert _model("llama3-8b", P=1, M=8192)["kv_bytes"] == 32 * 8192 * 8 * 128 * 2 * 2


def test_a_layer_of_llama_is_thirty_einsums():
    whole = load_workload(PROBLEMS / "llama3-8b.yaml", "layer", softmax="online")
    assert len(whole.einsums) == 30
    assert whole.views == {"K": "KN", "V": "VN"}
    (first, *_), last = whole.ordered, whole.ordered[-1]
    assert (first.name, last.name) == ("N1_sq", "R2")
    assert whole.left_out == ("TOK", "NF_sq", "NF_inv", "NF_hat", "NF", "LOGITS")


def test_what_a_scope_leaves_out_is_named():
    products = load_workload(PROBLEMS / "gpt2.yaml", "block")
    assert products.wider == "layer"
    assert {"N1_sum", "Q_dot", "R1", "UP", "R2"} <= set(products.left_out)
    assert load_workload(PROBLEMS / "gpt2.yaml").wider == "block"


@pytest.mark.parametrize(
    ("norm", "norm_at", "positions", "parallel", "cross"),
    [
        *product(
            ("rms", "layer", "none"),
            ("before", "after", "around"),
            ("rotary", "none"),
            (False, True),
            (False, True),
        )
    ],
)
def test_every_form_is_one_connected_cascade(norm, norm_at, positions, parallel, cross):
    form = LayerForm(
        norm=norm,
        norm_at=norm_at,
        positions=positions,
        parallel=parallel,
        cross=cross,
        bias=True,
        qk_norm=norm == "rms",
        two_norms=parallel,
    )
    made = layer(form, **SIZES, kv_heads=2, feed_forward="gated", softmax="online")
    last = made.ordered[-1].name
    dead = {n for n in made.ancestors if n not in (*made.ancestors[last], last)}
    assert dead <= {"KN", "VN"}
    assert not (dead and cross)
    assert bool(made.views) != cross


def test_products_are_those_of_a_block():
    """Norms, positions and sums add no product, and take none away."""
    for softmax in ("row", "online"):
        whole = layer(LayerForm(bias=True), **{**SIZES, "P": 8}, softmax=softmax)
        macs = 8 * 2 * (4 * 16 * 16 + 2 * 16 * 32) + 2 * 2 * 4 * 8 * 8 * 4
        assert totals(whole)["macs"] == macs


def test_routing_is_a_rate():
    form = LayerForm(experts=Experts(count=8, per_token=2, shared=1))
    whole = layer(form, **SIZES, feed_forward="gated")  # 8 tokens, 16 visits
    assert (whole.rank_sizes["AT"], whole.rank_sizes["T"], whole.rank_sizes["FS"]) == (8, 2, 32)
    few = layer(form, **{**SIZES, "B": 1, "P": 1}, feed_forward="gated")
    assert (few.rank_sizes["AT"], few.rank_sizes["T"]) == (2, 1)
    assert totals(few)["parameters"] == totals(whole)["parameters"]
    assert whole.views["FCG"] == "FC2X"
    assert whole.views["XE"] == "N2"


def test_latent_attention_is_that_of_deepseek_v3():
    """Its attention's parameters and cache by hand, from the released config.json."""
    form = LayerForm(norm="rms", latent=Latent(rank=512, rotary=64, queries=1536))
    sizes = {"B": 1, "H": 128, "P": 16, "M": 64, "E": 128, "F": 128, "D": 7168, "FF": 18432}
    whole = layer(form, **sizes, feed_forward="gated", softmax="online")
    queries = 7168 * 1536 + 1536 + 1536 * 128 * (128 + 64)
    keys = 7168 * (512 + 64) + 512 + 512 * 128 * (128 + 128)
    dense = 3 * 7168 * 18432
    found = totals(whole)
    assert found["parameters"] == queries + keys + 128 * 128 * 7168 + dense + 2 * 7168
    assert found["kv_bytes"] == 64 * (512 + 64) * 2
    pairs = 128 * 16 * 64 * (128 + 64 + 128)
    made = 16 * (7168 * 1536 + 1536 * 128 * 192 + 7168 * 576 + 128 * 128 * 7168 + dense)
    assert found["macs"] == pairs + made + 64 * 512 * 128 * 256
    with pytest.raises(SpecError, match="softmax row, online or any"):
        layer(form, **sizes, softmax="online-2pass")


def test_a_view_is_read_back_from_dram():
    whole = layer(LayerForm(), **SIZES)
    assert "KN" in whole.ancestors["QK"]
    with pytest.raises(SpecError, match=r"KN and QK in two groups: K is read back from DRAM"):
        whole.shareable_ranks(("Q", "KN", "QK"))
    with pytest.raises(SpecError, match=r"KN in it, because QK waits for it"):
        whole.shareable_ranks(("N1", "Q", "QK"))


def test_a_view_of_nothing_is_refused():
    whole = layer(LayerForm(), **SIZES)
    with pytest.raises(SpecError, match=r"layer: views\.K: expected an input .* got 'NONE'"):
        replace(whole, views={"K": "NONE"})
    with pytest.raises(SpecError, match=r"views\.Q: expected an input"):
        replace(whole, views={"Q": "KN"})
    assert isinstance(whole, Workload)


def test_a_scope_that_the_problem_lacks_is_refused(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("problem: {ranks: {B: 1, H: 1, P: 4, M: 4, E: 2, F: 2}, attention: {}}")
    for scope in ("layer", "vocabulary"):
        with pytest.raises(SpecError, match=f"for --scope {scope}, got 'none'"):
            load_workload(path, scope)
