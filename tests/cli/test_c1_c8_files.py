"""C1, C2, C4, C5, C8: what is written, what is believed, and what reaches a terminal or a table."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
from pathlib import Path

import pytest
from fuzz_doors import ERT, ran
from sweep_files import written

from flat_mapper.base.errors import MAX_LINE, SpecError, file_name
from flat_mapper.base.formats import csv_cell, html_text, terminal_text
from flat_mapper.cli.main import main
from flat_mapper.energy import hwcomponents
from flat_mapper.explore.sweep.spec import load_sweep
from flat_mapper.reports import folder as output
from flat_mapper.spec.document import checked
from flat_mapper.spec.yamlio import inputs_kept, read_text, write_text

MAP = "map --arch edge --problem tiny --mapspace flat-h --ert ert.yaml"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ert.yaml").write_text(ERT)
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("name", ["..", "../x", "/x", "", ".", " x", "a\0", "x" * 101, "a\\b"])
def test_c1_a_name_that_leads_elsewhere_names_no_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="expected a name of 1 to 100 characters"):
        file_name(name, "Einsum")
    with pytest.raises(SpecError, match="expected a name of 1 to 100 characters"):
        output.write_folder(tmp_path / "out", {f"{name}/a.yaml": b"", "result.json": b"{}"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["QK", "a.b", "softmax 1", "é", "QK_max", "1", "x" * 100])
def test_c1_ordinary_names_stay(name: str) -> None:
    assert file_name(name, "Einsum") == name


def test_c1_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    folder = tmp_path / "out"
    output.write_folder(folder, {"a": b"1", "result.json": b'{"files": ["a", "result.json"]}'})
    (folder / "QK").symlink_to(tmp_path / "elsewhere")
    before = names(tmp_path)
    with pytest.raises(SpecError, match="QK: expected a folder, or nothing, got a link; remove it"):
        output.write_folder(folder, {"QK/x.yaml": b"", "result.json": b"{}"})
    (folder / "QK").unlink()
    (folder / "b").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SpecError, match="b: expected a plain file or a new name, got a link"):
        output.write_folder(folder, {"b": b"", "result.json": b"{}"})
    (folder / "b").rename(folder / "QK")
    assert names(tmp_path) == before
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(SpecError, match="link: expected a folder, or a new name, got 'a link'"):
        output.check_folder(tmp_path / "link")


def test_c1_all_or_none_whatever_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out"
    listed = {"a": b"1", "b/c": b"2", "result.json": b'{"files": ["a", "b/c", "result.json"]}'}
    output.write_folder(folder, listed)
    (folder / "mine").write_text("mine")
    before = {name: (folder / name).read_bytes() for name in (*listed, "mine")}
    rename = Path.rename
    for fails in range(8):
        left = iter(range(fails))

        def renamed(self: Path, target: Path, left: object = left) -> Path:
            is_new = folder in target.parents and self.read_bytes() in (b"9", b"{}")
            if is_new and next(left, None) is None:  # type: ignore[call-overload]
                raise OSError(28, "No space left on device")
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", renamed)
        new = {"a": b"9", "d/e": b"9", "f": b"9", "result.json": b"{}"}
        if fails < len(new):
            with pytest.raises(SpecError, match="No space left"):
                output.write_folder(folder, new)
            monkeypatch.undo()
            assert names(folder) == ["a", "b", "b/c", "mine", "result.json"]
            assert {name: (folder / name).read_bytes() for name in before} == before
            assert [p.name for p in tmp_path.iterdir()] == ["out"]
    monkeypatch.undo()


def test_c1_a_folder_that_is_not_ours_needs_force(here: Path) -> None:
    (here / "out").mkdir()
    (here / "out" / "thesis.txt").write_text("mine")
    code, _, said = ran(f"{MAP} -o out")
    assert code == 2
    assert "one with thesis.txt" in said
    assert "add --force" in said
    assert ran(f"{MAP} -o out --force")[0] == 0
    assert (here / "out" / "thesis.txt").read_text() == "mine"
    assert ran(f"{MAP} -o out")[0] == 0, "it is ours now"
    assert ran("lower out/fused-mapping.yaml -o low")[0] == 0
    assert ran("lower out/fused-mapping.yaml -o low")[0] == 0, "and so is this"


def test_c2_an_input_is_never_overwritten(here: Path) -> None:
    assert ran(f"sweep {written(here)} -o r.db --workers 0")[0] == 0
    before = (here / "r.db").read_bytes()
    for target in ("r.db", "./r.db", str(here / "r.db")):
        code, _, said = ran(f"sweep r.db -o {target}")
        assert code == 2
        assert "expected another file than an input of this command" in said
    os.link(here / "r.db", here / "same.db")
    assert ran("sweep r.db -o same.db")[0] == 2
    assert (here / "r.db").read_bytes() == before
    assert ran("sweep r.db -o rows.csv")[0] == 0


def test_c2_only_what_was_read_is_an_input(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_text(path, "1")
    with inputs_kept():
        read_text(path, is_input=False)
        write_text(path, "2")
        read_text(path)
        with pytest.raises(SpecError, match="expected another file than an input"):
            write_text(path, "3")
    write_text(path, "4")
    assert path.read_text() == "4"


BAD_PRICES = (
    *({}, {"read": 1, "write": 1}, {"area": 1}, {"area": 1, "read": 0, "write": 1}),
    *({"area": 1, "read": True, "write": 1}, {"area": 1, "read": 1e300, "write": 1}),
    *({"area": 1, "read": 1, "write": 1, "more": 1}, {"area": -1, "read": 1, "write": 1}, [], 3),
    *({"area": 1, "read": "1", "write": 1}, None),
)


@pytest.mark.parametrize("entry", BAD_PRICES)
def test_c4_a_wrong_price_is_asked_again(
    entry: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    actions = (("read", ("read",)), ("write", ("write",)))
    question = hwcomponents.PriceQuery(class_name="LPDDR4", arguments=(), actions=actions, bits=64)
    right = hwcomponents.prices({"DRAM": question})["DRAM"]
    path = hwcomponents.cache_path()
    (key,) = json.loads(path.read_text())
    path.write_text(json.dumps({key: entry}))
    assert hwcomponents.prices({"DRAM": question})["DRAM"] == right
    assert json.loads(path.read_text())[key]["price"] == right, "and it is written again"


def test_c5_messages_say_the_range_and_the_unit() -> None:
    for value in (10**400, 10**40, 1e308, float("nan"), float("inf"), -(10**5000)):
        with pytest.raises(SpecError, match="expected number from") as caught:
            checked(value, float, "x")
        assert len(str(caught.value)) < 400


def test_c8_nothing_commands_the_terminal(here: Path) -> None:
    evil = "\x1b]0;owned\x07\x1b[31m\x9b2J\u202e"
    assert terminal_text(f"a{evil}\n\tb") == (
        "a\\u001b]0;owned\\u0007\\u001b[31m\\u009b2J\\u202e\n\tb"
    )
    assert json.loads(terminal_text(json.dumps({"x": evil}, ensure_ascii=False))) == {"x": evil}
    (here / "p.yaml").write_text(f"problem: {{{json.dumps(evil)}: 1}}")
    code, out, said = ran("check p.yaml")
    assert code == 2
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(out + said)
    code, out, said = ran(f"map --arch {evil} --problem tiny")
    assert code == 2
    assert "\x1b" not in said


def test_c8_no_cell_is_a_formula(here: Path) -> None:
    assert [csv_cell(v) for v in ("=1+1", "+1", "-1", "@x", "\t=1", "a=b", "", -1, 2.5, None)] == [
        *("'=1+1", "'+1", "'-1", "'@x", "'\t=1", "a=b", "", -1, 2.5, None),
    ]
    assert html_text("<a title='x'>&\"") == "&lt;a title=&#x27;x&#x27;&gt;&amp;&quot;"
    assert ran(f"sweep {written(here)} -o r.db --workers 0")[0] == 0
    with sqlite3.connect(here / "r.db") as connection:
        connection.execute("UPDATE points SET reason = '=HYPERLINK(1)' WHERE position = 0")
        connection.execute("UPDATE timings SET worker = char(27) || '[31m'")
    connection.close()
    code, out, _ = ran("sweep r.db")
    assert code == 0
    assert "\x1b" not in out
    rows = list(csv.DictReader(out.splitlines()))
    assert rows[0]["reason"] == "'=HYPERLINK(1)"
    assert all(not cell.startswith("=") for row in rows for cell in row.values())


def test_c8_an_error_line_has_an_end(here: Path) -> None:
    (here / "p.yaml").write_text("problem: {" + "x" * 10_900_000 + ": 1}")
    code, out, said = ran("check p.yaml")
    assert code == 2
    assert len(out + said) < MAX_LINE + 300
    assert len(str(SpecError("x" * 10**7))) < MAX_LINE + 50


DAMAGE = (
    "UPDATE points SET latency_s = latency_s / 2 WHERE position = 8",
    "UPDATE points SET status = 'infeasible' WHERE position = 8",
    "UPDATE points SET result = replace(result, '1', '2') WHERE position = 8",
    "UPDATE points SET coordinates = '{}' WHERE position = 8",
    "UPDATE points SET status = x'ff' WHERE position = 8",
    "UPDATE timings SET digest = NULL WHERE key IN (SELECT key FROM points WHERE position = 8)",
    "DELETE FROM timings WHERE key IN (SELECT key FROM points WHERE position = 8)",
)


def test_c8_a_changed_row_is_computed_again(here: Path) -> None:
    command = f"sweep {written(here)} -o r.db --workers 0 --json"
    first = json.loads(ran(command)[1])
    for damage in DAMAGE:
        with sqlite3.connect(here / "r.db") as connection:
            connection.execute(damage)
        connection.close()
        again = json.loads(ran(command)[1])
        assert (again["computed"], again["content"]) == (1, first["content"]), damage
    assert json.loads(ran(command)[1])["computed"] == 0


def test_c8_a_range_of_tiny_steps_is_refused_at_once(tmp_path: Path) -> None:
    grid = "{from: 1, to: 1000000, times: 1.0000000001}"
    sweep = written(tmp_path)
    sweep.write_text(sweep.read_text().replace("[-1, 4, 64, 256]", grid))
    with pytest.raises(SpecError, match="expected at most 100000 values, got more; use step"):
        load_sweep(sweep)


@pytest.mark.parametrize(
    ("command", "blocked"),
    [
        ("map --arch edge --problem tiny --mapspace flat", "AV"),
        ("compare --arch edge --problem tiny --mapspace flat naive", "naive"),
        ("compare --arch edge --problem tiny --mapspace naive flat", "flat/QK"),
    ],
)
def test_c1_what_is_in_the_way_of_an_answer_is_seen_before_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, blocked: str
) -> None:
    def searched(*_: object, **__: object) -> None:
        raise AssertionError("the search began")

    monkeypatch.setattr("flat_mapper.api.calls.best_of_layers", searched)
    for link in (False, True):
        folder = tmp_path / f"out-{link}"
        spot = folder / blocked
        spot.parent.mkdir(parents=True)
        (folder / "result.json").write_text('{"files": ["result.json"]}')
        if link:
            spot.symlink_to(tmp_path / "elsewhere")
        else:
            spot.write_text("mine")
        assert main([*command.split(), "-o", str(folder)]) == 2
