"""Questions: everything that can be asked of the package, each option in one place.

A question is asked by a call, `fm.search`, and by a verb of the command, `flat-mapper map`. What
several questions have in common is a part of theirs; of its parts the last one named comes first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol

from flat_mapper.api.options import Flag, Question
from flat_mapper.base.budget import Budget, Limits, Progress

if TYPE_CHECKING:  # the names below are not worked out at run time
    from flat_mapper.arch.values import Platform
    from flat_mapper.base.formats import TensorWidth
    from flat_mapper.devices.cluster import Cluster
    from flat_mapper.energy.tables import Ert
    from flat_mapper.mapping.record import MappingRecord
    from flat_mapper.mapping.space import Mapspace
    from flat_mapper.reports.answers import Evaluation
    from flat_mapper.workload.graph import Workload
    from flat_mapper.workload.problem_file import Lengths

DEFAULT, UNFUSED = DERIVED = "default", "unfused"  # mapspaces that a chip and a problem imply
WHOLE_FRONT = "latency,energy"  # the command's word for `Front`


class Answer(Protocol):
    """An answer of any question."""

    @property
    def kind(self) -> str:
        """Its name in the JSON."""

    def to_dict(self) -> dict[str, object]:
        """Its JSON."""


type Name = str | Path
type Source = Name | Mapping[str, object]  # the latter: a specification in memory
type Problem = Workload | Source
type Chip = Platform | Cluster | Source | Sequence[Name]
type Space = Mapspace | Name
type Energies = Ert | Name
type Files = Name | Sequence[Name] | Mapping[str, object]  # or a specification in memory
type Recorded = Name | Evaluation | MappingRecord  # what has a mapping
type Saved = Name | Answer
type ModelFile = Any
type OnCluster = Any  # an answer on many devices: who asks of a chip need not tell it apart
type Watch = Callable[[Any], None]  # of how far a sweep is
type Sizes = Mapping[str, int]
type Values = Mapping[str, object]
type Widths = Mapping[str, TensorWidth]
type Long = Lengths | Sequence[int]


class _Problem(Question):
    """problem: a shipped name, a file, or a model's config.json; in Python its text, or a value"""

    problem: Annotated[Problem, Flag("P")] = field(kw_only=False)


class _Width(Question):
    """word_bits: bits of the values that have no width of their own; default: the problem's"""

    word_bits: Annotated[int | None, Flag("N")] = None


class Part(_Width):
    """The part of a problem, and what is changed in it.

    scope: attention, block (its products), layer (all of it), model (all layers) or vocabulary;
        default: the attention of a problem in the short form, all of a cascade that is written out
    sizes: size N of rank R (4k is 4096), or of an attribute of the chip (GLB.size=2MiB,
        DRAM.bandwidth=68GB/s); in Python N by R
    kv_heads: heads of keys and values; default: H
    bits: width W of the values of tensor T: bits, or a format (fp8_e4m3, bfp8_b); in Python W by T
    softmax: row (FLAT's), online, online-2pass or any of them; default: the problem's
    mask: causal, window=N (positions on either side), causal,window=N or none; default: the
        problem's
    layers: of a problem whose layers have several masks, those with this one; default: with the
        scope model all of them, else the most frequent
    """

    scope: Annotated[str, Flag("S")] = ""
    sizes: Annotated[Values | None, Flag("R=N", "--set", "size")] = None
    kv_heads: Annotated[int | None, Flag("G")] = None
    bits: Annotated[Widths | None, Flag("T=W", kind="bits")] = None
    softmax: Annotated[str, Flag("X")] = ""
    mask: Annotated[str, Flag("K")] = ""
    layers: Annotated[str, Flag("K")] = ""


class AskLoadProblem(Part, _Problem):
    """The workload of a problem, cut to a scope, at other sizes if asked.

    seq: sequence length: P and M at once; in decode of the cache
    lengths: of each sequence of a ragged batch, in place of B, P and M; in decode of caches
    phase: prefill or decode (one position against a cache); default: the problem's
    """

    seq: Annotated[int | None, Flag("N")] = None
    lengths: Annotated[Long | None, Flag("N,N", kind="counts")] = None
    phase: Annotated[str, Flag("F")] = ""


class _Data(Question):
    """data: value V of the name N of a template (top.yaml.jinja2); in Python V by N"""

    data: Annotated[Values | None, Flag("N=V", kind="data")] = None


class _Chip(_Data):
    """arch: a shipped name, or Timeloop's v0.4 files and folders, read together; in Python a value
    too
    """

    arch: Annotated[Chip, Flag("A", kind="texts")] = field(kw_only=False)


class _Schedule(Question):
    """schedule: of fused Einsums: interleaved (units in turn), overlapped (at once, with one more
    tile in flight), sequential, or any that the chip can run; default: the mapspace's
    """

    schedule: Annotated[str, Flag("C")] = ""


class _Space(Question):
    """mapspace: a shipped name or a file; default: fused or not, at any level, on the cores of a
    chip that has them; any partition of a cascade that is written out
    """

    mapspace: Annotated[Space, Flag("M")] = field(default=DEFAULT, kw_only=False)


class _Energies(Question):
    """ert: energies: Accelergy's ERT, a file of `level: {read: pJ, ...}`, or the word accelergy,
    which runs it; default: hwcomponents
    """

    ert: Annotated[Energies | None, Flag("FILE")] = field(default=None, kw_only=False)


class WithTools(Question):
    """The commands of Timeloop's tools.

    timeloop_cmd: a command around Timeloop's tools: {} the call, {dir} its folder; default: the
        environment's FLAT_MAPPER_TIMELOOP
    backend_timeout: seconds of one run of Timeloop's tools; default: 1800
    """

    timeloop_cmd: Annotated[str | None, Flag("CMD")] = None
    backend_timeout: Annotated[float | None, Flag("S", kind="text")] = None


class _Backend(WithTools):
    """backend: who counts: native, timeloop or accelforge"""

    backend: Annotated[str, Flag("B")] = "native"


class _Watched(Question):
    """progress: called now and then with the share that is done, and what is being done"""

    progress: Progress | None = None


class _Ends(Question):
    """When a search ends.

    time_limit: seconds, after which the best so far is the answer, with its proven gap; none: to
        the end; default: 60, or none beside a gap alone; in Python inf is none
    gap: stop where the best is proven to be as near, such as 1% or 0.01; 0 asks for a proof;
        default: 0.1%, of a front and of what is needed 0
    """

    time_limit: Annotated[float | None, Flag("S", kind="limit")] = None
    gap: Annotated[float | None, Flag("G", kind="share")] = None


class Spend(_Watched, _Ends):
    """The ends of all searches of a question together.

    memory_limit: peak memory of the process in MB, at which the search stops; default: half of
        what is free
    budget: all that may be spent, in place of the others
    """

    near: ClassVar[float | None] = None  # the gap where nobody names one; None: that of any
    memory_limit: Annotated[float | None, Flag("MB")] = None
    budget: Budget | None = None

    def spend(self, begin: float | None = None) -> Budget:
        """The budget; begin: when the seconds began, by default now."""
        found = Budget.of(
            budget=self.budget,
            time_limit=self.time_limit,
            gap=self.gap,
            memory_limit=self.memory_limit,
            limits=self.limits,
            near=self.near,
        )
        found.begin = found.begin if begin is None else begin
        return found

    @property
    def limits(self) -> Limits:
        """Limits of the answer."""
        return Limits()


class Best(Spend, _Energies, _Space, _Chip, _Schedule, AskLoadProblem):
    """The best of a mapspace.

    max_latency_s: seconds that the mapping may take
    max_energy_j: joules that it may take
    max_buffer_bytes: bytes that it may use of the level that fused Einsums share
    log: write what the search left out there as CSV: where, by which rule, at which bound
    """

    max_latency_s: Annotated[float, Flag("S", "--max-latency")] = inf
    max_energy_j: Annotated[float, Flag("J", "--max-energy")] = inf
    max_buffer_bytes: Annotated[float, Flag("BYTES", "--max-buffer")] = inf
    log: Annotated[Name | None, Flag("FILE")] = None

    @property
    def limits(self) -> Limits:
        """Limits of the answer."""
        return Limits(
            latency_s=self.max_latency_s,
            energy_j=self.max_energy_j,
            buffer_bytes=self.max_buffer_bytes,
        )


class _Goal(Question):
    """objective: edp, latency or energy; of equals the others decide"""

    objective: Annotated[str, Flag("O")] = "edp"


class AskSearch(_Goal, _Backend, Best):
    """The best mapping in a mapspace.

    objective: edp, latency or energy, of equals the others decide; latency,energy: the whole front;
        in Python `front` asks for that
    placement: where tensor T starts, or is left by who makes it, on a cluster: split along rank R
        over axis A (P@x), over several (G@x,P@y), or whole; in Python words by T
    """

    placement: Annotated[Values | None, Flag("T=R@A", kind="data")] = None


class AskFront(Best):
    """All mappings that no other one dominates in latency and energy."""

    near: ClassVar[float | None] = 0.0


class _Spaces(Question):
    """mapspaces: shipped names or files; the first is what the others are compared with"""

    mapspaces: Annotated[Sequence[Space], Flag("M", "--mapspace", "texts")] = field(
        default=(UNFUSED, DEFAULT), kw_only=False
    )


class AskCompare(_Goal, _Backend, Spend, _Energies, _Spaces, _Chip, _Schedule, AskLoadProblem):
    """The best mappings of several mapspaces."""


class AskNeed(Spend, _Energies, _Space, _Chip, _Schedule, AskLoadProblem):
    """The least buffer, bandwidth, cores, devices for a target.

    quantity: buffer, of the level that fused Einsums share, in its rows; bandwidth, of DRAM;
        cores, of a chip, with a mapspace such as cores; or devices, of a cluster
    utilization: share that the fastest mapping must reach, > 0 and <= 1
    latency_s: seconds that it may take at most, in place of a utilization
    busy: the utilization is the busy share of this unit
    step: of bandwidth, bytes per second
    ert: energies that break ties; by default nothing does
    """

    near: ClassVar[float | None] = 0.0
    quantity: Annotated[str, Flag("WHAT", "quantity")]
    utilization: Annotated[float | None, Flag("U")] = None
    latency_s: Annotated[float | None, Flag("S", "--latency")] = None
    busy: Annotated[str, Flag("UNIT")] = ""
    step: Annotated[float, Flag("S")] = 1e9


class AskGenerate(_Goal, Spend, _Energies, _Space, _Chip, _Schedule, Part, _Problem):
    """A prompt taken in, then decode against a growing cache.

    prefill: positions of the prompt
    decode: positions after it
    new: positions of one step: 1, or those speculated on
    page: positions that the cache grows by, in whole pages
    """

    prefill: Annotated[int, Flag("N")]
    decode: Annotated[int, Flag("T")]
    new: Annotated[int, Flag("S")] = 1
    page: Annotated[int, Flag("K")] = 16


class _Kernel(Question):
    """kernel: fa3, fa2, triton, flex, splash, rpa3 or ttnn"""

    kernel: Annotated[str, Flag("K", "--for")] = field(kw_only=False)


class AskTiles(_Watched, _Chip, AskLoadProblem, _Kernel):
    """The best tile sizes of a kernel, in its words.

    count: tiles that are shown
    snippet: show what a user pastes of the best tile
    """

    count: Annotated[int, Flag("N")] = 5
    snippet: Annotated[bool, Flag()] = False


class OfMapping(_Data):
    """Of which mapping.

    mapping: a fused-mapping.yaml, or a folder that has one; in Python an answer too
    arch: another architecture than the mapping's own
    """

    mapping: Annotated[Recorded, Flag("FILE", "files")] = field(kw_only=False)
    arch: Annotated[Chip | None, Flag("A", kind="texts")] = field(default=None, kw_only=False)


class AskEvaluate(_Backend, _Energies, OfMapping):
    """A recorded mapping priced again."""


class AskExecute(OfMapping):
    """A mapping run on real numbers, tile by tile, and what moves counted.

    check: hold the native model against it
    shrink: cut every loop outside the fusion level to two passes, in time and over cores
    seed: of the random inputs
    """

    check: Annotated[bool, Flag()] = False
    shrink: Annotated[bool, Flag()] = False
    seed: Annotated[int, Flag("N", kind="count0")] = 0


class AskCrosscheck(WithTools, _Energies, OfMapping):
    """One mapping by the native model and by every other backend that is present."""


class _Files(Question):
    """files: Timeloop v0.4 files with an architecture, a problem and a mapping"""

    files: Annotated[Files, Flag("FILE", "files", "texts")] = field(kw_only=False)


class AskModel(_Data, _Backend, _Energies, _Files):
    """One Einsum from Timeloop's files, as timeloop-model prices it."""


class AskLower(_Energies, OfMapping):
    """Files of a recorded mapping: Timeloop's, or a program.

    tool: model, or mapper: timeloop-mapper's inputs too, in mapper/; or a program: c, or pallas
    run: compile the program, compare it with the plain cascade, and time it, the unfused mapping of
        the same problem beside it
    misses: count read misses by valgrind, beside the words of the model; takes minutes
    fill: share that what is used again takes of the cache whose misses are counted
    """

    tool: Annotated[str, Flag("TOOL", "--for")] = "model"
    run: Annotated[bool, Flag()] = False
    misses: Annotated[bool, Flag()] = False
    fill: float = 0.5


class AskCheck(_Width, _Data):
    """Everything that is wrong with files, or what was understood of them.

    files: shipped names, and files of any kind; those of one kind of work are checked together
    """

    files: Annotated[Name | Sequence[Name], Flag("FILE", "files", "texts")] = field(kw_only=False)


class AskThisMachine(Question):
    """This machine as an architecture: caches as the system tells them, rates measured in seconds.

    output: the matrix path, NAME.yaml; the vector path is written beside it, NAME.sfu.yaml
    """

    output: Annotated[Name | None, Flag("FILE", "-o --output")] = field(default=None, kw_only=False)


class _Einsums(Question):
    """einsums: Einsums or operators that are to be one fused group"""

    einsums: Annotated[Sequence[str], Flag("EINSUM", "--why-not", "texts")] = field(kw_only=False)


class AskWhyNot(AskLoadProblem, _Einsums):
    """The verdict on Einsums as one fused group: why not, or the loops that it shares."""


class AskSweep(_Ends):
    """Every point of a sweep searched, and kept.

    sweep: a file of what varies (docs/sweeps.md); in Python its text or what it says too
    output: the results file, new or begun; what it has is not computed again
    time_limit: seconds of each point; none: to the end; default: 60, or none beside a gap alone;
        in Python inf is none
    workers: processes on this machine, 0: none but this one; default: one a core
    scheduler: a Dask scheduler: its address, such as tcp://host:8786, or the file it wrote
    yes: however many points there are
    progress: called at each point with how far the sweep is
    """

    sweep: Annotated[Source, Flag("FILE", "sweep")] = field(kw_only=False)
    output: Annotated[Name, Flag("FILE", "-o --output")] = field(kw_only=False)
    workers: Annotated[int | None, Flag("N", kind="count0")] = None
    scheduler: Annotated[Name, Flag("ADDRESS")] = ""
    yes: Annotated[bool, Flag()] = False
    progress: Watch | None = None


class AskOptimize(AskSweep):
    """The best architectures for a mix of workloads.

    method: grid: every design, or optuna: some of them, for large spaces
    trials: designs that optuna tries
    seed: of optuna
    """

    method: Annotated[str, Flag("M")] = "grid"
    trials: Annotated[int, Flag("N")] = 100
    seed: Annotated[int, Flag("N", kind="count0")] = 0


class AskPlanSweep(AskOptimize):
    """The points of a sweep, or the designs, counted once all that can be checked is.

    output: as for the sweep itself; nothing is written
    """

    output: Annotated[Name, Flag("FILE", "-o --output")] = field(default="", kw_only=False)


class AskExportSweep(Question):
    """A sweep's rows as CSV.

    sweep: what sweep wrote
    format: csv; in Python the frame of `load_results` has others
    where: keep rows with, say, status=done or arch.GLB.depth>=4096
    output: a file; default: the standard output
    """

    sweep: Annotated[Name, Flag("FILE", "sweep")] = field(kw_only=False)
    format: Annotated[str, Flag("F")] = "csv"
    where: Annotated[Sequence[str], Flag("COND", kind="texts")] = ()
    output: Annotated[Name | None, Flag("FILE", "-o --output")] = field(default=None, kw_only=False)


class AskReport(Question):
    """A page of saved answers, for a browser.

    results: JSON of map, compare or evaluate, a folder that -o made, or a sweep's results; in
        Python an answer, or a list of these
    output: the page, FILE.html
    title: the page's heading
    """

    results: Annotated[Saved | Sequence[Saved], Flag("RESULTS", "results", "texts")] = field(
        kw_only=False
    )
    output: Annotated[Name, Flag("FILE", "-o --output")] = field(kw_only=False)
    title: Annotated[str, Flag("T")] = field(default="", kw_only=False)


class AskImportProblem(_Width):
    """A problem made of a model's file, whatever its kind.

    file: a model's config.json or graph (.onnx, .pt2 of torch.export), or a folder of Timeloop
        problems, one a layer; in Python what the config says or a program of torch.export too
    output: write the problem there
    part: of a config.json: encoder, decoder or cross
    layers: of a config.json whose layers differ: window or full, these alone
    batch: of a config.json: sequences; default: 1
    seq: of a config.json: positions; default: the model's, at most 4096
    sizes: size of a dimension that an ONNX file leaves open; in Python by its name
    name: of the problem; default: that of the file
    """

    file: Annotated[ModelFile, Flag("FILE", "file")] = field(kw_only=False)
    output: Annotated[Name | None, Flag("FILE", "-o --output")] = field(default=None, kw_only=False)
    part: Annotated[str, Flag("P")] = ""
    layers: Annotated[str, Flag("L")] = ""
    batch: Annotated[int | None, Flag("B")] = None
    seq: Annotated[int | None, Flag("N")] = None
    sizes: Annotated[Sizes | None, Flag("NAME=SIZE", "--dim", "dim")] = None
    name: str = ""


class AskShipped(Question):
    """Shipped files, by name.

    kind: arch, problems or mapspaces; default: all of them
    """

    kind: Annotated[str, Flag("KIND", "kind")] = field(default="", kw_only=False)
