"""FlashAttention's kernels on NVIDIA's chips: tile sizes, what shares a tile, and how keys split.

source: Dao-AILab/flash-attention at 0251105a (BSD-3-Clause): `hopper/tile_size.h`, `heuristics.h`,
        `flash_api.cpp` and `flash_prepare_scheduler.cu` of FlashAttention-3, and
        `csrc/flash_attn/src/flash_fwd_launch_template.h` and `flash_api.cpp` of FlashAttention-2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Literal

TileOrder = Literal["largest", "loop"]
Sizes = Mapping[int, tuple[int, int]]  # rows and keys of a tile, by head size


def _sizes(tiles: str) -> Sizes:
    """Tiles of head sizes 64, 96, 128, 192 and 256."""
    rows_and_keys = (tuple(map(int, tile.split("x"))) for tile in tiles.split())
    return {n: (r, k) for n, (r, k) in zip((64, 96, 128, 192, 256), rows_and_keys, strict=True)}


# Keys in pages, causal or not; without pages and mask (an encoder); in pages with a window.
SM90_PAGED = _sizes("192x128 192x128 128x128 128x96 128x80")
SM90_DENSE = _sizes("192x192 192x144 128x176 128x112 128x80")
SM90_WINDOW: Sizes = {**SM90_PAGED, 256: (128, 64)}
# The same of 8-bit floats.
SM90_FP8_PAGED = _sizes("192x160 192x128 128x160 128x160 128x128")
SM90_FP8_DENSE: Sizes = {**SM90_FP8_PAGED, 128: (128, 224)}
SM90_FP8_WINDOW: Sizes = {**SM90_FP8_PAGED, 192: (128, 128), 256: (128, 64)}
SM8X_PAGED = _sizes("128x112 128x64 128x64 128x64 128x64")
SM8X_WINDOW = _sizes("128x96 128x48 128x48 128x64 128x64")
# Of the kernel that may cut keys in parts.
SM8X_PARTS = _sizes("128x80 128x48 128x112 128x64 128x64")
SM8X_WINDOW_PARTS: Sizes = {**SM8X_PARTS, 128: (128, 96)}
SPLIT_KV = _sizes("64x256 64x128 64x128 64x64 64x64")
MOST_SPLITS, FULL, NEARLY = 128, 0.8, 0.85  # of the heuristics


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A kernel of attention in one phase.

    name:     as the variables of a chip's file have it.
    phase:    prefill, decode or encoder.
    fp8:      tables of 8-bit floats, without and with a window; None where it has no such kernel.
    parted:   the same of the kernel that may cut keys in parts; None where its tiles are no others.
    packs:    whether the heads of a group share the rows of a tile.
    ahead:    cores for whose number of tiles the split of keys is chosen, over those of the chip.
    block:    keys that the split counts in; of a tile where it is 0.
    """

    name: str = ""
    phase: str = ""
    tiles: Sizes
    windowed: Sizes
    packs: bool
    order: TileOrder
    fp8: tuple[Sizes, Sizes] | None = None
    parted: tuple[Sizes, Sizes] | None = None
    ahead: int = 1
    block: int = 0
    dynamic: bool = False  # splits are chosen again when lengths are known
    idle_rows: bool = False  # rows that there are not take as long as others
    alone: bool = True  # keys are split where a head has keys of its own, too

    @property
    def copies_both(self) -> bool:
        """True if one kernel copies keys and values into the cache, token by token, as vLLM's
        reshape_and_cache_flash; else each is copied by itself, as SGLang's set_kv_buffer."""
        return self.name.startswith("vllm")

    def tile(
        self, head_dim: int, *, window: bool, eight_bits: bool, parted: bool
    ) -> tuple[int, int]:
        """Rows and keys of a tile of a head size that the kernel has."""
        other = self.fp8 if eight_bits else self.parted if parted else None
        full, windowed = other or (self.tiles, self.windowed)
        size = self.padded(head_dim)
        assert size is not None
        return windowed[size] if window else full[size]

    def padded(self, size: int) -> int | None:
        """The head size that the kernel computes with."""
        return next((n for n in sorted(self.tiles) if n >= size), None)


FA3 = Kernel(
    tiles=SM90_PAGED,
    windowed=SM90_WINDOW,
    fp8=(SM90_FP8_PAGED, SM90_FP8_WINDOW),
    packs=True,
    order="largest",
    dynamic=True,
)
ENCODER = replace(FA3, tiles=SM90_DENSE, fp8=(SM90_FP8_DENSE, SM90_FP8_WINDOW), packs=False)
FA3_SM8X = Kernel(
    tiles=SM8X_PAGED,
    windowed=SM8X_WINDOW,
    parted=(SM8X_PARTS, SM8X_WINDOW_PARTS),
    packs=True,
    order="loop",
    dynamic=True,
    idle_rows=True,
)
FA2 = Kernel(
    tiles=SPLIT_KV,
    windowed=SPLIT_KV,
    packs=False,
    order="loop",
    ahead=2,
    block=128,
    idle_rows=True,
    alone=False,
)
# By chip, phase and kernel of a row; the first one whose name says vLLM or does not stands for
# kernels of no table.
Table = Mapping[str, Kernel]
ENCODERS: Table = dict.fromkeys(("flash_attention_v3", "vllm_vit_flash_attn_fa3"), ENCODER)
HOPPER: Table = dict.fromkeys(("fa3", "vllm_flash_attn_fa3", *ENCODERS), FA3)
AMPERE: Table = {"vllm_flash_attn": FA2, "flash_attention": FA3_SM8X}
DECODES: Table = {**AMPERE, "vllm_flash_attn": replace(FA2, packs=True)}
NEW = {"prefill": HOPPER, "decode": HOPPER, "encoder": ENCODERS}
OLD = {"prefill": AMPERE, "decode": DECODES, "encoder": AMPERE}
CHIPS = {"h100": NEW, "h200": NEW, "b200": NEW, "a100": OLD, "l40s": OLD}


def kernel_of(chip: str, name: str, phase: str) -> Kernel:
    """The kernel of a row; where no table has it, the nearest one of the chip.

    chip: a key of `CHIPS`.
    """
    table = CHIPS[chip][phase]
    if name not in table:
        name = next(known for known in table if ("vllm" in known) == ("vllm" in name))
    return replace(table[name], name=f"{name}_{phase}", phase=phase)


def fullest(tiles: int, cores: int, blocks: int, *, skips: bool) -> int:
    """The fewest parts that fill the cores nearly as well as any number of them does.

    skips: numbers of parts with as many blocks a part as one part less.
    """
    if tiles >= FULL * cores or (blocks <= 4 and not skips):
        return 1
    full: dict[int, float] = {}
    for parts in range(1, min(MOST_SPLITS, cores, blocks) + 1):
        if skips and parts > 1 and ceil(blocks / parts) == ceil(blocks / (parts - 1)):
            continue
        waves = tiles * parts / cores
        full[parts] = waves / ceil(waves)
    best = max(full.values())
    return next(parts for parts, share in full.items() if share >= NEARLY * best)
