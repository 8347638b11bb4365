"""Golden texts: `pytest --update-golden` writes them, and the diff is for a person to review."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import answer_schema
import pytest

from flat_mapper.spec import answers

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden("lower/QK.yaml", text)` compares a text with tests/golden/lower/QK.yaml."""

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{path} is missing; run pytest --update-golden and review it"
        assert text == path.read_text(encoding="utf-8")

    return check


@pytest.fixture(autouse=True)
def _described(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer in JSON that a test makes has the schema that the docs publish."""
    written = answers.dump_json

    def checked(document: dict[str, object]) -> str:
        text = written(document)
        assert answer_schema.faults(json.loads(text)) == []
        return text

    monkeypatch.setattr(answers, "dump_json", checked)
