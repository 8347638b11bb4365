"""Running timeloop-mapper for a given time.

Source: Timeloop, src/applications/mapper/main.cpp, commit 4cf6d4c. At a SIGINT its threads
finish the mapping at hand, and the best mapping found so far is written as at a regular end. A
second SIGINT would make them abandon it, and was seen to fail an assertion and lose the answer.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from flat_mapper.backends.timeloop_run import LOG, Command, last_words
from flat_mapper.errors import BackendError, expected

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
    (folder / "out").mkdir()
    words = command.words([*inputs, "-o", "out"], folder)
    problem = _run(words, folder, seconds, command.timeout_s)
    log, stats = folder / LOG, folder / "out" / MAPPER_STATS
    said = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    if problem is None and _NOTHING in said:
        return None
    if problem is None and not (stats.is_file() and stats.stat().st_size):
        problem = f"got exit code 0 and no {MAPPER_STATS}{last_words(said)}"
    if problem is not None:
        again = f"cd {shlex.quote(str(folder))} && {shlex.join(words)}"
        raise BackendError(
            f"{MAPPER}: expected out/{MAPPER_STATS}, {problem}; log: {log}; re-run: {again}"
        )
    return stats


def _run(words: list[str], folder: Path, seconds: float, grace_s: float) -> str | None:
    """Run a command, interrupt it when its time is over; what went wrong, or None.

    It has a process group of its own, so that an interrupt reaches it through any wrapper, and
    none of it outlives this process's own end.
    """
    log = folder / LOG
    try:
        with log.open("wb") as out:
            process = subprocess.Popen(
                words,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as error:
        return f"got: {error.strerror or error}"
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(grace_s)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode == -signal.SIGKILL:
        return f"got nothing within {seconds:g} s, nor when interrupted after that"
    if process.returncode == 0:
        return None
    said = log.read_text(encoding="utf-8", errors="replace")
    return f"got exit code {process.returncode}{last_words(said)}"


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
