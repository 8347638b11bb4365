"""The report in a real browser: it opens, filters, sorts, hovers, prints, and fits a phone.

Needs Debian's `chromium` and the Python package `playwright`, which drives it; nothing is
downloaded. Skipped where one of them is missing; `make -C tools test-browser` fails there instead.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest
import report_samples as samples

from flat_mapper.page.assembly import page as page_of
from flat_mapper.page.saved import load_results
from flat_mapper.reports.plots import figures

REQUIRED = "FLAT_MAPPER_REQUIRE_BROWSER" in os.environ  # then what is missing is a failure
if not REQUIRED:
    pytest.importorskip("playwright", reason="needs playwright: pip install playwright")
sync_api = import_module("playwright.sync_api")
if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

CHROMIUM = (
    os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None and not REQUIRED,
    reason="needs Chromium: apt-get install chromium, or set CHROMIUM",
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
READY = "document.documentElement.dataset.ready"
FAULTS = ("error", "warning")

Opener = Callable[..., "Page"]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A comparison of three, and a sweep of a thousand points."""
    folder = tmp_path_factory.mktemp("reports")
    source = folder / "compared.json"
    source.write_text(json.dumps(samples.compared()))
    nothing = folder / "nothing.json"
    rows = samples.compared()["rows"]
    assert isinstance(rows, list)
    nothing.write_text(json.dumps({"rows": rows[2:]}))
    formula = folder / "formula.json"
    named = [{**rows[0], "mapspace": '=1+1,"x"'}, rows[1]]
    formula.write_text(json.dumps({"rows": named}))
    lengths = folder / "lengths.json"
    lengths.write_text(json.dumps(samples.lengths()))
    made = {
        "nothing": nothing,
        "lengths": lengths,
        "formula": formula,
        "compared": source,
        "sweep": samples.sweep(folder / "sweep.db"),
    }
    found = {}
    for name, path in made.items():
        found[name] = folder / f"{name}.html"
        found[name].write_text(page_of(load_results(path).entries), encoding="utf-8")
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser with a new, empty profile."""
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield launched
        launched.close()


@pytest.fixture
def opened(reports: dict[str, Path], browser: Browser) -> Iterator[Opener]:
    """Opens a report as a new visitor; at the end, nothing may have gone wrong in it."""
    wrong: list[str] = []
    contexts: list[BrowserContext] = []

    def show(name: str, **settings: Any) -> Page:
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | settings))
        contexts.append(context)
        context.set_default_timeout(0)  # a busy machine is no fault
        page = context.new_page()
        page.on("console", lambda m: wrong.append(m.text) if m.type in FAULTS else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda r: wrong.append(r.url) if _outside(r.url) else None)
        page.clock.install()  # it goes on by itself, and further where a test says so
        page.goto(reports[name].as_uri())
        page.wait_for_function(READY)
        return page

    yield show
    for context in contexts:
        context.close()
    assert wrong == []


def _outside(url: str) -> bool:
    return not url.startswith(("file:", "data:", "blob:"))


def listed(page: Page) -> list[str]:
    """The configurations of the table, in its order."""
    names: list[str] = page.locator("#table tbody th button").evaluate_all(
        "buttons => buttons.map(b => b.getAttribute('aria-label'))"
    )
    return names


def settled(page: Page) -> None:
    """Go on to the end of every delay of the page; what it draws, it draws at once."""
    page.clock.run_for(1000)


def test_a_sweep_of_a_thousand_points_opens_with_everything_drawn(opened: Opener) -> None:
    page = opened("sweep")
    assert page.locator("#count").text_content() == (
        "1,000 of 1,000 configurations, 20 without an answer"
    )
    for chart in ("speedup", "energy", "roofline-chart", "timeline", "occupancy", "curves-chart"):
        assert page.locator(f"#{chart} svg").count() == 1, chart
    marks = page.locator("#pareto-chart .point path")
    assert marks.count() == 980


def test_it_filters_by_words_numbers_and_facets(opened: Opener) -> None:
    page = opened("sweep")
    page.fill("#filter", "flat util>40%")
    settled(page)
    shown = page.locator("#count").text_content() or ""
    few = int(shown.split()[0].replace(",", ""))
    assert 0 < few < 500
    assert all("flat" in name for name in listed(page))
    assert page.locator("#pareto-chart .point path").count() == few
    page.select_option("#facets select[name='arch.GLB.depth']", "4194304")
    settled(page)
    assert all("GLB.depth=4194304" in name for name in listed(page))
    page.click("#filters button[type=reset]")
    settled(page)
    assert (page.locator("#count").text_content() or "").startswith("1,000 of 1,000")
    page.fill("#filter", "nothing is called so")
    settled(page)
    assert listed(page) == []


def test_it_sorts_by_a_click_and_by_the_keyboard(opened: Opener) -> None:
    page = opened("compared")
    assert listed(page) == ["naive", "flat", "flat-m"]
    head = page.locator("th[data-key='latency_s']")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert listed(page) == ["flat", "naive", "flat-m"]  # what has no answer comes last
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert listed(page) == ["naive", "flat", "flat-m"]


def test_a_hover_tells_the_numbers(opened: Opener) -> None:
    page = opened("compared")
    for chart, mark, words in (
        ("energy", ".bar rect", ("part", "energy", "share")),
        ("timeline", ".bar rect", ("on", "takes", "from")),
        ("roofline-chart", ".point path", ("reached", "per off-chip byte")),
    ):
        target = page.locator(f"#{chart} {mark}").last
        target.scroll_into_view_if_needed()
        target.hover(force=True)
        tip = page.locator("#tip:not([hidden])")
        tip.wait_for()
        text = tip.inner_text()
        assert all(word in text for word in words), text
        page.mouse.move(5, 5)


def test_a_row_shows_its_mapping(opened: Opener) -> None:
    page = opened("compared")
    assert page.locator("#tree .einsum").count() == 6
    assert "for P in [0:8)" in page.locator("#tree").inner_text()
    assert page.locator("#timeline-title").is_visible()
    page.click("#table button[aria-label='naive']")
    settled(page)
    assert "Group 6" in page.locator("#tree").inner_text()
    assert page.locator("#window").input_value() == "run"
    assert page.locator("#pick").input_value() == "0"


def test_groups_stand_side_by_side(opened: Opener) -> None:
    page = opened("compared")
    assert page.locator("#tree table.groups").count() == 0  # one group alone
    page.click("#table button[aria-label='naive']")
    settled(page)
    rows = page.locator("#tree table.groups tbody tr")
    cells = [rows.nth(k).locator("td").all_inner_texts() for k in range(rows.count())]
    assert [row[1] for row in cells] == ["QK", "QK_max", "QK_exp", "QK_sum", "A", "AV"]
    for column in (3, 5):  # shares of the run's time and energy
        assert sum(float(row[column].rstrip("%")) for row in cells) == pytest.approx(100, abs=0.4)


def test_a_filter_that_does_not_parse_says_so(opened: Opener) -> None:
    page = opened("sweep")
    for text, fault in (
        ("latency>>3", "expected a name, < > <= >= or =, and a number with its unit"),
        ("latensy<3ms", "expected one of latency, speedup"),
    ):
        page.fill("#filter", text)
        settled(page)
        assert fault in page.locator("#fault").inner_text()
        assert (page.locator("#count").text_content() or "").startswith("1,000 of 1,000")
    page.fill("#filter", "flat")
    settled(page)
    assert page.locator("#fault").inner_text() == ""


def test_a_choice_of_a_row_scrolls_to_its_mapping(opened: Opener) -> None:
    page = opened("sweep")
    assert page.evaluate("scrollY") == 0
    page.locator("#table button[aria-pressed]:enabled").first.click()
    page.wait_for_function("document.getElementById('mapping').getBoundingClientRect().top < 120")


def test_what_is_chosen_stands_in_the_address(opened: Opener) -> None:
    page = opened("sweep")
    page.fill("#filter", "flat util>40%")
    settled(page)
    page.locator("th[data-key='energy_pj'] button").click()
    page.click("nav a[href='#pareto']")
    page.select_option("#beside", index=2)
    count, names = page.locator("#count").inner_text(), listed(page)
    beside = page.locator("#beside").input_value()
    page.goto(page.url)  # the same link, given to somebody else
    page.reload()
    page.wait_for_function(READY)
    assert page.locator("#filter").input_value() == "flat util>40%"
    assert page.locator("#count").inner_text() == count
    assert listed(page) == names
    assert page.locator("th[data-key='energy_pj']").get_attribute("aria-sort") == "ascending"
    assert page.locator("#beside").input_value() == beside
    top = page.evaluate("document.getElementById('pareto').getBoundingClientRect().top")
    assert -100 < top < 900


def test_busy_shares_and_power_stand_in_the_table_and_by_the_mapping(opened: Opener) -> None:
    page = opened("compared")
    heads = page.locator("#table thead button").all_inner_texts()
    assert heads[heads.index("utilization") + 1 :][:2] == ["busy", "power"]
    line = page.locator("#table tbody tr").nth(1).inner_text()
    assert "MAC " in line
    assert "VALU " in line
    note = page.locator("#mapping-note").inner_text()
    assert "(busy: MAC " in note
    assert "DRAM" in note.partition("Average power ")[2]
    page.fill("#filter", "busy>0% power<1kW")
    settled(page)
    assert page.locator("#fault").inner_text() == ""
    assert len(listed(page)) == 2


def test_two_results_stand_beside_each_other(opened: Opener) -> None:
    page = opened("compared")
    assert not page.locator("#difference").is_visible()
    page.select_option("#pick", "0")
    page.select_option("#beside", "1")
    settled(page)
    rows = {
        cells[0]: cells[1:]
        for cells in page.locator("#difference-table tbody tr").evaluate_all(
            "rows => rows.map(row => [...row.children].map(cell => cell.textContent))"
        )
    }
    assert rows["mapspace"][:2] == ["naive", "flat"]
    assert rows["latency"][2].endswith("\N{MULTIPLICATION SIGN}")
    assert rows["groups"][1] == "QK + QK_max + QK_exp + QK_sum + A + AV"
    assert page.locator("#tree .tree").count() == 2


@pytest.mark.parametrize("kind", ["SVG", "CSV"])  # a page may save ten files in a row
def test_every_figure_can_be_saved(kind: str, opened: Opener) -> None:
    page = opened("sweep")
    names = page.locator(".files").evaluate_all("all => all.map(p => p.dataset.of)")
    assert set(names) == set(
        page.locator(".chart, #tree").evaluate_all("all => all.map(c => c.id)")
    )
    for name in names:
        with page.expect_download() as saved:
            page.click(f".files[data-of='{name}'] button:text('{kind}')")
        text = Path(saved.value.path()).read_text(encoding="utf-8")
        if kind == "SVG":
            assert ElementTree.fromstring(text).tag.endswith("svg"), name
            assert len(text) > 1500, name
        else:
            rows = list(csv.reader(io.StringIO(text)))
            assert len(rows) > 2, name
            assert {len(row) for row in rows} == {len(rows[0])}
    with page.expect_download() as saved:
        page.click("#table-csv")
    rows = list(csv.DictReader(io.StringIO(Path(saved.value.path()).read_text(encoding="utf-8"))))
    assert len(rows) == 1000
    assert float(rows[0]["latency_s"]) > 0
    assert 0 < float(rows[0]["busy.MAC"]) <= 1
    watts = sum(float(v) for name, v in rows[0].items() if name.startswith("power_w.") and v)
    assert watts == pytest.approx(float(rows[0]["total_power_w"]), rel=1e-5)


def test_a_cell_of_csv_is_no_formula(opened: Opener) -> None:
    page = opened("formula")
    with page.expect_download() as saved:
        page.click("#table-csv")
    rows = list(csv.DictReader(io.StringIO(Path(saved.value.path()).read_text(encoding="utf-8"))))
    assert rows[0]["mapspace"] == '\'=1+1,"x"'


def test_each_length_has_a_front_and_a_best_of_its_own(opened: Opener) -> None:
    page = opened("lengths")
    text = page.locator("#bests").inner_text()
    assert "P=512" in text
    assert "P=1024" in text
    on_front = page.locator("#pareto-note").inner_text()
    assert "On the front of its workload and sizes: 2 of 4" in on_front
    assert page.locator("#table td.best").count() >= 4


def test_columns_outside_the_view_are_named(opened: Opener) -> None:
    page = opened("sweep", viewport={"width": 700, "height": 900})
    assert "granularity" in page.locator("#hidden-columns").inner_text()
    wide = opened("compared", viewport={"width": 1540, "height": 900})
    assert wide.locator("#hidden-columns").inner_text() == ""


def test_a_page_without_any_answer_says_why(opened: Opener) -> None:
    page = opened("nothing")
    assert "1 of 1 configurations, 1 without an answer" in page.locator("#count").inner_text()
    assert "choose less" in page.locator("#refused").inner_text()


def test_a_cut_table_fades_where_it_goes_on(opened: Opener) -> None:
    page = opened("lengths", viewport={"width": 390, "height": 844})
    best = page.locator(".scroll[aria-labelledby=bests-title]")
    assert "more" in (best.get_attribute("class") or "")
    best.evaluate("(box) => box.scrollTo({ left: 9999 })")
    page.wait_for_function(
        "!document.querySelector(`[aria-labelledby=bests-title]`).matches(`.more`)"
    )


def test_a_turned_phone_draws_again(opened: Opener) -> None:
    page = opened("compared")
    before = page.locator("#energy svg").bounding_box()
    page.set_viewport_size({"width": 800, "height": 900})
    page.wait_for_function(
        "before => document.querySelector('#energy svg')?.getBoundingClientRect().width !== before",
        arg=before["width"] if before else 0,
    )
    settled(page)
    after = page.locator("#energy svg").bounding_box()
    assert before is not None
    assert after is not None
    assert after["width"] != before["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 800


def test_it_prints(opened: Opener) -> None:
    page = opened("compared")
    data = page.pdf(format="A4")
    assert data.startswith(b"%PDF")
    assert len(data) > 30_000
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert not page.locator("#filters").is_visible()
    assert page.locator("#timeline svg").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_themes(scheme: str, opened: Opener) -> None:
    page = opened("compared", color_scheme=scheme)
    assert page.evaluate("document.documentElement.classList.contains('dark')") is (
        scheme == "dark"
    )
    ratios = page.evaluate(CONTRAST)
    assert {name: ratio for name, ratio in ratios.items() if ratio < 4.5} == {}
    page.click("#theme")
    settled(page)
    assert page.evaluate("document.documentElement.classList.contains('dark')") is (
        scheme == "light"
    )
    assert {n: r for n, r in page.evaluate(CONTRAST).items() if r < 4.5} == {}


# WCAG's contrast of the text of some elements against what is behind it; 4.5 is its level AA.
CONTRAST = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).slice(0, 4).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const found = parse(getComputedStyle(e).backgroundColor);
      if (found.length < 4 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };
  const found = {};
  for (const query of ["h1", ".note", "nav a", "td", "tbody th button", "thead button",
                       "figcaption", ".unit", ".einsum code", ".card .label", "dt",
                       "button.quiet"]) {
    const element = document.querySelector(query);
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
    found[query] = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }
  for (const text of document.querySelectorAll("#speedup .axis text")) {
    const fill = parse(getComputedStyle(text).fill);
    const [a, b] = [light(fill), light(behind(text.closest(".chart")))];
    found.axis = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }
  return found;
}"""


def test_a_phone_needs_no_sideways_scrolling(opened: Opener) -> None:
    page = opened(
        "sweep", viewport={"width": 390, "height": 844}, device_scale_factor=2, has_touch=True,
        is_mobile=True,
    )  # fmt: skip
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for chart in page.locator(".chart svg").all():
        box = chart.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 391
    first = page.locator("#table button[aria-pressed]:enabled").first
    first.tap()
    name = first.get_attribute("aria-label")
    assert page.locator("#pick option:checked").inner_text() == name


# Of what is not meant to scroll: what leaves the window or is cut, and texts that leave their chart
# or lie on each other.
LOOK = """() => {
  const found = [];
  const scrolls = ".scroll, .scroll *, nav *, .skip, .hidden, .tip, input, select, svg *";
  for (const e of document.querySelectorAll("body, body *")) {
    if (e.matches(scrolls)) continue;
    const { width, left, right } = e.getBoundingClientRect();
    const name = `${e.tagName} ${e.id || e.className}: ${e.textContent.slice(0, 40)}`;
    if (width && (left < -1 || right > innerWidth + 1)) found.push(`outside: ${name}`);
    const cut = e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX !== "visible";
    if (cut && e.tagName !== "NAV") found.push(`cut: ${name}`);
  }
  for (const svg of document.querySelectorAll("svg")) {
    const all = svg.getBoundingClientRect(), before = [];
    for (const text of svg.querySelectorAll("text")) {
      const a = text.getBoundingClientRect(), said = text.textContent;
      if (!said) continue;
      if (a.left < all.left - 1 || a.right > all.right + 1 || a.top < all.top - 1 ||
          a.bottom > all.bottom + 1) found.push(`outside its chart: ${said}`);
      for (const [b, other] of before)
        if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
            Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3)
          found.push(`${said} over ${other}`);
      before.push([a, said]);
    }
  }
  return found;
}"""


def test_nothing_overflows_or_is_cut_on_desk_or_phone_in_light_or_dark(opened: Opener) -> None:
    (first, second, *_) = samples.lengths()["rows"]
    for width in (1400, 390):
        for scheme in ("light", "dark"):
            page = opened("lengths", viewport={"width": width, "height": 900}, color_scheme=scheme)
            assert page.evaluate(LOOK) == [], (width, scheme)
            if width == 1400:
                assert page.locator("#hidden-columns").inner_text() == ""
    for name, data in figures({"naive": first, "flat-mla": second}, ("svg",)).items():
        page.set_content(data.decode()[data.index(b"<svg") :])
        assert page.evaluate(LOOK) == [], name


def test_everything_has_an_accessible_name(opened: Opener) -> None:
    page = opened("sweep")
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, a, figure, section, nav')]
          .filter((e) => {
            const label = e.labels && e.labels[0] ? e.labels[0].textContent : '';
            const by = e.getAttribute('aria-labelledby');
            const named = by ? document.getElementById(by)?.textContent : '';
            return !(e.getAttribute('aria-label') || label || named || e.textContent).trim();
          }).map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert unnamed == []
    for svg in page.locator(".chart svg").all():
        name = svg.get_attribute("aria-label") or svg.locator("[aria-label]").first.get_attribute(
            "aria-label"
        )
        assert name
    said = page.locator("#energy .bar rect").first.get_attribute("aria-label") or ""
    assert "of its energy" in said
