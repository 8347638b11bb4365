"""The exceptions of the package. Everything a user can cause is one of these."""

from __future__ import annotations

from collections.abc import Callable

from flat_mapper.base.formats import terminal_text

MAX_LINE = 2000  # chosen: characters of one error; the longest of ours lists what is known
_TAIL = 200  # of these, kept from the end, where the advice stands


class FlatMapperError(Exception):
    """Base of every error a user can cause. `str(error)` is one line in the house form.

    The form is `<where>: expected <condition>, got <value>[; <the one thing to change>]`. A line
    is of bounded length, however long the value is.
    """

    def __str__(self) -> str:
        text = super().__str__()
        if len(text) <= MAX_LINE:
            return text
        kept = MAX_LINE - _TAIL
        return f"{text[:kept]} ... ({len(text)} characters) ... {text[-_TAIL:]}"


class SpecError(FlatMapperError):
    """A file, an argument or an expression that cannot be read as what it should be."""


class UnpricedError(SpecError):
    """A component whose energy nothing says: its chip can be searched for latency alone."""


class MappingError(FlatMapperError):
    """A mapping that contradicts its own problem or architecture."""


class BackendError(FlatMapperError):
    """An external tool that is missing, failed, or answered something unreadable."""


class NothingFeasible(FlatMapperError):
    """Carries an `Infeasible` out of an interface that must return a result."""

    def __init__(self, infeasible: object) -> None:
        super().__init__(str(infeasible))
        self.infeasible = infeasible


class MissingResult(NothingFeasible, AttributeError):
    """The result of a question that has none was asked for; says why there is none."""

    def __init__(self, infeasible: object, name: str) -> None:
        if name.startswith("__"):  # what Python looks for by itself: no reason is wanted
            AttributeError.__init__(self, name)
        else:
            super().__init__(infeasible)


def expected(where: str, condition: str, got: object, change: str = "") -> str:
    """One error line in the house form."""
    tail = f"; {change}" if change else ""
    return f"{where}: expected {condition}, got {got!r}{tail}"


def found_by(error: Exception) -> str:
    """The fault that Python found in a file of others, without words of Python's own."""
    if isinstance(error, KeyError):
        return f"no {error}"
    if isinstance(error, IndexError):
        return "too few of them"
    return " ".join(str(error).split())[:200] or "nothing that makes sense"


class Faults(list[str]):
    """Everything found wrong with one input, a line each."""

    def attempt[**P, T](self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """The value of a step; None where it failed, and then its error is one of the faults."""
        try:
            return step(*args, **kwargs)
        except FlatMapperError as error:
            self.append(str(error))
            return None


MAX_NAME = 100  # chosen: characters; file systems end at 255 bytes
_FORBIDDEN = '/\\:*?"<>|'  # in a file's name on some system


def file_name(name: str, where: str) -> str:
    """The name itself, where it names one file in a folder and nothing anywhere else.

    raises: SpecError where it could lead elsewhere, or no file can have it.
    """
    plain = terminal_text(name) == name and not any(c in _FORBIDDEN or c in "\t\n" for c in name)
    if plain and 0 < len(name) <= MAX_NAME and name.strip(" .") == name:
        return name
    condition = (
        f"a name of 1 to {MAX_NAME} characters that can be a file's: without {' '.join(_FORBIDDEN)}"
        " and control characters, and with no dot or blank at either end"
    )
    raise SpecError(expected(where, condition, name))


def relative_name(name: str, where: str) -> str:
    """A path of file names below a folder, such as `QK/problem.yaml`."""
    for part in name.split("/"):
        file_name(part, where)
    return name
