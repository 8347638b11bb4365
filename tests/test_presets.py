"""What ships: every architecture loads, is priced and maps; every problem has its model's sizes."""

from __future__ import annotations

import pytest

from flat_mapper.api import calls as api
from flat_mapper.arch.reader import load_platform
from flat_mapper.base.errors import SpecError
from flat_mapper.devices.cluster import load_cluster
from flat_mapper.mapper.chip.assignments import fusion_levels
from flat_mapper.mapping.space import partitions
from flat_mapper.mapping.space_reader import load_mapspace
from flat_mapper.reports.answers import SearchResult
from flat_mapper.spec import catalog
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.graph import Workload

# Peak multiply-accumulates per second, lanes of the vector path, KiB of the shared buffer; as the
# sources in the files have them.
PLATFORMS = {
    "edge": (32 * 32 * 940e6, 256, 512),
    "cloud": (256 * 256 * 940e6, 256, 32 * 1024),
    "tpu-v4i": (69e12, 1024, 128 * 1024),  # 138 TFLOPS
    "eyeriss": (168 * 200e6, 14, 108),
    "fusemax": (256 * 256 * 940e6, 256, 16 * 1024),
    "fusemax-proposal": (256 * 256 * 940e6, 256, 16 * 1024),
    "ethos-u85": (4.096e12 / 2 / 2, 16, 512),  # 4 TOPS at 8 bits, half at 16
}
CLUSTERS = {"8xa100": 300, "8xh100": 450, "8xh200": 450, "8xb200": 900, "tpu-v5e-2x4": 45}  # GB/s
# Chips of many cores: peak MACs per second, cores, KiB of a core, lanes of a core, DRAM bytes/s.
MANY_CORES = {
    "a100": (312e12 / 2, 108, 164 + 256, 64, 2039e9),
    "h100": (989.4e12 / 2, 132, 228 + 256, 128, 3350e9),
    "h200": (989.4e12 / 2, 132, 228 + 256, 128, 4800e9),
    "l40s": (362.05e12 / 2, 142, 100 + 256, 128, 864e9),
    "b200": (2250e12 / 2, 148, 228 + 256 + 256, 128, 7700e9),
    "blackhole-p100a": (110 * 1024 * 1350e6, 110, 1536, 32, 448e9),
    "tpu-v4i-cores": (69e12, 4, 4 * 1024, 256, 614e9),
    "tpu-v5e": (197e12 / 2, 1, 128 * 1024, 2048, 819e9),
    "tpu-v6e": (918e12 / 2, 1, 128 * 1024, 2048, 1640e9),
    "tpu-v5p": (459e12 / 2, 2, 64 * 1024, 1024, 2765e9),
    "tpu7x": (2307e12 / 2, 2, 64 * 1024, 1024, 7380e9),
    "mi300x": (1307.4e12 / 2, 304, 64 + 512, 128, 5300e9),
    "trainium2": (667e12 / 2, 8, (28 + 2) * 1024, 128, 2900e9),
    "gb200": (2500e12 / 2, 148, 228 + 256 + 256, 128, 8000e9),
}
BY_NIGHT = ("tpu-v5p", "tpu7x", "trainium2")  # two of these are mapped by day in test_rooflines
# Weights of all layers, without embeddings.
WEIGHTS = {
    "llama3-8b": 8.03e9 - 2 * 128256 * 4096,
    "llama3-70b": 70.55e9 - 2 * 128256 * 8192,
    "llama31-405b": 405.85e9 - 2 * 128256 * 16384,
    "qwen3-8b": 8.19e9 - 2 * 151936 * 4096,
    "qwen3-30b-a3b": 30.53e9 - 2 * 151936 * 2048,
    "gemma3-27b": 25.6e9,  # Gemma 3's report, table 1
    "gpt-oss-20b": 19.12e9 + 0.64e9,  # the model card: experts and attention
    "deepseek-v3": 671.03e9 - 2 * 129280 * 7168 - 3 * (187e6 + 3 * 7168 * 18432),
    "mistral-7b": 7.24e9 - 2 * 32000 * 4096,
    "qwen25-7b": 7.62e9 - 2 * 152064 * 3584,
    "gpt2": 124.4e6 - (50257 + 1024) * 768,
    "vit-b16": 86.6e6 - 768 * (768 + 197 + 1000),
    "vit-l16": 304.3e6 - 1024 * (768 + 197 + 1000),
    "bert-base": 109.5e6 - (30522 + 512 + 2) * 768 - 768 * 768,
}


def weights(workload: Workload) -> int:
    tensors = [t for t in workload.tensor_ranks if t.startswith("W")]
    return workload.all_layers * sum(workload.tensor_words(t) for t in tensors)


@pytest.mark.parametrize("name", PLATFORMS)
def test_a_platform_has_its_peak_and_maps(name: str):
    macs, lanes, kib = PLATFORMS[name]
    platform = load_platform(name)
    assert platform.vector is not None
    unit = platform.matrix.compute
    assert unit.instances / platform.matrix.cycle_seconds == pytest.approx(macs, rel=0.01)
    assert platform.vector.compute.instances == lanes
    shared = platform.matrix.levels[1]
    assert (shared.capacity_words or 0) * shared.word_bits == kib * 1024 * 8
    assert platform.vector.levels[:2] == platform.matrix.levels[:2]
    workload = attention(B=1, H=2, P=4, M=4, E=2, F=2)
    found = api.search(workload, platform, "default", objective="latency")
    assert isinstance(found, SearchResult), found
    assert found.result.energy_pj > 0
    assert found.result.macs == 2 * 4 * 4 * 2 * 2


@pytest.mark.parametrize("name", MANY_CORES)
def test_a_chip_of_many_cores_has_its_peak(name: str):
    macs, cores, kib, lanes, bytes_per_s = MANY_CORES[name]
    platform = load_platform(name)
    assert platform.vector is not None
    seconds = platform.matrix.cycle_seconds
    core = platform.matrix.level(fusion_levels(platform, load_mapspace("cores"))[-1])
    assert platform.matrix.compute.instances / seconds == pytest.approx(macs, rel=0.01)
    assert (core.instances, platform.vector.compute.instances) == (cores, cores * lanes)
    assert (core.capacity_words or 0) * core.word_bits == kib * 1024 * 8
    assert (platform.dram.words_per_cycle or 0) * 2 / seconds == pytest.approx(bytes_per_s)


def test_every_platform_is_here():
    assert {name for name, _ in catalog.shipped_names("arch")} == {
        *PLATFORMS,
        *MANY_CORES,
        *CLUSTERS,
    }


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_cluster_has_its_devices_and_links(name: str):
    cluster = load_cluster(name)
    assert (cluster.devices, cluster.axes[0].bytes_per_s / 1e9) == (8, CLUSTERS[name])


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_model_has_its_weights(name: str):
    assert weights(api.load_problem(name, scope="model")) == pytest.approx(WEIGHTS[name], rel=0.01)


@pytest.mark.parametrize("name", [name for name, _ in catalog.shipped_names("problems")])
def test_every_problem_says_where_it_comes_from(name: str):
    workload = api.load_problem(name)
    assert workload.source
    assert all(len(workload.einsum(n).text) > 0 for n in workload.ancestors)


@pytest.mark.parametrize(("name", "window"), [("gemma3-27b", 1024), ("gpt-oss-20b", 128)])
def test_a_decoder_of_mixed_layers_has_both_kinds(name: str, window: int):
    one = api.load_problem(name)
    masks = [one.mask, *(kind.mask for kind in one.other_layers)]
    assert {(m.window, m.causal) for m in masks if m} == {(window, True), (None, True)}


@pytest.mark.parametrize("kind", ["arch", "problems", "mapspaces"])
def test_what_ships_says_what_it_is_in_one_line(kind: catalog.CatalogKind):
    """`list` shows the first line of a file: the sentence must not go on in the second."""
    for name, line in catalog.shipped_names(kind):
        text = catalog.resolve(kind, name).read_text(encoding="utf-8")
        assert line, name
        assert text.split("\n")[1] == "#", f"{name}: {line} ..."


def test_whisper_crosses_from_text_to_sound():
    sizes = api.load_problem("whisper-large-cross").rank_sizes
    assert (sizes["P"], sizes["M"]) == (448, 1500)
    assert api.load_problem("whisper-large").rank_sizes["P"] == 1500


def test_latent_attention_reads_its_latent_for_keys_and_values():
    workload = api.load_problem("deepseek-v2-mla")
    readers = [e.name for e in workload.einsums if any(a.tensor == "CKV" for a in e.inputs)]
    assert readers == ["SC", "AC"]
    assert workload.tensor_words("CKV") + workload.tensor_words("KR") == 4096 * 576
    (fused, _) = partitions(workload, load_mapspace("flat-mla"))
    group = next(g for g in fused if "SC" in g.names)
    assert group.names == ("SR", "SC", "S", "S_max", "S_exp", "S_sum", "A", "AC")
    assert workload.shareable_ranks(group.names) == ("B", "H", "P")


def test_a_head_count_that_does_not_divide_is_refused():
    with pytest.raises(SpecError, match=r"llama3-8b\.yaml.*kv_heads: expected a divisor of the 32"):
        api.load_problem("llama3-8b", sizes={"G": 5})


@pytest.mark.parametrize(
    "arch",
    [
        pytest.param(name, marks=[pytest.mark.nightly] if name in BY_NIGHT else [])
        for name in MANY_CORES
    ],
)
def test_a_chip_of_many_cores_maps_a_small_problem(arch: str) -> None:
    found = api.search(api.load_problem("tiny", seq=2), arch, "cores", objective="latency")
    assert isinstance(found, SearchResult), found
    assert found.result.cycles > 0


@pytest.mark.parametrize("arch", [name for name in MANY_CORES if not name.startswith("tpu")])
def test_a_mapspace_for_one_array_names_the_one_for_cores(arch: str) -> None:
    with pytest.raises(SpecError, match=r"expected .*; use --mapspace cores"):
        api.search("tiny", arch, "flat")


@pytest.mark.parametrize(
    "name",
    [
        *("gpt2", "llama3-8b", "llama3-70b", "llama31-405b", "mistral-7b", "mixtral-8x7b"),
        *("qwen25-7b", "qwen3-8b", "qwen3-30b-a3b", "deepseek-v3"),
    ],
)
def test_a_shipped_decoder_sees_what_came_before(name: str):
    """As an imported one does; `none` asks for every pair, and a step of decode sees all."""
    whole = api.load_problem(name, seq=64)
    assert str(whole.mask) == "causal"
    assert api.load_problem(name, seq=64, mask="none").mask is None
    assert api.load_problem(name, seq=64, phase="decode").mask is None
    far = api.load_problem(name, seq=8192, sizes={"B": 1})
    assert (far.mask.window if far.mask else None) == (4096 if name == "mistral-7b" else None)


def test_a_row_softmax_under_a_mask_says_what_would_skip():
    found = api.search(api.load_problem("gpt2", seq=64), "edge", "flat")
    assert isinstance(found, SearchResult)
    assert "masked scores too, --softmax online skips them" in str(found)
    for other in ({"mask": "none"}, {"softmax": "online"}):
        found = api.search(api.load_problem("gpt2", seq=64, **other), "edge", "flat")
        assert "skips them" not in str(found)
