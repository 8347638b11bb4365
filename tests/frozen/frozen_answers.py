"""Answers that hold from one version to the next: values and proofs, never counts of work.

    python tests/frozen/frozen_answers.py > new.jsonl

answers every line of questions.txt anew, a line of JSON each, to be held beside answers.jsonl. What
changes on purpose says why there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from flat_mapper.cli.main import main

HERE = Path(__file__).parent
SAME = 1e-9  # relative; sums of floats in another order differ by less
UNPROVEN = 1e-3  # relative; of an answer that nobody has proven
Answer = dict[str, object]


def questions() -> list[str]:
    """The words after `map` of every question; mapspaces of their own stand beside this file."""
    return (HERE / "questions.txt").read_text(encoding="utf-8").splitlines()


def recorded() -> list[Answer]:
    """The recorded answers, in the order of the questions."""
    text = (HERE / "answers.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def answer(question: str) -> Answer:
    """What a question comes to: exit code, cycles and pJ, or points of a front; proof and gap."""
    words = [str(HERE / w) if (HERE / w).suffix == ".yaml" else w for w in question.split()]
    with redirect_stdout(StringIO()) as printed:
        code = main(["map", *words, "--json"])
    if code:
        return {"exit": code}
    found = json.loads(printed.getvalue())
    if "rows" in found:
        return {"exit": 0, "front": [[row["cycles"], row["energy_pj"]] for row in found["rows"]]}
    values = {name: found[name] for name in ("cycles", "energy_pj")}
    return {"exit": 0, **values, "gap": found["search"]["gap"]}


def faults(question: str, was: Answer, now: Answer) -> Iterator[str]:
    """What no longer holds of an answer: a proven one exactly, an unproven one about."""
    if was["exit"] or now["exit"]:
        if was["exit"] != now["exit"]:
            yield f"exit {was['exit']} -> {now['exit']}"
        return
    if "front" in was:
        lost = [p for p in was["front"] if not any(_reaches(q, p) for q in now["front"])]  # type: ignore[attr-defined]
        if lost:
            yield f"points of the front: {lost}"
        return
    old, new = (_value(question, one) for one in (was, now))
    gap = float(str(was["gap"]))
    proven = gap <= 2 * SAME  # they ask for a gap of 1e-9
    if new > old * (1 + (2 * SAME if proven else max(UNPROVEN, gap))):
        yield f"{old:.6g} -> {new:.6g}"
    if proven and new < old * (1 - 2 * SAME):
        yield f"{old:.6g} was called the best, got {new:.6g}"
    if float(str(now["gap"])) > gap + (2 * SAME if proven else UNPROVEN):
        yield f"gap {gap:.4g} -> {now['gap']}"


def _reaches(point: list[float], other: list[float]) -> bool:
    return all(a <= b * (1 + SAME) for a, b in zip(point, other, strict=True))


def _value(question: str, one: Answer) -> float:
    words = question.split()
    objective = words[words.index("--objective") + 1] if "--objective" in words else "edp"
    cycles, energy = float(str(one["cycles"])), float(str(one["energy_pj"]))
    return {"latency": cycles, "energy": energy}.get(objective, cycles * energy)


if __name__ == "__main__":
    kept = {row["question"]: row.get("why") for row in recorded()}
    for asked in questions():
        row = {"question": asked, **answer(asked)}
        sys.stdout.write(json.dumps(row | ({"why": kept[asked]} if kept.get(asked) else {})) + "\n")
        sys.stdout.flush()
