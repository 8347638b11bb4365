"""Problems whose layers differ in their mask: what is read, merged, chosen and refused."""

from __future__ import annotations

from itertools import permutations

import pytest

from flat_mapper.base.errors import SpecError
from flat_mapper.workload.mask import LayerKind, Mask, mask_of
from flat_mapper.workload.reader import check_problem, load_workload

WINDOW, CAUSAL = Mask(causal=True, window=4), Mask(causal=True)
KINDS = ("{count: 5, mask: {window: 4, causal: true}}", "{count: 1, mask: causal}", "{count: 2}")


def text(*kinds: str, more: str = "") -> str:
    listed = "".join(f"  - {kind}\n" for kind in kinds)
    ranks = "  ranks: {B: 1, H: 2, P: 16, M: P, E: 4, F: 4}\n"
    return f"problem:\n{ranks}  attention: {{}}\n{more}  layers:\n{listed or '    []'}"


@pytest.mark.parametrize("kinds", list(permutations(KINDS)))
def test_the_order_of_kinds_does_not_matter(kinds: tuple[str, ...]) -> None:
    whole = load_workload(text(*kinds), "model")
    assert [(k.count, k.mask) for k in whole.layers] == [(5, WINDOW), (2, None), (1, CAUSAL)]
    assert [(w.repeat, w.mask) for w in whole.each_kind] == [(5, WINDOW), (2, None), (1, CAUSAL)]
    assert whole.all_layers == 8
    one = load_workload(text(*kinds))
    assert (one.mask, one.repeat, one.layers) == (WINDOW, 1, ())
    assert [k.count for k in one.other_layers] == [2, 1]


def test_kinds_that_see_the_same_are_one() -> None:
    same = ("{count: 3, mask: causal}", "{count: 2, mask: {window: 16, causal: true}}")
    whole = load_workload(text(*same), "model")
    assert (whole.layers, whole.repeat, whole.mask) == ((), 5, CAUSAL)
    longer = load_workload(text(*same), "model", sizes={"P": 32})
    assert [k.count for k in longer.layers] == [3, 2]
    assert load_workload(text(*KINDS), "model", mask="causal").repeat == 8
    assert load_workload(text(*KINDS), "model", mask="none").mask is None


def test_one_kind_is_chosen_by_its_mask() -> None:
    for words, count in (("causal,window=4", 5), ("causal", 1), ("none", 2)):
        one = load_workload(text(*KINDS), "model", layers=words)
        assert (one.mask, one.repeat, one.layers) == (mask_of(words), count, ())
        assert sum(kind.count for kind in one.other_layers) == 8 - count
    with pytest.raises(SpecError, match=r"--layers: expected one of causal,window=4, none, causal"):
        load_workload(text(*KINDS), layers="window=3")
    with pytest.raises(SpecError, match="--layers: expected one of none, got 'causal'"):
        load_workload(text("{count: 2}"), layers="causal")
    assert load_workload(text("{count: 2}"), "model", layers="none").repeat == 2
    short = load_workload(text(*KINDS), "model", sizes={"P": 4}, layers="causal,window=4")
    assert (short.mask, short.repeat) == (CAUSAL, 6)


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (text("{mask: causal}"), r"layers\.0: expected the key 'count'"),
        (text("{count: 0}"), r"count: expected int > 0.*got 0"),
        (text("{count: 1, masks: causal}"), "keys among .*got 'masks'"),
        (text("{count: 1, mask: causl}"), "mask: expected causal"),
        (text("4"), "layers"),
        (text(), "expected a number, or at least one"),
        (text("{count: 1}", more="  mask: causal\n"), "a mask in each of layers, or here"),
    ],
)
def test_what_cannot_be_is_refused(problem: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        load_workload(problem)
    assert check_problem(problem)


def test_a_mixed_workload_is_no_answer_by_itself() -> None:
    whole = load_workload(text(*KINDS), "model")
    with pytest.raises(SpecError, match=r"of one kind, got '5 .*--layers causal,window=4 or"):
        whole.one_kind("here")
    assert LayerKind(count=1, mask=None).to_dict() == {"count": 1}
