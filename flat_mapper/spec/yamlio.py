"""YAML in and out, and the typed door between a document and the rest of the package.

Nothing else imports yaml. A document is read from parser events, so no object is ever constructed
from a tag: `!Component` becomes `Tagged("!Component", body)`, and a tag of another language is
refused. Scalars follow YAML 1.2 (`1e-9` is a number, `no` is a word), as Timeloop's front end has
it. Quoted words are `Quoted`, because to Timeloop `"45nm"` is a string and `width * 2` is not.
"""

from __future__ import annotations

import json
import math
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from numbers import Integral, Real
from pathlib import Path
from typing import Any, BinaryIO, Literal, NoReturn

import yaml

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.spec.document import Quoted, Section, Tagged, noun_of

MAX_NODES = 500_000  # chosen: values after every alias is expanded; 2 s of reading
MAX_DEPTH = 64  # chosen: nesting; Timeloop files stay below 12
MAX_DIGITS = 60  # chosen: of one number

_STANDARD = "tag:yaml.org,2002:"
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C parser, where it was built
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_INT = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_PLAIN = re.compile(r"[A-Za-z_(/]([A-Za-z0-9_ ./*+()<>=%-]*[A-Za-z0-9_./*+()<>=%-])?")
_NUMERIC = re.compile(
    r"\.?[0-9][0-9.]*([eE][-+]?[0-9]+)?( [-+*/%<>=][A-Za-z0-9_ ./*+()<>=%-]*[A-Za-z0-9_)])?"
)
_WORDS: dict[str, object] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}


def load_yaml(source: str | Path) -> object:
    """The document in a file, or in a text: a string with a line break or a colon and a space.

    returns: None, bool, int, float, str, list, Section and Tagged, nested.
    raises:  SpecError with the path and the line.
    """
    if is_text(source):
        return load_text(str(source), "text")
    return load_text(read_text(Path(source)), str(source))


def is_text(source: str | Path) -> bool:
    """True where a source is a text itself, and not the path of one."""
    if not isinstance(source, str):
        return False
    return "\n" in source or ": " in source or source[:1] in ("[", "{")


Anchors = dict[str, tuple[object, int]]  # the value of each, and its size in nodes


def load_text(text: str, name: str) -> object:
    """The document in a text; `name` is what errors call it."""
    return load_sized(text, name, {})[0]


def load_sized(text: str, name: str, anchors: Anchors) -> tuple[object, int]:
    """The same with its size in nodes, where a text may refer to values that are known already."""
    if len(text) > MAX_BYTES:
        raise SpecError(expected(name, f"at most {MAX_BYTES} bytes of YAML", len(text)))
    reader = _Reader(name, text, anchors)
    try:
        return reader.document(), reader.size
    except yaml.MarkedYAMLError as err:
        line = min(err.problem_mark.line, text.count("\n")) + 1 if err.problem_mark else 1
        problem = " ".join(filter(None, (err.context, err.problem)))
        raise SpecError(f"{name}:{line}: expected YAML, got an error: {problem}") from err
    except yaml.YAMLError as err:
        problem = " ".join(str(err).split())
        raise SpecError(f"{name}: expected YAML, got an error: {problem}") from err


class _Reader:
    """Builds values from parser events, within the limits."""

    def __init__(self, name: str, text: str, anchors: Anchors) -> None:
        self.name, self.anchors = name, dict(anchors)
        self.expands = "includes" if anchors else "aliases"
        self.events: Iterator[Any] = iter(yaml.parse(text, Loader=_LOADER))
        self.size = 0
        self.pinned = False  # whether a `!nomerge` is still inside

    def document(self) -> object:
        next(self.events)  # the stream's start
        if isinstance(next(self.events), yaml.StreamEndEvent):
            raise SpecError(f"{self.name}: expected a YAML document, got an empty file")
        value = self._value(next(self.events), 0)
        next(self.events)  # the document's end
        after = next(self.events)
        if not isinstance(after, yaml.StreamEndEvent):
            self._refuse(after, "one YAML document", "a second one")
        return _unpinned(value) if self.pinned else value

    def _refuse(self, event: Any, condition: str, got: object, change: str = "") -> NoReturn:
        raise SpecError(expected(f"{self.name}:{_line(event)}", condition, got, change))

    def _value(self, event: Any, depth: int) -> object:
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchors:
                self._refuse(event, "an anchor that is complete above", f"*{event.anchor}")
            value, size = self.anchors[event.anchor]
            self._count(event, size)
            return value
        if depth > MAX_DEPTH:
            self._refuse(event, f"at most {MAX_DEPTH} levels of nesting", "more")
        before = self.size
        self._count(event, 1)
        value = self._tagged(event, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, self.size - before)
        return value

    def _count(self, event: Any, size: int) -> None:
        self.size += size
        if self.size > MAX_NODES:
            self._refuse(event, f"at most {MAX_NODES} values, {self.expands} expanded", "more")

    def _tagged(self, event: Any, depth: int) -> object:
        tag: str = event.tag or ""
        if tag.startswith(_STANDARD):
            if tag[len(_STANDARD) :] not in ("str", "int", "float", "bool", "null", "seq", "map"):
                self._refuse(event, "a plain value", "!!" + tag[len(_STANDARD) :])
        elif tag not in ("", "!") and not re.fullmatch(r"![A-Za-z][A-Za-z0-9_-]*", tag):
            self._refuse(event, "a tag such as !Component", tag)
        value = self._untagged(event, depth)
        if tag in ("", "!") or tag.startswith(_STANDARD):
            return value
        self.pinned = self.pinned or tag == "!nomerge"
        return Tagged(tag, value, _line(event))

    def _untagged(self, event: Any, depth: int) -> object:
        if isinstance(event, yaml.ScalarEvent):
            self._count(event, len(event.value) // 128)
            quoted = bool(event.style) or event.tag in (_STANDARD + "str", "!")
            return Quoted(event.value) if quoted else self._scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[object] = []
            while not isinstance(inner := next(self.events), yaml.SequenceEndEvent):
                items.append(self._value(inner, depth + 1))
            return items
        return self._section(depth)

    def _scalar(self, event: Any) -> object:
        text: str = event.value
        number = text[:1] in "0123456789.+-" and (_INT.fullmatch(text) or _FLOAT.fullmatch(text))
        if number and len(text) > MAX_DIGITS:
            self._refuse(event, f"a number of at most {MAX_DIGITS} digits", text[:9] + "...")
        return scalar(text)

    def _section(self, depth: int) -> Section:
        section = Section(source=self.name)
        merges: list[tuple[Any, str, object]] = []
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self._key(event)
            value = self._value(next(self.events), depth + 1)
            if key in ("<<", "<<<") and not event.style:
                merges.append((event, key, value))
                continue
            if key in section:
                first = section.lines[key]
                self._refuse(event, f"each key once (it is on line {first})", key, "remove one")
            section[key] = value
            section.lines[key] = _line(event)
        for event, key, value in merges:
            for source in value if isinstance(value, list) else [value]:
                body = source.body if isinstance(source, Tagged) else source
                if not isinstance(body, Section):
                    self._refuse(event, f"a mapping, or a list of them, under {key}", noun_of(body))
                self._count(event, len(body))
                _merge(section, body, deep=key == "<<<")
        return section

    def _key(self, event: Any) -> str:
        if isinstance(event, yaml.AliasEvent):
            value = self.anchors.get(str(event.anchor), (None, 0))[0]
            if isinstance(value, str):
                return str(value)
        if not isinstance(event, yaml.ScalarEvent):
            self._refuse(event, "a word as a key", "a list, a mapping or an alias")
        if event.tag and event.tag != _STANDARD + "str":
            self._refuse(event, "a word as a key", f"the tag {event.tag}")
        key = str(event.value)
        if event.anchor is not None:
            self.anchors[event.anchor] = (key, 1)
        return key


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _merge(section: Section, other: Section, *, deep: bool) -> None:
    """Add what the section lacks; under `<<<` also inside its mappings, and lists grow."""
    for key, value in other.items():
        own = section.get(key)
        if key not in section:
            section[key] = value
            section.lines[key] = other.lines.get(key, 0)
        elif deep and isinstance(own, Section) and isinstance(value, Section):
            joined = Section(own, own.source, own.lines)
            _merge(joined, value, deep=True)
            section[key] = joined
        elif deep and isinstance(own, list) and isinstance(value, list):
            section[key] = [*own, *value]


def _unpinned(value: object) -> object:
    """The value without its `!nomerge` marks."""
    if isinstance(value, Tagged):
        body = _unpinned(value.body)
        return body if value.tag == "!nomerge" else Tagged(value.tag, body, value.line)
    if isinstance(value, Section):
        return Section({k: _unpinned(v) for k, v in value.items()}, value.source, value.lines)
    return [_unpinned(v) for v in value] if isinstance(value, list) else value


def scalar(text: str) -> object:
    """The value of an unquoted word: null, a truth value, a number, or the word itself."""
    if text in _WORDS:
        return _WORDS[text]
    if text[:1] not in "0123456789.+-":
        return text
    if _INT.fullmatch(text):
        return int(text, 16 if text.startswith("0x") else 10)
    return float(text) if _FLOAT.fullmatch(text) else text


def dump(document: object) -> str:
    """Canonical YAML: the same document gives the same text, and `load_yaml` gives it back.

    Lists without mappings inside are in flow style, `Quoted` strings keep their quotes, and a
    string is quoted where any reader, Accelergy's expressions included, would see something else.
    """
    text: str = yaml.serialize(_node(document), Dumper=_DUMPER, width=2**20, allow_unicode=True)
    return text.removesuffix("...\n")


def _node(value: object, *, flow: bool = False) -> Any:
    """A value as YAML's own node; `flow`: it stands in a list in flow style."""
    if isinstance(value, Tagged):
        node = _node(value.body)
        node.tag = value.tag
        return node
    if isinstance(value, Mapping):
        pairs = [(_node(str(key)), _node(inner)) for key, inner in value.items()]
        return yaml.MappingNode(_STANDARD + "map", pairs, flow_style=not pairs)
    if isinstance(value, list | tuple):
        flat = _is_flat(value)
        items = [_node(item, flow=flat) for item in value]
        return yaml.SequenceNode(_STANDARD + "seq", items, flow_style=flat)
    if isinstance(value, str):
        return yaml.ScalarNode(_STANDARD + "str", str(value), style=_style(value, flow=flow))
    if value is None:
        return yaml.ScalarNode(_STANDARD + "null", "null")
    if isinstance(value, bool):
        return yaml.ScalarNode(_STANDARD + "bool", str(value).lower())
    number = plain_number(value)
    if isinstance(number, int):
        return yaml.ScalarNode(_STANDARD + "int", str(number))
    return yaml.ScalarNode(_STANDARD + "float", _float_text(number))


def _is_flat(value: object) -> bool:
    """True where a list holds scalars and such lists only."""
    if isinstance(value, list | tuple):
        return all(_is_flat(item) for item in value)
    return not isinstance(value, Mapping | Tagged)


def _style(text: str, *, flow: bool) -> str | None:
    """The quoting of a string: none only where no reader could take it for anything else."""
    if "\n" in text:
        return "|"
    plain = _NUMERIC if text[:1] in "0123456789." else _PLAIN
    # A function's arguments stay bare where a comma divides no list: Accelergy works out only what
    # has no quotes.
    words = text.replace(",", "") if "(" in text and not flow else text
    bare = not isinstance(text, Quoted) and plain.fullmatch(words) and isinstance(scalar(text), str)
    return None if bare and text.lower() not in ("yes", "no", "on", "off") else '"'


def _float_text(value: float) -> str:
    """A float that YAML 1.1 and 1.2 readers both take for one: `1.0e-09`, not `1e-09`."""
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else (".inf" if value > 0 else "-.inf")
    text = repr(value)
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa}.0e{exponent}" if e and "." not in mantissa else text


def dump_json(document: object) -> str:
    """The same as JSON text; a tagged value is `{"tag": ..., "body": ...}`."""

    def plain(value: object) -> object:
        if isinstance(value, Tagged):
            return {"tag": value.tag, "body": value.body}
        return dict(value) if isinstance(value, Mapping) else plain_number(value)

    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False, default=plain)
    return text + "\n"


def plain_number(value: object) -> int | float:
    """The number itself of one of another library, such as numpy's.

    raises: TypeError where it is none.
    """
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    raise TypeError(f"not a document value: {type(value).__name__}")


MAX_BYTES = 16 * 2**20  # chosen: the largest file read; a recorded mapspace is far below it
NAMED = 40  # chosen: characters of a name that its temporary neighbour repeats; 255 bytes in all

_INPUTS: ContextVar[dict[Path, None] | None] = ContextVar("inputs", default=None)


@contextmanager
def inputs_kept() -> Iterator[None]:
    """Inside it no file is written over one that was read inside it: a command's inputs stay."""
    token = _INPUTS.set({})
    try:
        yield
    finally:
        _INPUTS.reset(token)


def note_input(path: Path) -> None:
    """Say that a file is an input; `read_text` says so by itself."""
    inputs = _INPUTS.get()
    if inputs is not None:
        inputs[path.absolute()] = None


def read_text(path: Path, *, is_input: bool = True) -> str:
    """The text of a UTF-8 file of bounded size.

    is_input: whether it is to stay as it is for as long as the command runs.
    """
    try:
        if not (stat.S_ISREG(path.stat().st_mode) or path.is_dir()):  # a pipe is waited for
            raise SpecError(f"{path}: expected a readable file, got a device or a pipe")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as err:
        raise SpecError(f"{path}: expected a readable file, got: {reason(err)}") from err
    if len(data) > MAX_BYTES:
        raise SpecError(expected(str(path), f"at most {MAX_BYTES} bytes", f"more than {MAX_BYTES}"))
    if is_input:
        note_input(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise SpecError(
            expected(str(path), "text in UTF-8", f"byte 0x{data[err.start]:02x} at {err.start}")
        ) from err


def write_text(path: str | Path, text: str) -> None:
    """Write a whole file or nothing: a temporary file beside it takes its place."""
    with replacing(Path(path), makes_folder=True) as file:
        file.write(text.encode())


@contextmanager
def replacing(target: Path, *, makes_folder: bool = False) -> Iterator[BinaryIO]:
    """A new file beside a file; what is written there takes the file's place in the end.

    makes_folder: whether the folder of the target may be made.
    raises: SpecError where that cannot be, or the target is one that is not to be written.
    """
    check_target(target)
    temporary = beside(target)
    try:
        if makes_folder:
            target.parent.mkdir(parents=True, exist_ok=True)
        opened = created(temporary)
        try:
            with opened as file:
                yield file
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except (OSError, UnicodeError) as err:
        raise _unwritable(target, err) from err


def beside(target: Path) -> Path:
    """A name beside a file or folder that nobody can guess, so that nobody stands there first."""
    return target.with_name(f".{target.name[:NAMED]}.{secrets.token_hex(8)}.tmp")


def created(path: Path) -> BinaryIO:
    """A new file to write; no other is opened, whatever stands under its name, nor a link followed.

    raises: OSError, FileExistsError where anything has the name.
    """
    return _opened(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, "wb")


def appended(target: Path) -> BinaryIO:
    """A file to go on with, new where there is none, its folder too; a link is not followed."""
    check_target(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return _opened(target, os.O_CREAT | os.O_APPEND | os.O_WRONLY, "ab")
    except OSError as err:
        raise _unwritable(target, err) from err


def _opened(path: Path, flags: int, mode: Literal["wb", "ab"]) -> BinaryIO:
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o666), mode)


def check_own(target: Path, head: str) -> None:
    """Raise SpecError unless a path is new, or a plain file that begins as this command's do."""
    check_target(target)
    with suppress(FileNotFoundError), target.open("rb") as file:
        if file.read(len(head)) not in (b"", head.encode()):
            condition = "a new file, or one that flat-mapper wrote"
            change = "choose another name, or remove it"
            raise SpecError(expected(str(target), condition, "another's", change))


def check_target(target: Path) -> None:
    """Raise SpecError unless a path is new, or a plain file that is no input of this command."""
    if not target.name or target.name == "..":
        raise SpecError(f"{target}: expected the name of a file to write, got a folder")
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return
    except (OSError, ValueError) as err:
        raise _unwritable(target, err) from err
    if not stat.S_ISREG(mode):
        got = "a folder" if stat.S_ISDIR(mode) else "a link" if stat.S_ISLNK(mode) else "a device"
        raise SpecError(f"{target}: expected a plain file or a new name, got {got}; choose another")
    for noted in _INPUTS.get() or ():
        if noted.exists() and noted.samefile(target):
            raise SpecError(
                f"{target}: expected another file than an input of this command, got one; choose "
                "another name"
            )


def _unwritable(target: Path, error: Exception) -> SpecError:
    return SpecError(f"{target}: expected a file that can be written, got: {reason(error)}")


def reason(error: Exception) -> str:
    """The reason that a file could not be used, in the system's words."""
    return (error.strerror if isinstance(error, OSError) else "") or str(error)
