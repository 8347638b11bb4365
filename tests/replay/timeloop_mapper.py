"""A stand-in for timeloop-mapper: answers with recorded runs of the real one.

    python timeloop_mapper.py [--fault KIND] timeloop-mapper processed.yaml ERT.yaml ART.yaml -o out

It checks its call as `timeloop_model.py` does. Like the real one it answers when it is interrupted.
--fault: `long` (searches until interrupted), `deaf` (ignores interrupts), `crash`, `silent`
(no answer), `none` (no valid mapping), `cut` (half an answer).
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

INPUTS = ["processed.yaml", "ERT.yaml", "ART.yaml"]
RUNS = Path(__file__).parent / "mapper_runs"
STATS = "timeloop-mapper.stats.txt"


def main(arguments: list[str]) -> int:
    fault = ""
    if arguments[:1] == ["--fault"]:
        fault, arguments = arguments[1], arguments[2:]
    if fault == "long":
        signal.sigwait({signal.SIGINT})
    if fault == "deaf":
        time.sleep(60)
    if fault == "crash":
        print("timeloop-mapper: Assertion `is_evaluated_' failed.")
        return 134
    if arguments != ["timeloop-mapper", *INPUTS, "-o", "out"]:
        print(f"ERROR: unexpected call {arguments}")
        return 0
    out = Path("out")
    if not out.is_dir() or list(out.iterdir()):
        print("ERROR: out: expected an empty folder")
        return 0
    if fault == "none":
        print("MESSAGE: no valid mappings found within search criteria. Some suggestions:")
        (out / STATS).write_text("")
        return 0
    runs = (r for r in sorted(RUNS.iterdir()))
    run = next((r for r in runs if all(same(r, name) for name in INPUTS)), None)
    if run is None or fault == "silent":
        print("ERROR: key not found: tables")
        return 0
    print((run / "timeloop.log").read_text(), end="")
    text = (run / STATS).read_text()
    (out / STATS).write_text(text[: len(text) // 2] if fault == "cut" else text)
    return 0


def same(run: Path, name: str) -> bool:
    """Whether a recorded run had this input."""
    from timeloop_model import means  # not before interrupts wait: it imports slowly

    return means((run / name).read_text(), Path(name).read_text())


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    sys.exit(main(sys.argv[1:]))
