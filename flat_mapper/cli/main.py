"""The command `flat-mapper`: arguments in, text or JSON on stdout, errors in one line on stderr.

Exit codes: 0 done, 1 nothing feasible, 2 bad input or usage, 3 a backend is missing or failed,
130 interrupted, 141 the reader of the output went away.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import flat_mapper
from flat_mapper.api.options import call_of, options_of
from flat_mapper.api.questions import AskSweep, Spend
from flat_mapper.base.errors import (
    BackendError,
    FlatMapperError,
    NothingFeasible,
    SpecError,
    expected,
)
from flat_mapper.base.process import uninterrupted
from flat_mapper.cli.arguments import Parsed, Shown, parsed
from flat_mapper.cli.terminal import progress_bar, say
from flat_mapper.reports.folder import check_folder

_FAILURES = ((NothingFeasible, "Infeasible", 1), (BackendError, "BackendError", 3))
LEAST_MEMORY = 2**27  # chosen: numpy and its library take 110 MiB of it
INTERRUPTED, READER_GONE = 130, 141  # 128 + the signal's number, as shells have it


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    try:
        from flat_mapper.spec.yamlio import inputs_kept

        with inputs_kept():
            return _run(sys.argv[1:] if argv is None else argv)
    except FlatMapperError as error:
        found = ((name, code) for kind, name, code in _FAILURES if isinstance(error, kind))
        name, code = next(found, (type(error).__name__, 2))
        return _failed(f"{name}: {error}", code)
    except KeyboardInterrupt as error:
        return _failed(str(error) or "interrupted", INTERRUPTED)
    except BrokenPipeError:
        return READER_GONE
    except MemoryError:
        return _failed("BackendError: flat-mapper: expected more memory than there is, got none", 3)
    except OSError as error:
        reason = error.strerror or str(error)
        where = error.filename or "flat-mapper"
        return _failed(f"SpecError: {where}: expected a file or folder to use, got: {reason}", 2)


def _run(argv: Sequence[str]) -> int:
    """Put the question of a line to its call, and print the answer."""
    begin = time.monotonic()
    for word in argv:
        if any("\ud800" <= c <= "\udfff" or c == "\0" for c in word):
            raise SpecError(expected("flat-mapper", "arguments in UTF-8 without NUL", word))
    if list(argv) == ["--version"]:
        from flat_mapper.backends.registry import version_text

        say(version_text())
        return 0
    asked = parsed(argv)
    if asked is None:
        return 0
    question, values, shown = asked
    _check_memory()
    with uninterrupted():  # a call imports only what it needs
        call = getattr(flat_mapper, call_of(question))
    if shown.output:
        _check_output(question(**values), shown)
    if issubclass(question, Spend):  # modules and inputs count to what the search may take
        values["budget"] = question(**values).spend(begin)
    code = _told(_answered(call, asked), shown)
    sys.stdout.flush()
    return code


def _check_memory() -> None:
    """Raise BackendError where there is no room for libraries, which end a process as they like."""
    with suppress(ImportError):  # no such limit on this system
        import resource

        most, _ = resource.getrlimit(resource.RLIMIT_AS)
        if 0 <= most < LEAST_MEMORY:
            condition = f"at least {LEAST_MEMORY // 2**20} MiB of address space"
            change = "raise the limit: ulimit -v"
            raise BackendError(expected("flat-mapper", condition, f"{most // 2**20} MiB", change))


def _check_output(asked: object, shown: Shown) -> None:
    """Raise SpecError where the files of an answer cannot be written: before the work is done."""
    with uninterrupted():
        from flat_mapper.api.files import folders_of
    check_folder(Path(shown.output), force=shown.force, inside=folders_of(asked))


def _answered(call: Callable[..., Any], asked: Parsed) -> Any:
    """The answer, with a bar or lines of how far it is."""
    sweeps = issubclass(asked.question, AskSweep)
    if "progress" not in options_of(asked.question) or (sweeps and asked.shown.json):
        return call(**asked.values)
    with progress_bar(seldom=sweeps) as show:
        far = (lambda now: show(now.seen / max(1, now.total), str(now))) if sweeps else show
        return call(**asked.values, progress=far)


def _told(answer: Any, shown: Shown) -> int:
    """Print an answer, its files written where they were asked for; the exit code.

    raises: NothingFeasible where that is why there is nothing.
    """
    from flat_mapper.spec.answers import answer_json

    if not answer and not hasattr(answer, "to_dict"):
        raise NothingFeasible(answer)
    if refusal := getattr(answer, "refusal", ""):
        raise NothingFeasible(refusal)
    names: list[str] = []
    if shown.output:
        from flat_mapper.api.files import save, saved_answer, text_of

        names = save(answer, shown.output, force=shown.force)
    if shown.json:
        if document := saved_answer(answer) if names else answer.to_dict():
            say(answer_json(answer.kind, {**document, **shown.said()}))
    elif text := text_of(answer, shown.output, names) if names else str(answer):
        say(text)
    return int(getattr(answer, "exit_code", not answer))


def _failed(line: str, code: int) -> int:
    try:
        say(" ".join(line.split()), error=True)
    except BrokenPipeError:
        return READER_GONE
    return code


def _ended(number: int, _: object) -> NoReturn:
    """At a signal that would end the process on the spot: clean up on the way out."""
    raise SystemExit(128 + number)


def _open_streams() -> None:
    """Something silent in the place of a standard stream that was closed; no file takes it then."""
    while (free := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(free)
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8"))


def run() -> int:
    """The entry of the console script: `main` on the process's own streams.

    A character that the terminal's encoding lacks prints as `?`; a closed stdout stays silent.
    """
    _open_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    # numpy starts its library's threads as it is imported, 0.04 CPU s for each: nothing here
    # multiplies matrices large enough for one.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, _ended)
    code = main()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (
            OSError
        ) as error:  # Python would try again as it ends, and leave with a code of its own
            gone = stream is sys.stdout and isinstance(error, BrokenPipeError)
            code = READER_GONE if gone else code
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return code
