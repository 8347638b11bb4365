"""Energy and area of a platform's components from Accelergy itself: `--ert accelergy`.

Each path of the platform is one run in a folder of its own, because Accelergy writes into its
current folder. What it says is read back from ERT.yaml and ART.yaml; ERT_summary.yaml names the
estimators. `dummy` is one of these: it knows nothing, and prices every action at 1 pJ.
Source: Accelergy 0.4, ERT_generator.py and share/estimation_plug_ins/dummy_tables.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

from flat_mapper.arch.values import Architecture, Platform
from flat_mapper.base.errors import BackendError, SpecError
from flat_mapper.base.process import waited_for
from flat_mapper.energy.tables import ACCELERGY, Art, Ert, load_art, load_ert, short_name
from flat_mapper.spec.document import section_of, take
from flat_mapper.spec.yamlio import dump, load_yaml, write_text
from flat_mapper.timeloop.run import Command, Run, call, command_of, run_folder
from flat_mapper.timeloop.terms import accelergy_document

SUMMARY = "ERT_summary.yaml"
INPUT = "arch.yaml"
INSTALL_ACCELERGY = (
    "install it from https://github.com/Accelergy-Project/accelergy, or run the published "
    "container image with --timeloop-cmd (docs/timeloop.md), or leave --ert out"
)
_DUMMY = "dummy"
_REASONS = (
    re.compile(r"(Can ?not find an? \w+ estimator for \w+)"),
    re.compile(r"^\|\| (\w*Error: .*)$", re.MULTILINE),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelergy:
    """Accelergy as a source of energies and areas."""

    command: Command
    folder: Path | None = None  # where runs are kept; None: temporary, kept only where one failed

    def missing(self) -> str | None:
        """The missing program and how to get it, in one line; None where it can run."""
        return self.command.missing()

    def price(self, platform: Platform | Architecture) -> tuple[Ert, Art]:
        """The energy of every action in pJ, and the area of one instance in um2, per component.

        raises: BackendError where Accelergy is missing, fails or cannot price a component.
        """
        if missing := self.missing():
            raise BackendError(missing)
        inputs = [dump(accelergy_document(arch)) for arch in platform.paths]
        asked = partial(_asked, self.command, self.folder)
        (ert, art), *others = waited_for(asked, inputs, len(inputs))
        for other, area in others:
            ert = ert.with_others(other)
            art = replace(
                art,
                areas_um2={**art.areas_um2, **area.areas_um2},
                provenance={**art.provenance, **area.provenance},
            )
        source, dummies = ACCELERGY.capitalize(), ", ".join(ert.placeholders)
        if dummies:
            source += (
                f" (WARNING: {dummies} priced by its estimator {_DUMMY!r}, 1 pJ for anything: "
                "these energies mean nothing)"
            )
        return replace(ert, source=source).covering(platform), replace(art, source=source)


@lru_cache(maxsize=16)
def _asked(command: Command, folder: Path | None, text: str) -> tuple[Ert, Art]:
    """Accelergy's answer on one document; asked once, because it takes seconds."""
    with run_folder(folder, ACCELERGY) as place:
        write_text(place / INPUT, text)
        run, out = call(command, place, (INPUT,)), place / "out"
        reason = next((m[1] for pattern in _REASONS if (m := pattern.search(run.said))), "")
        if run.problem is not None and reason:
            run = replace(run, problem=f"got: {reason[:200]}")
        return _tables(run, out)


def _tables(run: Run, out: Path) -> tuple[Ert, Art]:
    summary = run.written(out / SUMMARY)
    try:
        ert, art = load_ert(run.written(out / "ERT.yaml")), load_art(run.written(out / "ART.yaml"))
        estimators = _estimators(summary)
    except SpecError as error:
        raise BackendError(f"{ACCELERGY}: {error}; {run.place}") from error
    origin = {name: _origin(estimators.get(name, ()), ert.levels[name]) for name in ert.levels}
    dummies = tuple(name for name in ert.levels if _DUMMY in estimators.get(name, ()))
    ert = replace(ert, provenance=origin, placeholders=dummies)
    return ert, replace(art, provenance=origin)


def _estimators(path: Path) -> dict[str, tuple[str, ...]]:
    """The plug-ins that priced each component, each once."""
    where = f"{path}: ERT_summary"
    found: dict[str, tuple[str, ...]] = {}
    summary = take(load_yaml(path), "ERT_summary", dict, str(path))
    for i, item in enumerate(take(summary, "table_summary", list, where)):
        node = section_of(item, f"{where}.table_summary.{i}")
        used = node.get("primitive_estimation(s)")
        parts = used if isinstance(used, list) else [used]
        names = [p.get("estimator") if isinstance(p, Mapping) else p for p in parts]
        name = short_name(take(node, "name", str, f"{where}.table_summary.{i}"))
        found[name] = tuple(dict.fromkeys(str(n) for n in names if n))
    return found


def _origin(estimators: tuple[str, ...], energies: Mapping[str, float]) -> str:
    """The plug-ins, and the actions that they say cost nothing."""
    free = [action for action, pj in energies.items() if pj == 0 and action != "leak"]
    zero = f", 0 pJ for {' and '.join(free)}" if free else ""
    return f"{' and '.join(estimators) or 'no estimator named'}{zero}"


def chosen_accelergy() -> Accelergy:
    """Accelergy as `--timeloop-cmd` or the environment variable says to call it."""
    return Accelergy(command=replace(command_of(), tool=ACCELERGY, install=INSTALL_ACCELERGY))
