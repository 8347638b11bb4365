"""timeloop-mapper on the Einsums of a mapping, inside its fusion: input, run, and what it found.

`flat-mapper lower --for mapper` writes the limits that the fusion puts on one Einsum for Timeloop's
front end. Here they are joined with `processed.yaml` for the raw program, which needs none: it is
given the loops that the group shares, what DRAM and the shared level keep, and the room that the
others leave there; the rest it searches, with the energies that the mapping was priced with.

Source: Timeloop, src/applications/mapper/main.cpp and src/mapping/constraints.cpp, commit 4cf6d4c;
timeloopfe, common/version_transpilers/v4_to_v3.py. At a SIGINT its threads finish the mapping at
hand, and the best mapping found so far is written as at a regular end. A second SIGINT would make
them abandon it, and was seen to fail an assertion and lose the answer.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

import flat_mapper as fm
from flat_mapper.values import load_document
from studies.common import among, grid

PROGRAM = "timeloop-mapper"
VARIABLE = "FLAT_MAPPER_TIMELOOP"  # words around its calls: {} the call, {dir} its folder
ALGORITHMS = ("random_pruned", "linear_pruned", "hybrid", "exhaustive", "random")
INPUTS = ("processed.yaml", "ERT.yaml", "ART.yaml")
STATS = f"{PROGRAM}.stats.txt"
SAID = ("factors", "permutation", "split", "keep", "bypass")  # constraints that can be handed on
PATIENCE = 2**31 - 1  # invalid mappings in a row; the time limit comes first
GRACE_S = 60.0  # chosen: one mapping that fills a large array takes it up to about a second
_NOTHING = "no valid mappings found"
_ENERGY = re.compile(r"^ +Energy \(total\) *: (\S+) pJ$", re.MULTILINE)
_CYCLES = re.compile(r"^Cycles: (\d+)$", re.MULTILINE)
_FACTOR = re.compile(r"\s*(\w+?)\s*(<=|==?)\s*(\d+)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One Einsum by itself, as timeloop-model counts it: ours, and the best that was found."""

    einsum: str
    cycle_seconds: float
    ours: tuple[int, float]  # cycles, pJ
    theirs: tuple[int, float] | None
    note: str = ""

    def edp_js(self, cost: tuple[int, float]) -> float:
        """Energy times latency, J*s."""
        return cost[1] * 1e-12 * cost[0] * self.cycle_seconds

    def to_dict(self) -> dict[str, object]:
        """Both costs by name."""
        named: dict[str, object] = {"einsum": self.einsum}
        for name, cost in (("ours", self.ours), ("timeloop_mapper", self.theirs)):
            said = cost and {"cycles": cost[0], "energy_pj": cost[1], "edp_js": self.edp_js(cost)}
            named[name] = said
        return named | ({"note": self.note} if self.note else {})


HEAD = ("Einsum", "cycles", PROGRAM, "pJ", PROGRAM, "EDP J*s", PROGRAM, "ratio")


def table(pairs: Sequence[Pair]) -> str:
    """One row per Einsum; the ratio is timeloop-mapper's energy-delay product over ours."""
    rows = []
    for pair in pairs:
        sides = [
            (f"{cost[0]:,}", f"{cost[1]:.6g}", f"{pair.edp_js(cost):.4g}") if cost else ("-",) * 3
            for cost in (pair.ours, pair.theirs)
        ]
        ratio = f"{pair.edp_js(pair.theirs) / pair.edp_js(pair.ours):.3f}" if pair.theirs else "-"
        both = (cell for cells in zip(*sides, strict=True) for cell in cells)
        rows.append((pair.einsum, *both, ratio))
    notes = [f"{pair.einsum}: {pair.note}" for pair in pairs if pair.note]
    return "\n".join([grid(rows, HEAD, right=range(1, len(HEAD))), *notes])


def beside(
    found: Any,
    *,
    seconds: float,
    algorithm: str,
    objective: str = "edp",
    threads: int = 0,
    folder: Path | None = None,
) -> Iterator[Pair]:
    """The best of timeloop-mapper for every Einsum of a priced mapping, one after another.

    found:     an answer of `fm.search` or `fm.evaluate`.
    algorithm: a fusion leaves few factors free, so that going through them pays; at random the
               mappings that fill the array are hard to hit.
    threads:   0: one per processor.
    folder:    where runs are kept; None: nowhere, but for one that failed.
    raises: BackendError where timeloop-mapper is missing, fails or cannot be read.
    """
    if algorithm not in ALGORITHMS:
        raise among("--algorithm", ALGORITHMS, algorithm)
    if not shutil.which(_around([PROGRAM], Path())[0]):
        raise fm.BackendError(f"{PROGRAM}: expected an executable on PATH, got none")
    files = fm.lower(found, tool="mapper")
    settings = {"algorithm": algorithm, "num_threads": threads or os.cpu_count() or 1}
    for stats in found.result.einsums:
        name, note = stats.einsum, ""
        if stats.network:  # timeloop-mapper has no price for these
            stats, note = replace(stats, network=()), "networks are left out of both"
        own = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder))
        for path in (f for f in files if f.split("/")[-2:-1] == [name]):
            (own / path.replace(f"{name}/", "").replace("/", "-")).write_bytes(files[path])
        document = raw_input(own, found.workload.einsum(name), objective, settings)
        text = yaml.safe_dump(json.loads(json.dumps(document)), sort_keys=False)
        (own / INPUTS[0]).write_text(text, encoding="utf-8")
        best = searched(own, seconds)
        if folder is None:
            shutil.rmtree(own)
        nothing = "" if best else f"no valid mapping within {seconds:g} s"
        yield Pair(
            einsum=name,
            cycle_seconds=found.result.cycle_seconds,
            ours=(stats.cycles, stats.energy_pj),
            theirs=best,
            note="; ".join(filter(None, (nothing, note))),
        )


def raw_input(
    folder: Path, einsum: Any, objective: str, settings: Mapping[str, object]
) -> dict[str, Any]:
    """One document for the raw program: architecture, problem, limits and settings.

    folder: holds what `lower` wrote for timeloop-model, and mapper-*.yaml for timeloop-mapper.
    The search has no end of its own: whoever runs it ends it.
    """
    document: Any = load_document(folder / "processed.yaml")
    arch: Any = load_document(folder / "mapper-arch.yaml")
    fusion: Any = load_document(folder / "mapper-constraints.yaml")
    mapper: Any = load_document(folder / "mapper-mapper.yaml")
    nodes = {node["name"]: node for node in _tree(arch["architecture"], "nodes")}
    levels = [n for n in _tree(document["architecture"], "subtree", "local") if "class" in n]
    for level in levels[:2]:  # DRAM without an end, the shared level with what is left of it
        stated = nodes[level["name"].partition("[")[0]]["attributes"]
        level["attributes"].pop("depth", None)
        level["attributes"] |= {k: v for k, v in stated.items() if k == "depth"}
    stated = [
        {"target": name, "type": kind, **limits}
        for name, node in nodes.items()
        for kind, limits in node.get("constraints", {}).items()
    ]
    empty = [e for e in document["mapping"] if e["target"].startswith("inter_")]
    inner = {e["target"][len("inter_") : -len("_spatial")]: e["target"] for e in empty}
    targets = [
        raw_limits(einsum, limits, inner.get(limits["target"], limits["target"]))
        for limits in (*fusion["constraints"]["targets"], *stated)
    ]
    for entry in empty:
        if entry["type"] == "temporal":
            ones = ",".join(entry["factors"].split())
            targets.append({"target": entry["target"], "type": "temporal", "factors": ones})
        elif entry["type"] == "bypass":
            targets.append(entry)
    metrics = {"latency": ["delay", "energy"], "energy": ["energy", "delay"]}
    ends = {"timeout": PATIENCE, "victory_condition": 0}
    return {
        **{key: value for key, value in document.items() if key != "mapping"},
        "architecture_constraints": {"targets": targets},
        "mapspace": {"version": "0.4", "template": "uber"},
        "mapper": {
            **{**mapper["mapper"], "version": "0.4", **settings, **ends},
            "optimization_metrics": metrics.get(objective, [objective]),
        },
    }


def _tree(node: Any, *inside: str) -> Iterator[dict[str, Any]]:
    """The named nodes of an architecture, outermost first."""
    body = getattr(node, "body", node)
    if "name" in body:
        yield body
    for key in reversed(inside):  # what is local stands outside what is below
        for child in body.get(key, ()):
            yield from _tree(child, *inside)


def raw_limits(einsum: Any, limits: Mapping[str, Any], target: str) -> dict[str, object]:
    """A constraint in the raw reader's form; ranks and tensors that the Einsum lacks are left out.

    raises: BackendError naming what only Timeloop's Python front end understands.
    """
    kind = limits["type"]
    where = f"{einsum.name}: {limits['target']}: constraints.{kind}"
    unknown = [key for key in limits if key not in (*SAID, "type", "target")]
    if unknown:
        raise fm.BackendError(
            f"{where}: expected {', '.join(SAID)} for the raw timeloop-mapper, got {unknown[0]}; "
            "search with `flat-mapper lower --for mapper` and Timeloop's Python front end"
        )
    said: dict[str, object] = {"target": target}
    said["type"] = "bypass" if kind == "dataspace" else kind
    tensors = {access.tensor for access in einsum.accesses}
    for key, value in limits.items():
        if key == "factors":
            parts = value if isinstance(value, list) else re.split(r"[\s,]+", str(value).strip())
            found = [_FACTOR.fullmatch(str(part)) for part in parts]
            if None in found:
                raise fm.BackendError(f"{where}.factors: expected RANK=N or RANK<=N, got {value!r}")
            signs = [(m[1], "<=" if m[2] == "<=" else "=", m[3]) for m in found if m]
            said[key] = ",".join("".join(one) for one in signs if one[0] in einsum.ranks)
        elif key == "permutation":
            said[key] = "".join(r for r in value if r in einsum.ranks)
        elif key in ("keep", "bypass"):
            said[key] = [tensor for tensor in value if tensor in tensors]
        elif key == "split":
            said[key] = value
    return said


def _around(call: list[str], folder: Path) -> list[str]:
    """The words of a call, in those that the environment puts around it."""
    words = shlex.split(os.environ.get(VARIABLE, "")) or ["{}"]
    words += [] if "{}" in words else ["{}"]
    named = (call if word == "{}" else [word.replace("{dir}", str(folder))] for word in words)
    return [word for part in named for word in part]


def searched(folder: Path, seconds: float) -> tuple[int, float] | None:
    """Cycles and pJ of the best mapping found within some seconds; None where there is none.

    raises: BackendError with the log and the command to run again.
    """
    (folder / "out").mkdir()
    words, log = _around([PROGRAM, *INPUTS, "-o", "out"], folder), folder / "timeloop.log"
    ended = True
    with log.open("wb") as output:
        process = subprocess.Popen(
            words,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        ended = False
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # whatever its wrapper left behind, too
        process.wait()
    said = log.read_text(encoding="utf-8", errors="replace")
    if ended and process.returncode == 0 and _NOTHING in said:
        return None
    stats = folder / "out" / STATS
    if not ended:
        problem = f"nothing within {seconds:g} s, nor when interrupted after that"
    elif process.returncode or not (stats.is_file() and stats.stat().st_size):
        problem = f"exit code {process.returncode} and {' '.join(said.split())[-200:]!r}"
    else:
        return best_found(stats.read_text(encoding="utf-8"), str(stats))
    again = f"cd {shlex.quote(str(folder))} && {shlex.join(words)}"
    raise fm.BackendError(
        f"{PROGRAM}: expected out/{STATS}, got {problem}; log: {log}; re-run: {again}"
    )


def best_found(text: str, where: str) -> tuple[int, float]:
    """Cycles, and energy in pJ, of the mapping that a stats file describes.

    The energies of all levels and of the compute unit are added up, because the summary's own
    total has lost its digits. Networks cost nothing: the energies given have none.
    raises: BackendError where one cannot be read.
    """
    blocks, _, end = text.partition("\nSummary Stats\n")
    cycles = _CYCLES.search(end)
    energies = _ENERGY.findall(blocks.partition("\nNetworks\n")[0])
    if cycles is None or not energies:
        raise fm.BackendError(f"{where}: expected Timeloop's statistics to their end, got less")
    try:
        return int(cycles[1]), sum(map(float, energies))
    except ValueError as error:
        raise fm.BackendError(f"{where}: Energy (total): expected a number, got {error}") from error
