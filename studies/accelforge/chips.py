"""AccelForge's chips and workloads as files of ours, by the words of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import flat_mapper as fm
from flat_mapper.values import Ert, Fusion, Mapspace, Platform, Workload, edit_platform, energies
from studies.common import ROOT, Columns

HERE = "accelforge"  # the folder of its files among ours
PJ_PER_J = 1e12
PARTS = 1000  # of a cycle, so that whole ones are as good as the fractions that AccelForge counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """Facts of a chip that its name does not say.

    mapspace: the space that is searched.
    per:      pJ of what its energies are counted in.
    layers:   the models of which a layer is searched, beside the chains.
    lanes:    its component that does what the vector unit does here.
    """

    mapspace: str
    per: float = 1.0
    timeless: bool = False
    layers: tuple[str, ...] = ()
    lanes: str = "MAC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A workload's file by phase, and the sizes that make the model of it.

    routed: experts of a token; X, those with work, and T, the tokens of each, follow.
    only:   words that its parameters have to say.
    """

    prefill: str
    decode: str = ""
    sizes: Mapping[str, int] = field(default_factory=dict)
    routed: int = 0
    only: Mapping[str, str] = field(default_factory=dict)


_LLAMA4 = {"Q": 5, "D": 5120, "C": 8192, "S": 8192}
_PLAIN = {"ATTENTION_TYPE": "grouped_query"}
# Heads, widths and experts. source: examples/workloads/transformers of AccelForge.
MODELS: Mapping[str, Model] = {
    "gpt3_175B": Model(prefill="gpt3", decode="gpt3-decode"),
    "gpt3_6.7B": Model(prefill="gpt3", decode="gpt3-decode", sizes={"H": 32}),
    "llama3_8B": Model(prefill="gated"),
    "qwen3_8B": Model(prefill="gated", sizes={"C": 12288}),
    "qwen3_30B_A3B": Model(
        prefill="experts", sizes={"H": 4, "Q": 8, "D": 2048, "C": 768, "X": 128}, routed=8
    ),
    "mixtral8x22B": Model(prefill="experts", sizes={"Q": 6, "D": 6144, "C": 16384}, routed=2),
    "llama4_scout": Model(prefill="experts-shared", sizes=_LLAMA4, routed=1, only=_PLAIN),
    "llama4_maverick": Model(
        prefill="experts-shared", sizes={**_LLAMA4, "X": 128}, routed=1, only=_PLAIN
    ),
}
EXPERTS: Mapping[str, int] = {"experts": 8, "experts-shared": 16}  # of a file, unless sizes say


# AccelForge's components by ours.
NAMES: Mapping[str, str] = {
    **{"DRAM": "MainMemory", "GLB": "GlobalBuffer", "REG": "Register", "RF": "Register"},
    **{"ISPAD": "InputScratchpad", "WSPAD": "WeightScratchpad", "OSPAD": "OutputScratchpad"},
    **{"IBUF": "InputBuffer", "WBUF": "WeightBuffer", "ABUF": "AccumulationBuffer"},
    **{"LB": "LocalBuffer", "MAC": "MAC"},
}
CHIPS: Mapping[str, Chip] = {
    "simple": Chip(mapspace="simple", layers=("gpt3_175B", "gpt3_6.7B")),
    "snowcat": Chip(mapspace="snowcat", timeless=True, layers=tuple(MODELS)),
    "eyeriss": Chip(mapspace="cells", per=PJ_PER_J, layers=("gpt3_6.7B",)),
    "simba": Chip(mapspace="simba", per=PJ_PER_J, layers=("gpt3_6.7B",)),
    "tpu_v4i": Chip(mapspace="cells", per=PJ_PER_J, layers=("gpt3_175B",), lanes="ScalarUnit"),
}


CHAIN, LONGEST = "matmuls", 3  # products in a row, of which there are files
ALONE: Mapping[str, str] = {  # files of workloads without parameters
    "matvecs": "matvecs",
    "three_matmuls_annotated": "matmuls-3",
    "mobilenet_28": "mobilenet-28",
}


def workload_of(row: Columns) -> Workload | str:
    """The workload of a row, or why there is none."""
    given, name = parameters_of(row), row["workload"]
    if name in ALONE:
        alone = _workload(ALONE[name], {})
        if any(e.windowed for e in alone.einsums) and not CHIPS[row["arch"]].timeless:
            return f"{name} has convolutions, which are priced where a buffer has no end: snowcat"
        return alone
    if name == CHAIN:
        count, known = given.get("N_EINSUMS", ""), tuple(str(n) for n in range(2, LONGEST + 1))
        if count not in known:
            return f"chains of {' or '.join(known)} products are modelled, not of {count or 'none'}"
        chain = {"M": given.get("M", "128"), "N0": given.get("KN", "128")}
        return _workload(f"{CHAIN}-{count}", chain)
    if name not in MODELS:
        return f"the workload {name} is not among {', '.join((CHAIN, *ALONE, *MODELS))}"
    if name not in CHIPS[row["arch"]].layers:
        searched = ", ".join(CHIPS[row["arch"]].layers) or "none"
        return f"layers that are searched on {row['arch']}: {searched}"
    return _layer(name, MODELS[name], given)


def _layer(name: str, model: Model, given: Mapping[str, str]) -> Workload | str:
    decode = given.get("DECODE") == "True"
    if decode and not model.decode:
        return f"of {name} only prefill is modelled"
    odd = [k for k in ("ATTENTION_TYPE", "FEEDFORWARD_TYPE") if given.get(k) != model.only.get(k)]
    if odd:
        return f"{name} is modelled with {odd[0]}={model.only.get(odd[0], 'as it is by itself')}"
    asked = {"B": "BATCH_SIZE", "M": "N_NEW_TOKENS"} | ({"P": "N_CACHED_TOKENS"} if decode else {})
    missing = [key for key in asked.values() if not given.get(key, "").isdecimal()]
    if missing:
        return f"the parameter {missing[0]} of {name} is no whole number"
    sizes = {**model.sizes, **{rank: int(given[key]) for rank, key in asked.items()}}
    if model.routed:
        routed = sizes["M"] * model.routed
        sizes["X"] = min(sizes.get("X", EXPERTS[model.prefill]), routed)
        sizes["T"] = -(-routed // sizes["X"])
    return _workload(model.decode if decode else model.prefill, sizes)


def parameters_of(row: Columns) -> dict[str, str]:
    """The parameters of a row by name."""
    words = (part.partition("=") for part in row.get("parameters", "").split(",") if part)
    return {name.strip(): value.strip() for name, _, value in words}


def platform_of(chip: str, workload: Workload) -> Platform:
    """A chip of words as wide as a workload's values."""
    said = {"variables.element_bits": workload.word_bits, "variables.parts": PARTS}
    return edit_platform(_file("arch", chip), said, {})


def prices_of(chip: str, platform: Platform, workload: Workload) -> Ert:
    """The energies of a chip's words, as wide as a workload's values."""
    bits = workload.word_bits
    prices = energies(platform, _file("arch", f"{chip}.ert"))[0]
    memories = {level.name for path in platform.paths for level in path.levels}
    words = {
        name: {
            action: pj / PARTS if action == "leak" else pj * (bits if name in memories else 1)
            for action, pj in actions.items()
        }
        for name, actions in prices.levels.items()
    }
    return replace(prices, levels=words)


def space_of(chip: Chip, fused: bool) -> Mapspace:
    """The mapspace of a chip; unfused: with every Einsum for itself."""
    space = fm.load_mapspace(_file("mapspaces", chip.mapspace))
    alone = Fusion(staging="any", schedule="sequential", level=space.fusion.level)
    own = replace(space.policy, prefetch="own")
    return replace(space, policy=own, fusion=space.fusion if fused else alone)


def _workload(name: str, sizes: Mapping[str, object]) -> Workload:
    return fm.load_problem(_file("problems", name), sizes=sizes)


def _file(kind: str, name: str) -> Path:
    return ROOT / kind / HERE / f"{name}.yaml"
