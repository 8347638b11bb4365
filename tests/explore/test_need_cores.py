"""The least number of cores: beside every number searched for itself."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from execution.tiny import chip, many
from mapper.test_on_cores import on_cores

from flat_mapper.arch.reader import load_platform
from flat_mapper.arch.values import Platform
from flat_mapper.base.errors import SpecError
from flat_mapper.cli.main import main
from flat_mapper.energy.tables import unpriced
from flat_mapper.explore.need_search import Knob, Need, Unreached, need
from flat_mapper.mapper.solve.certificate import Solution
from flat_mapper.mapper.solve.driver import search
from flat_mapper.mapping.space import Mapspace
from flat_mapper.mapping.space_reader import load_mapspace
from flat_mapper.workload.cascade import attention

TINY = attention(B=1, H=2, P=6, M=4, E=2, F=2)
CHIP = many(chip(None), 4)
SPACE = on_cores(load_mapspace("flat"), "GLB")


def with_cores(platform: Platform, mapspace: Mapspace, cores: int) -> Platform:
    return Knob.of(platform, "cores", 1.0, mapspace).at(cores)


def seconds(cores: int, platform: Platform = CHIP) -> float:
    """The least latency on so many cores, by an ordinary search."""
    turned = with_cores(platform, SPACE, cores)
    found = search(TINY, turned, SPACE, unpriced(turned), objective="latency")
    assert isinstance(found, Solution)
    assert found.certificate.optimal
    return found.result.latency_s


def test_so_many_cores_are_the_file_with_another_mesh(tmp_path: Path) -> None:
    for suffix in (".yaml", ".sfu.yaml"):
        text = Path(load_platform("h100").matrix.path).with_suffix(suffix).read_text()
        assert "meshX: 132" in text
        (tmp_path / f"h100{suffix}").write_text(text.replace("meshX: 132", "meshX: 7"))
    written = load_platform(tmp_path / "h100.yaml")
    turned = with_cores(load_platform("h100"), load_mapspace("cores"), 7)
    for path in ("matrix", "vector"):
        mine, theirs = getattr(turned, path), getattr(written, path)
        assert mine.nodes == theirs.nodes
        assert mine.compute == theirs.compute


def test_the_least_number_is_the_first_of_all_that_reaches() -> None:
    every = {n: seconds(n) for n in range(1, 9)}
    assert len(set(every.values())) > 5
    for target in every.values():
        found = need(TINY, CHIP, SPACE, None, quantity="cores", latency_s=target)
        assert isinstance(found, Need)
        assert found.steps == min(n for n in every if every[n] <= target)
        assert found.result.latency_s == every[found.steps]
        assert found.unproven == ()
        assert found.value == found.steps
        a_bit_less = target * (1 - 1e-6)
        found = need(TINY, CHIP, SPACE, None, quantity="cores", latency_s=a_bit_less)
        assert isinstance(found, Need)
        later = [n for n in every if every[n] <= a_bit_less]
        assert found.steps == min(later) if later else found.steps > max(every)


def test_a_share_is_reached_by_one_core_or_none() -> None:
    """Products of this problem keep one core's unit busiest."""
    alone = with_cores(CHIP, SPACE, 1)
    best = search(TINY, alone, SPACE, unpriced(alone), objective="latency")
    assert isinstance(best, Solution)
    share = best.result.utilization
    found = need(TINY, CHIP, SPACE, None, quantity="cores", utilization=share)
    assert isinstance(found, Need)
    assert (found.steps, found.below) == (1, None)


def test_what_no_number_of_cores_reaches_is_refused() -> None:
    """Below what units at peak allow, and below what DRAM does."""
    for target in (1e-12, seconds(48) * 0.9):
        found = need(TINY, CHIP, SPACE, None, quantity="cores", latency_s=target)
        assert isinstance(found, Unreached)
        assert found.cores == 48  # tiles of a query and a key, of which the first product has most
        assert "with 48 cores" in str(found)
        assert "raise the target" in str(found)


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ("a chip", "need cores: edge: expected one fanout .* outside GLB, the cores, got 'none'"),
        ("a mapspace", "need cores: --mapspace: expected a mapspace with fusion.cores"),
        ("both", "need: expected a utilization or a latency to reach, got 'both'"),
        ("a latency", "need: latency: expected seconds > 0, got 0"),
        ("a unit", "need: busy: expected a utilization beside it, got 'a latency'"),
    ],
)
def test_bad_input(problem: str, message: str) -> None:
    edge = load_platform("edge")
    own = replace(SPACE, fusion=replace(SPACE.fusion, cores=(), level=""))
    with pytest.raises(SpecError, match=message):
        need(
            TINY,
            edge if problem == "a chip" else CHIP,
            own if problem == "a mapspace" else SPACE,
            None,
            quantity="cores",
            latency_s=0.0 if problem == "a latency" else 1.0,
            utilization=0.5 if problem == "both" else None,
            busy="MAC" if problem == "a unit" else "",
        )


def test_a_latency_is_a_target_of_a_buffer_too() -> None:
    edge, flat = load_platform("edge"), load_mapspace("flat-h")
    found = need(TINY, edge, flat, None, quantity="buffer", latency_s=1e-6)
    assert isinstance(found, Need)
    assert found.result.latency_s <= 1e-6
    assert found.below is None or found.target.of(found.below.result) > 1e-6


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["need", "cores", "--arch", "h100", "--problem", "tiny", "--mapspace", "cores"]
    assert main([*words, "--latency", "1.5e-8", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["reached"] == found["latency_s"] <= 1.5e-8
    assert (found["level"], found["of"], found["present_cores"]) == ("SM", "latency", 132)
    assert found["cores"] > 1
    assert found["one_less"] is None or found["one_less"] > 1.5e-8
    assert found["unproven"] == []
    assert main([*words, "--latency", "1.5e-8"]) == 0
    assert re.search(rf"reaches +{found['cores']} ", capsys.readouterr().out)
    assert main([*words, "--latency", "1e-12"]) == 1
    assert "expected a latency of 1 ps, got at least" in capsys.readouterr().err
