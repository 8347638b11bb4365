"""Kernels on TPUs and Tenstorrent's cards: splash, ragged paged attention, and ttnn's."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, takewhile
from math import ceil

from flat_mapper.kernels.flash_mapping import Fit, Kernel, Shape, Tile

MIB = 1024 * 1024
VMEM_MIB = {"tpu-v5e": 128, "tpu-v6e": 128}  # jax pallas tpu_info
LANES = 128  # of a vector register of a TPU
RPA_LIMIT_MIB = 100  # tpu-inference, ragged_paged_attention/v3: DEFAULT_VMEM_LIMIT_BYTES
DEFAULT_PAGE = 128  # tokens; chosen, where nothing says how large a page is
# Bytes of a core's L1 that buffers may take: 1536 KiB less what firmware keeps, 1499136 of 1572864.
# Source: tt-metal, l1_unreserved_base of Blackhole as its allocator reports it.
L1_BYTES = 1499136
TILE = 32
FP32 = 4


def _powers(least: int, most: int) -> list[int]:
    """Doubles of the least, up to the most."""
    return list(takewhile(lambda size: size <= most, (least << n for n in count())))


def _splash_lattice(shape: Shape, chip: str) -> Iterator[Tile]:
    """Multiples of the lanes that divide; keys of a fetch in whole blocks of keys of a product."""
    for rows in [n for n in _powers(LANES, 4096) if shape.queries % n == 0]:
        for fetched in [n for n in _powers(LANES, 8192) if shape.keys % n == 0]:
            for keys in _powers(LANES, min(fetched, 2048)):
                words = {"block_q": rows, "block_kv": fetched, "block_kv_compute": keys}
                yield Tile(rows=rows, keys=keys, words=words)


def _splash_fit(shape: Shape, chip: str, tile: Tile) -> tuple[Fit, ...]:
    """Blocks of Q, K, V and the output twice, sums and two columns of lanes in fp32, scores."""
    fetched = int(str(tile.words["block_kv"]))
    needs = 2 * tile.rows * (shape.head_dim * shape.bits["Q"] + shape.v_head_dim * shape.bits["AV"])
    needs = needs / 8 + 2 * fetched * shape.row_bytes
    needs += FP32 * tile.rows * (shape.v_head_dim + 2 * LANES + 2 * tile.keys)
    return (Fit(what="bytes of VMEM", needs=needs, has=VMEM_MIB[chip] * MIB),)


def rpa_tiles(shape: Shape, page: int) -> Iterator[Tile]:
    """Queries and pages of so many tokens in powers of two, heads of a group together."""
    for queries in [n for n in _powers(8, 256) if n <= max(8, shape.queries)]:
        for pages in [n for n in _powers(1, 64) if n * page <= max(page, shape.keys)]:
            yield rpa_tile(shape, queries, pages * page, page)


def rpa_tile(shape: Shape, queries: int, keys: int, page: int) -> Tile:
    """A tile of so many queries and keys."""
    words = {"bq": queries, "bkv_pages": keys // page, "page_size": page}
    rows = queries * shape.together
    return Tile(rows=rows, keys=keys, packed=shape.together > 1, words=words)


def _rpa_fit(shape: Shape, chip: str, tile: Tile) -> tuple[Fit, ...]:
    """K and V of all heads twice, Q and the output twice, sums in fp32 and two columns of lanes."""
    rows = tile.rows * shape.kv_heads
    needs = 2 * tile.keys * shape.kv_heads * shape.row_bytes
    needs += 2 * rows * (shape.head_dim * shape.bits["Q"] + shape.v_head_dim * shape.bits["AV"]) / 8
    needs += FP32 * rows * (shape.v_head_dim + 2 * LANES)
    return (Fit(what="bytes of VMEM", needs=needs, has=RPA_LIMIT_MIB * MIB),)


def _ttnn_lattice(shape: Shape, chip: str) -> Iterator[Tile]:
    """Chunks of 32 and its doubles; of a decode, cores of a head as well."""
    decode = shape.queries < TILE and shape.mask is None
    for rows in (TILE,) if decode else _powers(TILE, min(1024, max(TILE, shape.queries))):
        for keys in _powers(TILE, min(1024, max(TILE, shape.keys))):
            for parts in _powers(1, 16) if decode else (1,):
                if parts > 1 and parts * keys > shape.keys:
                    continue
                words: dict[str, object] = {
                    "q_chunk_size": rows,
                    "k_chunk_size": keys,
                    "grid": (11, 10),
                    "exp_approx_mode": True,
                }
                if decode:
                    words["max_cores_per_head_batch"] = parts
                yield Tile(rows=rows, keys=keys, parts=parts, packed=decode, words=words)


def _ttnn_fit(shape: Shape, chip: str, tile: Tile) -> tuple[Fit, ...]:
    """Circular buffers in tiles of 32x32: Q, K and V twice, scores, sums, the output.

    Scores and sums are in bf16: a block of scores, two of the output, five columns of statistics.
    """
    rows, keys = ceil(tile.rows / TILE), ceil(tile.keys / TILE)
    width, v_width = ceil(shape.head_dim / TILE), ceil(shape.v_head_dim / TILE)
    size = {tensor: TILE * TILE * bits / 8 for tensor, bits in shape.bits.items()}
    half = TILE * TILE * 2
    needs = 2 * rows * width * size["Q"] + 2 * keys * (width * size["K"] + v_width * size["V"])
    needs += half * (rows * keys + 2 * rows * v_width + 5 * rows) + rows * v_width * size["AV"]
    return (Fit(what="bytes of L1", needs=needs, has=L1_BYTES),)


SPLASH = Kernel(
    name="splash",
    chips=tuple(VMEM_MIB),
    lattice=_splash_lattice,
    fit=_splash_fit,
    written="splash_attention_kernel.BlockSizes({others})",
    rule="jax pallas ops/tpu/splash_attention: block specs twice, scratch in fp32; "
    "block_kv_compute in 128 lanes, a divisor of block_kv",
    estimated=True,
    order="loop",
)
RPA3 = Kernel(
    name="rpa3",
    chips=tuple(VMEM_MIB),
    lattice=lambda shape, _: rpa_tiles(shape, DEFAULT_PAGE),
    fit=_rpa_fit,
    written="ragged_paged_attention(..., num_kv_pages_per_block={bkv_pages}, "
    "num_queries_per_block={bq})",
    rule="tpu-inference kernels/ragged_paged_attention/v3: buffers of K and V, Q and the output, "
    "sums; 100 MiB",
    estimated=True,
    order="loop",
)
TTNN = Kernel(
    name="ttnn",
    chips=("blackhole-p100a",),
    lattice=_ttnn_lattice,
    fit=_ttnn_fit,
    written="ttnn.SDPAProgramConfig(compute_with_storage_grid_size={grid}, {others})",
    rule="tt-metal sdpa_program_factory.cpp: its circular buffers in the 1499136 bytes of L1",
    estimated=False,
    order="lists",
    fitted=("sdpa",),
)
