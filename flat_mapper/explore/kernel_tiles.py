"""The best tiles of a kernel for a problem on a chip, by what the model says of their mappings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import ClassVar

from flat_mapper.api.calls import OF_DEVICE, edits_of, one_chip, workload_of
from flat_mapper.api.options import answers
from flat_mapper.api.questions import AskTiles
from flat_mapper.arch.cores import ErrorBand, error_bands, phase_kernels
from flat_mapper.arch.edits import set_path
from flat_mapper.arch.values import Platform
from flat_mapper.arch.words import fitted
from flat_mapper.base import units
from flat_mapper.base.budget import Progress
from flat_mapper.base.errors import NothingFeasible, SpecError, expected
from flat_mapper.base.table import Printed, grid
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import GroupStats, Infeasible, Result
from flat_mapper.energy.tables import unpriced
from flat_mapper.kernels.accelerators import RPA3, SPLASH, TTNN
from flat_mapper.kernels.flash_mapping import (
    Fit,
    Kernel,
    Shape,
    Tile,
    core_levels,
    flash_groups,
    shape_of,
    windows_tried,
)
from flat_mapper.kernels.nvidia import FA2, FA3, FLEX, TRITON
from flat_mapper.mapping.values import FusedMapping
from flat_mapper.reports.answers import Evaluation
from flat_mapper.reports.fields import sizes_text
from flat_mapper.reports.files import files_of_record
from flat_mapper.spec.document import Section, did_you_mean
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.softmax import MERGE, with_splits

KERNELS: Mapping[str, Kernel] = {k.name: k for k in (FA3, FA2, TRITON, FLEX, SPLASH, RPA3, TTNN)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """A tile that fits, and the model's answer for its mapping."""

    tile: Tile
    fit: Fit
    workload: Workload
    result: Result

    @property
    def seconds(self) -> float:
        """Seconds that `evaluate` says of the mapping."""
        return self.result.latency_s

    @property
    def longest(self) -> GroupStats:
        """The group that takes most cycles."""
        return max(self.result.groups, key=lambda group: group.cycles)

    @property
    def bottleneck(self) -> str:
        """Of the group that takes longest."""
        return self.longest.bottleneck

    def to_dict(self) -> dict[str, object]:
        """For machines."""
        return {
            "tile": dict(self.tile.words),
            "predicted_s": self.seconds,
            "bottleneck": self.bottleneck,
            "fit": self.fit.to_dict(),
        }


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Ranked(Printed):
    """Tiles of a kernel that fit, the fastest first, and how many were asked."""

    kind: ClassVar = "tiles"  # of answers as JSON
    rows_at: ClassVar = ("tiles",)
    kernel: Kernel
    platform: Platform
    workload: Workload
    tiles: tuple[Priced, ...]
    asked: int
    notes: tuple[str, ...]
    count: int = 5  # tiles that are shown
    snippet: bool = False  # what is shown: what a user pastes of the best tile

    @property
    def unfit(self) -> int:
        """Tiles that did not fit, by the kernel's own rule or the model's."""
        return self.asked - len(self.tiles)

    @property
    def best(self) -> Priced:
        """The fastest one; of equals the one that needs least of what is scarce."""
        return self.tiles[0]

    @property
    def fitted(self) -> str:
        """The kernel whose measured costs are in the prediction."""
        return self.best.result.mapping.groups[0].kernel

    @property
    def bands(self) -> tuple[ErrorBand, ...]:
        """Errors of that kernel's times where it was measured, if they are known."""
        return error_bands(self.platform.matrix, (self.fitted,))

    @property
    def tied(self) -> int:
        """Tiles, the best among them, whose times the model's own median error cannot tell apart.

        None is told apart from others by an error that nobody measured: 1 where there is no band.
        """
        if not self.bands:
            return 1
        most = self.best.seconds * (1 + max(band.median for band in self.bands))
        return sum(one.seconds <= most for one in self.tiles)

    def to_dict(self) -> dict[str, object]:
        """For machines: the best, and so many in all as are shown."""
        return {
            "kernel": self.kernel.name,
            "workload": self.workload.name,
            "arch": self.platform.name,
            "fit_rule": self.kernel.rule,
            "fit": "estimated" if self.kernel.estimated else "as the kernel has it",
            "fitted_costs": self.fitted or None,
            "error_bands": [band.to_dict() for band in self.bands],
            "asked": self.asked,
            "unfit": self.unfit,
            "tied": self.tied,
            "notes": list(self.notes),
            "tiles": [tile.to_dict() for tile in self.tiles[: self.count]],
        }

    def files(self) -> dict[str, bytes]:
        """The records of the tiles that are shown, a folder each."""
        files: dict[str, bytes] = {}
        for number, one in enumerate(self.tiles[: self.count], 1):
            answer = Evaluation(workload=one.workload, platform=self.platform, result=one.result)
            files |= {f"{number}/{name}": data for name, data in files_of_record(answer).items()}
        return files

    def __str__(self) -> str:
        """The best tiles as a table, with what their times and their fit rest on."""
        if self.snippet:
            return self.kernel.snippet(self.best.tile.words)
        best, kernel, workload = self.best, self.kernel, self.workload
        sizes = sizes_text(workload.rank_sizes)
        rows = [
            (
                *(str(value) for value in one.tile.words.values()),
                units.si(one.seconds, "s"),
                f"{one.seconds / best.seconds:.3f}",
                "tie" * (self.tied > 1 and number < self.tied),
                one.bottleneck,
                f"{one.fit.needs:,.0f} of {one.fit.has:,.0f} {one.fit.what}",
            )
            for number, one in enumerate(self.tiles[: self.count])
        ]
        words = tuple(best.tile.words)
        table = grid(
            rows,
            head=(*words, "time", "x best", "", "bottleneck", "needs most"),
            right=range(len(words) + 2),
        )
        costs = (
            f"times have what was measured of {self.fitted}"
            if self.fitted
            else "times have no cost of a tile or a launch: none was measured of this kernel here"
        )
        ties = f"; {self.tied - 1} more tie within the median error below" * (self.tied > 1)
        certainty = "estimated, the compiler decides" if kernel.estimated else "the kernel's own"
        return "\n".join(
            (
                f"{kernel.name} on {self.platform.name}: {workload.name}, {sizes}, "
                f"{workload.mask or 'no mask'}: {units.si(best.seconds, 's')}, "
                f"the best of all tiles{ties}",
                "",
                table,
                "",
                f"{self.asked} tiles asked, {self.unfit} do not fit; {costs}",
                f"fit, {certainty}: {kernel.rule}",
                *map(str, self.bands),
                *self.notes,
                *(f"not in the problem: {line}" for line in workload.dropped),
            )
        )


TURNS = (
    "schedule interleaved: products and softmax of a tile take turns; what a kernel overlaps is in "
    "its fitted factor, if it has one"
)


def kernel_named(name: str) -> Kernel:
    """A kernel by name."""
    if name not in KERNELS:
        condition = f"a kernel among {', '.join(KERNELS)}"
        raise SpecError(expected("--for", condition, name, did_you_mean(name, KERNELS)))
    return KERNELS[name]


def ranked(
    kernel: Kernel,
    platform: Platform,
    workload: Workload,
    tiles: Iterable[Tile] | None = None,
    shape: Shape | None = None,
    known: _Known | None = None,
    progress: Progress | None = None,
) -> Ranked:
    """All tiles of a kernel's lattice that fit, the fastest first.

    tiles:  in place of the lattice. shape: what the kernel's rule is about; the workload's if none.
    known:  tiles of this workload that are priced already; those that are priced now come to them.
    raises: SpecError for a chip or a problem that the kernel is not for, NothingFeasible where no
            tile fits.
    """
    workload.one_kind(workload.name)
    if workload.softmax != "online":
        condition = "an online softmax, which these kernels have"
        raise SpecError(expected(f"{workload.name}: tiles", condition, workload.softmax))
    if platform.name not in kernel.chips:
        condition = f"a chip among {', '.join(kernel.chips)}, which {kernel.name} is for"
        raise SpecError(expected("--arch", condition, platform.name))
    fit = fitted(platform, workload)
    workload = fit.workload
    shape = shape or shape_of(workload)
    answers = list[Priced | Fit | Infeasible]()
    lattice = tuple(kernel.lattice(shape, platform.name) if tiles is None else tiles)
    for asked, tile in enumerate(lattice):
        if progress:
            progress(asked / len(lattice), f"{asked} of {len(lattice)} tiles")
        own = kernel.tightest(shape, platform.name, tile)
        what = fit.platform, workload, shape, tile, known
        answers.append(priced(kernel, *what) if own.fits else own)
    found = [answer for answer in answers if isinstance(answer, Priced)]
    if not found:
        raise NothingFeasible(f"no tile of {kernel.name} fits {platform.name}{_nearest(answers)}")
    found.sort(key=lambda p: (p.seconds, p.fit.share))
    return Ranked(
        kernel=kernel,
        platform=streaming(fit.platform, shape),
        workload=workload,
        tiles=tuple(found),
        asked=len(lattice),
        notes=(*fit.notes, TURNS),
    )


def _nearest(answers: Iterable[Priced | Fit | Infeasible]) -> str:
    """Need of the tile that fits by least, by the kernel's own rule if any is refused by it."""
    own = [answer for answer in answers if isinstance(answer, Fit)]
    for fit in sorted(own, key=lambda fit: fit.needs):
        return f": the nearest needs {fit.needs:,.0f} {fit.what}, has {fit.has:,.0f}"
    for one in (answer for answer in answers if isinstance(answer, Infeasible)):
        return f": the nearest needs {one.needs:,.0f} words of {one.level}, has {one.has:,.0f}"
    return "; its lattice has none for the shape"


_Known = dict[tuple[int, int, int, bool], "Result | Infeasible"]  # by rows, keys, parts, packed


def priced(
    kernel: Kernel,
    platform: Platform,
    workload: Workload,
    shape: Shape,
    tile: Tile,
    known: _Known | None = None,
) -> Priced | Infeasible:
    """A tile with the model's answer for its mapping, or why the model has no room for it.

    known: as `ranked` has it.
    """
    problem, prices = worked_on(workload, tile), {} if known is None else known
    key = tile.rows, tile.keys, tile.parts, tile.packed
    if key not in prices:
        prices[key] = _result(kernel, platform, problem, shape, tile)
    result = prices[key]
    if isinstance(result, Infeasible):
        return result
    fit = kernel.tightest(shape, platform.name, tile)
    return Priced(tile=tile, fit=fit, workload=problem, result=result)


def _result(
    kernel: Kernel, platform: Platform, problem: Workload, shape: Shape, tile: Tile
) -> Result | Infeasible:
    """The mapping is that of the measured kernels: keys tile by tile in tiles of queries on cores.

    The level between DRAM and the cores keeps the K and V of a head where it has the room, else the
    widest window of them that the cores share.
    """
    prices, merge = unpriced(platform), problem.operators.get(MERGE, ())
    platform = streaming(platform, shape)
    between, _ = core_levels(platform)

    def held(cached: tuple[str, ...], window: int = 0) -> Result | Infeasible:
        groups = flash_groups(
            problem,
            platform,
            tuple(n for n in problem.ancestors if n not in merge),
            tile.rows,
            tile.keys,
            shape.together if tile.packed else 1,
            cached=cached,
            window=window,
            order=kernel.order,
            kernel=_fitted(platform, kernel, shape),
        )
        return evaluate(problem, platform, FusedMapping(groups=tuple(groups)), prices)

    between_them = between != platform.dram.name
    for window in (0, *windows_tried(problem, platform, tile.keys)) if between_them else ():
        found = held(("K", "V"), window)
        if isinstance(found, Result):
            return found
    return held(())


def worked_on(workload: Workload, tile: Tile) -> Workload:
    """The problem that the kernel works on: without a mask, its keys in whole tiles and parts.

    Under one the last tile is as long as the keys are.
    """
    if workload.mask is not None:
        return workload
    keys = workload.rank_sizes["M"]
    step = min(tile.keys, keys)
    blocks = ceil(keys / step)
    each = ceil(blocks / tile.parts)
    parts = ceil(blocks / each)
    whole = workload.with_ranks({"M": parts * each * step})
    return with_splits(whole, parts) if parts > 1 else whole


def _fitted(platform: Platform, kernel: Kernel, shape: Shape) -> str:
    """The kernel whose measured costs the chip's file has, if any."""
    known = phase_kernels(platform.matrix, masked=bool(shape.mask), queries=shape.queries)
    names = (n for own in kernel.fitted for n in known if n.rpartition("_")[0] == own)
    return next(names, "")


def streaming(platform: Platform, shape: Shape) -> Platform:
    """A chip whose cores take in K and V as it was measured of them, where its file says.

    Under a mask each core reads for itself, at the variable `sdpa_stream_N` of the nearest number
    of cores N; without one they pass on what one of them reads, at `sdpa_stream_passed_on`.
    """
    variables, prefix = platform.matrix.variables, "sdpa_stream_"
    name = f"{prefix}passed_on"
    if shape.mask is not None:
        ends = (n.removeprefix(prefix) for n in variables if n.startswith(prefix))
        known = [int(end) for end in ends if end.isdecimal()]
        cores = platform.matrix.levels[1].instances
        name = f"{prefix}{min(known, key=lambda n: abs(n - cores))}" if known else ""
    if name not in variables:
        return platform
    rate, key = variables[name], "core_stream_bytes_per_cycle"
    document = set_path(Section(platform.matrix.document), f"variables.{key}", rate)
    own = {**variables, key: rate}
    return replace(platform, matrix=replace(platform.matrix, variables=own, document=document))


@answers(AskTiles)
def tiles(asked: AskTiles) -> Ranked:
    """The fastest first; a softmax that nobody names is online, as the kernels have it."""
    if not asked.softmax and not isinstance(asked.problem, Workload):
        asked = replace(asked, softmax="online")
    chip = one_chip(asked.arch, asked.data, OF_DEVICE, edits_of(asked))
    found = ranked(kernel_named(asked.kernel), chip, workload_of(asked), progress=asked.progress)
    return replace(found, count=asked.count, snippet=asked.snippet)
