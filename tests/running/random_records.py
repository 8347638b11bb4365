"""Random mappings whose programs run in seconds: tiny ones of every kind, and attention to 1024."""

from __future__ import annotations

import random
from dataclasses import replace

from execution.random_cores import random_cores_case
from execution.random_fused import random_case, random_mapping, random_platform
from execution.random_inside import random_inside_case

from flat_mapper.arch.values import Platform
from flat_mapper.mapping.resize import resized_mapping
from flat_mapper.mapping.values import FusedMapping
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import Mask

type Case = tuple[Workload, Platform, FusedMapping]
TINY = (random_case, random_cores_case, random_inside_case)


def random_record(seed: int) -> Case:
    """Of four cases three tiny ones: one array, many cores, intermediates at an inner level."""
    kind = seed % 4
    return TINY[kind](seed) if kind < len(TINY) else _large(seed)


def _large(seed: int) -> Case:
    """Attention of 64 to 1024 positions, masked, grouped, or of a length that nothing divides."""
    rng = random.Random(seed)
    length = rng.choice((64, 128, 256, 512, 1024))
    heads, kv = rng.choice(((1, None), (2, None), (2, 1)))
    found = attention(
        **{"B": 1, "H": heads, "P": length, "M": length},
        **{"E": rng.choice((8, 16, 32)), "F": rng.choice((8, 16, 32))},
        kv_heads=kv,
        softmax=rng.choice(("row", "online")),
    )
    masks = (None, Mask(causal=True), Mask(causal=True, window=length // 3), Mask(window=20))
    found = replace(found, mask=rng.choice(masks))
    platform = random_platform(rng)
    mapping = random_mapping(rng, found, platform)
    if found.mask is None:
        rank, size = rng.choice(("P", "M")), length - rng.choice((1, 27))
        mapping = resized_mapping(mapping, found, rank, size)
        found = found.with_ranks({rank: size})
    return found, platform, mapping
