"""What hwcomponents prices, how, and that answers are remembered."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flat_mapper.arch.reader import load_architecture, load_platform
from flat_mapper.arch.values import Architecture
from flat_mapper.base.errors import BackendError, SpecError
from flat_mapper.energy import hwcomponents as hwcomponents_prices
from flat_mapper.energy.hwcomponents import cache_path, price_with_hwcomponents

HEAD = """\
variables: {technology: "22nm"}
architecture:
  nodes:
  - !Component
    name: DRAM
    class: DRAM
    attributes: {type: "LPDDR4", width: 64, datawidth: 16}
"""
MAC = "  - !Component {name: MAC, class: intmac, attributes: {multiplier_width: 16}}\n"


def arch(node: str = "", mac: str = MAC, head: str = HEAD) -> Architecture:
    return load_architecture(head + node + mac)


def storage(component_class: str, attributes: str, extra: str = "") -> Architecture:
    return arch(
        f"  - !Component {{name: B, class: storage, subclass: {component_class}, {extra}"
        f"attributes: {{{attributes}}}}}\n"
    )


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "flat-mapper" / "hwcomponents.json"


def test_the_edge_platform() -> None:
    # hwcomponents 1.0.114 at 22 nm, measured: SRAM of 512 KB in rows of 512 bits 72.9 / 76.1 pJ,
    # LPDDR4 8 pJ per bit, a 16-bit multiply-accumulate 1.144 pJ, a 16-bit register 0.0487 pJ, an
    # array of 64 rows of 16 bits 0.0932 / 0.1556.
    platform = load_platform("edge")
    ert, art = price_with_hwcomponents(platform)
    assert ert.covering(platform) is ert
    assert ert.actions("DRAM") == pytest.approx((512, 512, 512))
    assert ert.actions("GLB") == pytest.approx((72.9, 76.1, 76.1), rel=1e-3)
    assert ert.actions("RF") == pytest.approx((0.0932, 0.1556, 0.1556), rel=1e-3)
    assert ert.energy("MAC", "compute") == pytest.approx(1.144, rel=1e-3)
    assert ert.energy("VALU", "compute") == ert.energy("MAC", "compute")
    assert ert.provenance["GLB"] == "SRAM(depth=8192, size=4194304, tech_node=22 nm, width=512)"
    assert ert.provenance["RF"] == (
        "each access the dearer of AladdinRegister(tech_node=22 nm, width=16) and "
        "SRAM(depth=64, size=1024, tech_node=22 nm, width=16), 64 of them in area"
    )
    assert "hwcomponents-cacti" in ert.source
    assert art.component_mm2(platform)["GLB"] == pytest.approx(0.5365, rel=1e-3)
    assert art.areas_um2["RF"] == pytest.approx(64 * 35.058, rel=1e-3)


def test_hbm_is_priced_per_bit() -> None:
    ert, _ = price_with_hwcomponents(arch(head=HEAD.replace("LPDDR4", "HBM2")))
    assert ert.actions("DRAM") == pytest.approx((400, 400, 400))  # 6.25 pJ x 64 bits


@pytest.mark.parametrize(
    ("kind", "pj"),
    [("LPDDR5", 7), ("LPDDR5X", 5.6), ("GDDR6", 7.5), ("HBM3", 4.05), ("HBM3E", 3.9)],
)
def test_memories_are_priced_with_a_source(kind: str, pj: float) -> None:
    ert, art = price_with_hwcomponents(arch(head=HEAD.replace("LPDDR4", kind)))
    assert ert.actions("DRAM") == pytest.approx((64 * pj,) * 3)
    assert ert.provenance["DRAM"].startswith(f"{kind}() per 64 bits")
    assert kind == "HBM3" or f"{pj:g} pJ a bit (" in ert.provenance["DRAM"]
    assert (ert.leak("DRAM"), art.areas_um2["DRAM"]) == (0, 0)
    assert not ert.unknown


def test_what_nothing_prices_leaves_the_others() -> None:
    known, _ = price_with_hwcomponents(arch())
    found, areas = price_with_hwcomponents(arch(head=HEAD.replace("LPDDR4", "DDR5")))
    assert list(found.unknown) == ["DRAM"]
    assert found.source == f"{known.source}; DRAM unknown"
    assert "got 'DDR5'; give its energy in an ERT file" in found.unknown["DRAM"]
    assert {**found.levels, "DRAM": {}} == {**known.levels, "DRAM": {}}
    assert found.actions("DRAM") == (0, 0, 0)
    assert "DRAM" not in areas.areas_um2


def test_classes_and_overrides() -> None:
    small = "width: 32, depth: 64, datawidth: 16"
    file = price_with_hwcomponents(storage("aladdin_register", small))[0].energy("B", "read")
    array = price_with_hwcomponents(storage("SRAM", small))[0].energy("B", "read")
    single = storage("mine", small + ', hwcomponents_class: "AladdinRegister"')
    register = price_with_hwcomponents(single)[0].energy("B", "read")
    assert register == pytest.approx(2 * 0.0487, rel=1e-3)
    assert file == array > register
    generic, deep = storage("storage", small), storage("storage", small.replace("64", "65"))
    assert price_with_hwcomponents(generic)[0].energy("B", "read") == file
    assert price_with_hwcomponents(deep)[0].provenance["B"].startswith("SRAM(depth=65")
    override = storage("mine", small + ', hwcomponents_class: "SRAM"')
    assert price_with_hwcomponents(override)[0].energy("B", "read") == array
    scaled = storage("SRAM", small, "energy_scale: 3, area_scale: 0.5, ")
    ert, art = price_with_hwcomponents(scaled)
    assert ert.energy("B", "read") == pytest.approx(3 * array)
    assert ert.provenance["B"].endswith(", energy x 3, area x 0.5")
    assert art.areas_um2["B"] == pytest.approx(
        price_with_hwcomponents(storage("SRAM", small))[1].areas_um2["B"] / 2
    )
    smart = storage("smartbuffer_SRAM", small)
    assert price_with_hwcomponents(smart)[0].energy("B", "read") > array
    adder = MAC.replace("16}", '16, hwcomponents_class: "AladdinComparator"}')
    ert, _ = price_with_hwcomponents(arch(mac=adder))
    assert ert.energy("MAC", "compute") < 0.1
    free = MAC.replace("16}", '16, hwcomponents_class: "DummyCompute"}')
    assert price_with_hwcomponents(arch(mac=free))[0].energy("MAC", "compute") == 0


def test_a_register_file_costs_more_the_deeper_it_is() -> None:
    # Of one row it is a register; from some thirty rows on its lines and decoder cost more.
    reads = [
        price_with_hwcomponents(storage("regfile", f"width: 16, depth: {rows}, datawidth: 16"))[
            0
        ].energy("B", "read")
        for rows in (1, 8, 32, 64, 128, 256, 1024)
    ]
    assert reads[:2] == pytest.approx([0.0487, 0.0487], rel=1e-3)
    assert all(a < b for a, b in itertools.pairwise(reads[1:]))
    assert reads[-1] > 10 * reads[0]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            storage("myclass", "depth: 8, width: 16, datawidth: 16"),
            r"text: B: expected a class that hwcomponents prices \(DRAM, SRAM, .*, storage\), got "
            r"'myclass'; or name one of its classes in the attribute hwcomponents_class: \"",
        ),
        (
            storage("smartbufer_SRAM", "depth: 8, width: 16, datawidth: 16"),
            r"got 'smartbufer_SRAM'; did you mean 'smartbuffer_SRAM'\? or name one",
        ),
        (
            storage("intmac", "depth: 8, width: 16, datawidth: 16"),
            r"B: expected a class that hwcomponents prices \(DRAM",
        ),
        (
            storage("x", 'depth: 8, width: 16, datawidth: 16, hwcomponents_class: "SRRAM"'),
            r"B: expected hwcomponents_class to be a class of hwcomponents_cacti .*got 'SRRAM'; ",
        ),
        (
            storage("x", "depth: 8, width: 16, datawidth: 16, hwcomponents_class: 3"),
            r"B\.attributes\.hwcomponents_class: expected a word, got 3",
        ),
        (
            arch(mac=MAC.replace("intmac", "fpmac")),
            r"MAC: expected a class that hwcomponents prices \(intmac, mac, compute, .*got 'fpmac'",
        ),
        (
            arch(mac=MAC.replace(", attributes: {multiplier_width: 16}", "")),
            r"MAC\.attributes: expected multiplier_width \(bits of an operand\), got none",
        ),
        (
            arch(head=HEAD.replace('"LPDDR4"', '"GDDR5"')),
            r"DRAM\.attributes\.type: expected one of LPDDR4, .*, got 'GDDR5'",
        ),
        (
            arch(head=HEAD.replace('technology: "22nm"', "a: 1")),
            r"attributes\.technology: expected a node such as \"22nm\", got none",
        ),
        (
            arch(head=HEAD.replace("22nm", "finfet")),
            r"attributes\.technology: expected a node such as \"22nm\", got 'finfet'",
        ),
    ],
)
def test_what_cannot_be_priced_is_named(found: Architecture, message: str) -> None:
    try:
        reasons = list(price_with_hwcomponents(found)[0].unknown.values())
    except SpecError as error:
        reasons = [str(error)]
    assert re.search(message, reasons[0])


def test_a_refusal_of_hwcomponents_is_one_line() -> None:
    found = storage("x", 'depth: 8, width: 16, datawidth: 16, hwcomponents_class: "Wire"')
    message = r"^B: hwcomponents cannot price Wire\(.*\): .*; change its attributes, or give"
    with pytest.raises(BackendError, match=message) as caught:
        price_with_hwcomponents(found)
    assert "\n" not in str(caught.value)


BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        assert not name.startswith("hwcomponents"), name
sys.meta_path.insert(0, Blocker())
from flat_mapper.arch.reader import load_platform
from flat_mapper.energy.hwcomponents import price_with_hwcomponents
print(price_with_hwcomponents(load_platform("edge"))[0].energy("GLB", "read"))
"""


def test_a_second_run_asks_nothing(cache: Path) -> None:
    first = price_with_hwcomponents(load_platform("edge"))
    assert cache == cache_path()
    assert (
        len(json.loads(cache.read_text())) == 6
    )  # twice registers, arrays, MACs, multipliers: asked once
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) == first[0].energy("GLB", "read")


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '{"a": 1}', '{"a": {"read": -1}}', "\x00", "9" * 99]
)
def test_a_corrupt_cache_is_written_anew(cache: Path, text: str) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text(text)
    price_with_hwcomponents(arch())
    assert len(json.loads(cache.read_text())) == 3


def test_a_price_that_was_changed_by_hand_is_not_believed(cache: Path) -> None:
    right = price_with_hwcomponents(arch())
    document = json.loads(cache.read_text())
    for entry in document.values():
        entry["price"] = {name: 2 * amount for name, amount in entry["price"].items()}
    cache.write_text(json.dumps(document))
    assert price_with_hwcomponents(arch()) == right
    assert json.loads(cache.read_text()) != document


def test_an_unwritable_cache_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert price_with_hwcomponents(arch())[0].energy("DRAM", "read") == pytest.approx(512)


def test_a_new_version_asks_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    price_with_hwcomponents(arch())
    monkeypatch.setattr(hwcomponents_prices, "versions", lambda: "hwcomponents 9")
    price_with_hwcomponents(arch())
    assert len(json.loads(cache.read_text())) == 6


def test_without_hwcomponents_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hwcomponents_prices, "PACKAGES", ("no-such-package",))
    with pytest.raises(
        BackendError, match=r"no-such-package is not installed; pip install no-such"
    ):
        price_with_hwcomponents(arch())


def test_a_dram_without_a_type_is_lpddr4_and_says_so() -> None:
    """As Accelergy's CACTI plug-in has it; Timeloop's own exercises leave the type out."""
    typed, _ = price_with_hwcomponents(arch())
    found, _ = price_with_hwcomponents(arch(head=HEAD.replace('type: "LPDDR4", ', "")))
    assert found.levels == typed.levels
    assert found.source == f"{typed.source}; DRAM without type: LPDDR4"
