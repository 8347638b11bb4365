"""An architecture of your own: two Timeloop files, and the same with a quarter of the buffer."""

import tempfile
from pathlib import Path

import flat_mapper as fm

HERE = Path(__file__).parent
workload = fm.load_problem("bert-base", sizes={"B": 1, "P": 256, "M": 256})

found = fm.compare(workload, HERE / "my_chip.yaml", ["naive", "flat"])
print(found)

with tempfile.TemporaryDirectory() as folder:
    for name in ("my_chip.yaml", "my_chip.sfu.yaml"):  # the buffer is one: change it in both
        text = (HERE / name).read_text(encoding="utf-8")
        changed = text.replace("depth: 4096", "depth: 1024")
        (Path(folder) / name).write_text(changed, encoding="utf-8")
    smaller = fm.search(workload, Path(folder) / "my_chip.yaml", "flat")
full = found.rows["flat"]
print(f"128 KiB: {full.result.latency_s:.3e} s, 32 KiB: {smaller.result.latency_s:.3e} s")
