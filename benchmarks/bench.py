"""What the mapper costs on this machine: tables on the terminal, and the same in a Markdown file.

    python benchmarks/bench.py docs/performance.md

ACCELFORGE_PYTHON names a Python that has AccelForge; its mapper is then timed on the same question.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from measuring import RUNS, Table, Usage, markdown, median_usage, show, usage

CHUNKS = tuple(2**k for k in range(10, 17))  # mappings evaluated at once
LENGTHS = tuple(2**k for k in range(9, 17))  # N: 512 to 65536
RATE_S = 0.5  # CPU seconds spent per chunk size
PEER = Path(__file__).resolve().parent / "accelforge"
PEER_BATCH, PEER_LENGTH = 64, 512
PROGRAM = (sys.executable, "-m", "flat_mapper")
BERT = ("map", "--problem", "bert-base", "--set", "B=64", "--objective", "edp")
PEER_OPTIONS = ("--arch", f"{PEER}/edge-ws.yaml", "--seq", f"{PEER_LENGTH}", "--json")
PEER_QUESTION = (*PROGRAM, *BERT, *PEER_OPTIONS)


def machine(load: Sequence[tuple[float, ...]]) -> Table:
    """Where this ran, and how busy it was before and after."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    before, after = ("  ".join(f"{x:.1f}" for x in average) for average in load)
    rows = (
        ("CPU", _cpu_model()),
        ("cores", str(cores)),
        ("system", f"{platform.system()} {platform.machine()}"),
        ("Python", platform.python_version()),
        ("numpy", version("numpy")),
        ("load average before", before),
        ("load average after", after),
    )
    text = (
        "Where the load average is above what the benchmark itself adds (1), other jobs shared the "
        "cores: wall times are then too long, CPU seconds less so."
    )
    return Table(title="Machine", text=text, head=("what", "value"), rows=rows)


def _cpu_model() -> str:
    """The processor's name, where the system tells it."""
    source = Path("/proc/cpuinfo")
    lines = source.read_text().splitlines() if source.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def processes() -> Table:
    """Start-up and search, as whole processes."""
    seq = {f"edge, N = {n}": ("--arch", "edge", "--seq", f"{n}") for n in (512, 4096, 65536)}
    seq["cloud, N = 4096"] = ("--arch", "cloud", "--seq", "4096")
    goals = dict(zip(seq, ("", "2 s, 500 MB", "2 x N = 4096", "5 s"), strict=True))
    commands: dict[str, tuple[tuple[str, ...], str]] = {
        "python, nothing else": ((sys.executable, "-c", "pass"), ""),
        "import flat_mapper": ((sys.executable, "-c", "import flat_mapper"), "0.3 s"),
        "flat-mapper --help": ((*PROGRAM, "--help"), "0.4 s"),
    }
    for name, options in seq.items():
        words = (*PROGRAM, *BERT, "--mapspace", "flat", *options)
        commands[f"flat-mapper map, {name}"] = (words, goals[name])
    rows: list[tuple[str, ...]] = []
    for name, (argv, goal) in commands.items():
        used = median_usage(argv)
        cells = (f"{used.wall_s:.2f}", f"{used.cpu_s:.2f}", f"{used.peak_mb:.0f}")
        rows.append((name, *cells, goal))
    return Table(
        title="Whole processes",
        text=f"Medians of {RUNS} runs. `map` is BERT-base, B = 64, mapspace flat, objective edp, "
        "the softmax as Einsums of its own; its time includes the start of Python and the prices.",
        head=("process", "wall s", "CPU s", "peak MB", "goal"),
        rows=tuple(rows),
    )


def against_accelforge(python: str) -> Table:
    """AccelForge's mapper and ours on one question, and ours with any dataflow."""
    search = f"{PEER}/search.py"
    theirs = usage((python, search, f"{PEER}", f"{PEER_BATCH}", f"{PEER_LENGTH}"))
    ours = median_usage((*PEER_QUESTION, "--mapspace", f"{PEER}/flat-ws.yaml"))
    free = median_usage((*PEER_QUESTION, "--mapspace", f"{PEER}/flat-any.yaml"))
    its = json.loads(theirs.printed.splitlines()[-1])
    columns = [
        _measures(theirs, its["search_s"], its["latency_s"], its["energy_j"]),
        *(_our_measures(used) for used in (ours, free)),
    ]
    names = (
        "CPU s",
        "wall s",
        "search alone, wall s, last run",
        "peak MB",
        "latency s",
        "energy J",
        "EDP J*s",
    )
    rows = zip(names, *columns, strict=True)
    return Table(
        title="Against AccelForge",
        text=f"AccelForge {its['version']}, one run, on the files in `benchmarks/accelforge/`; "
        f"ours are medians of {RUNS}. The question: QK and AV fused, the softmax free, BERT-base, "
        f"B = {PEER_BATCH}, N = {PEER_LENGTH}, the edge platform at 1 GHz with one word of "
        "registers in a PE, weight-stationary, single buffers, least energy-delay product. The "
        "last two columns are ours on the same hardware with any dataflow. Each tool prices its "
        "own mapping by its own rules from the same energies per access. A ratio is AccelForge's "
        "over ours: above 1 is better. Peak MB is of the largest process of each. AccelForge's "
        f"mapping shares loops over {', '.join(its['shared_loops'])} (its m cuts the queries, p "
        "the keys); a row softmax forbids a cut through the keys, and ours never makes one.",
        head=("quantity", "AccelForge", "ours", "ratio", "ours, any dataflow", "ratio"),
        rows=tuple(
            (name, f"{a:.4g}", f"{b:.4g}", f"{a / b:.3g}", f"{c:.4g}", f"{a / c:.3g}")
            for name, a, b, c in rows
        ),
    )


def _our_measures(used: Usage) -> tuple[float, ...]:
    found = json.loads(used.printed)
    seconds, joule = found["search"]["seconds"], found["energy_pj"] * 1e-12
    return _measures(used, seconds, found["latency_s"], joule)


def _measures(used: Usage, search_s: float, latency_s: float, joule: float) -> tuple[float, ...]:
    edp = latency_s * joule
    return used.cpu_s, used.wall_s, search_s, used.peak_mb, latency_s, joule, edp


def evaluation_rate() -> Table:
    """Mappings per CPU second of the native model, by how many are evaluated at once."""
    import numpy as np

    from flat_mapper import load_platform, load_problem
    from flat_mapper.energy_pricing import price_with_hwcomponents
    from flat_mapper.mapping import slots_of
    from flat_mapper.model.einsum_costs import nest_costs
    from flat_mapper.model.nest import Factors, Nest

    edge = load_platform("edge")
    ert, _ = price_with_hwcomponents(edge)
    workload = load_problem("bert-base", sizes={"P": 4096, "M": 4096})
    einsum, slots = workload.einsum("QK"), slots_of(edge.matrix)
    sizes = tuple(workload.rank_sizes[rank] for rank in einsum.ranks)
    every = frozenset(access.tensor for access in einsum.accesses)
    nest = Nest(
        arch=edge.matrix,
        einsum=einsum,
        slots=slots,
        keep=tuple(every for _ in edge.matrix.levels),
        order=tuple(einsum.ranks for _ in slots),
    )
    rng = np.random.default_rng(0)
    rows: list[tuple[str, ...]] = []
    for chunk in CHUNKS:
        factors = np.ones((len(slots), len(sizes), chunk), dtype=np.int64)
        for rank, size in enumerate(sizes):
            for prime in _primes(size):
                at = rng.integers(len(slots), size=chunk)
                factors[at, rank, np.arange(chunk)] *= prime
        batch, done, start = Factors(factors=factors), 0, time.process_time()
        while (spent := time.process_time() - start) < RATE_S:
            costs = nest_costs(nest, sizes, batch, ert)
            _ = costs.fits, costs.cycles, costs.energy
            done += chunk
        rows.append((f"{chunk}", f"{done / spent / 1e6:.2f}"))
    return Table(
        title="Evaluation rate",
        text="The native model on random factorizations of QK (N = 4096, edge): capacity, cycles "
        "and energy of each. Per CPU second, so per core. Goal: 2 million.",
        head=("mappings at once", "million mappings per CPU s"),
        rows=tuple(rows),
    )


def _primes(size: int) -> list[int]:
    """The prime factors, with repetition."""
    found: list[int] = []
    divisor = 2
    while size > 1:
        while size % divisor == 0:
            found.append(divisor)
            size //= divisor
        divisor += 1
    return found


def scaling() -> Table:
    """CPU seconds of one search by sequence length."""
    from flat_mapper import load_platform, load_problem, search
    from flat_mapper.answers import Mapped

    edge = load_platform("edge")
    rows: list[tuple[str, ...]] = []
    search(load_problem("tiny"), edge, "flat")  # loads what the first search loads
    for length in LENGTHS:
        workload = load_problem("bert-base", sizes={"P": length, "M": length})
        start = time.process_time()
        found = search(workload, edge, "flat")
        spent = time.process_time() - start
        assert isinstance(found, Mapped)
        certificate = found.certificate
        counts = f"{certificate.mapspace_size:.1e}", f"{certificate.evaluated:,}"
        rows.append((f"{length}", f"{spent:.2f}", *counts))
    return Table(
        title="Search time with N",
        text="One search each (BERT-base, B = 64, edge, flat, edp), in a process that has searched "
        "before.",
        head=("N", "CPU s", "mappings in the space", "inner mappings priced"),
        rows=tuple(rows),
    )


def main(output: Path) -> None:
    """Measure, print, write.

    Whole processes come first: a child's peak memory is never below what its parent held when it
    started it, and numpy is not loaded yet.
    """
    python, before = os.environ.get("ACCELFORGE_PYTHON"), os.getloadavg()
    tables = [processes()]
    peer = [against_accelforge(python)] if python else []
    tables += [evaluation_rate(), scaling(), *peer]
    tables.insert(0, machine((before, os.getloadavg())))
    show(tables)
    output.write_text(markdown(tables), encoding="utf-8")
    print(f"written: {output}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
