"""The command line's grammar. What cannot be parsed is a SpecError in the house form."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from functools import partial
from math import inf
from typing import Any, NamedTuple, NoReturn

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.cli.terminal import columns
from flat_mapper.spec.document import did_you_mean

PROGRAM = "flat-mapper"
_STUDIES = ("simulator", "paper", "silicon", "fusemax", "accelforge", "tiles")


class _Parser(argparse.ArgumentParser):
    """Refuses in the house form instead of exiting."""

    def error(self, message: str) -> NoReturn:
        raise SpecError(_refusal(self, message))


def parsed(argv: Sequence[str]) -> argparse.Namespace | None:
    """The arguments; None where only help or the version was asked for, and printed."""
    word = argv[0] if argv else ""
    parser, verbs = grammar(word)
    if not word.startswith("-") and word not in verbs:
        condition = f"a command among {', '.join(verbs)}"
        change = did_you_mean(word, verbs) if word else f"{PROGRAM} --help explains them"
        change = _now(argv) or change
        raise SpecError(expected(PROGRAM, condition, word or "none", change))
    try:
        arguments, unknown = parser.parse_known_args(argv)
    except SystemExit:
        return None
    if "command" not in arguments:
        parser.error(f"unrecognized arguments: {word}")
    if unknown:
        verbs[arguments.command].error(f"unrecognized arguments: {unknown[0]}")
    return arguments


def _now(argv: Sequence[str]) -> str:
    """Words about what stands in the place of a command that there was; nothing of other words."""
    match argv:
        case ["reproduce", "search", *_]:
            return "it is now python -m studies.simulator --search, from the project's root"
        case ["reproduce", *rest]:
            study = rest[0] if rest and rest[0] in _STUDIES else "STUDY"
            return f"it is now python -m studies.{study}, from the project's root"
        case ["verify", *_]:
            return "map --log FILE writes what a search leaves out; execute and crosscheck judge"
    return ""


def _refusal(parser: argparse.ArgumentParser, message: str) -> str:
    """Argparse's message in the house form."""
    program, options = parser.prog, _options(parser)
    kind, _, rest = message.partition(": ")
    if kind.startswith("unrecognized arguments"):
        from flat_mapper.backends.registry import BESIDE

        change = BESIDE if rest.startswith("--mapper-") else did_you_mean(rest, options)
        return expected(program, f"options among {', '.join(options)}", rest, change)
    if kind.startswith("the following arguments are required"):
        return f"{program}: expected {rest}, got none; see {program} --help"
    found = re.fullmatch(r"argument ([^ /:]*)[^:]*", kind)
    if found:
        where = f"{program}: {found[1]}"
        if "expected one argument" in rest or "at least one argument" in rest:
            return f"{where}: expected a value, got none"
        return f"{where}: expected what {program} --help says, got: {rest}"
    return f"{program}: expected what {program} --help says, got: {message}"


def _options(parser: argparse.ArgumentParser) -> list[str]:
    return [text for action in parser._actions for text in action.option_strings[-1:]]


def grammar(only: str = "") -> tuple[_Parser, dict[str, _Parser]]:
    """The parser, and that of each verb; only: the one verb that is wanted."""
    from flat_mapper import __version__

    form = partial(argparse.HelpFormatter, width=columns() - 2)
    parser = _Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} COMMAND ... | COMMAND --help | --version",
        allow_abbrev=False,
        add_help=False,
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, width=columns() - 2),
        description=_overview(),
        epilog="exit codes: 0 done, 1 nothing feasible, 2 bad input, 3 backend missing or failed",
    )
    unsaid = argparse.SUPPRESS
    parser.add_argument("-h", "--help", action="help", help=unsaid)
    version = f"{PROGRAM} {__version__}"
    parser.add_argument("--version", action="version", version=version, help=unsaid)
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, prog=PROGRAM, help=unsaid
    )
    verbs: dict[str, _Parser] = {}
    for name in (only,) if only in VERBS else VERBS:
        verb = commands.add_parser(
            name, description=VERBS[name].text, allow_abbrev=False, formatter_class=form
        )
        assert isinstance(verb, _Parser)
        verb.set_defaults(seq=None, lengths=None, phase="")  # of a problem, where no option says it
        group: argparse._MutuallyExclusiveGroup | None = None
        for key in VERBS[name].options:
            if key.startswith("("):
                group = verb.add_mutually_exclusive_group(required=True)
            _add(group or verb, _OPTIONS[key.strip("()")])
            group = None if key.endswith(")") else group
        verbs[name] = verb
    return parser, verbs


def _overview() -> str:
    """A line for each command, in groups, on one screen."""
    lines, last = [], ""
    for name, verb in VERBS.items():
        if verb.group in VERBS:
            continue
        alike = ", ".join(other for other, one in VERBS.items() if one.group == name)
        text = f"{verb.text} (also: {alike})" if alike else verb.text
        lines.append(f"{'' if verb.group == last else verb.group:<8}{name:<13}{text}")
        last = verb.group
    return "\n".join(lines)


_MARKS: dict[str, dict[str, Any]] = {
    "*": {"action": "append", "default": []},
    "+": {"nargs": "+"},
    "++": {"nargs": "+", "action": "extend"},
    "?": {"nargs": "?"},
    "!": {"required": True},
}


def _add(verb: argparse._ActionsContainer, written: str) -> None:
    """One option as `_TABLE` writes it."""
    spec, _, text = written.partition(" |")
    said: dict[str, Any] = {"help": text.strip()} if text else {}
    words = spec.split()
    names = [word for word in words if word.startswith("-")] or words[:1]
    for word in words[len(names) :]:
        if word[0] in "=>":
            said["default" if word[0] == "=" else "dest"] = word[1:]
        elif word[0] == ":":
            said["type"] = partial(_value, word[1:], names[-1])
        elif word[0] == "{":
            said["choices"] = word[1:-1].split(",")
        else:
            said |= _MARKS.get(word, {"metavar": word})
    verb.add_argument(*names, **said if len(words) > len(names) else said | _FLAG)


_NUMBERS = {"count": (int, 0), "count0": (int, -1), "real": (float, 0)}  # kind, and above what
_PAIRS = {
    "size": "RANK=SIZE, such as P=4096",
    "dim": "NAME=SIZE, such as batch=1",
    "bits": "TENSOR=BITS, such as K=8 or K=fp8_e4m3",
}


def _value(kind: str, option: str, text: str) -> Any:
    """The value that an option's text stands for; its kind: see `_TABLE`."""
    from flat_mapper.spec.catalog import width_of
    from flat_mapper.spec.document import checked
    from flat_mapper.spec.yamlio import scalar

    if kind in _NUMBERS:
        number, above = _NUMBERS[kind]
        return checked(scalar(text), number, option, above=above)
    if kind == "counts":
        return [_value("count", option, word.strip()) for word in text.split(",")]
    if kind == "limit":
        return inf if text.strip() == "none" else _value("real", option, text)
    if kind == "share":
        share = checked(scalar(text.strip().removesuffix("%")), float, option, above=-1)
        share /= 100 if text.strip().endswith("%") else 1
        if not 0 <= share <= 1:
            raise SpecError(expected(option, "a share up to 100%, such as 0, 1% or 0.01", text))
        return share
    name, equals, value = (part.strip() for part in text.rpartition("="))
    if not (name and equals and value):
        raise SpecError(expected(option, _PAIRS[kind], text))
    where = f"{option} {name}"
    return name, width_of(scalar(value), where) if kind == "bits" else _value("count", where, value)


_FLAG = {"action": "store_true"}
# An option a line: its key, its names and metavar, marks, and its help. Marks: * repeatable, + one
# or more values (++ again and again), ? may be missing, ! must be given, =V the default, >D where
# the value goes, {A,B} what it may be, :K the kind of its value (count: int > 0, count0: 0 too,
# real: > 0, limit: or none, counts, share, and name and value as size, dim or bits). One without a
# metavar is a flag.
_TABLE = """
json: --json | print JSON instead of tables
arch: --arch A ++ ! | a shipped name, or v0.4 files and folders that are read together
other-arch: --arch A | another architecture than the record's
some-arch: --arch A | a shipped name or a v0.4 file
data: --data N=V * | give the name N of a template (top.yaml.jinja2) the value V; repeatable
problem: --problem P ! | a shipped name or a file
some-problem: --problem P | a shipped name or a file
set: --set R=N * >sizes :size | give rank R the size N; repeatable
bits: --bits T=W * :bits | give values of tensor T a width: bits, or a format (fp8_e4m3, bfp8_b);
    repeatable
kv-heads: --kv-heads G :count | heads of keys and values (default: H)
softmax: --softmax X = | row (FLAT's), online, online-2pass or any of them; default: the problem's
mask: --mask K = | causal, window=N (positions on either side), causal,window=N or none; default:
    the problem's
layers: --layers K = | of a problem whose layers have several masks, those with this one; default:
    with --scope model all of them, else the most frequent
schedule: --schedule C = | how units share a fused tile: interleaved, overlapped (one more tile in
    flight), sequential or any; default: the mapspace's
scope: --scope S = | attention, block (its products), layer (all of it), model (all layers) or
    vocabulary; default: the attention of a problem in the short form, all of a cascade that is
    written out
seq: --seq N :count | sequence length: P and M at once
lengths: --lengths N,N :counts | of the sequences of a ragged batch, in place of B, P and M; in
    decode of caches
phase: --phase F = | prefill or decode (one position against a cache of --seq); default: the
    problem's
objective: --objective O =edp | edp (default), latency or energy
fronts: --objective O =edp | edp (default), latency or energy, or latency,energy for the whole
    Pareto front
mapspace: --mapspace M =default | a shipped name or a file; default: fused or not, at any level, on
    the cores of a chip that has them; any partition of a cascade that is written out
mapspaces: --mapspace M ++ >mapspaces | shipped names or files; default: unfused, and the default of
    map
ert: --ert FILE | energies: Accelergy's ERT, or `level: {read: pJ, ...}`, or the word `accelergy`:
    run it (default: hwcomponents)
same-ert: --ert FILE | energies: as for map
tie-ert: --ert FILE | energies that break ties (default: none)
own-ert: --ert FILE | energies, instead of hwcomponents'
backend: --backend B =native | who counts: native (default), timeloop or accelforge
timeloop: --timeloop-cmd CMD | a command around Timeloop's tools: {} the call, {dir} its folder
    (default: the environment's FLAT_MAPPER_TIMELOOP)
timeout: --backend-timeout S | seconds of one run of Timeloop's tools (default 1800)
folder: -o --output DIR | write the files of the answer there
needed-folder: -o --output DIR ! | write the files of the answer there
force: --force | write into a folder that holds other files
time-limit: --time-limit S :limit | seconds from the start, after which the best so far is the
    answer, with its proven gap; none: to the end. Default: 60, or none beside --gap alone
point-limit: --time-limit S :limit | seconds of each point; none: to the end. Default: 60, or none
    beside --gap alone
gap: --gap G :share | stop where the best is proven to be as near, such as 1%% or 0.01; 0 asks for a
    proof. Default: 0.1%%, of a front 0
log: --log FILE | write what the search left out there as CSV: where, by which rule, at which bound
memory-limit: --memory-limit MB :real | peak memory of the process, at which the search stops
max-latency: --max-latency S :real | seconds that the mapping may take
max-energy: --max-energy J :real | joules that it may take
max-buffer: --max-buffer BYTES :real | of the level that fused Einsums share, that it may use
what: what WHAT {buffer,bandwidth,cores} | buffer: of the level that fused Einsums share, in its
    rows; bandwidth: of DRAM; cores: of a chip, with a mapspace such as cores
utilization: --utilization U :real | what the fastest mapping must reach
latency: --latency S :real | seconds that it may take at most
busy: --busy UNIT = | U is this unit's busy share
step: --step S =1e9 :real | of bandwidth, bytes per second (default 1e9)
kernel: --for K ! >kernel | fa3, fa2, triton, flex, splash, rpa3 or ttnn
count: --count N =5 :count | tiles that are shown (default 5)
snippet: --snippet | print what a user pastes of the best tile
prefill: --prefill N ! :count | positions of the prompt
decode: --decode T ! :count | positions after it
new: --new S =1 :count | positions of one step: 1, or those speculated on
page: --page K =16 :count | positions that the cache grows by (default 16)
record: record fused-mapping.yaml |
some-record: record fused-mapping.yaml ? | or the best one of --arch, ...
tool: --for {model,mapper} =model >tool | mapper: timeloop-mapper's inputs too, in mapper/ (default
    model)
nest: files FILE + | Timeloop v0.4 files
files: files FILE + | files of any kind
einsums: einsums EINSUM + | Einsums or operators
check: --check | hold the native model against it; 1 where it differs
shrink: --shrink | cut every loop outside the fusion level to two passes
sweep: sweep SWEEP.yaml | what varies; see docs/sweeps.md
design: problem DESIGN.yaml | choices, workloads and budgets
database: -o --output FILE | the results file, new or begun
method: --method M =grid | grid: every design (default); optuna: some of them, for large spaces
trials: --trials N =100 :count | designs that optuna tries (default 100)
seed: --seed N =0 :count0 | of optuna (default 0)
plan: --dry-run | check the inputs and count the points
design-plan: --dry-run | check the inputs and count the designs
yes: --yes | however many points there are
workers: --workers N :count0 | processes on this machine (default: one a core; 0: none but this one)
scheduler: --scheduler ADDRESS | of a Dask scheduler, such as tcp://host:8786
scheduler-file: --scheduler-file FILE | that a Dask scheduler wrote
database-in: results results.db | what sweep wrote
format: --format F =csv | csv (default), parquet or jsonl
where: --where COND * | keep rows with, say, status=done or arch.GLB.depth>=4096; repeatable
table: -o --output FILE | a file (default: stdout)
results: results RESULTS + | JSON of map, compare or evaluate, a folder that -o made, or a sweep's
    database
html: -o --output FILE ! | the page: FILE.html
title: --title T = | the page's heading
config: config config.json | the configuration beside a model
part: --part P = | encoder, decoder or cross
hf-layers: --layers L = | window or full: of a model whose layers differ, these alone
batch: --batch B =1 :count | sequences (default 1)
hf-seq: --seq N :count | positions (default: the model's, at most 4096)
text: -o --output FILE | write the problem there
onnx: file FILE.onnx | a model's graph; its weights may be missing
dim: --dim NAME=SIZE + :dim | sizes of dimensions that the file leaves open
pt2: file FILE.pt2 | what torch.export.save wrote
layer-folder: folder DIR | a folder of Timeloop problems, one a layer
fused: -o --output FILE | write the fused problem there
kind: kind KIND ? = | arch, problems or mapspaces
"""


def _lines(table: str) -> Iterator[tuple[str, str]]:
    """The key and the rest of each line of a table."""
    for line in table.replace("\n    ", " ").strip().splitlines():
        key, _, rest = line.partition(": ")
        yield key, rest


_OPTIONS = dict(_lines(_TABLE))


class Verb(NamedTuple):
    """A command as `_LISTED` has it."""

    group: str
    module: str  # of cli, with the function of its name
    text: str
    options: list[str]


# A command a line: its group (or the command that it is alike to), its module and name, what it
# does, and its options in the order of its help; options in brackets exclude each other, and a name
# in capitals stands for several.
_LISTED = """
search map map: find the best mapping in a mapspace
    | CASCADE fronts mapspace PRICES EARLY max-latency max-energy max-buffer log
search map compare: compare the best mappings of several mapspaces
    | CASCADE objective mapspaces PRICES EARLY
search need need: find the least buffer, bandwidth or cores for a target
    | what CASCADE (utilization latency) busy mapspace step tie-ert EARLY
search need tiles: find the best tile sizes of a kernel, in its words
    | CASCADE kernel count snippet folder force
search need generate: take in a prompt, then decode against a growing cache
    | arch data PROBLEM prefill decode new page mapspace objective own-ert EARLY
many sweep sweep: search every point of a grid, and keep each
    | sweep database plan yes point-limit gap ENGINE
many sweep optimize: find the best architectures for a mix of workloads
    | design database method trials seed design-plan yes point-limit gap ENGINE
many sweep export: write a sweep's rows as CSV, Parquet or JSON Lines
    | database-in format where table
many files report: make a page of saved answers, for a browser | results html title
price map evaluate: price a recorded mapping again | record other-arch PRICES
evaluate files model: price one Einsum from Timeloop's files, as it does
    | nest data same-ert timeloop timeout
prove judges execute: run a mapping on real numbers, and count what moves
    | record other-arch check shrink
prove judges crosscheck: compare every backend on one mapping
    | some-record some-arch some-problem mapspace seq same-ert timeloop timeout
files files check: say everything that is wrong with files | files
files map why-not: say what keeps Einsums from one fused group | einsums PROBLEM
files files list: name what ships | kind
files files lower: write a recorded mapping as Timeloop files
    | record other-arch tool same-ert needed-folder force
files imports fuse-layers: find the attention among Timeloop's layers, fuse it | layer-folder fused
files imports import-hf: make a problem of a model | config part hf-layers batch hf-seq text
import-hf imports import-onnx: make a problem of a model's ONNX graph | onnx dim text
import-hf imports import-torch: make a problem of a graph that torch exported | pt2 text
"""
_SEVERAL = {
    "CASCADE": "arch data PROBLEM seq lengths phase",
    "PROBLEM": "problem set bits kv-heads softmax mask layers schedule scope",
    "PRICES": "ert backend timeloop timeout folder force",
    "EARLY": "time-limit gap memory-limit",
    "ENGINE": "workers scheduler scheduler-file",
}


def _verbs() -> dict[str, Verb]:
    found = {}
    for said, text in _lines(_LISTED):
        group, module, name = said.split()
        text, _, options = text.partition(" | ")
        for word, several in _SEVERAL.items():
            options = options.replace(word, several)
        found[name] = Verb(group, module, text, [*options.split(), "json"])
    return found


VERBS = _verbs()
