"""Ten shipped chips and ten shipped problems, asked with nothing else: what each question got.

    python benchmarks/run_defaults.py [WORKERS] [--seconds N]

Prints a line of JSON for each: exit code, objective value, gap, wall and CPU seconds, peak MB; and
how many were answered in time, and how many within 0.1 %.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

CHIPS = ("edge", "cloud", "eyeriss", "tpu-v4i", "tpu-v5e", "tpu-v4i-cores")
CHIPS += ("a100", "h100", "b200", "blackhole-p100a")
PROBLEMS = ("bert-base", "gpt2", "t5-small", "vit-b16", "whisper-large", "llama3-8b")
PROBLEMS += ("mistral-7b", "qwen25-7b", "deepseek-v2-mla", "gemm-gemm")
NEAR = 1e-3
CHILD = """
import resource, subprocess, sys
run = subprocess.run(sys.argv[1:], capture_output=True, text=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(run.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss // 1024)
print(run.stdout or run.stderr)
"""


def asked(chip: str, problem: str) -> dict[str, object]:
    """What one question got."""
    program = [str(Path(sys.executable).with_name("flat-mapper")), "map", "--json"]
    words = [sys.executable, "-c", CHILD, *program, "--arch", chip, "--problem", problem]
    begin = time.monotonic()
    run = subprocess.run(words, capture_output=True, text=True, check=True)
    wall = round(time.monotonic() - begin, 1)
    head, _, body = run.stdout.partition("\n")
    code, cpu, megabytes = head.split()
    row = {"arch": chip, "problem": problem, "exit": int(code), "wall_s": wall}
    row |= {"cpu_s": round(float(cpu), 1), "mb": int(megabytes)}
    try:
        found = json.loads(body)
    except ValueError:
        return row | {"said": body.strip()[:200]}
    proof = found.get("search") or {}
    return (
        row
        | {"cycles": found.get("cycles"), "energy_pj": found.get("energy_pj")}
        | {key: proof.get(key) for key in ("gap", "optimal", "stopped")}
    )


def main() -> int:
    """Ask all; 1 if one was not answered in time."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("workers", type=int, nargs="?", default=1)
    parser.add_argument("--seconds", type=float, default=65.0, help="an answer's wall time")
    given = parser.parse_args()
    with ThreadPoolExecutor(given.workers) as pool:
        rows = []
        for row in pool.map(lambda pair: asked(*pair), product(CHIPS, PROBLEMS)):
            rows.append(row)
            print(json.dumps(row), flush=True)
    timely = [r for r in rows if r["exit"] in (0, 1) and float(str(r["wall_s"])) <= given.seconds]
    near = [r for r in rows if r.get("gap") is not None and float(str(r["gap"])) <= NEAR * 1.000001]
    told = f"{len(timely)} of {len(rows)} answered in {given.seconds:g} s"
    print(f"{told}, {len(near)} within {NEAR:.1%}")
    return len(timely) < len(rows)


if __name__ == "__main__":
    sys.exit(main())
