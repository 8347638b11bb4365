"""Golden texts: `pytest --update-golden` writes them, and the diff is for a person to review."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable
from pathlib import Path

import answer_schema
import pytest
from hypothesis import HealthCheck, settings

from flat_mapper.arch.values import Platform
from flat_mapper.backends.ports import overdrawn
from flat_mapper.cli import map as map_verb
from flat_mapper.cli import sweep as sweep_verb
from flat_mapper.cost_model.chip import evaluation
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.spec import answers
from flat_mapper.workload.graph import Workload

GOLDEN = Path(__file__).parent / "golden"

# In the background of a script, and below nohup, Ctrl-C is ignored; tests send it, children too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# An example may take as long as the machine is busy: no clock decides whether a law holds.
settings.register_profile(
    "any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any-machine")


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


@pytest.fixture(autouse=True)
def _no_port_is_overdrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every evaluation that a test makes obeys the law of ports."""
    added_up = evaluation.combine

    def checked(
        workload: Workload, platform: Platform, *rest: object, **named: object
    ) -> Result | Infeasible:
        found: Result | Infeasible = added_up(workload, platform, *rest, **named)  # type: ignore[arg-type]
        # DRAM as one core sees it moves other words than that core; it is no chip's.
        if isinstance(found, Result) and not (platform.dram.weights or platform.dram.totals):
            assert overdrawn(found, platform) == ()
        return found

    monkeypatch.setattr(evaluation, "combine", checked)


@pytest.fixture(autouse=True)
def _no_news_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """No command says how far it is because the machine is busy."""
    monkeypatch.setattr(map_verb, "PERIOD_S", math.inf)
    monkeypatch.setattr(sweep_verb, "NEWS_S", math.inf)
