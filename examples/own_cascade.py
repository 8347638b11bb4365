"""A cascade and a mapspace of your own: which Einsums there are, and which may share loops."""

from pathlib import Path

import flat_mapper as fm

HERE = Path(__file__).parent

mapspaces = ["flex", HERE / "my_fusion.yaml"]
found = fm.compare(HERE / "my_cascade.yaml", HERE / "my_chip.yaml", mapspaces)
print(found)

fused = found.rows["my_fusion"]
print(fused.priced)
for level, use in fused.result.buffers().items():
    print(f"{level}: {use.live_words:,} of {use.capacity_words:,} words")
