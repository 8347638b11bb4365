"""Options: each is said once, in a question; signatures in Python and the command's flags say it.

A question is a frozen dataclass and its fields are what may be asked: name, type, default; its
docstring has a line of help for each. How the command line writes one stands beside its type,
`Annotated[int | None, Flag("N")]`; an option without a flag is one of Python alone. `answers` gives
a function the signature of its question. Types are read as they stand: no annotations of strings.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, field, fields
from functools import cache, wraps
from typing import Any, NamedTuple, dataclass_transform, get_args

_WIDTH = 92  # chosen: characters of a line of an option's help in Python
_HELP = re.compile(r"^( *)(\w+): +(.+(?:\n\1 +\S.*)*)", re.MULTILINE)  # name: help
_ONE = re.compile(r"\A(\w+): +((?s:.)+)")  # the whole docstring of a single option


class Flag(NamedTuple):
    """An option on the command line."""

    metavar: str = ""
    words: str = ""  # its names, where they are not that of the option; without dashes a place
    kind: str = ""  # how its text is read, where the type does not say: see `cli.arguments`


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
class Question:
    """Options that are asked together, each with its default: a frozen dataclass."""

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True, kw_only=True, repr=False, eq=False)(cls)  # each takes its time


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One field of a question."""

    name: str
    type: Any
    default: object  # MISSING: it must be given
    keyword: bool  # whether it can only be named
    help: str
    flag: Flag | None  # None: of Python alone

    @property
    def words(self) -> list[str]:
        """Its names on the command line; one without dashes stands in its place."""
        assert self.flag is not None
        return (self.flag.words or f"--{self.name.replace('_', '-')}").split()


@cache
def options_of(question: type) -> dict[str, Option]:
    """The options of a question by name, those that need no name first."""
    told: dict[str, str] = {}
    for part in reversed(question.__mro__):
        said = part.__doc__ or ""
        single = dict(_ONE.findall(said))
        told |= single or {name: text for _, name, text in _HELP.findall(said)}
    found = {}
    for one in sorted(fields(question), key=lambda f: bool(f.kw_only)):
        kind, *beside = get_args(one.type) if hasattr(one.type, "__metadata__") else (one.type,)
        found[one.name] = Option(
            name=one.name,
            type=kind,
            default=one.default,
            keyword=bool(one.kw_only),
            help=" ".join(told.get(one.name, "").split()),
            flag=next((flag for flag in beside if isinstance(flag, Flag)), None),
        )
    return found


def summary_of(question: type) -> str:
    """One line of a question, without its options."""
    return _HELP.sub("", inspect.cleandoc(question.__doc__ or "")).strip()


def call_of(question: type) -> str:
    """The name of the function that answers a question: `why_not` of AskWhyNot."""
    return re.sub(r"(?<=.)([A-Z])", r"_\1", question.__name__.removeprefix("Ask")).lower()


def answers[**P, Q, R](question: Callable[P, Q]) -> Callable[[Callable[[Q], R]], Callable[P, R]]:
    """A function of a question's options, made of one that takes the question.

    Its help is what the question asks for, the function's own docstring, and its options.
    """
    assert isinstance(question, type)

    def decorate(function: Callable[[Q], R]) -> Callable[P, R]:
        @wraps(function)
        def asked(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                given = question(*args, **kwargs)
            except TypeError as error:  # of options that there are not, or that are not given
                text = str(error).replace(f"{question.__name__}.__init__", function.__name__)
                raise TypeError(text) from None
            return function(given)

        said = function.__annotations__["return"]
        said = str(getattr(said, "__name__", said))
        asked.__signature__ = signature_of(question, said)  # type: ignore[attr-defined]
        asked.__annotations__ = {}
        asked.__doc__ = "\n".join(_told(question, function))
        return asked

    return decorate


def signature_of(question: type, returned: str) -> inspect.Signature:
    """The signature that has a question's options."""
    kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    return inspect.Signature(
        [
            inspect.Parameter(
                one.name,
                kinds[one.keyword],
                default=inspect.Parameter.empty if one.default is MISSING else one.default,
                annotation=one.type,
            )
            for one in options_of(question).values()
        ],
        return_annotation=_Unquoted(returned),
    )


class _Unquoted(str):
    """An annotation in words, which a signature prints as they are."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _told(question: type, function: Callable[..., object]) -> Iterator[str]:
    """The lines of a function's help."""
    from textwrap import wrap

    yield summary_of(question)
    yield f"\n{inspect.cleandoc(function.__doc__ or '')}\n"
    for one in options_of(question).values():
        text = one.help.replace("; in Python ", "; ")  # here it is
        yield from wrap(f"{one.name}: {text}.", _WIDTH, subsequent_indent="    ")
