"""Running timeloop-mapper for a given time.

Source: Timeloop, src/applications/mapper/main.cpp, commit 4cf6d4c. At a SIGINT its threads
finish the mapping at hand, and the best mapping found so far is written as at a regular end. A
second SIGINT would make them abandon it, and was seen to fail an assertion and lose the answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from flat_mapper.base.errors import BackendError, expected
from flat_mapper.timeloop.run import Command, call

MAPPER = "timeloop-mapper"
MAPPER_STATS = f"{MAPPER}.stats.txt"
_NOTHING = "no valid mappings found"
_ENERGY = re.compile(r"^ +Energy \(total\) *: (\S+) pJ$", re.MULTILINE)
_CYCLES = re.compile(r"^Cycles: (\d+)$", re.MULTILINE)
_SUMMARY = "\nSummary Stats\n"


def run_mapper(
    command: Command, folder: Path, inputs: Sequence[str], seconds: float
) -> Path | None:
    """The stats file of the best mapping found within some seconds; None where it found none.

    The command's own time limit is what timeloop-mapper gets to stop.
    raises: BackendError with the log and the command to run again.
    """
    run = call(command, folder, inputs, seconds=seconds)
    if run.problem is None and _NOTHING in run.said:
        return None
    return run.written(folder / "out" / MAPPER_STATS)


def best_found(text: str, where: str) -> tuple[int, float]:
    """Cycles, and energy in pJ, of the mapping that a stats file describes.

    The energies of all levels and of the compute unit are added up, because the summary's own
    total has lost its digits. Networks cost nothing: the energies given have none.
    raises: BackendError where one cannot be read.
    """
    blocks, summary, end = text.partition(_SUMMARY)
    if not summary:
        raise BackendError(expected(where, "Timeloop's statistics to their end", "less"))
    cycles = _CYCLES.search(end)
    energies = _ENERGY.findall(blocks.partition("\nNetworks\n")[0])
    if cycles is None or not energies:
        raise BackendError(expected(where, "the fields 'Cycles' and 'Energy (total)'", "less"))
    try:
        return int(cycles[1]), sum(float(pj) for pj in energies)
    except ValueError as error:
        raise BackendError(expected(f"{where}: Energy (total)", "a number", str(error))) from error
