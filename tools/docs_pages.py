"""Pages of the docs that are made from the code: the commands, the words of files, the answers.

`docs/reference/words.md` is in the checkout, and `python tools/docs_pages.py` (of `make
docs-output`) writes it again; the others are made when the site is built.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from flat_mapper.arch import attributes
from flat_mapper.arch import values as variables
from flat_mapper.base.formats import NUMBER_FORMATS
from flat_mapper.cli.arguments import PROGRAM, grammar
from flat_mapper.energy.tables import energy_kind
from flat_mapper.mapping import space_reader
from flat_mapper.workload import layers, notation, reader

WORDS = Path(__file__).parent.parent / "docs/reference/words.md"


def commands() -> str:
    """Every command with its --help."""
    top, verbs = grammar()
    parts = ["# Commands", f"Every command of `{PROGRAM}`, as its `--help` prints it.", _help(top)]
    for name, verb in verbs.items():
        parts += [f"## {name}", _help(verb)]
    return "\n\n".join(parts) + "\n"


def _help(of: object) -> str:
    text = of.format_help()  # type: ignore[attr-defined]  # an argparse.ArgumentParser
    return f"```text\n{text.rstrip()}\n```"


def words() -> str:
    """Every word that the files of an architecture, a problem and a mapspace may use."""
    parts = [
        "# Words of the files",
        "What the code reads, as it has it. Anything else is refused with the nearest name.",
        "## Operations of an Einsum",
        "Products that reduce a rank run on the matrix path (`NAME.yaml`), all else on the vector "
        f"path (`NAME.sfu.yaml`), unless `unit:` says otherwise ({_listed(notation.UNITS)}). "
        "Cycles and energy of an operation `X` are variables of the architecture, `X_cycles` and "
        f"`X_energy`, or prices in an ERT; {_priced_alike()}.",
        _table(("operation", "takes"), _operations()),
        "## Variables of an architecture",
        "Beside those of the operations above, each also behind the name of a number format "
        f"(`fp8_e4m3_mul_cycles`; {_listed(NUMBER_FORMATS)}). A kernel that was measured has its "
        f"own, behind its name: {_listed((*variables.FITTED, *variables.HELD_ASIDE))}. Others are "
        "for expressions.",
        _meant({**variables.WHOLE_CHIP, **variables.CORE_COSTS, **variables.CORE_PORTS}),
        "## Attributes of a storage component",
        "Read by the model; `technology` by the prices.",
        _meant(attributes.NUMBERS),
        "Refused, because the model would not follow them:",
        _table(("attributes", "instead"), _refused()),
        "## Keys of a problem",
        f"`problem:` {_listed(reader.PROBLEM_KEYS)}; in `attention:` "
        f"{_listed(layers.ATTENTION_KEYS)}; of an Einsum that is a mapping: "
        f"{_listed(notation.EINSUM_KEYS)}.",
        "## Keys of a mapspace",
        _table(
            ("in", "keys"),
            (
                ("`mapspace`", _listed(space_reader.MAPSPACE_KEYS)),
                ("`fusion`", _listed(space_reader.FUSION_KEYS)),
                ("`policy`", _listed(space_reader.POLICY_KEYS)),
                *(
                    (f"a constraint of `type: {kind}`", _listed(keys))
                    for kind, keys in space_reader.RULE_KEYS.items()
                ),
            ),
        ),
    ]
    return "\n\n".join(parts) + "\n"


def answers() -> str:
    """Every kind of answer in JSON with its names, then the parts of which they are made."""
    path = Path(__file__).parent.parent / "docs/reference/answers.schema.yaml"
    schema = yaml.safe_load(path.read_text(encoding="utf-8"))
    parts = [
        "# Answers",
        "The names in the JSON of every command, from [its schema](answers.schema.yaml); "
        "[JSON](json.md) says how it may change.",
    ]
    for name, body in schema["$defs"].items():
        if "description" not in body:
            continue
        bases = [_type(base) for base in body.get("allOf", ())]
        also = f" Also what {', '.join(bases)} has." if bases else ""
        parts += [f"## {name}", f"{body['description']}{also}"]
        rows = []
        for key, of in body.get("properties", {}).items():
            absent = "" if key in body.get("required", ()) else " (optional)"
            rows.append((f"`{key}`{absent}", _type(of), of.get("description", "")))
        parts += [_table(("name", "type", "is"), rows)] if rows else []
    return "\n\n".join(parts) + "\n"


_SIMPLE = {"names": "list of string", "counts": "integer by name", "numbers": "number by name"}
_SIMPLE |= {"words": "string by name"}


def _type(of: Mapping[str, Any]) -> str:
    """The type of a value in words, with a link where it has a section."""
    if "$ref" in of:
        name = of["$ref"].rpartition("/")[2]
        return _SIMPLE.get(name) or f"[{name}](#{name})"
    if "anyOf" in of:
        return " or ".join(_type(one) for one in of["anyOf"])
    if "const" in of or "enum" in of:
        return " or ".join(f"`{value}`" for value in of.get("enum", [of.get("const")]))
    kind = of.get("type", "any")
    if kind == "array":
        return f"list of {_type(of['items'])}"
    if kind == "object" and isinstance(of.get("additionalProperties"), Mapping):
        return f"{_type(of['additionalProperties'])} by name"
    return str(kind) if isinstance(kind, str) else " or ".join(kind)


def _operations() -> Iterable[Sequence[str]]:
    """The operations that take the same together."""
    signs = {name: sign for sign, name in notation.OPERATORS.items()}
    together: dict[str, list[str]] = {}
    for name in notation.FUNCTIONS:
        takes = f"`A {signs[name]} B`" if name in signs else "`X(A)`"
        if name in notation.REDUCTIONS:
            takes += " over ranks that the output lacks"
        if name in notation.BINARY and name not in signs:
            takes += ", `X(A, B)` point by point"
        together.setdefault(takes, []).append(name)
    return ((_listed(names), takes) for takes, names in together.items())


def _priced_alike() -> str:
    other = ((name, energy_kind(name)) for name in notation.FUNCTIONS)
    return ", ".join(f"`{name}` is priced as `{kind}`" for name, kind in other if kind != name)


def _refused() -> Iterable[Sequence[str]]:
    """The refused attributes, by what to do instead."""
    together: dict[str, list[str]] = {}
    for name, (_, change) in attributes.REFUSED.items():
        together.setdefault(change, []).append(name)
    return ((_listed(names), change) for change, names in together.items())


def _meant(names: Mapping[str, str]) -> str:
    return "\n".join(f"- `{name}`: {what}" for name, what in names.items())


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


BUILT = {"cli": commands, "answers": answers}

if __name__ == "__main__":
    WORDS.write_text(words(), encoding="utf-8")
