"""Hard questions, each as a whole process: what it takes, and how good an early answer is."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from measuring import HERE, PROGRAM, Table, Usage, usage

CLOUD = ("--arch", "cloud", "--problem", "llama3-8b")
EDGE = ("--arch", "edge", "--problem")
CAUSAL = ("--mask", "causal", "--softmax", "online")
THREE = HERE / "four-levels.yaml"  # DRAM and three levels on chip
WIDE = "wide"  # the same with 16x16 clusters of 16x16 PEs
QUESTIONS: Mapping[str, tuple[tuple[str, ...], int, int]] = {  # words, CPU s and MB at most
    "llama3-8b, 4096, causal, online, cloud": ((*CLOUD, "--seq", "4096", *CAUSAL), 20, 1000),
    "the same, any softmax and schedule": (
        (
            *(*CLOUD, "--seq", "4096", "--mask", "causal"),
            *("--softmax", "any", "--schedule", "any"),
        ),
        60,
        1500,
    ),
    "bert-base, B = 1, 2048, causal, online, edge": (
        (*EDGE, "bert-base", "--set", "B=1", "--seq", "2048", *CAUSAL),
        10,
        1000,
    ),
    "bert-base, 5040, edge": ((*EDGE, "bert-base", "--seq", "5040"), 10, 1000),
    "llama3-8b, whole model, 10080, cloud": (
        (*CLOUD, "--scope", "model", "--seq", "10080"),
        60,
        2000,
    ),
    "vit-l16 (197 positions), edge": ((*EDGE, "vit-l16"), 5, 1000),
    "decode of llama3-8b at 4096, three levels on chip": (
        ("--arch", str(THREE), "--problem", "llama3-8b", "--phase", "decode", "--seq", "4096"),
        30,
        2000,
    ),
    "bert-base, 512, 16x16 clusters of 16x16 PEs": (
        ("--arch", WIDE, "--problem", "bert-base", "--seq", "512"),
        30,
        2000,
    ),
}
SHORT_S = 5  # seconds of `--time-limit`
LONG_S = 240.0  # wall seconds of one exact run; what takes longer is told


def questions() -> list[Table]:
    """Each question to the end, and for a few seconds."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        wide = _wide(Path(folder))
        for name, (asked, cpu_s, mb) in QUESTIONS.items():
            words = (*PROGRAM, "map", *(wide if w == WIDE else w for w in asked), "--json")
            whole = usage(words, seconds=LONG_S)
            short = usage((*words, "--time-limit", f"{SHORT_S}"))
            half = usage((*words, "--time-limit", f"{whole.wall_s / 2:.2f}"))
            goal = f"{cpu_s} s, {mb} MB"
            rows.append((name, *whole.cells()[1:], goal, *_gaps(whole, short), _gap(half)))
    return [
        Table(
            title="Hard questions",
            text="One run each, least energy-delay product, mapspace flat; a run that is not over "
            f"after {LONG_S:g} s of wall time is ended. Gap: how far the answer may be above the "
            f"least, as proven; after {SHORT_S} s in all, with that process's CPU seconds, and "
            "how far that answer is above the exact one; and after half of the exact run's wall "
            "time. The chip of three levels is `benchmarks/four-levels.yaml`, whose clusters "
            "are 16x16 of 16x16 PEs in the last row.",
            head=(
                *("question", "CPU s", "peak MB", "goal", "gap at the end"),
                *(f"wall s, CPU s, {SHORT_S} s asked", "its gap", "above the exact"),
                "gap after half the time",
            ),
            rows=tuple(rows),
        )
    ]


def _gaps(whole: Usage, short: Usage) -> tuple[str, str, str, str]:
    """Gap of the exact run, and wall time, gap and true distance of the short one."""
    exact = None if whole.failed else json.loads(whole.printed)
    ended = whole.failed or f"{exact['search']['gap']:.1%}"
    if short.failed:
        return ended, short.failed, "", ""
    early = json.loads(short.printed)
    above = ""
    if exact is not None:
        above = f"{early['edp_js'] / exact['edp_js'] - 1:.1%}"
    took = f"{short.wall_s:.1f}, {short.cpu_s:.1f}"
    return ended, took, f"{early['search']['gap']:.1%}", above


def _gap(run: Usage) -> str:
    """The gap that a run proves, or why there is none."""
    return run.failed or f"{json.loads(run.printed)['search']['gap']:.1%}"


def _wide(folder: Path) -> str:
    """The chip of four levels with 16x16 clusters of 16x16 PEs, in a folder."""
    sizes = {"{meshX: 4, meshY: 4}": "{meshX: 16, meshY: 16}"}
    sizes["{meshX: 8, meshY: 8}"] = "{meshX: 16, meshY: 16}"
    for path in (THREE, THREE.with_suffix(".sfu.yaml")):
        text = path.read_text(encoding="utf-8")
        for old, new in sizes.items():
            text = text.replace(old, new)
        (folder / path.name).write_text(text, encoding="utf-8")
    return str(folder / THREE.name)
