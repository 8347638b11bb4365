"""The brute force's best values of many small questions, for the search to be held against.

    PYTHONPATH=tests python -m oracles.record_best FIRST LAST [SECONDS]

tries them all for every seed from FIRST to LAST of every kind of question, and prints a line of
JSON each, but for those that take longer: tests/data/best_values.jsonl is what it printed.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from agreement import value
from oracles.brute_force import answers
from oracles.small_cases import QUESTIONS


def main(first: int, last: int, seconds: float) -> None:
    """Print a line for each question that is answered in time (CPU seconds)."""
    for seed in range(first, last):
        for name in QUESTIONS:
            sys.stdout.flush()
            child = os.fork()
            if child == 0:
                signal.setitimer(signal.ITIMER_VIRTUAL, seconds)  # ends the process
                print(answer(name, seed), flush=True)
                os._exit(0)
            os.waitpid(child, 0)


def answer(name: str, seed: int) -> str:
    """The line of one question."""
    found = answers(QUESTIONS[name](seed))
    best = {o: None if r is None else value(r, o) for o, r in found.items()}
    return json.dumps({"question": name, "seed": seed, "best": best})


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 3.0)
