"""This checkout beside an older one on the same questions, in turn, as whole processes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from measuring import PROGRAM, ROOT, Table, Usage, usage
from whole import BERT, SEARCHES

VARIABLE = "BEFORE"  # a checkout of the older commit, such as `git worktree add ../before a36a5d0`
PAIRS = 3
AT_4096 = (*BERT, "--arch", "edge", "--seq", "4096")
LLAMA = ("map", "--arch", "cloud", "--problem", "llama3-8b", "--seq", "4096")
QUESTIONS: Mapping[str, tuple[str, ...]] = {
    **{
        name: (*BERT, "--arch", arch, "--seq", f"{length}")
        for name, (arch, length, _) in SEARCHES.items()
    },
    "edge, N = 4096, least energy": (*AT_4096, "--objective", "energy"),
    "edge, N = 4096, least latency": (*AT_4096, "--objective", "latency"),
    "edge, N = 4096, unfused": (*AT_4096, "--mapspace", "flex"),
    "edge, N = 4096, a block": (*AT_4096, "--scope", "block"),
    "edge, N = 4096, the model": (*AT_4096, "--scope", "model"),
    "edge, N = 512, online": (*BERT, "--arch", "edge", "--seq", "512", "--softmax", "online"),
    "edge, N = 4096, online": (*AT_4096, "--softmax", "online"),
    "cloud, llama3-8b, N = 4096": LLAMA,
    "cloud, llama3-8b, a step of decode": (*LLAMA, "--phase", "decode"),
}


def pairs() -> list[Table]:
    """A row for each question; nothing where no older checkout is named."""
    before = os.environ.get(VARIABLE)
    if not before:
        return []
    commits = [_commit(root) for root in (Path(before), ROOT)]
    rows = [(name, *_pair(words, Path(before))) for name, words in QUESTIONS.items()]
    return [
        Table(
            title="Beside an older commit",
            text=f"Commit {commits[0]} and {commits[1]} in turn, {PAIRS} times after one each that "
            "is not counted. A ratio is the new one's over the old one's, the median of those of "
            "each pair: below 1 is better. The answers differ where the model was mended. A model "
            "was its products, 12 Einsums; now it has all that its layers do, 35 of them. On "
            "edge at N = 65536 the best was unfused; since what arrives stays until it is read, "
            "that form needs two words more than there are, and the search goes on to the fused "
            "ones.",
            head=(
                *("question", "CPU s before", "CPU s", "ratio", "least and most of it"),
                *("peak MB before", "peak MB", "ratio"),
            ),
            rows=tuple(rows),
        )
    ]


def _pair(words: tuple[str, ...], before: Path) -> tuple[str, ...]:
    """The medians of one question, old and new."""
    runs: list[tuple[Usage, Usage]] = []
    for _ in range(PAIRS + 1):
        old, new = (usage((*PROGRAM, *words, "--json"), root=root) for root in (before, ROOT))
        if old.failed or new.failed:
            return old.failed or "answers", new.failed or "answers", "", "", "", "", ""
        runs.append((old, new))
    counted = runs[1:]
    ratios = sorted(new.cpu_s / old.cpu_s for old, new in counted)
    cpu_s = [median(pair[i].cpu_s for pair in counted) for i in (0, 1)]
    peak_mb = [median(pair[i].peak_mb for pair in counted) for i in (0, 1)]
    return (
        *(f"{seconds:.2f}" for seconds in cpu_s),
        *(f"{median(ratios):.2f}", f"{ratios[0]:.2f} to {ratios[-1]:.2f}"),
        *(f"{peak:.0f}" for peak in peak_mb),
        f"{peak_mb[1] / peak_mb[0]:.2f}",
    )


def _commit(root: Path) -> str:
    words = ("git", "-C", str(root), "rev-parse", "--short", "HEAD")
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
