"""Prefill of ttnn's scaled_dot_product_attention on Tenstorrent's Blackhole p100a, row by row.

The mapping is the kernel's: its chunks of queries and keys, its cores and their lists of chunks,
number formats and passes of the matrix unit (fidelity). Facts of the card and of the kernel are
variables of `arch/blackhole-p100a.yaml`, those that are fitted among them marked so there. They are
fitted to the rows that polaris' own model was fitted to; what that predicted is set aside.

Busy cycles of the mean core's units, counted on the card, are a second referee of the work of a
mapping, whatever the time that it takes. The vector unit's are those of the exponentials; maximum
and sum run on the matrix unit there, and what the model charges its lanes for them stands for the
packer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import median

import flat_mapper as fm
from flat_mapper.values import Einsum, Mask, Platform, Workload, edit_platform, parse_einsum
from studies.common import Columns, choice_of, grid, number_of, rows_by, sizes_of, wrong
from studies.silicon.rows import Case, MeasuredRow, priced
from studies.silicon.sdpa_mapping import chunk_mapping

CHIP = "blackhole-p100a"
SIZES = (
    *("S", "kv_seq", "batch", "num_heads", "num_kv_heads", "head_dim", "v_head_dim", "q_chunk"),
    *("k_chunk", "cores", "causal", "window", "chunk_start", "dense_mask", "exp_approx"),
)
FLAGS = ("causal", "window", "chunk_start", "dense_mask", "exp_approx")
WORDS = ("variant", "fidelity", "input_dtype", "kv_dtype", "accum")
COLUMNS = f"{', '.join((*WORDS, *SIZES))}, wall_us"
VARIANTS = ("plain", "chunked", "mla", "sparse", "joint")
# Cycles of a multiply-accumulate, in those of HiFi2. source: roofline_sdpa.py, R1f counters.
FIDELITY: Mapping[str, float] = {"LoFi": 0.5, "HiFi2": 1, "HiFi3": 1.5, "HiFi4": 2}
FORMATS: Mapping[str, str | int] = {"bfp8_b": "bfp8_b", "bfp4_b": "bfp4_b", "bfloat16": 16}
ACCUM: Mapping[str, int] = {"bfloat16": 16, "float32": 32}
STREAMS = {110: "sdpa_stream_110", 64: "sdpa_stream_64"}  # variables, by cores
PAGES = "pages: keys and values are read in a row"
UNSAID = {
    "joint": "two streams: queries and keys are one of both lengths",
    "sparse": "values are all 576 of a latent, for 512; the choice of keys is free",
}
MADE = ("QK", "QKD", "QK_max", "QK_cor", "QK_exp", "QK_sum", "AV")


def case(where: str, row: Columns) -> Case:
    """A row as a question.

    raises: SpecError for a variant or format that is not known, and for sizes that cannot be.
    """
    at = checked(where, row, SIZES, FLAGS, WORDS)
    workload, tile = _workload(row, at)
    platform = _platform(row, at)
    return Case(
        where=where,
        columns={**row, "device": "p100a", "kernel": _kernel(row)},
        phase="prefill",
        kernel=_kernel(row),
        sourced=("launch_seconds",),
        shape="|".join(row[k] for k in ("S", "kv_seq", "num_heads", "head_dim", "variant")),
        measured_s=microseconds_of(where, row) if "wall_us" in row else 0.0,
        workload=workload,
        platform=platform,
        mappings=[chunk_mapping(workload, platform, tile, _kernel(row), "lists")],
        kept_back=row.get("polaris_use", "") != "fit",
        left_out=unsaid(row),
    )


def unsaid(row: Columns) -> tuple[str, ...]:
    """Facts that the mapping of a row does not say."""
    found = ["the packer and the unpackers, but for what they add to maximum, sum and correction"]
    found += [PAGES] * (row.get("paged") == "1")
    found += [UNSAID[row["variant"]]] if row["variant"] in UNSAID else []
    return tuple(found)


KNOWN: Mapping[str, tuple[str, ...]] = {
    "variant": VARIANTS,
    "fidelity": tuple(FIDELITY),
    "input_dtype": tuple(FORMATS),
    "q_dtype": tuple(FORMATS),
    "kv_dtype": tuple(FORMATS),
    "accum": tuple(ACCUM),
}


def checked(
    where: str, row: Columns, sizes: Sequence[str], flags: Sequence[str], words: Sequence[str]
) -> dict[str, int]:
    """Sizes of a row whose words are known and whose heads share keys evenly, else SpecError."""
    at = sizes_of(where, row, sizes, flags)
    for key in words:
        choice_of(where, row, key, KNOWN[key])
    heads, kv_heads = (name for name in sizes if name.endswith("heads"))
    if at[heads] % at[kv_heads]:
        raise wrong(f"{where}: {heads}", f"a multiple of {kv_heads}", at[heads])
    return at


def microseconds_of(where: str, row: Columns) -> float:
    """Seconds that a row was measured to take."""
    return 1e-6 * number_of(where, row, "wall_us", "microseconds", positive=True)


def _kernel(row: Columns) -> str:
    """The name of the kernel's fitted costs in the chip's file."""
    if row["accum"] == "float32":
        return "sdpa_fp32"
    if row["variant"] in ("plain", "chunked"):
        return "sdpa_causal" if row["causal"] != "0" or row["window"] != "0" else "sdpa_full"
    return f"sdpa_{row['variant']}"


def _workload(row: Columns, at: Mapping[str, int]) -> tuple[Workload, dict[str, int]]:
    """The attention of a row, and its chunk."""
    keys = -(-at["kv_seq"] // at["k_chunk"]) * at["k_chunk"]  # whole chunks are streamed
    sparse = row["variant"] == "sparse"  # heads are the rows: a query's keys are its own
    grouped = at["num_heads"] > at["num_kv_heads"] and not sparse
    found = fm.attention(
        B=at["batch"] * (at["S"] if sparse else 1),
        H=1 if sparse else at["num_heads"],
        P=at["num_heads"] if sparse else at["S"],
        M=keys,
        E=at["head_dim"],
        F=at["head_dim"] if sparse else at["v_head_dim"],
        kv_heads=at["num_kv_heads"] if grouped else None,
        softmax="online",
    )
    tile = {r: 1 for r in ("B", "G", "H") if r in found.rank_sizes}
    tile |= {"P": at["num_heads"] if sparse else at["q_chunk"], "M": at["k_chunk"]}
    if sparse:
        found = values_of_keys(found)
    elif at["dense_mask"]:
        found = _with_dense_mask(found)
    if not sparse and (at["causal"] or at["window"]):
        found = replace(found, mask=Mask(causal=bool(at["causal"]), window=at["window"] or None))
    return with_formats(found, row["input_dtype"], row["kv_dtype"], row["accum"]), tile


def _with_text(einsum: Einsum, text: str) -> Einsum:
    read = parse_einsum(text, name=einsum.name, unit=einsum.unit)
    return replace(read, each=einsum.each, after=einsum.after, so_far=einsum.so_far)


def values_of_keys(workload: Workload) -> Workload:
    """Attention whose values are its keys: what the cores have fetched serves twice."""

    def latent(einsum: Einsum) -> Einsum:
        text = einsum.text.replace("V[b,h,m,f]", "K[b,h,m,e]").replace(",f]", ",e]")
        return _with_text(einsum, text)

    sizes = {r: n for r, n in workload.rank_sizes.items() if r != "F"}
    return replace(workload, rank_sizes=sizes, einsums=tuple(map(latent, workload.einsums)))


def _with_dense_mask(workload: Workload) -> Workload:
    """Attention with a mask D that is read and added to the scores."""
    scores = str(workload.einsum("QK").output)
    masked = scores.replace("QK[", "QKD[")

    add = parse_einsum(f"{masked} = {scores} + D[b,p,m]", unit="vector")
    first, *others = workload.einsums
    after = (_with_text(e, e.text.replace(f"({scores}", f"({masked}")) for e in others)
    operators = {name: (add.name, *of) for name, of in workload.operators.items()}
    core = (first.name, add.name, *workload.core[1:])
    return replace(workload, einsums=(first, add, *after), operators=operators, core=core)


def with_formats(workload: Workload, queries: str, keys: str, accum: str) -> Workload:
    """The widths of what is read and written, and of what is made."""
    own = dict.fromkeys(("Q", "AV_div", "D"), FORMATS[queries])
    own |= dict.fromkeys(("K", "V"), FORMATS[keys]) | dict.fromkeys(MADE, ACCUM[accum])
    bits = {t: b for t, b in own.items() if t in workload.tensor_ranks}
    return replace(workload, tensor_bits=bits)


def _platform(row: Columns, at: Mapping[str, int]) -> Platform:
    """The card as a row has it: cores, fidelity, exponentials, and what a core streams."""
    exp = "approximate" if at["exp_approx"] else "accurate"
    exp = "fp32" if row["accum"] == "float32" else exp
    edits = (
        ("core.meshX", at["cores"]),
        ("variables.exp_cycles", number(f"sdpa_exp_{exp}") / 32),
        ("variables.core_stream_bytes_per_cycle", _stream(row, at)),
    )
    return card(edits, row["fidelity"], alone=not _passed_on(row, at))


def _passed_on(row: Columns, at: Mapping[str, int]) -> bool:
    """True if one core of a head reads keys and values, and passes them on."""
    return row["variant"] == "plain" and not at["causal"] and not at["window"]


def _stream(row: Columns, at: Mapping[str, int]) -> float:
    """Bytes a cycle that a core takes in, of the number of cores nearest to those at work."""
    chunks = -(-at["S"] // at["q_chunk"])
    paired = bool(at["causal"] or at["window"]) and chunks % 2 == 0
    at_work = min(at["cores"], at["batch"] * at["num_heads"] * chunks // (1 + paired))
    nearest = min(STREAMS, key=lambda cores: abs(cores - at_work))
    return number("sdpa_stream_passed_on" if _passed_on(row, at) else STREAMS[nearest])


@cache
def card(edits: tuple[tuple[str, object], ...], fidelity: str, *, alone: bool) -> Platform:
    """The card with some facts set, and the matrix unit's passes.

    alone: each core reads for itself.
    """
    rules = {"core.spatial": {"no_multicast_no_reduction": ["*"]}} if alone else {}
    found = edit_platform(CHIP, dict(edits), rules)
    passes = {**dict(edits), "variables.mul_cycles": FIDELITY[fidelity]}
    return replace(found, matrix=edit_platform(CHIP, passes, rules).matrix)  # the lanes have theirs


@cache
def number(name: str) -> float:
    """A fact of the card's file."""
    value = fm.load_platform(CHIP).matrix.variables[name]
    assert isinstance(value, int | float), name
    return float(value)


UNITS = {"fpu_cycles": "matrix unit", "sfpu_cycles": "exponentials"}


def are_counters(rows: Sequence[Columns]) -> bool:
    """True if the rows of a file are busy cycles and not times."""
    return "fpu_cycles" in rows[0] and "wall_us" not in rows[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedRow(MeasuredRow):
    """A row of counters, and the model's answer."""

    @property
    def ours(self) -> dict[str, float]:
        """Cycles of the mean core by counter."""
        exp, matrix = 0.0, 0.0
        for one in self.result.einsums:
            einsum = self.case.workload.einsum(one.einsum)
            matrix += one.compute_cycles if einsum.unit == "matrix" else 0
            exp += one.compute_cycles if einsum.operation == "exp" else 0
        return {"fpu_cycles": matrix, "sfpu_cycles": exp}

    @property
    def ratios(self) -> dict[str, float]:
        """Ours over what was counted."""
        return {
            k: v / number_of(self.case.where, self.case.columns, k, positive=True)
            for k, v in self.ours.items()
        }

    def to_dict(self) -> dict[str, object]:
        """All columns, and what was found."""
        ours = {f"ours_{k}": v for k, v in self.ours.items()}
        ratios = {f"ratio_{k}": v for k, v in self.ratios.items()}
        return {**self.case.columns, **ours, **ratios, "left_out": list(self.case.left_out)}


def counted(path: Path) -> list[CountedRow]:
    """The rows of a file of counters, with the model's.

    raises: SpecError for rows that cannot be.
    """
    cases = rows_by(path, case)
    return [CountedRow(case=one, result=priced(one).result) for one in cases]


def counters_text(rows: Sequence[CountedRow]) -> str:
    """A table: ours over what was counted, and the medians."""
    names = ("variant", "causal", "q_chunk", "k_chunk", "head_dim", "fidelity", "accum")
    lines = [
        (*(row.case.columns[n] for n in names), *(f"{row.ratios[k]:.2f}" for k in UNITS))
        for row in rows
    ]
    head = (*names, *(f"{unit} ratio" for unit in UNITS.values()))
    ends = [f"{unit} {median(r.ratios[k] for r in rows):.2f}" for k, unit in UNITS.items()]
    return f"{grid(lines, head=head, right=(2, 3, 4, 7, 8))}\n\nmedian ratios: {', '.join(ends)}"
