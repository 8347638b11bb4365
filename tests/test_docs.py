"""The pages of docs/: every command that they show runs, and every page has its place.

In a fenced block, `sh` is run, `python` is executed, and a block with a title is first written to
the file of that name. `text` is shown and not run: it needs a network, a cluster or minutes.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from flat_mapper.cli.main import main
from flat_mapper.spec.yamlio import load_text

ROOT = Path(__file__).parent.parent
HOWTO = sorted(f"howto/{path.name}" for path in (ROOT / "docs/howto").glob("*.md"))
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "name", ["tutorial.md", *(pytest.param(page, marks=pytest.mark.nightly) for page in HOWTO)]
)
def test_every_command_of_a_page_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    if "flat-mapper report" in text:
        pytest.importorskip("altair", reason="needs the extra `report`")
        pytest.importorskip("vl_convert", reason="needs the extra `report`")
    if "to_frame" in text:
        pytest.importorskip("pandas", reason="needs the extra `frames`")
        pytest.importorskip("polars", reason="needs the extra `frames`")
    monkeypatch.chdir(tmp_path)
    for language, title, body in BLOCK.findall(text):
        if title:
            Path(title).write_text(body, encoding="utf-8")
        elif language == "sh":
            for line in body.strip().splitlines():
                program, *arguments = shlex.split(line)
                assert program == "flat-mapper"
                assert main(arguments) == 0, f"{line}\n{capsys.readouterr().err}"
        elif language == "python":
            exec(compile(body, name, "exec"), {})
        else:
            assert language in ("text", "yaml"), language


def test_every_page_has_its_place() -> None:
    config = load_text((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), "mkdocs.yml")
    assert isinstance(config, dict)
    listed = set(_pages(config["nav"]))
    written = {str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md")}
    assert listed == written | {"reference/cli.md"}  # that one is made from --help


def _pages(part: object) -> list[str]:
    if isinstance(part, str):
        return [part]
    items = part.values() if isinstance(part, dict) else part
    assert isinstance(items, list) or hasattr(items, "__iter__")
    return [page for item in items for page in _pages(item)]


def test_links_between_pages_lead_somewhere() -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        for link in re.findall(r"\]\(([^)#:]+\.md)", page.read_text(encoding="utf-8")):
            target = (page.parent / link).resolve()
            assert target.exists() or target.name == "cli.md", f"{page.name}: {link}"
