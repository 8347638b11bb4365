"""README.md and docs/: every command runs, every printed output is real, every link leads on.

`tools/print_docs.py` says how a page marks its commands and their output.
"""

from __future__ import annotations

import pkgutil
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import answer_schema
import pytest

import flat_mapper as fm
from flat_mapper.spec.yamlio import load_text

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import docs_pages  # noqa: E402  # tools, and no part of the package
import print_docs  # noqa: E402

QUICK = ("architecture", "from-timeloop", "mapspace", "problem", "result")  # how-to pages
FAST = ("README.md", "docs/tutorial.md", "docs/search.md", *(f"docs/howto/{n}.md" for n in QUICK))
PAGES = [
    pytest.param(page, marks=[] if page in FAST else pytest.mark.nightly)
    for page in print_docs.PAGES
]
TEXTS = [
    *(ROOT / "README.md", ROOT / "CONTRIBUTING.md"),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "studies").rglob("*.md")),
]
PACKAGE = ROOT / "flat_mapper"
# What the glossary has other words for: candidate, incumbent, traffic bound, lower bound, ...
NOT_OURS = (
    *("contest", "twins?", "sieve", "crowd", "realized?", "inner rows?", "rows? in the making"),
    *("no mapping can beat", "nothing can beat", "for nothing", "frame", "held against"),
)
# From --help and the schema, when the site is built.
MADE = tuple(ROOT / f"docs/reference/{name}.md" for name in docs_pages.BUILT)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_runs_and_prints_what_the_page_says(page: str, tmp_path: Path) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    if "to_frame" in text:
        pytest.importorskip("pandas", reason="needs the extra `frames`")
        pytest.importorskip("polars", reason="needs the extra `frames`")
    blocks = print_docs.printed(page, tmp_path)
    if not print_docs.comparable(text):
        pytest.skip("the commands run; the page was printed with other prices of components")
    for block in blocks:
        assert print_docs.masked(block.written) == print_docs.masked(block.real), (
            f"{page}: run `make -C tools docs-output` and review the difference"
        )


@pytest.mark.parametrize("page", [page for page in print_docs.PAGES if "howto" in page])
def test_every_command_of_a_how_to_page_has_its_output_below_it(page: str) -> None:
    assert print_docs.unprinted((ROOT / page).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("page", "lacking"),
    [
        ("```sh\nflat-mapper list\n```\n", ["flat-mapper list"]),
        ('```sh\nflat-mapper list\n```\n```text title="prints"\n```\n', []),
        ("```text\nflat-mapper list\n```\n", ["flat-mapper list"]),
        ('```text title="not run: needs torch"\nflat-mapper list\n```\n', []),
    ],
)
def test_a_command_without_output_is_found(page: str, lacking: list[str]) -> None:
    assert print_docs.unprinted(page) == lacking


def test_the_words_of_the_files_are_those_of_the_code() -> None:
    """`python tools/docs_pages.py` writes the page again."""
    assert docs_pages.WORDS.read_text(encoding="utf-8") == docs_pages.words()


@pytest.mark.parametrize("name", docs_pages.BUILT)
def test_a_page_that_the_site_makes_can_be_made(name: str) -> None:
    """Every kind of answer, every command."""
    page = docs_pages.BUILT[name]()
    assert page.startswith("# ")
    wanted = [*answer_schema.kinds()] if name == "answers" else ["map", "sweep", "import"]
    assert [word for word in wanted if f"\n## {word}\n" not in page] == []


def test_every_page_has_its_place() -> None:
    config = load_text((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), "mkdocs.yml")
    assert isinstance(config, dict)
    listed = set(_pages(config["nav"]))
    written = {str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md")}
    assert listed == written | {str(page.relative_to(ROOT / "docs")) for page in MADE}


def _pages(part: object) -> list[str]:
    if isinstance(part, str):
        return [part]
    items = part.values() if isinstance(part, dict) else part
    assert isinstance(items, list) or hasattr(items, "__iter__")
    return [page for item in items for page in _pages(item)]


@pytest.mark.parametrize("page", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_their_anchors_lead_somewhere(page: Path) -> None:
    for link in _links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists() or target in MADE, f"{page.name}: {link}"
        if anchor and target.suffix == ".md" and target not in MADE:
            assert anchor in _anchors(target), f"{page.name}: {link}"


@pytest.mark.parametrize("page", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_of_the_checkout_that_a_page_names_are_there(page: Path) -> None:
    """A module is named from the package or from the root, `mapper/space/group.py`."""
    named = re.findall(r"\b((?:[\w-]+/)+[\w-]+\.(?:py|toml|jsonl))\b", page.read_text("utf-8"))
    own = [name for name in named if not name.startswith("workspace/")]  # FuseMax's artifact
    assert [n for n in own if not any((top / n).exists() for top in (ROOT, PACKAGE))] == []


@pytest.mark.parametrize("page", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_of_the_package_on_a_page_are_there(page: Path) -> None:
    for name in re.findall(r"\bflat_mapper(?:\.\w+)+", page.read_text("utf-8")):
        pkgutil.resolve_name(name)
    if page.name == "architecture.md":  # it names modules from the package
        floors = "|".join(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
        for name in re.findall(
            rf"\b(?:{floors})(?:\.[a-z_]+)+(?<!yaml)\b", page.read_text("utf-8")
        ):
            pkgutil.resolve_name(f"flat_mapper.{name}")


def test_every_name_of_the_package_is_on_its_page() -> None:
    page = (ROOT / "docs/reference/python.md").read_text(encoding="utf-8")
    for name in fm.__all__:
        value = getattr(fm, name)
        if hasattr(value, "__module__") and not issubclass(type(value), type):
            assert f"::: {value.__module__}.{value.__name__}\n" in page, name


@pytest.mark.parametrize("page", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_use_the_words_of_the_glossary(page: Path) -> None:
    text = " ".join(_prose(page).split()).lower()
    assert [word for word in NOT_OURS if re.search(rf"\b{word}\b", text)] == []


def test_the_package_says_that_it_is_typed_and_how_it_is_licensed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    cited = load_text((ROOT / "CITATION.cff").read_text(encoding="utf-8"), "CITATION.cff")
    assert isinstance(cited, dict)
    assert (PACKAGE / "py.typed").exists()
    assert cited["license"] == project["license"] == "MIT"
    assert cited["version"] == project["version"]


def _links(page: Path) -> Iterator[str]:
    """Links to files of the checkout; what leads to other hosts is not looked up."""
    text = _prose(page)
    for link in re.findall(r'\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"]+)"', text):
        target = "".join(link)
        if not re.match(r"\w+:", target):
            yield target


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and mkdocs make them."""
    heads = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    words = (re.sub(r"[^\w\s-]", "", head.lower()).strip() for head in heads)
    return {re.sub(r"\s+", "-", word) for word in words}


def _prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def test_a_shortened_output_says_where_lines_are_left_out() -> None:
    part = partial(print_docs._part, "a\nb\nc\n", page="page")
    assert part(None, None) == "a\nb\nc\n"
    assert part("b", "b") == "...\nb\n...\n"
    assert part("a", "b") == "a\nb\n...\n"
    assert part("b", "") == "...\nb\nc\n"


def test_a_line_that_agrees_keeps_its_time() -> None:
    text = "best, 0.1 s\nold\n"
    block = print_docs.Printed(start=0, end=len(text), written=text, real="best, 9.9 s\nnew\n")
    assert print_docs.rewritten(text, [block]) == "best, 0.1 s\nnew\n"
