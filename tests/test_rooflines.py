"""Rooflines made by hand: no answer is below one, and what is far above says what binds.

Peaks and bandwidths are the vendors', shapes the models' own (the files in arch/ and problems/ have
the documents). Nothing of the package takes part but the answers.
"""

from __future__ import annotations

import pytest

import flat_mapper as fm
from flat_mapper.reports.answers import SearchResult

# Operations a second at 16 bits, a multiply-accumulate being two, and bytes a second of DRAM.
CHIPS = {
    "tpu-v5e": (197e12, 819e9),
    "tpu-v5p": (459e12, 2765e9),
    "tpu-v6e": (918e12, 1640e9),
    "tpu7x": (2307e12, 7380e9),
    "mi300x": (1307.4e12, 5300e9),
    "trainium2": (667e12, 2900e9),
    "h100": (989.4e12, 3350e9),
    "gb200": (2500e12, 8000e9),
    "ethos-u85": (2.048e12, 24e9),
}
# Heads of queries, heads of keys and values, words of a head, and the window of its shorter layers.
MODELS = {
    "llama3-8b": (32, 8, 128, None),
    "llama3-70b": (64, 8, 128, None),
    "mistral-7b": (32, 8, 128, 4096),
    "qwen3-8b": (32, 8, 128, None),
    "qwen3-30b-a3b": (32, 4, 128, None),
    "gemma3-27b": (32, 16, 128, 1024),
    "gpt-oss-20b": (64, 8, 64, None),  # the full layers, of which there are as many
}
# Chip, model, positions (of decode: of the cache), whether it is decode, and what binds.
DAY = [
    ("tpu-v5p", "llama3-8b", 8192, True, "DRAM"),
    ("tpu-v6e", "qwen3-8b", 8192, True, "DRAM"),
    ("trainium2", "gpt-oss-20b", 4096, True, "DRAM"),
    ("ethos-u85", "gemma3-27b", 1024, True, "DRAM"),
    ("tpu-v5e", "mistral-7b", 1024, False, "MAC"),
]
NIGHT = [
    ("mi300x", "llama3-70b", 8192, True, "DRAM"),
    ("h100", "qwen3-30b-a3b", 4096, True, "DRAM"),
    ("gb200", "deepseek-v3", 4096, True, "DRAM"),
    ("tpu7x", "qwen3-8b", 2048, False, "VALU"),
    ("trainium2", "gpt-oss-20b", 1024, False, "VALU"),
]
PAIRS = [*DAY, *(pytest.param(*pair, marks=pytest.mark.nightly) for pair in NIGHT)]


def needs(model: str, positions: int, decode: bool) -> tuple[int, int]:
    """Multiply-accumulates of one layer's attention, and bytes that DRAM moves at least."""
    if model == "deepseek-v3":  # one step, W_UK and W_UV taken in: 128 heads on latents of 512 + 64
        macs = 128 * (128 * 512 + positions * (512 + 64) + positions * 512 + 512 * 128)
        weights, cache = 2 * 128 * 512 * 128, positions * (512 + 64)
        return macs, weights + 2 * (cache + 128 * (128 + 64) + 128 * 128)  # weights are of 8 bits
    heads, shared, width, window = MODELS[model]
    seen = range(positions, positions + 1) if decode else range(1, positions + 1)
    pairs = sum(min(keys, window or keys) for keys in seen)
    rows = heads * len(seen) + shared * min(positions, window or positions if decode else positions)
    return 2 * heads * pairs * width, 2 * 2 * rows * width


@pytest.mark.parametrize(("chip", "model", "positions", "decode", "binds"), PAIRS)
def test_no_answer_is_below_its_roofline(
    chip: str, model: str, positions: int, decode: bool, binds: str
) -> None:
    peak, bytes_per_s = CHIPS[chip]
    macs, moved = needs(model, positions, decode)
    roofline = max(2 * macs / peak, moved / bytes_per_s)
    found = fm.search(
        *(model, chip, "default"),
        **({"phase": "decode"} if decode else {}),
        **{"seq": positions, "softmax": "online", "objective": "latency", "gap": 0.05},
    )
    assert isinstance(found, SearchResult), found
    assert found.result.latency_s >= roofline * (1 - 1e-9)
    if found.result.latency_s > 1.5 * roofline:
        (said,) = (line for line in str(found).splitlines() if line.startswith("bottleneck"))
        assert said.split()[1] == binds
    assert found.result.bottleneck == binds
