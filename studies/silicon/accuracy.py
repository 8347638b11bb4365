"""Errors of a kernel's predicted times beside the measured ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter
from statistics import correlation, median, quantiles

from studies.common import Columns, grouped
from studies.silicon.rows import COSTS, MeasuredRow, costs_of


def summary(rows: Sequence[MeasuredRow]) -> Iterator[dict[str, object]]:
    """Errors in percent, by kernel, phase, mask, and set aside or not."""

    def kind(row: MeasuredRow) -> tuple[str, str, str, str, bool]:
        at = row.case.columns
        mask = row.case.kind or ("window" if at.get("window", "0") != "0" else "full")
        return at.get("device", ""), at.get("kernel", ""), row.case.phase, mask, row.case.aside

    names = ("device", "kernel", "phase", "mask", "set_aside")
    for which, some in sorted(grouped(rows, kind).items(), key=itemgetter(0)):
        yield {**dict(zip(names, which, strict=True)), "rows": len(some), **errors(some)}


def fitted(rows: Sequence[MeasuredRow]) -> list[dict[str, object]]:
    """The fitted numbers behind the rows, by chip and kernel, and how many they are."""
    found: dict[tuple[str, str], dict[str, object]] = {}
    for row in rows:
        arch = row.case.platform.matrix
        for kernel in dict.fromkeys(g.kernel for g in row.result.mapping.groups if g.kernel):
            if (arch.name, kernel) not in found:
                costs = costs_of(arch, kernel)
                costs = {name: n for name, n in costs.items() if name not in row.case.sourced}
                own = sum(name in COSTS for name in costs)
                named = {"arch": arch.name, "kernel": kernel, "numbers": own}
                found[arch.name, kernel] = {**named, **costs}
    return list(found.values())


def leave_one_out(rows: Sequence[MeasuredRow]) -> dict[str, float]:
    """Errors as `errors` has them, of rows each with a factor fitted to all others of its kernel.

    The factor is the median of measured over predicted, launches apart.
    """
    found = []
    for row in rows:
        (group,) = row.result.mapping.groups
        costs = costs_of(row.case.platform.matrix, group.kernel)
        launch = costs.get("launch_seconds", 0.0)
        bare = (row.predicted_s - launch) / costs["factor"]
        found.append((group.kernel, (row.case.measured_s - launch) / bare, bare, launch))
    pairs = []
    for i, (row, (kernel, _, bare, launch)) in enumerate(zip(rows, found, strict=True)):
        others = [one[1] for j, one in enumerate(found) if j != i and one[0] == kernel]
        pairs.append((median(others or [1.0]) * bare + launch, row.case.measured_s))
    return _errors(pairs)


def errors(rows: Sequence[MeasuredRow]) -> dict[str, float]:
    """Median and 90th percentile of |predicted / measured - 1| in percent, and rank correlation."""
    return _errors([(r.predicted_s, r.case.measured_s) for r in rows])


def _errors(pairs: Sequence[tuple[float, float]]) -> dict[str, float]:
    off = [100 * abs(predicted / measured - 1) for predicted, measured in pairs]
    tenths = quantiles(off, n=10, method="inclusive") if len(off) > 1 else off * 9
    return {"median_percent": median(off), "p90_percent": tenths[8], "spearman": _spearman(pairs)}


def _spearman(pairs: Sequence[tuple[float, float]]) -> float:
    """Spearman's rank correlation of predicted and measured times; 1 where all are alike."""
    predicted, measured = zip(*pairs, strict=True)
    if min(len(set(predicted)), len(set(measured))) < 2:
        return 1.0
    return correlation(predicted, measured, method="ranked")


CHUNKS = ("q_chunk", "k_chunk")
SAME = (
    *("variant", "S", "kv_seq", "num_heads", "num_kv_heads", "head_dim", "causal", "window"),
    *("cores", "fidelity", "kv_dtype", "input_dtype", "accum", "dense_mask", "block"),
)


def findings(rows: Sequence[MeasuredRow]) -> dict[str, list[dict[str, object]]]:
    """Findings of the rows of chunked kernels together; none of others.

    leave_one_out: of rows without window, dense mask or another variant, repeats left out.
    best_chunks: of rows that differ in their chunks only, at least three: the chunks that the model
    names, and how much longer than the fastest they took, in percent.
    """
    if "positions" in rows[0].case.columns:
        return {"growth": growth(rows)}
    own = [r for r in rows if "q_chunk" in r.case.columns]
    plain = [r for r in own if _plain(r.case.columns)]
    alike = grouped(plain, lambda row: tuple(row.case.columns.get(k, "") for k in SAME))
    best = [_best(some) for some in alike.values() if len(some) > 2]
    if not plain:
        return {}
    return {"leave_one_out": [{"rows": len(plain), **leave_one_out(plain)}], "best_chunks": best}


FITTED_AT = 8192  # positions at which one rate is fitted


def growth(rows: Sequence[MeasuredRow]) -> list[dict[str, object]]:
    """Errors in percent where one rate is fitted at a number of positions.

    four: those of the rule that twice the positions take four times as long.
    """
    at = {int(str(row.case.columns["positions"])): row for row in rows}
    base = at.get(FITTED_AT, rows[0])
    first = int(str(base.case.columns["positions"]))
    rate = base.case.measured_s / base.predicted_s
    return [
        {
            "positions": n,
            "measured s": row.case.measured_s,
            "predicted s": row.predicted_s * rate,
            "error percent": 100 * (row.predicted_s * rate / row.case.measured_s - 1),
            "four percent": 100
            * (base.case.measured_s * (n / first) ** 2 / row.case.measured_s - 1),
        }
        for n, row in at.items()
    ]


def _plain(at: Columns) -> bool:
    repeat = at.get("polaris_use") == "repeat"
    whole = at.get("window") == "0" and at.get("dense_mask") == "0"
    return at.get("variant") == "plain" and whole and not repeat


def _best(rows: Sequence[MeasuredRow]) -> dict[str, object]:
    named = min(rows, key=lambda row: row.predicted_s)
    fastest = min(row.case.measured_s for row in rows)
    at = named.case.columns
    return {
        **{k: at[k] for k in (*CHUNKS, "causal", "S", "head_dim")},
        "pairs": len(rows),
        "longer_percent": 100 * (named.case.measured_s / fastest - 1),
    }
