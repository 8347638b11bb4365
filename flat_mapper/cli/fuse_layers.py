"""The verb fuse-layers: a folder of Timeloop problems as one problem with fused attention."""

from __future__ import annotations

import argparse
from pathlib import Path

from flat_mapper.cli.terminal import say
from flat_mapper.importers.layer_fusion import FusedLayers, fuse_layers, shape_text
from flat_mapper.spec.answers import answer_json
from flat_mapper.spec.textfiles import write_text


def fuse_layers_command(arguments: argparse.Namespace) -> int:
    """Say what became of each file; write the problem where it was asked for."""
    found = fuse_layers(arguments.folder)
    target = Path(arguments.output) if arguments.output else None
    if target:
        write_text(target, found.problem_text(target.name.partition(".")[0]))
    if arguments.json:
        say(answer_json("fuse-layers", {**found.to_dict(), "written": str(target or "")}))
        return 0
    say(fuse_text(found))
    if target:
        say(f"\n{target}: written; flat-mapper map --problem {target} --arch ...")
    return 0


def fuse_text(found: FusedLayers) -> str:
    """A line for each file, then how many pairs there are of each shape."""
    lines = [f"{name}: {what}" for name, what in found.said.items()]
    lines += ["", f"{len(found.said)} files, {len(found.pairs)} pairs that are attention"]
    lines += [f"  {count} x {shape_text(shape)}" for shape, count in found.shapes().items()]
    return "\n".join(lines)
