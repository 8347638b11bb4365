"""The command line's grammar, made of the questions. What is no such line is a SpecError in the
house form.
"""

import argparse
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING
from functools import partial
from math import inf
from pathlib import Path
from shutil import get_terminal_size
from typing import Annotated, Any, NamedTuple, NoReturn, get_args

from flat_mapper.api import questions as ask
from flat_mapper.api.options import Flag, Option, Question, options_of, summary_of
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.spec.document import did_you_mean

PROGRAM = "flat-mapper"
_Given = Mapping[str, Any]  # values of options by their last word


class Shown(Question):
    """Output of an answer on the command line.

    output: write the files of the answer there
    force: write into a folder that holds other files
    json: print JSON instead of tables
    """

    output: Annotated[str, Flag("DIR", "-o --output")] = ""
    force: Annotated[bool, Flag()] = False
    json: Annotated[bool, Flag()] = False

    def said(self) -> dict[str, object]:
        """Options that do nothing but stand in the JSON: all others that there are."""
        return {n: v for n, v in vars(self).items() if v and n not in ("output", "force", "json")}


# Options that choose a question of their verb, and do nothing else: the question, and their help.
_CHOICES: Mapping[str, tuple[type, str]] = {
    "--this-machine": (ask.AskThisMachine, "make an architecture of this machine instead"),
    "--execute": (ask.AskExecute, "run it on real numbers, tile by tile, and count what moves"),
    "--crosscheck": (ask.AskCrosscheck, "compare every backend that is present on it"),
    "--dry-run": (ask.AskPlanSweep, "check the inputs and count the points"),
}


def _flags(question: type) -> dict[str, Option]:
    """The options of a question that the command line has, by their last word."""
    return {o.words[-1]: o for o in options_of(question).values() if o.flag is not None}


def _shown(question: type) -> dict[str, Option]:
    """Options of a question's output: no files where it has a file of its own."""
    own = "--output" in _flags(question)
    files = ("--output", "--force") if own else ()
    return {word: o for word, o in _flags(Shown).items() if word not in files}


class Verb(NamedTuple):
    """A command: its group, and the questions that it asks one of."""

    group: str
    questions: tuple[type, ...]
    text: str = ""  # where the first question says less

    @property
    def summary(self) -> str:
        """One line of help."""
        return self.text or summary_of(self.questions[0]).rstrip(".")

    def asks(self, word: str) -> type:
        """The first of its questions that has an option."""
        return next(q for q in self.questions if word in _flags(q) or word in _shown(q))

    @property
    def options(self) -> dict[str, list[Option]]:
        """Its options by their last word, each as every question has it."""
        found: dict[str, list[Option]] = {}
        for part in (*map(_flags, self.questions), *map(_shown, self.questions)):
            for word, option in part.items():
                found.setdefault(word, []).append(option)
        return found


VERBS: Mapping[str, Verb] = {
    "map": Verb("search", (ask.AskSearch, ask.AskFront)),
    "compare": Verb("search", (ask.AskCompare,)),
    "need": Verb("search", (ask.AskNeed,)),
    "tiles": Verb("search", (ask.AskTiles,)),
    "generate": Verb("search", (ask.AskGenerate,)),
    "sweep": Verb(
        "many",
        (ask.AskSweep, ask.AskOptimize, ask.AskExportSweep, ask.AskPlanSweep),
        "Every point of a grid, the best designs, rows exported",
    ),
    "report": Verb("many", (ask.AskReport,)),
    "evaluate": Verb(
        "price",
        (ask.AskEvaluate, ask.AskModel, ask.AskExecute, ask.AskCrosscheck),
        "A mapping priced again, executed or crosschecked",
    ),
    "check": Verb(
        "files",
        (ask.AskCheck, ask.AskWhyNot, ask.AskThisMachine),
        "Everything wrong with files; why Einsums do not fuse",
    ),
    "import": Verb("files", (ask.AskImportProblem,)),
    "lower": Verb("files", (ask.AskLower,)),
    "list": Verb("files", (ask.AskShipped,)),
}
_FORMER = {  # commands that there were
    "optimize": "flat-mapper sweep DESIGN.yaml",
    "export": "flat-mapper sweep RESULTS",
    "model": "flat-mapper evaluate FILE ...",
    "execute": "flat-mapper evaluate FILE --execute",
    "crosscheck": "flat-mapper evaluate FILE --crosscheck",
    "why-not": "flat-mapper check --why-not EINSUM ...",
    **dict.fromkeys(
        ("import-hf", "import-onnx", "import-torch", "fuse-layers"), "flat-mapper import FILE"
    ),
    "reproduce": "python -m studies.STUDY, from the project's root",
    "verify": "map --log FILE for what a search leaves out, and evaluate --execute for the judge",
}


class Parsed(NamedTuple):
    """A question with the values of its options, and what becomes of its answer."""

    question: type
    values: dict[str, Any]
    shown: Shown


class _Parser(argparse.ArgumentParser):
    """Refuses in the house form instead of exiting."""

    def error(self, message: str) -> NoReturn:
        raise SpecError(_refusal(self, message))


def parsed(argv: Sequence[str]) -> Parsed | None:
    """The question of a line; None where only help or the version was asked for, and printed."""
    word = argv[0] if argv else ""
    parser, verbs = grammar(word)
    if not word.startswith("-") and word not in verbs:
        condition = f"a command among {', '.join(verbs)}"
        change = did_you_mean(word, verbs) if word else f"{PROGRAM} --help explains them"
        change = f"it is now {_FORMER[word]}" if word in _FORMER else change
        raise SpecError(expected(PROGRAM, condition, word or "none", change))
    try:
        arguments, unknown = parser.parse_known_args(argv)
    except SystemExit:
        return None
    if "command" not in arguments:
        parser.error(f"unrecognized arguments: {word}")
    given = vars(arguments)
    verb = verbs[given.pop("command")]
    if unknown:
        verb.error(f"unrecognized arguments: {unknown[0]}")
    return _asked(word, verb, given)


def _asked(name: str, parser: _Parser, given: dict[str, Any]) -> Parsed:
    """The question of what was given by word: with all that it needs, and nothing else."""
    question = _chosen(name, given)
    if question is ask.AskFront:
        del given["--objective"]
    flags = _flags(question)
    values = {o.name: _taken(given.pop(w), o) for w, o in flags.items() if w in given}
    shown = {o.name: given.pop(w) for w, o in _shown(question).items() if w in given}
    chosen = [word for word in _CHOICES if given.pop(word, False)]
    if len(chosen) > 1:
        raise SpecError(expected(parser.prog, f"one of {' and '.join(chosen)}", "both"))
    for word in given:
        where = " ".join((parser.prog, *chosen))
        raise SpecError(expected(where, f"options among {', '.join(flags)}", word))
    if lacking := _lacking(question, {*values, *shown}):
        parser.error(f"the following arguments are required: {', '.join(lacking)}")
    return Parsed(question, values, Shown(**shown))


def _lacking(question: type, given: Collection[str]) -> list[str]:
    """Options that a question, or its answer of files alone, needs and that are not given."""
    needed = [o for o in _flags(question).values() if o.default is MISSING and o.name not in given]
    files = ["-o/--output"] if question is ask.AskLower and "output" not in given else []
    return [*map(_named, needed), *files]


def _chosen(name: str, given: _Given) -> type:
    """The question of a command that is asked: the first one where no other is meant."""
    questions = VERBS[name].questions
    for word, (question, _) in _CHOICES.items():
        if word in given:
            if ask.AskModel in questions and _are_timeloops(given):
                where, got = f"{PROGRAM} {name} {word}", "Timeloop's own files"
                condition = "the one record of a mapping, as map -o writes it"
                change = "evaluate FILE ... --backend timeloop counts as Timeloop, without it we do"
                raise SpecError(expected(where, condition, got, change))
            return question
    return next((q for q, meant in _MEANT.items() if q in questions and meant(given)), questions[0])


def _are_timeloops(given: _Given) -> bool:
    """True of Timeloop's files, or of a single one that has all."""
    files = given.get("files", ())
    return len(files) > 1 or any("architecture" in _keys(Path(one)) for one in files)


def _are_results(given: _Given) -> bool:
    """True of a sweep's results, and of what is asked of them alone."""
    if "--format" in given or "--where" in given:
        return True
    try:
        with Path(given.get("sweep", "")).open("rb") as file:
            return file.read(15) == b"SQLite format 3"
    except (OSError, ValueError):
        return False


def _keys(path: Path) -> Sequence[str]:
    """The keys of a file; none where it cannot be read, which its question tells."""
    from flat_mapper.base.errors import Faults
    from flat_mapper.spec.templating import load_document

    found = Faults().attempt(load_document, path) if path.is_file() else None
    return tuple(found) if isinstance(found, Mapping) else ()


# Other questions that are not the first of their verb, with when they are meant.
_MEANT: Mapping[type, Callable[[_Given], bool]] = {
    ask.AskFront: lambda given: given.get("--objective", "").replace(" ", "") == ask.WHOLE_FRONT,
    ask.AskWhyNot: lambda given: "--why-not" in given,
    ask.AskModel: _are_timeloops,
    ask.AskExportSweep: _are_results,
    ask.AskOptimize: lambda given: "optimize" in _keys(Path(given.get("sweep", ""))),
}


def _named(option: Option) -> str:
    """An option as errors name it."""
    words = option.words
    assert option.flag is not None
    return "/".join(words) if words[0].startswith("-") else option.flag.metavar


def _taken(value: Any, option: Option) -> Any:
    """The value of an option that was given once, or several times."""
    kind = _kind(option)
    if kind in _PAIRS:
        named = dict(value)
        if len(named) < len(value):
            got = " ".join(f"{n}={v}" for n, v in value)
            condition = f"{_PAIRS[kind].partition(',')[0]}, each name once"
            raise SpecError(expected(_named(option), condition, got))
        return named
    if isinstance(value, list) and kind not in ("texts", "counts"):
        if len(value) > 1:
            raise SpecError(expected(_named(option), "one", " ".join(value)))
        return value[0]
    return value


def _refusal(parser: argparse.ArgumentParser, message: str) -> str:
    """Argparse's message in the house form."""
    program = parser.prog
    options = [text for action in parser._actions for text in action.option_strings[-1:]]
    kind, _, rest = message.partition(": ")
    if kind.startswith("unrecognized arguments"):
        from flat_mapper.backends.registry import BESIDE

        gone = {"--mapper-": BESIDE, "--scheduler-file": "--scheduler takes the file too"}
        former = (said for word, said in gone.items() if rest.startswith(word))
        change = next(former, did_you_mean(rest, options))
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


def grammar(only: str = "") -> tuple[_Parser, dict[str, _Parser]]:
    """The parser, and that of each verb; only: the one verb that is wanted."""
    from flat_mapper import __version__

    width = get_terminal_size().columns - 2
    form = partial(argparse.HelpFormatter, width=width)
    parser = _Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} COMMAND ... | COMMAND --help | --version",
        allow_abbrev=False,
        add_help=False,
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, width=width),
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
            name, description=VERBS[name].summary, allow_abbrev=False, formatter_class=form
        )
        assert isinstance(verb, _Parser)
        chosen = ((w, text) for w, (q, text) in _CHOICES.items() if q in VERBS[name].questions)
        for word, text in chosen:
            verb.add_argument(word, dest=word, action="store_true", default=unsaid, help=text)
        groups: dict[type, argparse._ActionsContainer] = {VERBS[name].questions[0]: verb}
        for word, alike in VERBS[name].options.items():
            asks = VERBS[name].asks(word)
            if asks not in groups:
                groups[asks] = verb.add_argument_group(summary_of(asks).rstrip("."))
            _add(groups[asks], alike, required=len(alike) == len(VERBS[name].questions))
        verbs[name] = verb
    return parser, verbs


def _overview() -> str:
    """A line for each command, in groups, on one screen."""
    lines, last = [], ""
    for name, verb in VERBS.items():
        lines.append(f"{'' if verb.group == last else verb.group:<8}{name:<10}{verb.summary}")
        last = verb.group
    return "\n".join(lines)


def _add(parser: argparse._ActionsContainer, alike: Sequence[Option], *, required: bool) -> None:
    """An option of a verb, which several of its questions may have."""
    option, kinds = alike[0], {_kind(one) for one in alike}
    required = required and all(one.default is MISSING for one in alike)
    assert option.flag is not None
    placed = not option.words[0].startswith("-")
    told = dict.fromkeys(_help(one) for one in (alike if placed else alike[:1]))
    said: dict[str, Any] = {"help": "; or ".join(told), "default": argparse.SUPPRESS}
    if kinds == {"flag"}:
        said["action"] = "store_true"
    else:
        said |= {"metavar": option.flag.metavar, "type": partial(_value, kinds, option.words[-1])}
        said |= _times(kinds, placed=placed, required=required)
    if placed:
        parser.add_argument(option.words[0], **said)
    else:
        parser.add_argument(*option.words, dest=option.words[-1], required=required, **said)


def _times(kinds: set[str], *, placed: bool, required: bool) -> dict[str, str]:
    """The number of values that an option takes."""
    if "texts" in kinds:
        return {"nargs": "+" if required or not placed else "*", "action": "extend"}
    once = {"nargs": "?"} if placed and not required else {}
    return once | ({"action": "append"} if kinds & _PAIRS.keys() else {})


def _help(option: Option) -> str:
    """The help of an option, without what is said of Python, and its default."""
    default, text = option.default, option.help.partition("; in Python")[0]
    if isinstance(default, tuple):
        default = " ".join(default)
    if default not in (MISSING, None, "", False, inf) and "default:" not in text:
        text = f"{text} (default: {default})"
    text += "; repeatable" if _kind(option) in _PAIRS else ""
    return text.replace("%", "%%")


def _kind(option: Option) -> str:
    """Reader of an option's text: its flag's, or its type's."""
    assert option.flag is not None
    types = {option.type, *get_args(option.type)}
    of_type = {bool: "flag", int: "count", float: "real"}
    return option.flag.kind or next((k for t, k in of_type.items() if t in types), "text")


_NUMBERS = {"count": (int, 0), "count0": (int, -1), "real": (float, 0)}  # kind, and above what
_PAIRS = {
    "size": "RANK=SIZE, such as P=4096",
    "dim": "NAME=SIZE, such as batch=1",
    "bits": "TENSOR=BITS, such as K=8 or K=fp8_e4m3",
    "data": "NAME=VALUE, each name once",
}


def _value(kinds: set[str], option: str, text: str) -> Any:
    """The value that an option's text stands for; of two kinds the longer list."""
    from flat_mapper.spec.document import checked
    from flat_mapper.spec.yamlio import scalar

    kind = min(kinds)
    if kind in ("text", "texts"):
        return text
    if kind in _NUMBERS:
        number, above = _NUMBERS[kind]
        return checked(scalar(text), number, option, above=above)
    if kind == "counts":
        return [_value({"count"}, option, word.strip()) for word in text.split(",")]
    if kind == "limit":
        return inf if text.strip() == "none" else _value({"real"}, option, text)
    if kind == "share":
        bare = text.strip().removesuffix("%")
        share, whole = scalar(bare), 100 if bare != text.strip() else 1
        if not isinstance(share, int | float) or isinstance(share, bool) or not 0 <= share <= whole:
            raise SpecError(expected(option, "a share up to 100%, such as 0, 1% or 0.01", text))
        return share / whole
    return _pair(kind, option, text)


def _pair(kind: str, option: str, text: str) -> tuple[str, Any]:
    """A name and its value."""
    from flat_mapper.spec.catalog import width_of
    from flat_mapper.spec.yamlio import scalar

    parts = text.partition("=") if kind == "data" else text.rpartition("=")
    name, equals, value = (part.strip() for part in parts)
    if not (name and equals and value) or (kind == "data" and not name.isidentifier()):
        raise SpecError(expected(option, _PAIRS[kind], text))
    where = f"{option} {name}"
    if kind == "data" or (kind == "size" and "." in name):
        return name, scalar(value)
    if kind == "bits":
        return name, width_of(scalar(value), where)
    return name, _value({"count"}, where, value)
