"""Time limits over every verb and drawn questions: the worst overrun, and the peak memory.

    python benchmarks/run_limits.py [--limits 2 10 60] [--questions N] [--seed N]

Prints a line for each run: seconds over the limit, CPU seconds, peak MB and the command; where it
is over what is allowed, also where the program was then. In the end the worst of each limit.
First, untimed, one question to each chip: what CACTI says of it is kept from then on.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from measuring import Usage, usage

CHIPS = ("edge", "cloud", "eyeriss", "ethos-u85", "tpu-v4i", "tpu-v4i-cores", "a100", "h100")
CHIPS += ("b200", "mi300x", "blackhole-p100a")
CLUSTERS = ("8xh100", "tpu-v5e-2x4")
PROBLEMS = ("bert-base", "gpt2", "vit-b16", "llama3-8b", "qwen3-8b", "deepseek-v2-mla")
PROBLEMS += ("mixtral-8x7b", "whisper-large", "gemma3-27b")
SIZES = (509, 2048, 8192, 10080, 65536)
SPREAD_S, SHARE = 2.0, 0.1  # seconds that a limit may be overrun by, or this part of it
CHILD = """
import sys, threading, traceback
seconds, file, *words = sys.argv[1:]
main = threading.get_ident()
def tell():
    with open(file, "w") as told:
        told.writelines(reversed(traceback.format_stack(sys._current_frames()[main])))
late = threading.Timer(float(seconds), tell)
late.daemon = True
late.start()
from flat_mapper.cli.main import run
sys.argv[1:] = words
sys.exit(run())
"""
_CHAINS = 8  # of two Einsums each: 6,568 groups


def drawn(chance: random.Random) -> list[str]:
    """The words of one question."""
    chip, problem = chance.choice(CHIPS), chance.choice(PROBLEMS)
    verb = chance.choice(("map", "map", "map", "front", "compare", "need", "generate", "cluster"))
    size = str(chance.choice(SIZES))
    softmax = ["--softmax", chance.choice(("row", "online", "any"))] * (chance.random() < 0.5)
    aim = ["--objective", chance.choice(("edp", "latency", "energy"))]
    ask = ["--arch", chip, "--problem", problem, *softmax[:2]]
    scope = ["--scope", chance.choice(("attention", "block", "layer", "model"))]
    if verb == "cluster":
        cluster = ["--arch", chance.choice(CLUSTERS), "--problem", problem, "--seq", size]
        return ["map", *cluster, "--objective", "latency", *scope]
    if verb == "need":
        return ["need", "bandwidth", *ask, "--seq", size, "--utilization", "0.5"]
    if verb == "generate":
        return ["generate", *ask, *aim, "--prefill", size, "--decode", "128"]
    if verb == "front":
        return ["map", *ask, "--seq", size, "--objective", "latency,energy"]
    any_space = ["--mapspace", "any"] * (chance.random() < 0.2 and verb == "map")
    return [verb, *ask, *aim, "--seq", size, *scope, *any_space]


def chains(folder: Path) -> list[str]:
    """A question of very many groups: independent chains of one input under `groups: any`."""
    lines = ["problem:", "  ranks: {A: 64, B: 64}", "  word_bits: 16", "  einsums:"]
    for n in range(_CHAINS):
        lines += [f"  - X{n}[a,b] = exp(I[a,b])", f"  - Y{n}[a,b] = exp(X{n}[a,b])"]
    file = folder / "chains.yaml"
    file.write_text("\n".join(lines) + "\n")
    return ["map", "--arch", "edge", "--problem", str(file), "--mapspace", "any"]


def asked(words: list[str], limit: float, allowed: float, folder: Path) -> tuple[Usage, str]:
    """What one run took, and where the program was when all that is allowed was over."""
    trace = folder / "trace"
    trace.write_text("")
    child = (sys.executable, "-c", CHILD, f"{limit + allowed:g}", str(trace))
    argv = [*child, *words, "--time-limit", f"{limit:g}", "--json"]
    used = usage(argv, seconds=limit + 300, memory_mb=None)
    frames = [ln.strip() for ln in trace.read_text().splitlines() if "flat_mapper" in ln]
    return used, " < ".join(f.rpartition("flat_mapper/")[2] for f in frames[:6])


def main() -> int:
    """Ask all; 1 where some limit was overrun by more than is allowed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--limits", type=float, nargs="+", default=[2.0, 10.0, 60.0])
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    late = 0
    with tempfile.TemporaryDirectory() as name:
        folder, chance = Path(name), random.Random(given.seed)
        for chip in (*CHIPS, *CLUSTERS):
            asked(["map", "--arch", chip, "--problem", "bert-base", "--seq", "64"], 2, 6, folder)
        every = [chains(folder), *(drawn(chance) for _ in range(given.questions))]
        for limit in given.limits:
            allowed, worst, peak = max(SPREAD_S, SHARE * limit), 0.0, 0.0
            for words in every:
                used, where = asked(words, limit, allowed, folder)
                over = used.wall_s - limit
                worst, peak, late = (
                    max(worst, over),
                    max(peak, used.peak_mb),
                    late + (over > allowed),
                )
                told = f"{over:+7.2f} s {used.cpu_s:7.1f} CPU s {used.peak_mb:6.0f} MB"
                print(f"{limit:g}: {told}  {' '.join(words)}  {used.failed}", flush=True)
                if over > allowed:
                    print(f"    at {limit + allowed:g} s: {where}", flush=True)
            print(
                f"limit {limit:g} s: overrun {worst:.2f} s at most, peak {peak:.0f} MB", flush=True
            )
    return int(late > 0)


if __name__ == "__main__":
    sys.exit(main())
