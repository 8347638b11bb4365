"""A specification in memory: timeloopfe's, or plain documents, as the files would have said it.

timeloopfe's is a dict of nodes, and nothing of timeloopfe has to be imported to read it. What its
nodes fill in by themselves, and what they keep for their own use, is left out, so that it means
what its files mean; a value that equals the front end's default counts as left out.
Source: timeloopfe, common/nodes.py and v4/specification.py, commit 5603893.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.spec.document import Quoted, Section, Tagged, noun_of
from flat_mapper.spec.yamlio import plain_number

IN_MEMORY = "specification"  # what errors call it
# What is read here, and what is refused where it says anything.
SPECIFICATION_KEYS = (
    *("variables", "architecture", "components", "constraints", "problem", "mapping", "ERT"),
    *("sparse_optimizations", "globals"),
)
_NAMING = ("type", "target")  # they say where a constraint stands, and nothing by themselves
_ALWAYS = (*_NAMING, "name", "version")
_OWN = ("processors", "spec")


def plain_document(specification: Mapping[str, object]) -> Section:
    """The document of a specification, under the keys that are read here."""
    found = {
        key: _value(specification[key])
        for key in SPECIFICATION_KEYS
        if specification.get(key) is not None
    }
    return Section({key: value for key, value in found.items() if _says(value)})


def _says(section: object) -> bool:
    """True where a top-level section says more than its version."""
    if isinstance(section, Mapping):
        return any(not _empty(value) for key, value in section.items() if key != "version")
    return not _empty(section)


def _value(value: object) -> object:
    if isinstance(value, Tagged):
        return Tagged(value.tag, _value(value.body))
    if isinstance(value, Mapping):
        return _node(value)
    if isinstance(value, list | tuple):
        return [item for item in map(_value, value) if not _empty(item)]
    if isinstance(value, str):
        quoted = isinstance(value, Quoted) or "QuotedScalarString" in type(value).__name__
        return Quoted(value) if quoted else str(value)
    if value is None or isinstance(value, bool):
        return value
    try:
        return plain_number(value)
    except TypeError as error:
        condition = "words, numbers, lists and mappings"
        raise SpecError(expected(IN_MEMORY, condition, noun_of(value))) from error


def _node(node: Mapping[str, object]) -> object:
    """One mapping; of a node of the front end, what it states."""
    stated: Callable[[str], bool] | None
    stated = getattr(node, "is_defined_non_default_non_empty", None)
    keys = node if stated is None else [key for key in node if _is_stated(stated, key)]
    said = {str(key): _value(node[key]) for key in keys}
    if stated is not None:
        said = {key: value for key, value in said.items() if not _empty(value)}
        said = {} if said.keys() <= {*_NAMING} else said
    tag = str(getattr(node, "tag", None) or "")
    return Tagged(tag, Section(said)) if tag.startswith("!") else Section(said)


def _is_stated(stated: Callable[[str], bool], key: str) -> bool:
    """The front end's value of a key; it has no word for one that it knows no default of."""
    if key in _OWN or key.startswith("_"):
        return False
    try:
        return key in _ALWAYS or stated(key)
    except AttributeError:
        return True


def _empty(value: object) -> bool:
    return value is None or (isinstance(value, str | list | Mapping) and not value)
