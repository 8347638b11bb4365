"""What `make test-timeloop` compared, added up from its report, into docs/validation.md.

    python tools/validation_page.py REPORT.xml... [--write]

The tests say what they compared as properties: `ROW | COLUMN` is a cell of the first table, any
other name a row of the second. Of a test in several reports (`pytest --last-failed` makes another)
the last counts. Only what has no failure is written.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

TESTS = Path(__file__).parents[1] / "tests"
PAGE = Path(__file__).parents[1] / "docs/validation.md"
MARKS = ("<!-- counts: made by `make -C tools validation` -->\n", "<!-- end of counts -->\n")
CHIPS = ("edge", "cloud")


def recorded() -> dict[str, int]:
    """What the tests have without Timeloop, by name."""
    runs = {
        tool.name: len(list(tool.iterdir())) for tool in sorted((TESTS / "replay/runs").iterdir())
    }
    kept = {f"recorded runs of {tool}": count for tool, count in runs.items()}
    for file in sorted((TESTS / "data").glob("timeloop_*cases.jsonl")):
        count = len(file.read_text(encoding="utf-8").splitlines())
        kept[f"recorded answers of timeloop-model, {file.name}"] = count
    return kept


def tables(reports: list[Path]) -> tuple[list[str], bool]:
    """The lines of the page, and whether all tests passed or were skipped."""
    tests: dict[tuple[str, str], ElementTree.Element] = {}
    day = ""
    for report in reports:
        (suite,) = ElementTree.parse(report).getroot().iter("testsuite")
        day = suite.attrib["timestamp"].partition("T")[0]
        tests |= {(t.attrib["classname"], t.attrib["name"]): t for t in suite.iter("testcase")}
    found: Counter[str] = Counter()
    for one in (p for test in tests.values() for p in test.iter("property")):
        found[one.attrib["name"]] += int(one.attrib["value"])
    found.update(recorded())
    skipped = sum(test.find("skipped") is not None for test in tests.values())
    failed = sum(test.find(f) is not None for test in tests.values() for f in ("failure", "error"))
    cells = {tuple(n.split(" | ")): count for n, count in found.items() if " | " in n}
    lines = [
        f"On {day}: {len(tests) - skipped - failed} tests passed, {skipped} skipped, "
        f"{failed} failed.",
        "",
        f"| mappings | {' | '.join(CHIPS)} |",
        f"|---|{'---|' * len(CHIPS)}",
    ]
    for row in sorted({row for row, _ in cells}):
        counts = " | ".join(str(cells.get((row, chip), "-")) for chip in CHIPS)
        lines.append(f"| {row} | {counts} |")
    lines += ["", "| compared | how many |", "|---|---|"]
    lines += [f"| {n} | {found[n]:,} |" for n in sorted(found) if " | " not in n]
    return lines, not failed


def main() -> int:
    """Print the tables, and write them where asked; 1 where a test failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("report", type=Path, nargs="+")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    lines, good = tables(arguments.report)
    print("\n".join(lines))
    if arguments.write and good:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(MARKS[0])
        after = rest.partition(MARKS[1])[2]
        text = "\n".join(lines)
        PAGE.write_text(f"{before}{MARKS[0]}{text}\n{MARKS[1]}{after}", encoding="utf-8")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
