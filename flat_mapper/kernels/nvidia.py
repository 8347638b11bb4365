"""Kernels on NVIDIA's chips: FlashAttention-2 and -3, Triton's, and FlexAttention.

Shared memory and registers of a multiprocessor: CUDA C++ Programming Guide, technical
specifications by compute capability: 227, 163 and 99 KiB of shared memory for a block, 65536
registers of 32 bits, at most 255 a thread. All of these kernels are compiled, so registers are an
estimate: accumulators, what is kept beside them, and so many for addresses and counters.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from math import ceil

from flat_mapper.kernels.flash_mapping import Fit, Kernel, Shape, Tile

SHARED_KIB = {"h100": 227, "h200": 227, "b200": 227, "a100": 163, "l40s": 99}
HOPPER = ("h100", "h200")
ALL = tuple(SHARED_KIB)
WARP = 32
# Registers a thread of a consumer warpgroup, by their number. Source: FlashAttention-3,
# hopper/flash_fwd_kernel_sm90.h: 256 for one, 240 for two, 160 for three.
CONSUMER = {1: 256, 2: 240, 3: 160}
SPARE_SM90 = 32  # chosen: with it P is where shipped tiles have it, but for fp8 of 64 and V of 512
SPARE = 24  # chosen: of other kernels, so that every shipped tile fits
MOST_KEYS = 256  # of a product of a warpgroup: PTX ISA, wgmma
DECODE_ROWS = 64
# Measured kernels whose costs stand for those of a compiler, of which none was measured.
NEAREST = ("vllm_flash_attn_fa3", "fa3", "vllm_flash_attn")


def _shared(chip: str, needs: float) -> Fit:
    return Fit(what="bytes of shared memory", needs=needs, has=1024 * SHARED_KIB[chip])


def _fa3_lattice(shape: Shape, chip: str) -> Iterator[Tile]:
    """Rows by warpgroups of 64 (one to three), keys in sixteens; parts and packing for few rows."""
    packings = (True, False) if shape.together > 1 else (False,)
    parts = [1] if shape.queries >= DECODE_ROWS or shape.mask else [2**n for n in range(8)]
    most = (64, 128, 192) if chip in HOPPER else (64, 128)
    each = product(most, range(16, MOST_KEYS + 1, 16), parts, packings)
    for rows, keys, split, packed in each:
        if split == 1 or split * keys <= shape.keys:
            words = {"kBlockM": rows, "kBlockN": keys, "num_splits": split, "pack_gqa": packed}
            yield Tile(rows=rows, keys=keys, parts=split, packed=packed, words=words)


def _fa_fit(shape: Shape, chip: str, tile: Tile, *, sm90: bool) -> tuple[Fit, ...]:
    """The way whose scarcest thing has the most room left."""
    ways = _sm90_fits if sm90 and chip in HOPPER else _ampere_fits
    return min(ways(shape, chip, tile), key=lambda fits: max(fit.share for fit in fits))


def _sm90_fits(shape: Shape, chip: str, tile: Tile) -> Iterator[tuple[Fit, ...]]:
    """Q, two stages of K and V (of V twice where a kernel in 8 bits turns it), and P if stored.

    P from registers or through shared memory, whichever leaves more room. A warpgroup of 64 rows
    holds its sums, its scores and P; a head of values over 256 is spread over two warpgroups.
    """
    groups = tile.rows // 64
    bits = shape.value_bits
    turned = shape.v_head_dim * shape.bits["V"] / 8 if bits == 8 else 0.0
    stored = tile.rows * shape.head_dim * shape.bits["Q"] / 8
    stored += 2 * tile.keys * (shape.row_bytes + turned)
    wide = 2 if shape.v_head_dim > 256 else 1
    held = (shape.v_head_dim / wide + tile.keys) / 2 + SPARE_SM90
    for through_memory in (False, True):
        probabilities = tile.rows * tile.keys * bits / 8 if through_memory else 0.0
        kept = 0.0 if through_memory else tile.keys / 2 * bits / 32
        registers = Fit(what="registers a thread", needs=held + kept, has=CONSUMER[groups])
        yield _shared(chip, stored + probabilities), registers


def _ampere_fits(shape: Shape, chip: str, tile: Tile) -> Iterator[tuple[Fit, ...]]:
    """Q, K and V once, four warps or eight; Q in registers where that leaves more room."""
    query = tile.rows * shape.head_dim * shape.bits["Q"] / 8
    keys = tile.keys * shape.row_bytes
    for warps in (4, 8):
        threads = warps * WARP
        held = tile.rows * (shape.v_head_dim + tile.keys) / threads + SPARE
        for in_registers in (False, True):
            stored = max(query, keys) if in_registers else query + keys
            more = query / 4 / threads if in_registers else 0.0
            yield _shared(chip, stored), Fit(what="registers a thread", needs=held + more, has=255)


def _fa2_lattice(shape: Shape, chip: str) -> Iterator[Tile]:
    """Rows of 64 or 128, keys in thirty-twos."""
    for rows in (64, 128):
        for keys in range(32, 257, 32):
            yield Tile(rows=rows, keys=keys, words={"kBlockM": rows, "kBlockN": keys})


def _triton_fit(shape: Shape, chip: str, tile: Tile) -> tuple[Fit, ...]:
    """Q, and K and V in so many stages; sums, scores and P over the threads."""
    warps, stages = int(str(tile.words["num_warps"])), int(str(tile.words["num_stages"]))
    stored = tile.rows * shape.head_dim * shape.bits["Q"] / 8
    stored += stages * tile.keys * shape.row_bytes
    each = tile.rows * (shape.v_head_dim + tile.keys * (1 + shape.value_bits / 32))
    registers = Fit(what="registers a thread", needs=ceil(each / (warps * WARP)) + SPARE, has=255)
    return _shared(chip, stored), registers


def _triton_lattice(shape: Shape, chip: str, *, most: int) -> Iterator[Tile]:
    """Powers of two from 16 on, which products take, with the fewest warps and stages that fit.

    The model sees no difference between these. Chosen: 16 rows for each warp, which then sums its
    rows alone.
    """
    sizes = [2**n for n in range(4, 9) if 2**n <= most]
    for rows, keys in product(sizes, sizes):
        ways = [
            {"BLOCK_M": rows, "BLOCK_N": keys, "num_warps": warps, "num_stages": stages}
            for warps in (4, 8)
            if rows >= 16 * warps
            for stages in (2, 3, 4)
        ]
        tiles = [Tile(rows=rows, keys=keys, words=words) for words in ways]
        fitting = (t for t in tiles if all(f.fits for f in _triton_fit(shape, chip, t)))
        yield from (next(fitting, tile) for tile in tiles[:1])


FA3 = Kernel(
    name="fa3",
    chips=ALL,
    lattice=_fa3_lattice,
    fit=partial(_fa_fit, sm90=True),
    written="// hopper/tile_size.h\n"
    "return {{{kBlockM}, {kBlockN}, MmaPV_is_RS, IntraWGOverlap}};\n"
    "# Python\nflash_attn_func(q, k, v, num_splits={num_splits}, pack_gqa={pack_gqa})",
    rule="hopper/tile_size.h and mainloop_fwd_sm90_tma_gmma_ws.hpp of Dao-AILab/flash-attention: "
    "Q, two stages of K and V, P; registers of a warpgroup",
    estimated=True,
    fitted=("fa3", "vllm_flash_attn_fa3", "flash_attention_v3", "flash_attention"),
)
FA2 = Kernel(
    name="fa2",
    chips=ALL,
    lattice=_fa2_lattice,
    fit=partial(_fa_fit, sm90=False),
    written="Flash_fwd_kernel_traits<Headdim, {kBlockM}, {kBlockN}, kNWarps, false, false, T>",
    rule="csrc/flash_attn/src/kernel_traits.h of Dao-AILab/flash-attention: Q, K and V once",
    estimated=True,
    order="loop",
    fitted=("vllm_flash_attn",),
)
TRITON = Kernel(
    name="triton",
    chips=ALL,
    lattice=partial(_triton_lattice, most=256),
    fit=_triton_fit,
    written='triton.Config({{"BLOCK_M": {BLOCK_M}, "BLOCK_N": {BLOCK_N}}}, '
    "num_warps={num_warps}, num_stages={num_stages})",
    rule="Triton's software pipeline: Q, and K and V in num_stages; accumulators over the threads",
    estimated=True,
    order="loop",
    fitted=NEAREST,
)
FLEX = Kernel(
    name="flex",
    chips=ALL,
    lattice=partial(_triton_lattice, most=128),  # they divide the blocks of a BlockMask
    fit=_triton_fit,
    written="flex_attention(q, k, v, block_mask=block_mask, kernel_options={{"
    '"BLOCK_M": {BLOCK_M}, "BLOCK_N": {BLOCK_N}, '
    '"num_warps": {num_warps}, "num_stages": {num_stages}}})',
    rule="torch/_inductor/kernel/flex: BLOCK_M and BLOCK_N divide the BlockMask's blocks; Triton's "
    "pipeline",
    estimated=True,
    order="loop",
    fitted=NEAREST,
)
