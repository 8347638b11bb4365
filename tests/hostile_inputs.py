"""Inputs that nobody should have to fear: files, and a command that reads them."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fuzz_doors import ERT, HF, SWEEP, ran
from sweep_files import written

MAP = "map --arch edge --problem tiny --mapspace flat-h --ert ert.yaml"
NAMES = (
    *("..", ".", "../../x", "/tmp/x", "a/b", "a\\b", "a\x00b", "\x1b[31mred", "a\nb", " a", "a."),
    *("x" * 300, "a:b", "\u202egnp", "C:\\x", "a*", "~/../x"),
)
PROBLEM = """\
problem:
  ranks: {{I: 4, J: 4, K: 4}}
  einsums:
  - {{name: {name}, einsum: "C[i,k] = A[i,j] * B[j,k]"}}
"""
ARCH = """\
variables: {{version: 0.4, technology: "22nm", global_cycle_seconds: {cycle}, exp_cycles: {exp}}}
architecture:
  version: 0.4
  nodes:
  - !Component {{name: DRAM, class: DRAM, attributes: {{width: 64, datawidth: {bits}{dram}}}}}
  - !Component {{name: GLB, class: SRAM, attributes: {{width: 64, datawidth: 16, depth: {depth}}}}}
  - !Container {{name: PE, spatial: {{meshX: {mesh}, meshY: 2}}}}
  - !Component {{name: MAC, class: intmac, attributes: {{datawidth: 16}}}}
"""
SOUND = {"cycle": "1e-9", "exp": 4, "bits": 16, "dram": "", "depth": 256, "mesh": 2}
ATTRIBUTES = (
    *({"dram": f", shared_bandwidth: {n}"} for n in ("1e-308", "1e308", "0", "-1", ".nan", ".inf")),
    *({"dram": f", read_bandwidth: {n}"} for n in ("1e-300", "true", "1e99", "'4 GB'")),
    *({"dram": f", multiple_buffering: {n}"} for n in ("1e308", "-2", "1e-308")),
    *({"cycle": n} for n in ("1 / 1e308", "1e-308", "0", "-1e-9", "1e308", "2 ** 4000", "1 / 0")),
    *({"bits": n} for n in ("1" + "0" * 29, "0", "-16", "16.5")),
    *({"depth": n} for n in ("2 ** 63", "1e308", "-1", "10 ** 29", "1" * 80)),
    *({"mesh": n} for n in ("2 ** 40", "0", "1e308", "'2'")),
)
TEMPLATES = (
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "a: {{lipsum(n=10000000)}}",
    "a: {{'a'|center(2000000000)}}",
    "a: {{'%2000000000d' % 1}}",
    "{% set n = namespace(x='x') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}"
    "a: {{n.x}}",
    "a: {{include('/etc/shadow')}}",
    "a: {{include('/etc/passwd')}}",
    "a: {{include_text('/etc/passwd')}}",
    "a: {{include_all('/etc/*')}}",
    "{{add_to_path('/etc')}}a: {{include('passwd')}}",
    "{% include '/etc/passwd' %}",
    "a: {{include('template.yaml')}}",
    "a: {{''.__class__.__mro__[1].__subclasses__()}}",
    "a: {{x}}",
)
TEXTS = (
    *(
        "",
        "\x00",
        "a: *a",
        "&a [*a]",
        "!!python/object/apply:os.system [id]",
        "- \ud7ff",
        "{" * 200,
    ),
    *('a: "\\ud800"', "a: 1\na: 2", "[" * 99, "? [a]: b", "%YAML 9", "a: !!binary aGk="),
    "\n".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" if i else "a0: &a0 [x]" for i in range(60)),
    "problem: " + "x" * 11_000_000,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hostile:
    """A command, the files it needs, and links; exit 2 in one line is the right answer."""

    name: str
    command: str
    files: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)


def hostile() -> Iterator[Hostile]:
    """All of them."""
    yield from _names()
    yield from _numbers()
    yield from _targets()
    yield from _documents()
    yield from _databases()


def _names() -> Iterator[Hostile]:
    for i, name in enumerate(NAMES):
        problem = {"p.yaml": PROBLEM.format(name=json.dumps(name))}
        record = {"r.yaml": f"RECORD with {json.dumps(name)} for QK"}
        yield Hostile(name=f"name {i} check", command="check p.yaml", files=problem)
        command = "map --arch edge --problem p.yaml --ert ert.yaml -o out"
        yield Hostile(name=f"name {i} map", command=command, files=problem)
        yield Hostile(name=f"name {i} lower", command="lower r.yaml -o out", files=record)


def _numbers() -> Iterator[Hostile]:
    for i, changed in enumerate(ATTRIBUTES):
        files = {"a.yaml": ARCH.format(**SOUND | changed)}
        yield Hostile(name=f"attribute {i} {changed}", command="check a.yaml", files=files)
    for value in ("1e308", "-1", ".nan", "true", "'1'", "1e-308"):
        files = {"e.yaml": ERT.replace("512", value)}
        command = MAP.replace("ert.yaml", "e.yaml")
        yield Hostile(name=f"energy {value}", command=command, files=files)
    for value in ("1e308", "0", "2 ** 62", "-1", ".inf", "4611686018427387904"):
        space = {"m.yaml": f"mapspace: {{policy: {{buffering: {value}}}}}"}
        yield Hostile(name=f"buffering {value}", command="check m.yaml", files=space)
        record = {"r.yaml": f"RECORD with buffering {value}"}
        yield Hostile(name=f"recorded {value}", command="evaluate r.yaml", files=record)
    for value in ("1" + "0" * 29, "0", "-8", "1e308", ".inf", "4611686018427387904"):
        text = "problem: {ranks: {B: 1, H: 1, P: 8, M: 8, E: 4, F: 4}, attention: {}, tensor_bits: "
        files = {"p.yaml": f"{text}{{Q: {value}}}}}"}
        yield Hostile(name=f"bits {value}", command="check p.yaml", files=files)
    for words in (
        *("--seq 99999999999999999999", "--seq 1e308", "--seq nan", "--seq -1", "--set P=2**62"),
        *("--bits Q=99999999", "--set P=4611686018427387904", "--kv-heads 0", "--set X=8"),
    ):
        yield Hostile(name=f"argument {words}", command=f"{MAP} {words}")
    yield Hostile(name="a NUL", command=f"{MAP} -o a\x00b")
    yield Hostile(name="a lone surrogate", command=f"{MAP} -o \udc80")


def _targets() -> Iterator[Hostile]:
    yield Hostile(name="a file", command=f"{MAP} -o ert.yaml")
    yield Hostile(name="below a file", command=f"{MAP} -o ert.yaml/out")
    yield Hostile(name="a foreign folder", command=f"{MAP} -o f", files={"f/mine.txt": "x"})
    yield Hostile(name="a link", command=f"{MAP} -o l", links={"l": "f"}, files={"f/mine": ""})
    listed = {"o/result.json": '{"files": []}'}
    command = f"{MAP} -o o"
    links = {"o/QK": "../made"}  # seen once there is an answer, and its names: a search and plots
    yield Hostile(name="a linked part", command=command, files=listed, links=links)
    way = listed | {"o/QK": "mine"}
    yield Hostile(name="a part in the way", command=command, files=way)
    yield Hostile(name="a device", command="import hf.json -o /dev/null")
    yield Hostile(name="over the record", command="evaluate made/fused-mapping.yaml -o made")
    yield Hostile(name="export over itself", command="sweep r.db -o r.db")
    yield Hostile(name="export to a folder", command="sweep r.db -o .")
    yield Hostile(name="export through a link", command="sweep r.db -o l", links={"l": "ert.yaml"})
    yield Hostile(
        name="a page over its input", command="report made/result.json -o made/result.json"
    )
    sweep = {"s.yaml": SWEEP}
    for target in ("s.yaml", "/dev/null", "made", "l"):
        command = f"sweep s.yaml --workers 0 -o {target}"
        links = {"l": "r.db"} if target == "l" else {}
        yield Hostile(name=f"rows in {target}", command=command, files=sweep, links=links)
    yield Hostile(name="a problem over its input", command="import hf.json -o hf.json")


def _documents() -> Iterator[Hostile]:
    for i, text in enumerate(TEMPLATES):
        files = {"template.yaml": text}
        yield Hostile(name=f"template {i}", command="check template.yaml", files=files)
    for i, text in enumerate(TEXTS):
        yield Hostile(name=f"text {i}", command="check t.yaml", files={"t.yaml": text})
    for path in ("/etc/passwd", "../../../../etc/passwd", "/etc/shadow"):
        record = {"r.yaml": f"RECORD with arch {path}"}
        yield Hostile(name=f"a record of {path}", command="evaluate r.yaml", files=record)
        sweep = {"s.yaml": SWEEP.replace("problem: tiny", f"problem: {path}")}
        yield Hostile(name=f"a sweep of {path}", command="sweep s.yaml --dry-run", files=sweep)
    for times in ("1.0000000001", "1", "0", "1e308", "-2", ".nan"):
        sweep = {"s.yaml": SWEEP.replace("times: 2", f"times: {times}")}
        yield Hostile(name=f"times {times}", command="sweep s.yaml --dry-run", files=sweep)
    for path in ("/dev/zero", ".", "gone.yaml", "/dev/stdin"):
        yield Hostile(name=f"a file {path}", command=f"check {path}")


def _databases() -> Iterator[Hostile]:
    for text in ("position=99999999999999999999", "position=1e999", "x=1", "position", "=", "a<>b"):
        yield Hostile(name=f"where {text}", command=f"sweep r.db --where {text}")
    for damage in ("cut", "text", "json", "column", "schema", "empty"):
        yield Hostile(
            name=f"a {damage} database",
            command="sweep d.db --format csv",
            files={"d.db": f"DB {damage}"},
        )
        yield Hostile(
            name=f"a page of a {damage} database",
            command="report d.db -o p.html",
            files={"d.db": f"DB {damage}"},
        )
    for old, new in (
        *(('"groups": [', '"groups": 3, "x": ['), ('"cycles":', '"cycle":')),
        *(
            ('"latency_s": ', '"latency_s": NaN, "y": '),
            ('"latency_s": ', '"latency_s": 1e999, "y": '),
        ),
        *(('"workload": "tiny"', '"workload": "\\ud800"'), ('"energy_pj"', '"energy"'), ("{", "")),
    ):
        files = {"j.json": f"RESULT {old} -> {new}"}
        yield Hostile(name=f"result {new}", command="report j.json -o p.html", files=files)


def laid(case: Hostile, folder: Path, stock: Path) -> None:
    """The files of a case in a folder, beside a copy of the stock of sound ones."""
    shutil.copytree(stock, folder, dirs_exist_ok=True)
    for name, text in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("DB "):
            _damaged(stock / "r.db", path, text.removeprefix("DB "))
        else:
            path.write_text(_said(text, stock), encoding="utf-8")
    for name, target in case.links.items():
        (folder / name).symlink_to(target)


def _said(text: str, stock: Path) -> str:
    """A text; of a record or a result, the sound one with the change that is described."""
    record = (stock / "made/fused-mapping.yaml").read_text()
    if text.startswith("RECORD with buffering "):
        return record.replace("buffering: 2.0", f"buffering: {text.split('buffering ')[1]}")
    if text.startswith("RECORD with arch "):
        return record.replace(
            "arch: [edge.yaml, edge.sfu.yaml]", f"arch: [{text.split('arch ')[1]}]"
        )
    if text.startswith("RECORD with "):
        name = text.removeprefix("RECORD with ").removesuffix(" for QK")
        return record.replace('- einsum: "QK[', f'- name: {name}\n      einsum: "QK[')
    if text.startswith("RESULT "):
        old, new = text.removeprefix("RESULT ").split(" -> ")
        return (stock / "made/result.json").read_text().replace(old, new, 1)
    return text


def _damaged(sound: Path, path: Path, damage: str) -> None:
    data = sound.read_bytes()
    if damage in ("cut", "text", "empty"):
        said = {"cut": data[: len(data) // 2], "text": b"SQLite format 3\0 not", "empty": b""}
        path.write_bytes(said[damage])
        return
    path.write_bytes(data)
    with sqlite3.connect(path) as connection:
        connection.execute(
            {
                "json": "UPDATE points SET result = '{', coordinates = '{'",
                "column": "ALTER TABLE points RENAME COLUMN status TO state",
                "schema": "UPDATE meta SET value = 9 WHERE name = 'schema'",
            }[damage]
        )
    connection.close()


def stocked(folder: Path) -> None:
    """Sound files that the cases change: energies, an answer, a sweep, a model."""
    (folder / "ert.yaml").write_text(ERT)
    (folder / "hf.json").write_text(HF)
    code, _, said = ran(f"{MAP} -o made")
    assert code == 0, said
    sweep = folder / "swept"
    sweep.mkdir()
    code, _, said = ran(f"sweep {written(sweep)} -o r.db --workers 0")
    assert code == 0, said
    shutil.rmtree(sweep)
