"""Backend `timeloop` against recorded runs of the real binary."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path

import cases
import pytest
import small_platform as small

from flat_mapper.backends.agreement import compare_backends
from flat_mapper.base.errors import BackendError, SpecError
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.einsum import einsum_costs
from flat_mapper.cost_model.result import EinsumStats, Infeasible, Result
from flat_mapper.mapping.values import FusedMapping, Policy
from flat_mapper.timeloop.backend import TimeloopBackend, run_files
from flat_mapper.timeloop.rounds import overfull_words
from flat_mapper.timeloop.run import Command, command_of, einsum_stats, fresh_folder

REPLAY = Path(__file__).parents[1] / "replay"
SCRIPT = shlex.join([sys.executable, str(REPLAY / "stand_in.py")])


def backend(
    fault: str = "", folder: Path | None = None, timeout_s: float = 3600.0
) -> TimeloopBackend:
    option = f"--fault {fault}" if fault else ""
    command = command_of(f"{SCRIPT} {option} {{}}", timeout_s=timeout_s)
    return TimeloopBackend(command=command, folder=folder)


def one(found: TimeloopBackend, case: str = "remainder") -> EinsumStats | Infeasible:
    workload, nest = getattr(cases, case)()
    return found.einsum(workload, small.platform().matrix, nest, cases.ERT)


def test_a_fused_mapping_is_priced_by_six_runs() -> None:
    platform, workload, fused = small.platform(), small.workload(), small.fused()
    result = backend().evaluate(workload, platform, fused, cases.ERT)
    native = evaluate(workload, platform, fused, cases.ERT)
    assert isinstance(result, Result)
    assert isinstance(native, Result)
    assert (result.backend, native.backend) == ("timeloop", "native")
    assert [e.einsum for e in result.einsums] == list(fused.einsum_mappings)
    assert result.cycles == native.cycles
    assert result.offchip_bytes == native.offchip_bytes
    assert result.energy_pj == pytest.approx(native.energy_pj, rel=1e-6)


def test_crosscheck_finds_no_count_different() -> None:
    report = compare_backends(
        small.workload(), small.platform(), small.fused(), cases.ERT, [backend()]
    )
    assert report.agrees
    assert report.compared > 150
    assert {d.quantity for d in report.differences} <= {"energy_pj"}
    assert report.to_dict()["backends"] == ["native", "timeloop"]


def test_a_wrong_energy_is_a_difference_with_a_verdict() -> None:
    class Wrong:
        name = "timeloop"

        def missing(self) -> None:
            return None

        def evaluate(self, *inputs: object) -> Result:
            result = backend().evaluate(*inputs)  # type: ignore[arg-type]
            assert isinstance(result, Result)
            first = replace(result.einsums[0], compute_energy_pj=1.0)
            return replace(result, einsums=(first, *result.einsums[1:]))

    report = compare_backends(
        small.workload(), small.platform(), small.fused(), cases.ERT, [Wrong()]
    )
    assert not report.agrees
    bad = [d for d in report.differences if d.exceeds]
    assert [(d.einsum, d.level, d.quantity) for d in bad] == [("QK", "MAC", "energy_pj")]
    assert bad[0].other == 1.0


@pytest.mark.parametrize("case", ["remainder", "doubled"])
def test_what_the_front_end_cannot_say_is_priced(case: str) -> None:
    stats = one(backend(), case)
    workload, nest = getattr(cases, case)()
    matrix = small.platform().matrix
    native = einsum_costs(workload, matrix, [nest], cases.ERT, padded=True).stats(0)
    assert isinstance(stats, EinsumStats)
    assert stats.cycles == native.cycles
    assert [
        (t.tensor, t.scalar_reads, t.scalar_fills, t.scalar_updates)
        for lv in stats.levels
        for t in lv.tensors
    ] == [
        (t.tensor, t.scalar_reads, t.scalar_fills, t.scalar_updates)
        for lv in native.levels
        for t in lv.tensors
    ]


def test_a_refusal_is_an_answer() -> None:
    rejection = one(backend(), "refused")
    assert isinstance(rejection, Infeasible)
    assert (rejection.where, rejection.level, rejection.needs, rejection.has) == (
        "QK",
        "RF",
        129,
        16,
    )


def test_an_absent_program_is_one_line() -> None:
    absent = TimeloopBackend(command=Command(wrapper=("no-such-program", "{}")))
    line = "no-such-program: expected an executable on PATH, got none; build it from"
    assert str(absent.missing()).startswith(line)
    with pytest.raises(BackendError, match=r"--timeloop-cmd .*or use --backend native$"):
        absent.evaluate(small.workload(), small.platform(), small.fused(), cases.ERT)
    report = compare_backends(
        small.workload(), small.platform(), small.fused(), cases.ERT, [absent]
    )
    assert list(report.absent) == ["timeloop"]
    assert report.compared == 0


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("crash", r"got exit code 134 \(ERROR: boost: out of memory\)"),
        ("silent", r"got exit code 0 and no timeloop-model\.stats\.txt \(ERROR: key not found"),
        ("cut", r"expected Timeloop's statistics to their end, got 'less'"),
    ],
)
def test_failures_name_what_happened(fault: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=message):
        one(backend(fault, tmp_path))


def test_failures_leave_the_log_and_the_command(tmp_path: Path) -> None:
    with pytest.raises(BackendError) as caught:
        one(backend("crash", tmp_path))
    folder = tmp_path / "QK"
    assert f"log: {folder / 'timeloop.log'}; re-run: cd {folder} && " in str(caught.value)
    assert str(caught.value).endswith("processed.yaml ERT.yaml ART.yaml -o out")
    assert (folder / "timeloop.log").exists()


def test_a_run_that_hangs_is_ended(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"got nothing within 0\.2 s"):
        one(backend("hang", tmp_path, timeout_s=0.2))


def test_every_run_has_a_folder_that_was_not_there(tmp_path: Path) -> None:
    stale = tmp_path / "QK" / "out"
    stale.mkdir(parents=True)
    (stale / "timeloop-model.stats.txt").write_text("stale")
    assert isinstance(one(backend(folder=tmp_path)), EinsumStats)
    assert (stale / "timeloop-model.stats.txt").read_text() == "stale"
    assert fresh_folder(tmp_path, "QK").name == "QK-3"


def test_the_wrapper_is_words_around_the_call(tmp_path: Path) -> None:
    command = command_of("docker run --rm -v {dir}:/run -w /run image {}")
    words = command.words(["in.yaml"], tmp_path)
    assert words[:5] == ["docker", "run", "--rm", "-v", f"{tmp_path}:/run"]
    assert words[-3:] == ["image", "timeloop-model", "in.yaml"]
    assert command_of("nice -n 5").words(["x"], tmp_path) == [
        "nice",
        "-n",
        "5",
        "timeloop-model",
        "x",
    ]
    assert command_of("").words(["x"], tmp_path) == ["timeloop-model", "x"]
    with pytest.raises(BackendError, match="--timeloop-cmd: expected words as a shell reads them"):
        command_of("docker 'run")


def test_the_wrapper_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAT_MAPPER_TIMELOOP", "nice {}")
    assert command_of().wrapper == ("nice", "{}")
    assert command_of("time {}").wrapper == ("time", "{}")


def test_an_energy_that_the_table_lacks_is_named() -> None:
    short = replace(cases.ERT, levels={k: v for k, v in cases.ERT.levels.items() if k != "RF"})
    with pytest.raises(SpecError, match="expected energies of 'RF'"):
        backend().evaluate(small.workload(), small.platform(), small.fused(), short)


def test_a_level_is_deepened_only_for_einsums_whose_tensors_share_a_buffer() -> None:
    workload, (chip, fused) = small.workload(), cases.overfull()
    assert overfull_words(workload, small.platform(), fused) == {}
    assert overfull_words(workload, chip, fused) == dict.fromkeys(("QK_exp", "A"), 65600)
    apart = replace(fused, policy=Policy(in_place=False))  # does not fit: nothing to make good
    assert overfull_words(workload, chip, apart) == {}


def test_tensors_that_share_a_buffer_are_priced_with_a_note() -> None:
    workload, (chip, fused) = small.workload(), cases.overfull()
    report = compare_backends(workload, chip, fused, cases.ERT, [backend()])
    assert report.agrees, report.to_dict()
    answer = report.answers["timeloop"]
    assert isinstance(answer, Result)
    assert answer.notes == (
        "timeloop-model alone refuses QK_exp, A: it counts every tensor's tile in full (QK_exp "
        "65600, A 65600 words) and GLB has 64000; it was given a deeper one, because tensors that "
        "share a buffer count once over the group",
    )


def test_energies_are_handed_over_unrounded() -> None:
    workload, nest = cases.remainder()
    text = run_files(workload, small.platform().matrix, nest, cases.ERT)["ERT.yaml"]
    assert "system.GLB[1..1]" in text
    assert "system.RF[1..1024]" in text
    assert "energy: 346.247" in text
    assert "energy: 0.06794" in text


# --- the stats file ------------------------------------------------------------------------------

RECORDED = (
    REPLAY / "runs" / "timeloop-model" / "remainder-QK" / "timeloop-model.stats.txt"
).read_text()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("=== GLB ===", "=== L2 ===", r"stats: expected a block of the level 'GLB', got '"),
        (
            "Scalar fills (per-instance)",
            "Fills",
            r"stats: DRAM: Q: expected the field 'Scalar fills",
        ),
        ("    Q:\n", "    R:\n", r"stats: DRAM: expected Q, K, got 'R, K'"),
        (
            "Energy (total)          :",
            "Energy (total)          : nan",
            r"MAC: Energy \(total\): ex",
        ),
        ("\nCycles: ", "\nCycles: 1", r"Summary Stats: Cycles: expected the \d+ cycles of its"),
        (
            "Computes (total)        : ",
            "Computes (total)        : 1e",
            r"expected an integer, got '1e",
        ),
    ],
)
def test_what_cannot_be_read_is_named(old: str, new: str, message: str) -> None:
    workload, nest = cases.remainder()
    assert old in RECORDED
    arch = small.platform().matrix
    with pytest.raises(BackendError, match=message):
        einsum_stats(RECORDED.replace(old, new), workload.einsum("QK"), arch, nest, "stats")


def test_an_empty_mapping_is_refused() -> None:
    with pytest.raises(Exception, match="groups: expected"):
        backend().evaluate(small.workload(), small.platform(), FusedMapping(groups=()), cases.ERT)
