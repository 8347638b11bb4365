"""Golden texts: `pytest --update-golden` writes them, and the diff is for a person to review."""

from __future__ import annotations

import inspect
import json
import math
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import answer_schema
import pytest
from hypothesis import HealthCheck, settings

from flat_mapper.arch.values import Platform
from flat_mapper.backends.ports import overdrawn
from flat_mapper.base import budget
from flat_mapper.cli import terminal
from flat_mapper.cost_model.chip import evaluation
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.reports import plots
from flat_mapper.spec import answers
from flat_mapper.workload.graph import Workload

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GOLDEN = Path(__file__).parent / "golden"

# In the background of a script, and below nohup, Ctrl-C is ignored; tests send it, children too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# An example may take as long as the machine is busy: no clock decides whether a law holds.
settings.register_profile(
    "any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any-machine")


# Tests ask for the best, and no clock ends their searches; those of what a user gets ask for
# `default_ends`.
ENDS = budget.SECONDS, budget.GAP
budget.SECONDS, budget.GAP = math.inf, 0.0


@pytest.fixture
def default_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches that end where those of a user do who names no end."""
    monkeypatch.setattr(budget, "SECONDS", ENDS[0])
    monkeypatch.setattr(budget, "GAP", ENDS[1])


# Seeds of one family of cases; the others are asked in a campaign.
BY_DAY, BY_NIGHT = 3, 10
# Cases of two seconds and more that have quicker likes by day.
AT_NIGHT = (
    "test_latent.py::test_the_better_form_is_answered_and_named[-8-flat-any]",
    "test_latent.py::test_the_better_form_is_answered_and_named[-8-any-row]",
    "test_latent.py::test_the_better_form_is_answered_and_named[decode-32-flat-any]",
    "test_latent.py::test_the_better_form_is_answered_and_named[decode-32-any-row]",
    "test_execution_orders.py::test_the_best_of_all_partitions_and_all_orders[12_0]",
    "test_execution_orders.py::test_the_best_of_all_orders_on_cores[12]",
    "test_execution_orders.py::test_groups_that_are_listed_run_in_the_best_of_all_orders[12]",
    "test_streams_to_cores.py::test_no_tile_takes_less_than_the_mapping_of_the_largest_says",
    "test_streams_to_cores.py::test_no_mapping_is_below_the_bounds_of_its_tile[3]",
    "test_need_search.py::test_units_side_by_side_count_as_one_does",
    "test_browser.py::test_everything_has_an_accessible_name",
    "test_chip_limits.py::test_limits_on_cores_leave_the_best_of_what_keeps_them[18]",
    "test_chip_limits.py::test_limits_on_cores_leave_the_best_of_what_keeps_them[25]",
    "test_partition.py::test_equal_to_the_enumeration_of_all_partitions[1-latency-siblings]",
    "test_partition.py::test_equal_to_the_enumeration_of_all_partitions[1-latency-residual]",
    "test_partition.py::test_equal_to_the_enumeration_of_all_partitions[1-energy-siblings]",
    "test_search_level_widths.py::test_search_finds_what_brute_force_finds_on_a_chip[2]",
    "test_chip_brute_force.py::test_search_finds_what_brute_force_finds_where_cores_have_ports[2]",
    "test_chip_brute_force.py::test_search_finds_what_brute_force_finds_on_a_chip[2]",
    "test_chip_brute_force.py::test_what_streams_past_a_level_between_may_come_again[46-200000]",
    "test_facade.py::test_a_users_script_runs_and_is_typed",
    "test_search_anytime.py::test_once_there_is_an_answer_no_piece_of_work_outlasts_the_end[small-18]",
    "test_early_answers.py::test_keys_that_are_too_few_to_be_cut_leave_no_tile_and_an_answer",
    "test_mixed_layers.py::test_no_choice_of_mappings_is_below_the_bound_that_a_sum_of_products",
    "test_mixed_layers.py::test_the_answer_of_an_online_softmax_is_written_as_json",
    "test_folders.py::test_folders_add_up_to_the_answer[True]",
    "test_search_inside.py::test_no_mapping_drawn_by_chance_is_better[energy-",
    "test_search_inside.py::test_no_mapping_drawn_by_chance_is_better[edp-6]",
    "test_headlines.py::test_headline_mapping_does_what_the_model_says[online]",
    "test_search_apart.py::test_a_chip_fused_outside_its_cores",
    "test_engines.py::test_a_scheduler_elsewhere_and_a_worker_killed",
    "test_core_partition.py::test_no_partition_has_a_smaller_product[lines1]",
    "test_execution_orders.py::test_the_best_of_all_orders_on_cores[5]",
    "test_execution_orders.py::test_no_order_of_a_best_mapping_takes_less[12]",
    "test_early_answers.py::test_ctrl_c_is_no_other_end[cores]",
    "test_export.py::test_every_number_of_cores_has_a_row",
    "test_onnx_hostile.py::test_a_long_chain_takes_work_by_its_length[turned]",
    "test_visible_keys.py::test_a_decode_step_under_a_window_costs_what_the_window_costs[block-online]",
    "test_streams_to_cores.py::test_queries_that_come_with_every_pass_are_not_paid_for_alike",
    "test_search_level_widths.py::test_fractions_of_words_are_not_rounded_up_in_each_tile",
    "test_browser.py::test_a_sweep_of_a_thousand_points_opens_with_everything_drawn",
    "test_chip_brute_force.py::test_what_streams_past_a_level_between_may_come_again[28-0]",
    "test_latent.py::test_the_better_form_is_answered_and_named[-8-naive-row]",
    "test_mixed_layers.py::test_the_command_writes_each_kind_and_says_what_it_took",
    "test_chip_brute_force.py::test_tiles_of_a_window_need_keys_of_their_own",
    "test_streams_to_cores.py::test_what_leaves_by_a_port_of_its_own_is_beside_what_comes",
    "test_search_rules.py::test_two_permutations_of_one_level_leave_one_of_two_loops",
    "test_frozen.py::test_a_frozen_answer_holds[--arch edge --problem vit-b16",
    "test_chip_limits.py::test_limits_on_cores_leave_the_best_of_what_keeps_them[100]",
    "test_engines.py::test_a_point_that_kills_its_workers_is_a_failed_row",
    "test_need_cores.py::test_the_least_number_is_the_first_of_all_that_reaches",
    "test_search_anytime.py::test_once_there_is_an_answer_no_piece_of_work_outlasts_the_end[small-20]",
    "test_partition.py::test_equal_to_the_enumeration_of_all_partitions[1-energy-residual]",
    "test_partition.py::test_equal_to_the_enumeration_of_all_partitions[1-latency-norm]",
    "test_softmax.py::test_search_finds_what_brute_force_finds[2]",
    "test_chip_brute_force.py::test_search_finds_what_brute_force_finds_on_a_chip[4]",
    "test_mixed_layers.py::test_generation_adds_each_kind_up",
    "test_search_inside.py::test_no_mapping_drawn_by_chance_is_better[latency-None]",
    "test_search_network.py::test_questions_with_priced_networks[2]",
    "test_chip_brute_force.py::test_what_streams_past_a_level_between_may_come_again[28-200000]",
    "test_chip_brute_force.py::test_search_finds_what_brute_force_finds_where_cores_have_ports[0]",
    "test_chip_brute_force.py::test_ports_of_fills_count_in_the_search[0]",
    "test_chip_brute_force.py::test_what_comes_to_a_level_between_counts_in_the_search[0]",
    "test_search_remainders.py::test_a_larger_size_is_not_faster_on_cores[0-queries-37-48]",
    "test_search_remainders.py::test_a_larger_size_is_not_faster_on_cores[0-both-61-64]",
    "test_defaults.py::test_a_gap_within_rounding_is_none[block]",
    "test_search_phases.py::test_search_finds_what_brute_force_finds[6-ideal]",
    "test_search_inside.py::test_no_mapping_drawn_by_chance_is_better[edp-None]",
    "test_search_inside.py::test_no_mapping_drawn_by_chance_is_better[latency-6]",
    "test_measured.py::test_a_record_runs_beside_the_unfused_mapping",
    "test_early_answers.py::test_no_bound_is_above_another_answer[0]",
    "test_search_brute_force.py::test_search_finds_what_brute_force_finds_under_a_mask[0]",
    "test_search_brute_force.py::test_search_finds_what_brute_force_finds_where_a_keep_makes_turns_alike[0]",
    "test_search_brute_force.py::test_search_finds_what_brute_force_finds_where_einsums_take_turns[6]",
    "test_search_brute_force.py::test_search_finds_what_brute_force_finds_where_keys_are_cut[9]",
    "test_search_brute_force.py::test_rows_thinned_on_the_way_leave_what_fits_private_levels[6]",
    "test_fused_questions.py::test_best_mapping_does_what_the_model_says[6]",
    "test_on_cores.py::test_the_best_mapping_on_cores_does_what_the_model_says[6]",
    "test_on_cores.py::test_one_core_is_the_chip_without_cores[63]",
    "test_on_cores.py::test_the_search_has_dram_as_one_core_sees_it[12]",
    "test_partition.py::test_the_product_is_the_least_of_all_partitions[1]",
    "test_partition.py::test_equal_to_the_enumeration_of_all_partitions[1-energy-chain]",
    "test_search_level_widths.py::test_networks_carry_words_of_the_level_outside[0]",
    "test_execution_orders.py::test_the_best_of_all_partitions_and_all_orders[1_0]",
    "test_execution_orders.py::test_groups_that_are_listed_run_in_the_best_of_all_orders[1]",
    "test_execution_orders.py::test_no_order_of_a_best_mapping_takes_less[1]",
    "test_search_network.py::test_questions_with_priced_networks[0]",
    "test_tiles.py::test_the_prediction_is_what_evaluate_says_of_the_record[ttnn-blackhole-p100a]",
    "test_chip_brute_force.py::test_search_finds_what_brute_force_finds_where_cores_have_ports[5]",
    "test_chip_limits.py::test_what_no_mapping_on_cores_keeps_names_the_limit[18]",
    "test_rounds.py::test_operations_of_other_cycles_are_no_difference[resident]",
    "test_rounds.py::test_operations_of_other_cycles_are_no_difference[read_twice]",
    "test_visible_keys.py::test_a_decode_step_under_a_window_costs_what_the_window_costs[block-row]",
    "test_search_rules.py::test_groups_under_rules[4]",
    "test_mixed_layers.py::test_all_layers_cost_the_sum_of_their_kinds[energy]",
    "test_operations.py::test_search_finds_what_brute_force_finds[6]",
    "test_c6_backends.py::test_c6_signals_leave_no_orphan_and_no_folder[1]",
    "test_c6_backends.py::test_c6_signals_leave_no_orphan_and_no_folder[15]",
    "test_templating.py::test_c3_templates_are_limited_in_time_and_memory[a: {{lipsum",
    "test_templating.py::test_c3_templates_are_limited_in_time_and_memory[text5]",
    "test_agreement.py::test_crosscheck_prints_differences_and_a_verdict",
)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(
    collector: pytest.Collector, obj: object
) -> list[pytest.Item | pytest.Collector] | None:
    """Of the thousands of cases of the night none is made by day."""
    by_day = collector.config.option.markexpr == "not nightly"
    marks = getattr(obj, "pytestmark", ()) if by_day and inspect.isfunction(obj) else ()
    return [] if any(mark.name == "nightly" for mark in marks) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a family of cases that differ in a seed, the first few are asked by day, more by night."""
    met = Counter[tuple[str, bool]]()
    for item in items:
        if any(name in item.nodeid for name in AT_NIGHT):
            item.add_marker(pytest.mark.nightly)
        case = getattr(item, "callspec", None)
        if case is None or "seed" not in case.params:
            continue
        family, night = item.nodeid.split("[")[0], item.get_closest_marker("nightly") is not None
        met[family, night] += 1
        if met[family, night] > (BY_NIGHT if night else BY_DAY):
            item.add_marker(pytest.mark.campaign if night else pytest.mark.nightly)


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


@pytest.fixture
def every_format() -> None:
    """For a test of pictures themselves: all of their formats are drawn."""


@pytest.fixture(autouse=True)
def _pictures_are_drawn_once(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A figure beside an answer is drawn as text, not as points and letters too: half a second."""
    drawn = plots.saved

    def once(figure: Figure, kind: str) -> bytes:
        return drawn(figure, kind) if kind == "svg" else b""

    if "every_format" not in request.fixturenames:
        monkeypatch.setattr(plots, "saved", once)


@pytest.fixture(autouse=True)
def _no_news_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """No command says how far it is because the machine is busy."""
    monkeypatch.setattr(terminal, "PERIOD_S", math.inf)
