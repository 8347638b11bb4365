"""The exercises of timeloop-accelergy-exercises, each priced here and by timeloop-model.

    python -m studies.mapper.exercises CHECKOUT

CHECKOUT is a clone of Accelergy-Project/timeloop-accelergy-exercises. Every exercise is read as it
comes, with the mapping that it has or that timeloop-mapper once found for it (in its ref-output).
Where timeloop-model is on PATH it prices the same mapping; every count, every cycle and every
energy is compared. The recorded answer is compared in its counts and cycles, on the dump of its own
inputs: some were made by an older version.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flat_mapper as fm
from flat_mapper.values import Architecture, EinsumStats, Ert, einsum_stats, load_document

Files = Sequence[Path] | Mapping[str, object]
HEAD = ["| exercise | timeloop-model now | as recorded | |", "|---|---|---|---|"]
COUNTS = ("reads", "fills", "updates")
TENSOR = (
    *(f"scalar_{name}" for name in COUNTS),
    *("temporal_reductions", "utilized_capacity", "utilized_instances"),
)
WIDTHS = ("mac_class", "input_weight_datawidth", "psum_datawidth")
DUMP = "parsed-processed-input.yaml"
PRINTED_PJ = 0.0051  # half of Timeloop's last printed digit


@dataclass(frozen=True, slots=True, kw_only=True)
class Exercise:
    """One exercise: its files, the folder of its recorded answer, its templates' values."""

    name: str
    files: Sequence[Path]
    recorded: Path
    data: Mapping[str, object] = field(default_factory=dict)
    dropped: str = ""  # a level that the recorded mapping has and this chip has not

    @property
    def mapping(self) -> list[Path]:
        """The mapping that timeloop-mapper found, where the exercise has none itself."""
        return list(self.recorded.glob("timeloop-mapper.map.yaml"))


def exercises(root: Path) -> Iterator[Exercise]:
    """All of a checkout that are run by timeloop-model or timeloop-mapper."""
    tutorials = root / "workspace/tutorial_exercises"
    ispass = tutorials / "01_accelergy_timeloop_2020_ispass"
    for dump_file in sorted((ispass / "timeloop").rglob(DUMP)):
        recorded = dump_file.parent
        base = next(p for p in recorded.parents if p.parent.name == "timeloop")
        files = [p for part in ("arch", "prob") for p in sorted((base / part).rglob("*.yaml"))]
        maps = sorted((base / "map").glob("*.yaml"))
        part = recorded.name if recorded.name != "ref-output" else ""
        chosen = [p for p in maps if _is_of(p.stem, part, maps)]
        name = f"2020: {base.name}" + (f", {part}" if part else "")
        yield Exercise(name=name, files=[*files, *chosen], recorded=recorded)
    both = ispass / "timeloop+accelergy"
    for mac, bits in (("intmac", (8, 16)), ("fpmac", (32, 32))):
        data = dict(zip(WIDTHS, (mac, *bits), strict=True))
        files = [both / "arch/arch.yaml", *sorted((both / "arch/components").glob("*.yaml"))]
        files += sorted((both / "prob").glob("*.yaml"))
        recorded = both / "ref-output" / mac
        yield Exercise(
            name=f"2020: timeloop+accelergy, {mac}", files=files, recorded=recorded, data=data
        )
    second = tutorials / "02_interface_and_design_space_exploration_2024"
    for registers in (True, False):
        yield Exercise(
            name="2024: top.yaml.jinja" + ("" if registers else ", reg_enabled false"),
            files=[second / "top.yaml.jinja"],
            recorded=second / "outputs",
            data={} if registers else {"reg_enabled": False},
            dropped="" if registers else "reg",
        )
    designs = root / "workspace/example_designs/example_designs"
    for arch in sorted(designs.rglob("arch.yaml")):
        target = str(arch.parent.relative_to(designs))
        yield Exercise(
            name=f"designs: {target}",
            files=[designs / "top.yaml.jinja2"],
            recorded=arch.parent / "ref_outputs/default_problem",
            data={"architecture": target},
        )


def _is_of(stem: str, part: str, maps: Sequence[Path]) -> bool:
    """Whether a mapping is the one that a folder of recorded answers is named after."""
    if len(maps) < 2 or not part:
        return True
    words = {"tiling": "-os-tiled.", "no-tiling": "-os."}
    words |= {"bypass": "-bypass.", "no-bypass": "level."}
    return words.get(part, f"-{part}") in f"{stem.removesuffix('.map')}."


def differences(ours: EinsumStats, theirs: EinsumStats, *, energy: bool) -> tuple[int, list[str]]:
    """How many quantities there are, and those that are not equal."""
    pairs: list[tuple[str, float, float, float]] = [
        (key, getattr(ours, key), getattr(theirs, key), 0)
        for key in ("computes", "compute_cycles", "lanes", "cycles")
    ]
    for a, b in zip(ours.levels, theirs.levels, strict=True):
        pairs.append((f"{a.level} cycles", a.cycles, b.cycles, 0))
        for x, y in zip(a.tensors, b.tensors, strict=True):
            where = f"{a.level} {x.tensor}"
            pairs += [(f"{where} {k}", getattr(x, k), getattr(y, k), 0) for k in TENSOR]
            if energy:
                room = PRINTED_PJ + 1e-9 * x.energy_pj
                pairs.append((f"{where} energy", x.energy_pj, y.energy_pj, room))
    return len(pairs), [f"{w}: {p} not {q}" for w, p, q, room in pairs if abs(p - q) > room]


def prices(arch: Architecture) -> Ert:
    """Energies of this table alone, in pJ; every level has its own."""
    actions = ("read", "write", "update")
    levels = {
        level.name: {action: 1.25 * (i + 1) + 0.5 * j for j, action in enumerate(actions)}
        for i, level in enumerate(arch.levels)
    }
    return Ert(levels={**levels, arch.compute.name: {"compute": 0.75}}, source="this table")


def modelled(
    files: Files, data: Mapping[str, object] | None = None, backend: str = "native"
) -> Any:
    """The answer on some files, or on a specification in memory."""
    if isinstance(files, Mapping):
        table = prices(fm.load_platform(files).matrix)
    else:
        table = prices(fm.load_architecture(*files, data=data))
    found = fm.model(files, table, data=data, backend=backend)
    if isinstance(found, fm.Infeasible):
        raise fm.BackendError(str(found))
    return found


@contextmanager
def without(mapping: Sequence[Path], level: str) -> Iterator[Sequence[Path]]:
    """The files of a mapping, without the entries of a level."""
    if not level:
        yield mapping
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "map.yaml"
        document: Any = load_document(mapping[0])
        kept = [entry for entry in document["mapping"] if entry["target"] != level]
        file.write_text(json.dumps({"mapping": kept}), encoding="utf-8")  # which is YAML, too
        yield [file]


def recorded_inputs(dumped: Path, mapping: Sequence[Path]) -> dict[str, object]:
    """A dump with the mapping that was found for it.

    The dump's constraints are left out: what timeloop-mapper found keeps to them as it reads them.
    """
    document: Any = load_document(dumped)
    kept = ("architecture", "problem", "mapping")
    parts = {key: document[key] for key in kept if key in document}
    for path in mapping:
        found: Any = load_document(path)
        parts |= found
    return parts


def row(exercise: Exercise, root: Path, *, real: bool) -> str:
    """One row of the table."""
    notes: list[str] = []
    live, old = "not run", "-"
    dumped = exercise.recorded / DUMP
    with without(exercise.mapping, exercise.dropped) as mapping:
        asked: Files = [*exercise.files, *mapping]
        data: Mapping[str, object] | None = exercise.data
        try:
            found = modelled(asked, data)
        except fm.MappingError as error:
            raise fm.BackendError(f"{exercise.name}: {error}") from error
        except fm.FlatMapperError as error:
            text = str(error).replace(f"{root}/", "").replace("workspace/", "")
            reason = re.sub(r"^\S+: ", "", text).partition("; ")[0]
            if "timeloop-mapper.map.yaml" not in text:
                return f"| {exercise.name} | - | - | refused: {reason[:120]} |"
            notes = ["the recorded mapping breaks a constraint of the arch.yaml: on its own dump"]
            asked, data = recorded_inputs(dumped, exercise.mapping), None
            found = modelled(asked, data)
        if real:
            theirs = modelled(asked, data, "timeloop")
            count, wrong = differences(found.stats, theirs.stats, energy=True)
            live = f"{count}, {len(wrong)} differ"
            notes += wrong[:1]
    stats = next(exercise.recorded.glob("timeloop-m*.stats.txt"), None)
    if stats is not None and dumped.is_file() and not exercise.dropped:
        again = modelled(recorded_inputs(dumped, exercise.mapping))
        (einsum,) = again.workload.einsums
        said = einsum_stats(stats.read_text(), einsum, again.arch, again.mapping, str(stats))
        count, wrong = differences(again.stats, said, energy=False)
        old = f"{count}, {len(wrong)} differ"
        notes += wrong[:1]
    return f"| {exercise.name} | {live} | {old} | {'; '.join(notes)} |"


def main() -> int:
    """Print the table; 1 where something differs from timeloop-model as it is now."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkout", type=Path)
    arguments = parser.parse_args()
    real = shutil.which("timeloop-model") is not None
    print("\n".join(HEAD))
    code = 0
    for exercise in exercises(arguments.checkout):
        line = row(exercise, arguments.checkout, real=real)
        print(line, flush=True)
        code |= re.match(r"\| [^|]* \| \d+, [1-9]", line) is not None
    return code


if __name__ == "__main__":
    raise SystemExit(main())
