"""A stand-in for Timeloop's tools and Accelergy: answers with recorded runs of the real ones.

    python stand_in.py [--fault KIND] TOOL INPUT... -o out

It checks its call as the real one would suffer from it: the inputs must be those of a recorded run,
and the output folder must be there and empty. Like timeloop-model it leaves with 0 when it fails,
and like timeloop-mapper it answers when it is interrupted.
--fault: `hang`, `crash`, `silent` (no answer), `cut` (half an answer), `unknown` (no estimator);
of timeloop-mapper `long` (searches until interrupted), `deaf` (ignores interrupts), `none` (finds
nothing).
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

RUNS = Path(__file__).parent / "runs"
LOG = "timeloop.log"
TIMELOOP = ("processed.yaml", "ERT.yaml", "ART.yaml")
INPUTS = {"timeloop-model": TIMELOOP, "timeloop-mapper": TIMELOOP, "accelergy": ("arch.yaml",)}
SAYS = {
    "crash": "ERROR: boost: out of memory",
    "unknown": "ERROR  Can not find an energy estimator for fluxmac(width=16).compute(). No plug-",
    "none": "MESSAGE: no valid mappings found within search criteria. Some suggestions:",
}


def main(arguments: list[str]) -> int:
    fault = ""
    if arguments[:1] == ["--fault"]:
        fault, arguments = arguments[1], arguments[2:]
    if fault == "long":
        signal.sigwait({signal.SIGINT})
    while fault in ("hang", "deaf"):
        signal.pause()
    print(SAYS.get(fault, ""))
    if fault in ("crash", "unknown"):
        return 134
    print(answered(arguments, fault))
    return 0


def answered(arguments: list[str], fault: str) -> str:
    """What the tool prints; its answer is written."""
    tool, out = arguments[0], Path("out")
    if arguments[1:] != [*INPUTS.get(tool, ()), "-o", "out"]:
        return f"ERROR: unexpected call {arguments}"
    if not out.is_dir() or list(out.iterdir()):
        return "ERROR: out: expected an empty folder"
    if fault == "none":
        (out / f"{tool}.stats.txt").write_text("")
        return ""
    run = next((r for r in sorted((RUNS / tool).iterdir()) if same(r, INPUTS[tool])), None)
    if run is None or fault == "silent":
        return "ERROR: key not found: tables"
    for file in run.iterdir():
        if file.name not in (LOG, *INPUTS[tool]):
            text = file.read_text()
            (out / file.name).write_text(text[: len(text) // 2] if fault == "cut" else text)
    log = run / LOG
    return log.read_text() if log.exists() else ""


def same(run: Path, names: tuple[str, ...]) -> bool:
    """Whether a recorded run had these inputs."""
    import yaml  # not before interrupts wait: it imports slowly

    for name in names:
        recorded, given = (run / name).read_text(), Path(name).read_text()
        if recorded != given and yaml.safe_load(recorded) != yaml.safe_load(given):
            return False
    return True


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    sys.exit(main(sys.argv[1:]))
