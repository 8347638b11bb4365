"""What `make test-timeloop` compared, added up from its report, into docs/validation.md.

    python tools/validation_page.py REPORT.xml [--write]

The tests say what they compared as properties: `ROW | COLUMN` is a cell of the first table, any
other name a row of the second. Only a report without a failure is written.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

TESTS = Path(__file__).parents[1] / "tests"
PAGE = Path(__file__).parents[1] / "docs/validation.md"
MARKS = ("<!-- counts: made by `make validation` -->\n", "<!-- end of counts -->\n")
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


def tables(report: Path) -> tuple[list[str], bool]:
    """The lines of the page, and whether all tests passed or were skipped."""
    (suite,) = ElementTree.parse(report).getroot().iter("testsuite")
    found: Counter[str] = Counter()
    for one in suite.iter("property"):
        found[one.attrib["name"]] += int(one.attrib["value"])
    for name, count in recorded().items():
        found[name] = count
    number = {key: int(suite.attrib[key]) for key in ("tests", "failures", "errors", "skipped")}
    good = not number["failures"] + number["errors"]
    passed = number["tests"] - sum(number[key] for key in ("failures", "errors", "skipped"))
    day = suite.attrib["timestamp"].partition("T")[0]
    cells = {tuple(n.split(" | ")): count for n, count in found.items() if " | " in n}
    lines = [
        f"On {day}: {passed} tests passed, {number['skipped']} skipped, "
        f"{number['failures'] + number['errors']} failed.",
        "",
        f"| mappings | {' | '.join(CHIPS)} |",
        f"|---|{'---|' * len(CHIPS)}",
    ]
    for row in sorted({row for row, _ in cells}):
        counts = " | ".join(str(cells.get((row, chip), "-")) for chip in CHIPS)
        lines.append(f"| {row} | {counts} |")
    lines += ["", "| compared | how many |", "|---|---|"]
    lines += [f"| {n} | {found[n]:,} |" for n in sorted(found) if " | " not in n]
    return lines, good


def main() -> int:
    """Print the tables, and write them where asked; 1 where a test failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("report", type=Path)
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
