"""A record of attention as a kernel in Pallas: a block is a FLAT-tile, the grid its shared loops.

The accumulators stand in scratch from block to block of keys, which are innermost. What a block has
beyond a rank's end is padding: no query sees such a key, and such a query's row is not written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, prod

from flat_mapper.arch.values import Platform
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.execution.link import NestLoop
from flat_mapper.mapping.values import FusedMapping
from flat_mapper.running.loops import GroupText
from flat_mapper.running.source import Program, file_of
from flat_mapper.running.words import quiet
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import Mask

RUN = "run.py"
_QUERIES, _KEYS = "P", "M"
_TEXT = '''\
"""{title}: a fused mapping of flat-mapper as a Pallas kernel.

`python run.py FOLDER` reads Q.bin, K.bin and V.bin there and writes {file}: raw float32,
row-major, ranks as below. On a processor the kernel is interpreted.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

# The shared loops, outermost first: {loops}
GRID = {grid}
# Each tensor's shape, its block (a FLAT-tile), and which block a point of the grid has
{tensors}
QUERIES, KEYS = {queries}, {keys}
ROWS, COLUMNS = {rows}, {columns}  # queries and keys of a block


def seen(query, key):
    """Visibility of a key to a query: {mask}."""
    query += KEYS - QUERIES  # the last query stands at the last key
    return {seen}


def product(ranks, a, b):
    return jnp.einsum(ranks, a, b, precision="highest", preferred_element_type=jnp.float32)


def kernel(q, k, v, out, most, total, sums):
    """The softmax online: maxima and sums so far are corrected as keys come."""
    [{names}] = map(pl.program_id, range(len(GRID)))
    row, column = {query}, {key}  # numbers of the block
    shape = ROWS, COLUMNS
    query = row * ROWS + jax.lax.broadcasted_iota(jnp.int32, shape, 0)
    key = column * COLUMNS + jax.lax.broadcasted_iota(jnp.int32, shape, 1)
    visible = seen(query, key)

    @pl.when(column == 0)
    def begin():
        most[...] = jnp.full(most.shape, -jnp.inf, jnp.float32)
        total[...] = jnp.zeros(total.shape, jnp.float32)
        sums[...] = jnp.zeros(sums.shape, jnp.float32)

    @pl.when(jnp.any(visible))
    def attend():
        scores = jnp.where(visible, product("{scores}", q[...], k[...]), -jnp.inf)
        old, new = most[...], jnp.maximum(most[...], scores.max(-1, keepdims=True))
        weights = jnp.where(visible, jnp.exp(scores - new), 0)
        correction = jnp.where(old == -jnp.inf, 0, jnp.exp(old - new))
        values = jnp.where(column * COLUMNS + jnp.arange(COLUMNS)[:, None] < KEYS, v[...], 0)
        total[...] = total[...] * correction + weights.sum(-1, keepdims=True)
        sums[...] = sums[...] * correction + product("{averages}", weights, values)
        most[...] = new

    @pl.when(column == pl.cdiv(KEYS, COLUMNS) - 1)
    def end():
        out[...] = sums[...] / total[...]


def attention(q, k, v):
    block = OUT_BLOCK.block_shape
    scratch = (*block[:-1], 1), (*block[:-1], 1), block
    return pl.pallas_call(
        kernel,
        grid=GRID,
        in_specs=[Q_BLOCK, K_BLOCK, V_BLOCK],
        out_specs=OUT_BLOCK,
        out_shape=jax.ShapeDtypeStruct(OUT, jnp.float32),
        scratch_shapes=[pltpu.VMEM(s, jnp.float32) for s in scratch],
        interpret=jax.default_backend() == "cpu",
    )(q, k, v)


def read(path, shape):
    values = np.fromfile(path, "<f4") if path.is_file() else np.empty(0)
    if values.size != np.prod(shape):
        stop(f"{{path}}: expected {{np.prod(shape)}} float32, got {{values.size}}")
    return values.reshape(shape)


def stop(text):
    print(text, file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        stop("expected: python run.py FOLDER")
    folder = Path(sys.argv[1])
    inputs = [read(folder / f"{{t}}.bin", shape) for t, shape in zip("QKV", (Q, K, V))]
    np.asarray(attention(*inputs)).astype("<f4").tofile(folder / "{file}")
'''


def pallas_program(workload: Workload, platform: Platform, mapping: FusedMapping) -> Program:
    """The kernel of a mapping.

    raises: SpecError where there is no such kernel, with the reason.
    """
    out = _output(workload)
    sizes = workload.rank_sizes
    ranks = {t: workload.tensor_ranks[t] for t in "QKV"}
    ranks["OUT"] = workload.tensor_ranks[out]
    group, loops = _loops(workload, platform, mapping, ranks["OUT"][:-1])
    tile = {**sizes} | {loop.rank: loop.stride for loop in loops}
    names = [f"{loop.rank.lower()}{axis}" for axis, loop in enumerate(loops)]
    at = {rank: _index(rank, loops, names) for rank in sizes}
    shapes = {t: tuple(sizes[r] for r in own) for t, own in ranks.items()}
    q, k, v, o = ("".join(own).lower() for own in ranks.values())
    scores, grid = f"{o[:-1]}{_KEYS.lower()}", ", ".join(names)
    made = _TEXT.format(
        title=quiet(f"{workload.name} on {platform.name}"),
        file=file_of(workload, out),
        loops=", ".join(f"{loop.rank}={loop.factor}" for loop in loops),
        grid=tuple(loop.factor for loop in loops),
        tensors="\n".join(
            f"{t} = {shapes[t]}  # {', '.join(own)}\n{t}_BLOCK = pl.BlockSpec("
            f"{tuple(tile[r] for r in own)}, lambda {grid}: ({', '.join(at[r] for r in own)}))"
            for t, own in ranks.items()
        ),
        queries=sizes[_QUERIES],
        keys=sizes[_KEYS],
        rows=tile[_QUERIES],
        columns=tile[_KEYS],
        mask=quiet(str(workload.mask or "all")),
        seen=_seen(workload.mask),
        names=grid,
        query=at[_QUERIES],
        key=at[_KEYS],
        scores=f"{q},{k}->{scores}",
        averages=f"{scores},{v}->{o}",
    )
    written = {out: shapes.pop("OUT")}
    return Program(text=made, file=RUN, inputs=shapes, outputs=written, groups=[group])


def _loops(
    workload: Workload, platform: Platform, mapping: FusedMapping, outer: tuple[str, ...]
) -> tuple[GroupText, list[NestLoop]]:
    """The group, and its shared loops, of which those over keys are innermost.

    outer:  other ranks that they may cut.
    raises: SpecError where they are not such.
    """
    sizes, group = workload.rank_sizes, mapping.groups[0]
    if len(mapping.groups) > 1 or group.on_cores:
        condition = "all Einsums in one group, on one array: blocks are given to cores by the grid"
        got = f"{len(mapping.groups)} groups" if len(mapping.groups) > 1 else "tiles on cores"
        raise SpecError(expected("lower: pallas", condition, got))
    text = GroupText(workload, platform, mapping, 1)
    loops = text.loops
    if all(loop.rank != _KEYS for loop in loops):
        loops = [*loops, NestLoop(slot=0, rank=_KEYS, factor=1, stride=sizes[_KEYS], temporal=True)]
    order = [loop.rank for loop in loops]
    if {*order[order.index(_KEYS) :]} != {_KEYS} or not {*order} <= {*outer, _KEYS}:
        condition = f"shared loops over {', '.join(outer)}, and {_KEYS} innermost"
        raise SpecError(expected("lower: pallas", condition, ", ".join(order)))
    _behind(loops, sizes)
    return text, loops


def _behind(loops: Sequence[NestLoop], sizes: Mapping[str, int]) -> None:
    """Raise SpecError where a rank's tiles are not whole blocks, one behind another."""
    for rank, step in {loop.rank: loop.stride for loop in loops}.items():
        own = [loop for loop in loops if loop.rank == rank]
        whole = prod(loop.factor for loop in own) == ceil(sizes[rank] / step)
        if not whole or any(loop.stride % step for loop in own):
            condition = f"tiles of {rank} that lie one behind another"
            got = ", ".join(f"{loop.factor} of {loop.stride}" for loop in own)
            raise SpecError(expected("lower: pallas", condition, got))


def _seen(mask: Mask | None) -> str:
    """The text of whether a key is one, and a query may see it."""
    causal, window = (mask.causal, mask.window) if mask else (False, None)
    tests = ["(key < KEYS)", *["(key <= query)"] * causal]
    tests += [f"(abs(query - key) < {window})"] * (window is not None)
    return " & ".join(tests)


def _output(workload: Workload) -> str:
    """The result of an attention with an online softmax; raises SpecError of any other cascade."""
    sizes, grouped = dict(workload.rank_sizes), workload.rank_sizes.get("G")
    plain = None
    if {*sizes} - {"G"} == {*"BHPMEF"} and (workload.mask is None or workload.mask.parts == 1):
        sizes["H"] *= sizes.pop("G", 1)
        plain = attention(**sizes, kv_heads=grouped, softmax="online")
    if plain is None or workload.einsums != plain.einsums:
        condition = "attention in the short form with an online softmax, whose kernel it is"
        got = f"softmax {workload.softmax}" if workload.softmax != "online" else workload.name
        raise SpecError(expected("lower: pallas", condition, got, "use --for c"))
    return plain.ordered[-1].output.tensor


def _index(rank: str, loops: Sequence[NestLoop], names: Sequence[str]) -> str:
    """Number of a rank's block."""
    own = [(n, p.stride) for n, p in zip(names, loops, strict=True) if p.rank == rank]
    each = ((name, stride // own[-1][1]) for name, stride in own)
    return " + ".join(name if n == 1 else f"{name} * {n}" for name, n in each) or "0"
