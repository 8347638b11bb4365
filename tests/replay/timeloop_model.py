"""A stand-in for timeloop-model: answers with recorded runs of the real one.

    python timeloop_model.py [--fault KIND] timeloop-model processed.yaml ERT.yaml ART.yaml -o out

It checks its call as the real one would suffer from it: the inputs must be those of a recorded run,
and the output folder must be there and empty. Like the real one it leaves with 0 when it fails.
--fault: `hang`, `crash`, `silent` (no answer), `cut` (half an answer).
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import yaml

RUNS = Path(__file__).parent / "runs"
INPUTS = ["processed.yaml", "ERT.yaml", "ART.yaml"]
STATS = "timeloop-model.stats.txt"


def main(arguments: list[str]) -> int:
    fault = ""
    if arguments[:1] == ["--fault"]:
        fault, arguments = arguments[1], arguments[2:]
    if fault == "hang":
        time.sleep(60)
    if fault == "crash":
        print("ERROR: boost: out of memory")
        return 1
    if arguments != ["timeloop-model", *INPUTS, "-o", "out"]:
        print(f"ERROR: unexpected call {arguments}")
        return 0
    out = Path("out")
    if not out.is_dir() or list(out.iterdir()):
        print("ERROR: out: expected an empty folder")
        return 0
    run = next((r for r in sorted(RUNS.iterdir()) if same(r)), None)
    if run is None or fault == "silent":
        print("ERROR: key not found: tables")
        return 0
    print((run / "timeloop.log").read_text(), end="")
    recorded = run / STATS
    if recorded.exists():
        text = recorded.read_text()
        (out / STATS).write_text(text[: len(text) // 2] if fault == "cut" else text)
    return 0


def same(run: Path) -> bool:
    """Whether a recorded run had these inputs."""
    return all(means((run / name).read_text(), Path(name).read_text()) for name in INPUTS)


def means(recorded: str, given: str) -> bool:
    """Whether two texts are the same document."""
    if recorded == given:
        return True
    return yaml.safe_load(recorded) == yaml.safe_load(given)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
