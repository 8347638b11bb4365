"""The log of a whole search as a file of JSON lines, gzipped where its name ends in `.gz`.

The first line holds the question whole (workload, platform, mapspace, energies, objective), so that
a replay needs nothing else; the last one the optimum. Between them are the events of each group,
see `mapper.group.log`, and for every alternative that was not opened its bound.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from flat_mapper.arch.values import Platform
from flat_mapper.base.classes import dataclass
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.group.incumbent import Costs
from flat_mapper.mapper.group.log import Event, GroupLog
from flat_mapper.mapper.group.objective import Goal, Objective
from flat_mapper.mapper.group.picks import GroupSolution, total_of
from flat_mapper.mapper.solve.alternatives import Task
from flat_mapper.mapping.space import Mapspace
from flat_mapper.spec.plain import plain_data, value_of
from flat_mapper.spec.textfiles import replacing
from flat_mapper.workload.graph import Workload

FORMAT = "flat-mapper search log"
FORMAT_VERSION = 1
MOST_BYTES = 2**28  # chosen: of a log that is read, unpacked
_LEFT_OUT = ("document", "constraints")  # of an architecture: the mapspace has the rules by then


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchQuestion:
    """All that a search is asked."""

    workload: Workload
    platform: Platform
    mapspace: Mapspace  # with the rules of the platform's own nodes
    ert: Ert
    objective: Objective


@dataclass(frozen=True, slots=True)
class SearchLog:
    """Writes a log, one line an event."""

    stream: io.TextIOBase

    def write(self, event: Event) -> None:
        """Write one event."""
        self.stream.write(json.dumps(event, separators=(",", ":"), allow_nan=False) + "\n")

    def begin(
        self,
        workload: Workload,
        platform: Platform,
        mapspace: Mapspace,
        ert: Ert,
        objective: Objective,
        everything: Sequence[Task],
    ) -> None:
        """Write the question, and listen to every group of its alternatives."""
        question = SearchQuestion(
            workload=workload, platform=platform, mapspace=mapspace, ert=ert, objective=objective
        )
        head = {"format": FORMAT, "version": FORMAT_VERSION, "rule": "question"}
        self.write({**head, "question": plain_data(question, _LEFT_OUT)})
        for number, task in enumerate(everything):
            for position, search in enumerate(task.searches):
                search.log = GroupLog(self.write, (number, position), search.bounds)

    def alternative(self, task: Task, goal: Goal, best: Costs | None) -> None:
        """Write the bound of an alternative; best: what is known after it."""
        log = task.searches[0].log
        assert log is not None
        least = [s.prepare() for s in task.searches]
        cycles, energy = (sum(v) for v in zip(*least, strict=True))
        bound = {"cycles": cycles, "pj": energy}
        known = [[goal.kind, goal.weight, *(best or (None, None))]]
        self.write({"rule": "alternative", "at": [log.at[0], 0], "against": known, **bound})

    def end(self, groups: Sequence[GroupSolution], everything: Sequence[Task]) -> None:
        """Write the optimum: its groups, and the cycles and dynamic pJ of one run, or null."""
        logs = {id(s.problem): s.log for task in everything for s in task.searches}
        cycles, energy = total_of(groups) if groups else (None, None)
        number = None
        for solution in groups:
            log = logs[id(solution.problem)]
            assert log is not None
            log.priced(solution)
            number = log.at[0]
        self.write({"rule": "optimum", "alternative": number, "cycles": cycles, "pj": energy})


@contextmanager
def search_log(path: Path) -> Iterator[SearchLog]:
    """A log that is written to a file."""
    with replacing(path) as raw:
        if path.suffix == ".gz":
            with gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) as packed:
                yield from _logged(packed)
        else:
            yield from _logged(raw)


def _logged(raw: Any) -> Iterator[SearchLog]:
    stream = io.TextIOWrapper(raw, encoding="utf-8", newline="\n")
    yield SearchLog(stream)
    stream.flush()
    stream.detach()


def read_log(path: Path) -> tuple[SearchQuestion, list[dict[str, Any]]]:
    """The question and the events of a log.

    raises: SpecError where the file is none, or was cut short.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            data = (gzip.GzipFile(fileobj=raw) if packed else raw).read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES} bytes")
        text = data.decode("utf-8")
        head, *events = [json.loads(line) for line in text.splitlines()]
        if (head["format"], head["version"]) != (FORMAT, FORMAT_VERSION):
            raise ValueError(f"{head['format']} of version {head['version']}")
        question: SearchQuestion = value_of(SearchQuestion, head["question"])
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, OSError) as error:
        condition = f"a log of `map --log`, version {FORMAT_VERSION}"
        got = f"{type(error).__name__}: {error}"
        raise SpecError(expected(str(path), condition, got)) from error
    if not events or events[-1].get("rule") != "optimum":
        raise SpecError(expected(str(path), "an optimum in the last line", "none", "map again"))
    return question, events


def bounds_of(event: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Cycles and pJ of an event's bounds; infinite where a line has null."""
    found = (
        np.array([np.inf if v is None else v for v in event[key]], dtype=np.float64)
        for key in ("cycles", "pj")
    )
    cycles, energy = found
    return cycles, energy
