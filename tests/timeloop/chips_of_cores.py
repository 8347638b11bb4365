"""Small chips as files, of several cores or of one array, with prices, and questions on them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

MATRIX = ("PE", "RF", "MAC")
VECTOR = ("lane", "LREG", "VALU")
PRICES = """\
DRAM: {read: 120.32, write: 113.95}
L2: {read: 21.85, write: 22.73, leak: 0.5}
SMEM: {read: 8.43, write: 5.9, update: 6.1, leak: 0.25}
RF: {read: 1.05, write: 1.44}
LREG: {read: 1.39, write: 0.67}
MAC: {compute: 2.5, leak: 0.001}
VALU: {compute: 3.1, exp: 7.25}
"""
MAPSPACE = """\
mapspace:
  fusion: {groups: [[QK, softmax, AV]], granularity: any, cores: any, level: SMEM, if_present: true}
  policy: {softmax: charged, buffering: 1}
"""


def chip_files(
    folder: Path,
    *,
    mesh: tuple[int, int] = (4, 1),
    lanes: tuple[int, int] = (2, 2),
    between: bool = False,
    rules: str = "",
    variables: str = "",
    row: int = 16,
    cores: bool = True,
) -> dict[str, str]:
    """A chip, the same with lanes, and prices, in a folder; what `map` is asked with.

    mesh:  cores along x and y. lanes: units of one, of each kind.
    rules: constraints of the cores, in YAML. row: bits of the memories of many words.
    cores: else one array.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, (units, registers, compute) in (("a.yaml", MATRIX), ("a.sfu.yaml", VECTOR)):
        nodes = [
            f'!Component {{name: DRAM, class: DRAM, attributes: {{type: "LPDDR4", width: {row}, '
            "datawidth: 16, shared_bandwidth: 2}}"
        ]
        if between:
            nodes.append(
                "!Component {name: L2, class: SRAM, attributes: {width: 16, datawidth: 16, "
                "depth: 4096, shared_bandwidth: 4}}"
            )
        if cores:
            extra = f", constraints: {{spatial: {rules}}}" if rules else ""
            x, y = mesh
            nodes.append(f"!Container {{name: SM, spatial: {{meshX: {x}, meshY: {y}}}{extra}}}")
        nodes += [
            f"!Component {{name: SMEM, class: SRAM, attributes: {{width: {row}, datawidth: 16, "
            f"depth: {8192 // row}}}}}",
            f"!Container {{name: {units}, spatial: {{meshX: {lanes[0]}, meshY: {lanes[1]}}}}}",
            f"!Component {{name: {registers}, class: regfile, attributes: {{width: 16, "
            "datawidth: 16, depth: 4}}",
            f"!Component {{name: {compute}, class: intmac, attributes: {{multiplier_width: 16, "
            "adder_width: 32}}",
        ]
        listed = "\n".join(f"  - {node}" for node in nodes)
        own = variables if name == "a.sfu.yaml" else ""
        head = f'{{version: 0.4, technology: "22nm", global_cycle_seconds: 1.0e-9{own}}}'
        (folder / name).write_text(
            f"variables: {head}\narchitecture:\n  version: 0.4\n  nodes:\n{listed}\n"
        )
    (folder / "prices.yaml").write_text(PRICES)
    return {"arch": str(folder / "a.yaml"), "ert": str(folder / "prices.yaml")}


def problem_file(folder: Path, softmax: str = "row", **ranks: int) -> str:
    """An attention of some sizes, as a file."""
    sizes = {"B": 1, "H": 2, "P": 4, "M": 4, "E": 2, "F": 2} | ranks
    text = ", ".join(f"{rank}: {n}" for rank, n in sizes.items())
    path = folder / "p.yaml"
    path.write_text(
        f"problem:\n  name: p\n  source: chosen\n  ranks: {{{text}}}\n  word_bits: 16\n"
        f"  attention: {{softmax: {softmax}}}\n"
    )
    return str(path)


def drawn(seed: int, folder: Path, *, cores: bool) -> dict[str, Any]:
    """A random question: what `map` is asked with, in files of a folder."""
    rng = random.Random(seed)
    given = chip_files(
        folder,
        mesh=rng.choice(((2, 1), (4, 1), (2, 2), (3, 2), (6, 1))),
        lanes=rng.choice(((2, 2), (4, 1), (2, 1), (4, 4))),
        between=cores and rng.random() < 0.5,
        rules='{no_reuse: ["*"]}' if rng.random() < 0.4 else "",
        row=rng.choice((16, 64)),
        cores=cores,
    )
    length = rng.choice((2, 4, 6))
    heads = rng.choice((2, 4, 6, 8))
    batch, depth = rng.choice((1, 2)), rng.choice((1, 2))
    sizes = {"B": batch, "H": heads, "P": length, "M": length, "E": depth, "F": depth}
    softmax = rng.choice(("row", "online"))
    (folder / "m.yaml").write_text(MAPSPACE)
    return {
        "arch": given["arch"],
        "ert": given["ert"],
        "problem": problem_file(folder, softmax, **sizes),
        "mapspace": str(folder / "m.yaml") if cores else "flat",
        "objective": rng.choice(("latency", "energy", "edp")),
    }
