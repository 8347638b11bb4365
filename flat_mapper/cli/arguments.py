"""The command line's grammar. What cannot be parsed is a SpecError in the house form."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from functools import partial
from typing import NoReturn

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.cli.arguments_sweep import (
    arch_arguments,
    check_arguments,
    data_argument,
    early_arguments,
    execute_arguments,
    export_arguments,
    fuse_layers_arguments,
    import_hf_arguments,
    import_onnx_arguments,
    import_torch_arguments,
    list_arguments,
    optimize_arguments,
    report_arguments,
    search_arguments,
    sweep_arguments,
    tiles_arguments,
)
from flat_mapper.cli.overview import CODES, USAGE, overview_text
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
    """What stands in the place of a command that there was; nothing of other words."""
    match argv:
        case ["reproduce", "search", *_]:
            return "it is now python -m studies.simulator --search, from the project's root"
        case ["reproduce", *rest]:
            study = rest[0] if rest and rest[0] in _STUDIES else "STUDY"
            return f"it is now python -m studies.{study}, from the project's root"
        case ["verify", *_]:
            return "a search writes no log any more"
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
        usage=USAGE,
        allow_abbrev=False,
        add_help=False,
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, width=columns() - 2),
        description=overview_text({name: text for name, (text, _) in _VERBS.items()}),
        epilog=CODES,
    )
    unsaid = argparse.SUPPRESS
    parser.add_argument("-h", "--help", action="help", help=unsaid)
    version = f"{PROGRAM} {__version__}"
    parser.add_argument("--version", action="version", version=version, help=unsaid)
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, prog=PROGRAM, help=unsaid
    )
    verbs: dict[str, _Parser] = {}
    for name in (only,) if only in _VERBS else _VERBS:
        text, fill = _VERBS[name]
        verb = commands.add_parser(name, description=text, allow_abbrev=False, formatter_class=form)
        assert isinstance(verb, _Parser)
        fill(verb)
        verb.add_argument("--json", action="store_true", help="print JSON instead of tables")
        verbs[name] = verb
    return parser, verbs


def _inputs(verb: _Parser, *, fronts: bool = False) -> None:
    """Inputs of a search; fronts: the command may ask for all of a front."""
    _cascade(verb)
    also = ", or latency,energy for the whole Pareto front" if fronts else ""
    choices = f"edp (default), latency or energy{also}"
    verb.add_argument("--objective", default="edp", metavar="O", help=choices)


def _cascade(verb: _Parser) -> None:
    """The chip, and what runs on it."""
    arch_arguments(verb)
    _problem(verb)
    verb.add_argument("--seq", metavar="N", help="sequence length: P and M at once")
    verb.add_argument(
        "--lengths",
        metavar="N,N",
        help="of the sequences of a ragged batch, in place of B, P and M; in decode of caches",
    )
    verb.add_argument(
        "--phase",
        default="",
        metavar="F",
        help="prefill or decode (one position against a cache of --seq); default: the problem's",
    )


def _problem(verb: _Parser) -> None:
    """The problem, and what may be changed of it in every phase."""
    verb.add_argument("--problem", required=True, metavar="P", help="a shipped name or a file")
    verb.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="R=N",
        dest="sizes",
        help="give rank R the size N; repeatable",
    )
    verb.add_argument(
        "--bits",
        action="append",
        default=[],
        metavar="T=W",
        help="give values of tensor T a width: bits, or a format (fp8_e4m3, bfp8_b); repeatable",
    )
    verb.add_argument("--kv-heads", metavar="G", help="heads of keys and values (default: H)")
    verb.add_argument(
        "--softmax",
        default="",
        metavar="X",
        help="row (FLAT's), online, online-2pass or any of them; default: the problem's",
    )
    verb.add_argument(
        "--mask",
        default="",
        metavar="K",
        help="causal, window=N (positions on either side), causal,window=N or none; "
        "default: the problem's",
    )
    verb.add_argument(
        "--layers",
        default="",
        metavar="K",
        help="of a problem whose layers have several masks, those with this one; default: with "
        "--scope model all of them, else the most frequent",
    )
    verb.add_argument(
        "--schedule",
        default="",
        metavar="C",
        help="how units share a fused tile: interleaved, overlapped (one more tile in flight), "
        "sequential or any; default: the mapspace's",
    )
    verb.add_argument(
        "--scope",
        default="",
        metavar="S",
        help="attention, block (its products), layer (all of it), model (all layers) or "
        "vocabulary; default: the attention of a problem in the short form, "
        "all of a cascade that is written out",
    )


def _mapspace(verb: _Parser) -> None:
    verb.add_argument(
        "--mapspace", default="flat", metavar="M", help="a shipped name or a file (default flat)"
    )


def _prices(verb: _Parser) -> None:
    """Who prices, and where the answer goes."""
    verb.add_argument(
        "--ert",
        metavar="FILE",
        help="energies: Accelergy's ERT, or `level: {read: pJ, ...}`, or the word `accelergy`: run "
        "it (default: hwcomponents)",
    )
    verb.add_argument(
        "--backend",
        default="native",
        metavar="B",
        help="who counts: native (default), timeloop or accelforge",
    )
    _timeloop_cmd(verb)
    _output(verb)


def _timeloop_cmd(verb: _Parser) -> None:
    verb.add_argument(
        "--timeloop-cmd",
        metavar="CMD",
        help="a command around Timeloop's tools: {} the call, {dir} its folder "
        "(default: the environment's FLAT_MAPPER_TIMELOOP)",
    )
    verb.add_argument(
        "--backend-timeout",
        metavar="S",
        help="seconds of one run of Timeloop's tools (default 1800)",
    )


def _output(verb: _Parser, *, needed: bool = False) -> None:
    text = "write the files of the answer there"
    verb.add_argument("-o", "--output", metavar="DIR", required=needed, help=text)
    text = "write into a folder that holds other files"
    verb.add_argument("--force", action="store_true", help=text)


def _map(verb: _Parser) -> None:
    _inputs(verb, fronts=True)
    _mapspace(verb)
    _prices(verb)
    search_arguments(verb)


def _compare(verb: _Parser) -> None:
    _inputs(verb)
    verb.add_argument(
        "--mapspace",
        nargs="+",
        action="extend",
        metavar="M",
        dest="mapspaces",
        help="shipped names or files; default naive flex-stream flex flat",
    )
    _prices(verb)
    early_arguments(verb)


def _need(verb: _Parser) -> None:
    verb.add_argument(
        "what",
        choices=("buffer", "bandwidth", "cores"),
        metavar="WHAT",
        help="buffer: of the level that fused Einsums share, in its rows; bandwidth: of DRAM; "
        "cores: of a chip, with a mapspace such as cores",
    )
    _cascade(verb)
    target = verb.add_mutually_exclusive_group(required=True)
    target.add_argument("--utilization", metavar="U", help="what the fastest mapping must reach")
    target.add_argument("--latency", metavar="S", help="seconds that it may take at most")
    verb.add_argument("--busy", default="", metavar="UNIT", help="U is this unit's busy share")
    _mapspace(verb)
    verb.add_argument(
        "--step", default="1e9", metavar="S", help="of bandwidth, bytes per second (default 1e9)"
    )
    verb.add_argument("--ert", metavar="FILE", help="energies that break ties (default: none)")


def _tiles(verb: _Parser) -> None:
    _cascade(verb)
    tiles_arguments(verb)
    _output(verb)


def _generate(verb: _Parser) -> None:
    arch_arguments(verb)
    _problem(verb)
    verb.add_argument("--prefill", required=True, metavar="N", help="positions of the prompt")
    verb.add_argument("--decode", required=True, metavar="T", help="positions after it")
    verb.add_argument(
        "--new", default="1", metavar="S", help="positions of one step: 1, or those speculated on"
    )
    verb.add_argument(
        "--page", default="16", metavar="K", help="positions that the cache grows by (default 16)"
    )
    _mapspace(verb)
    verb.add_argument(
        "--objective", default="edp", metavar="O", help="edp (default), latency or energy"
    )
    verb.add_argument("--ert", metavar="FILE", help="energies, instead of hwcomponents'")


def _evaluate(verb: _Parser) -> None:
    verb.add_argument("record", metavar="fused-mapping.yaml")
    verb.add_argument("--arch", metavar="A", help="another architecture than the record's")
    _prices(verb)


def _crosscheck(verb: _Parser) -> None:
    verb.add_argument(
        "record", nargs="?", metavar="fused-mapping.yaml", help="or the best one of --arch, ..."
    )
    verb.add_argument("--arch", metavar="A", help="a shipped name or a v0.4 file")
    verb.add_argument("--problem", metavar="P", help="a shipped name or a file")
    _mapspace(verb)
    verb.add_argument("--seq", metavar="N", help="sequence length: P and M at once")
    verb.add_argument("--ert", metavar="FILE", help="energies: as for map")
    _timeloop_cmd(verb)


def _lower(verb: _Parser) -> None:
    verb.add_argument("record", metavar="fused-mapping.yaml")
    verb.add_argument("--arch", metavar="A", help="another architecture than the record's")
    verb.add_argument(
        "--for",
        default="model",
        choices=("model", "mapper"),
        dest="tool",
        help="mapper: timeloop-mapper's inputs too, in mapper/ (default model)",
    )
    verb.add_argument("--ert", metavar="FILE", help="energies: as for map")
    _output(verb, needed=True)


def _model(verb: _Parser) -> None:
    verb.add_argument("files", nargs="+", metavar="FILE", help="Timeloop v0.4 files")
    data_argument(verb)
    verb.add_argument("--ert", metavar="FILE", help="energies: as for map")
    _timeloop_cmd(verb)


def _why_not(verb: _Parser) -> None:
    verb.add_argument("einsums", nargs="+", metavar="EINSUM", help="Einsums or operators")
    _problem(verb)
    verb.set_defaults(seq=None, lengths=None, phase="")


_VERBS = {
    "map": ("find the best mapping in a mapspace", _map),
    "compare": ("compare the best mappings of several mapspaces", _compare),
    "need": ("find the least buffer, bandwidth or cores for a target", _need),
    "tiles": ("find the best tile sizes of a kernel, in its words", _tiles),
    "sweep": ("search every point of a grid, and keep each", sweep_arguments),
    "optimize": ("find the best architectures for a mix of workloads", optimize_arguments),
    "export": ("write a sweep's rows as CSV, Parquet or JSON Lines", export_arguments),
    "report": ("make a page of saved answers, for a browser", report_arguments),
    "generate": ("take in a prompt, then decode against a growing cache", _generate),
    "evaluate": ("price a recorded mapping again", _evaluate),
    "crosscheck": ("compare every backend on one mapping", _crosscheck),
    "execute": ("run a mapping on real numbers, and count what moves", execute_arguments),
    "lower": ("write a recorded mapping as Timeloop files", _lower),
    "model": ("price one Einsum from Timeloop's files, as it does", _model),
    "fuse-layers": ("find the attention among Timeloop's layers, fuse it", fuse_layers_arguments),
    "import-hf": ("make a problem of a model", import_hf_arguments),
    "import-onnx": ("make a problem of a model's ONNX graph", import_onnx_arguments),
    "import-torch": ("make a problem of a graph that torch exported", import_torch_arguments),
    "why-not": ("say what keeps Einsums from one fused group", _why_not),
    "check": ("say everything that is wrong with files", check_arguments),
    "list": ("name what ships", list_arguments),
}
