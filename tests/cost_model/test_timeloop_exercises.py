"""Files of the public timeloop-accelergy-exercises, read where a checkout of it is at hand.

TIMELOOP_EXERCISES names the folder of a checkout of
https://github.com/Accelergy-Project/timeloop-accelergy-exercises; the files are read in their
places, under workspace/example_designs.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flat_mapper.arch.reader import load_platform
from flat_mapper.arch.values import Platform
from flat_mapper.base.errors import SpecError
from flat_mapper.cli.main import main
from flat_mapper.energy.tables import Ert, ert_of
from flat_mapper.importers.layer_fusion import fuse_layers
from flat_mapper.mapper.solve.certificate import Solution
from flat_mapper.mapper.solve.driver import search
from flat_mapper.mapping.space import Mapspace
from flat_mapper.mapping.values import EinsumMapping, Policy, Slot
from flat_mapper.spec.yamlio import dump
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.reader import load_workload

CHECKOUT = os.environ.get("TIMELOOP_EXERCISES", "")
DESIGNS = Path(CHECKOUT) / "workspace" / "example_designs"
pytestmark = pytest.mark.skipif(
    not CHECKOUT,
    reason="TIMELOOP_EXERCISES is not set: the folder of a checkout of "
    "Accelergy-Project/timeloop-accelergy-exercises",
)

# Origin of each: workspace/example_designs/example_designs/<name>/arch.yaml
ARCHITECTURES = (
    "eyeriss_like",
    "simba_like",
    "simple_output_stationary",
    "simple_weight_stationary",
)

LAYER = """\
problem:
  version: 0.4
  shape:
    name: layer
    dimensions: [C, M, R, S, N, P, Q]
    data_spaces:
    - {name: Weights, projection: [C, M, R, S]}
    - {name: Inputs, projection: [[[N]], [[C]], [[R], [P]], [[S], [Q]]]}
    - {name: Outputs, projection: [N, M, Q, P], read_write: true}
  instance: {C: 16, M: 32, R: 1, S: 1, N: 1, P: 16, Q: 1}
"""


def architecture(name: str) -> Path:
    return DESIGNS / "example_designs" / name / "arch.yaml"


def energies(chip: Platform) -> dict[str, object]:
    """pJ that fall with the depth of the level."""
    table: dict[str, object] = {
        level.name: dict.fromkeys(("read", "write", "update"), 100 / 3**depth)
        for depth, level in enumerate(chip.matrix.levels)
    }
    return {**table, chip.matrix.compute.name: {"compute": 1}}


def prices(chip: Platform) -> Ert:
    return ert_of(energies(chip), "prices")


def best(name: str) -> tuple[Platform, EinsumMapping]:
    chip = load_platform(architecture(name))
    found = search(load_workload(LAYER), chip, Mapspace(name="free"), prices(chip))
    assert isinstance(found, Solution), str(found)
    return chip, found.result.mapping.groups[0].einsums[0]


def ranks(mapping: EinsumMapping, slot: Slot) -> set[str]:
    return {loop.rank for loop in mapping.at(slot)}


def kept(chip: Platform, mapping: EinsumMapping) -> dict[str, tuple[str, ...]]:
    return {level.name: mapping.kept_at(level.name) for level in chip.matrix.levels[1:]}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_maps_and_lowers(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Origin: example_designs/{eyeriss_like, simba_like, simple_*_stationary}/arch.yaml."""
    path = architecture(name)
    (tmp_path / "layer.yaml").write_text(LAYER, encoding="utf-8")
    (tmp_path / "ert.yaml").write_text(dump(energies(load_platform(path))), encoding="utf-8")
    verb = ["map", "--arch", str(path), "--problem", str(tmp_path / "layer.yaml")]
    verb += ["--mapspace", "flex", "--ert", str(tmp_path / "ert.yaml"), "-o", str(tmp_path / "out")]
    assert main(verb) == 0
    lowered = [str(p) for p in sorted((tmp_path / "out" / "layer").glob("*.yaml"))]
    assert [Path(p).name for p in lowered] == ["arch.yaml", "mapping.yaml", "problem.yaml"]
    assert main(["check", *lowered]) == 0
    assert main(["evaluate", *lowered, "--ert", str(tmp_path / "ert.yaml")]) == 0
    record = str(tmp_path / "out" / "fused-mapping.yaml")
    assert main(["evaluate", record, "--ert", str(tmp_path / "ert.yaml")]) == 0
    capsys.readouterr()


def test_eyeriss_like_is_held_to_its_nodes() -> None:
    """Origin: example_designs/eyeriss_like/arch.yaml."""
    chip, mapping = best("eyeriss_like")
    assert kept(chip, mapping) == {
        "shared_glb": ("Inputs", "Outputs"),
        "ifmap_spad": ("Inputs",),
        "weights_spad": ("Weights",),
        "psum_spad": ("Outputs",),
    }
    assert ranks(mapping, Slot("PE_column", "x")) <= {"Q", "M"}
    assert ranks(mapping, Slot("PE", "y")) <= {"S", "C", "M"}
    assert ranks(mapping, Slot("ifmap_spad", "temporal")) == set()
    assert ranks(mapping, Slot("weights_spad", "temporal")) <= {"C", "R"}
    assert ranks(mapping, Slot("psum_spad", "temporal")) <= {"M"}


def test_simba_like_is_held_to_its_nodes() -> None:
    """Origin: example_designs/simba_like/arch.yaml."""
    chip, mapping = best("simba_like")
    assert kept(chip, mapping) == {
        "GlobalBuffer": ("Inputs", "Outputs"),
        "PEInputBuffer": ("Inputs",),
        "PEWeightBuffer": ("Weights",),
        "PEAccuBuffer": ("Outputs",),
        "PEWeightRegs": ("Weights",),
    }
    assert ranks(mapping, Slot("PE", "x")) <= {"M", "C"}
    assert ranks(mapping, Slot("distributed_buffers", "y")) <= {"M"}
    assert ranks(mapping, Slot("reg_mac", "y")) <= {"C"}


@pytest.mark.parametrize("stationary", ["output", "weight"])
def test_simple_arrays_are_held_to_their_nodes(stationary: str) -> None:
    """Origin: example_designs/simple_{output, weight}_stationary/arch.yaml."""
    chip, mapping = best(f"simple_{stationary}_stationary")
    found = kept(chip, mapping)
    found.pop("shared_glb")  # free
    assert found == {
        "pe_spad": (f"{stationary.title()}s",),
        "weight_reg": ("Weights",),
        "input_activation_reg": ("Inputs",),
        "output_activation_reg": ("Outputs",),
    }
    assert ranks(mapping, Slot("PE", "x")) <= {"C"}
    assert ranks(mapping, Slot("PE", "y")) <= {"M", "N"}
    assert ranks(mapping, Slot("weight_reg", "temporal")) <= {"N", "P", "Q"}
    assert ranks(mapping, Slot("input_activation_reg", "temporal")) <= {"M", "R", "S"}
    assert ranks(mapping, Slot("output_activation_reg", "temporal")) <= {"C", "R", "S"}


def test_ranks_of_other_names_are_refused() -> None:
    """Origin: example_designs/eyeriss_like/arch.yaml."""
    chip = load_platform(architecture("eyeriss_like"))
    renamed = load_workload(LAYER.replace("N: 1", "B: 1").replace("[N", "[B").replace(" N,", " B,"))
    with pytest.raises(
        SpecError, match=r"PE_column\.constraints\.spatial\.factors: expected ranks"
    ):
        search(renamed, chip, Mapspace(name="free"), prices(chip))


@pytest.mark.parametrize(
    ("name", "pairs", "shape", "restored"),
    [
        ("gpt2", 24, (1, 16, 256, 256, 64, 64), True),
        ("vision_transformer", 12, (1, 12, 197, 197, 64, 64), True),
        ("msft_phi_1_5", 24, (1, 32, 1024, 1024, 64, 64), False),
    ],
)
def test_layers_of_a_network(
    name: str, pairs: int, shape: tuple[int, ...], restored: bool, tmp_path: Path
) -> None:
    """Origin: layer_shapes/{gpt2, vision_transformer, msft_phi_1_5}/*.yaml."""
    found = fuse_layers(DESIGNS / "layer_shapes" / name)
    assert found.shapes() == {shape: pairs}
    assert {pair.restored for pair in found.pairs} == {restored}
    core: Workload = load_workload(found.problem_text(name))
    assert tuple(core.rank_sizes[r] for r in "BHPMEF") == shape


def test_layers_without_attention() -> None:
    """Origin: layer_shapes/resnet18/*.yaml; convolutions, and one matrix product."""
    found = fuse_layers(DESIGNS / "layer_shapes" / "resnet18")
    assert found.pairs == ()
    assert any(
        "sums of ranks in Inputs, as in a convolution" in what for what in found.said.values()
    )


def test_a_layer_works_as_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """Origin: layer_shapes/gpt2/000.yaml, which includes layer_shapes/problem_base.yaml."""
    monkeypatch.setenv("FLAT_MAPPER_INCLUDE", str(DESIGNS / "layer_shapes"))
    workload = load_workload(DESIGNS / "layer_shapes" / "gpt2" / "000.yaml")
    assert workload.name == "000"
    assert {r: n for r, n in workload.rank_sizes.items() if n > 1} == {
        **{"C": 1024, "M": 3072, "P": 256},
    }


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_attention_on_the_example_designs(name: str) -> None:
    """Origin: example_designs/<name>/arch.yaml, unedited, under Inputs, Weights and Outputs."""
    chip = load_platform(architecture(name))
    text = "problem:\n  ranks: {B: 1, H: 2, P: 64, M: P, E: 16, F: 16, D: 32, FF: 64}\n"
    text += "  word_bits: 8\n  attention: {softmax: row}\n"
    policy = Policy(buffering=1, softmax="free")
    found = search(load_workload(text), chip, Mapspace(name="free", policy=policy), prices(chip))
    assert isinstance(found, Solution), str(found)
    for einsum, weights in (("QK", "K"), ("AV", "V")):
        mapping = found.result.mapping.einsum_mappings[einsum]
        keepers = [level for level, tensors in mapping.keep if weights in tensors]
        assert any("weight" in level.lower() or level == "pe_spad" for level in keepers), keepers
