"""The verb why-not: the rank or the tensor that keeps Einsums from one fused group."""

from __future__ import annotations

import json

import pytest

from flat_mapper.cli.main import main

LAYER = ("--problem", "llama3-8b", "--scope", "layer", "--softmax", "online", "--seq", "64")


@pytest.mark.parametrize(
    ("einsums", "reason"),
    [
        (("Q", "KN", "QK"), "KN and QK in two groups: K is read back from DRAM"),
        (("O", "UP"), "UP shares no tensor with the others of O, UP"),
        (("R1", "R2"), "because R2 waits for it"),
        (("QK_cor", "QK_max"), "QK_cor run in every pass over M, which they cannot share"),
    ],
)
def test_a_refusal_names_what_forbids_the_group(einsums, reason, capsys):
    assert main(["check", "--why-not", *einsums, *LAYER[:-2]]) == 1
    assert reason in capsys.readouterr().out


def test_a_group_says_its_shared_ranks_and_why_no_others(capsys):
    assert main(["check", "--why-not", "FC1", "FC2", "R2", *LAYER[:-2]]) == 0
    out = capsys.readouterr().out
    assert "shared loops over: B, P\n" in out
    assert "not over FF: FC2 reduces it, and R2 needs all of FC2" in out
    assert main(["check", "--why-not", "norm_N2", "GATE", *LAYER[:-2], "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["einsums"] == ["N2_sq", "N2_inv", "N2_hat", "N2", "GATE"]
    assert document["legal"]
    assert document["shared"] == ["B", "P"]


def test_an_unknown_einsum_is_refused(capsys):
    assert main(["check", "--why-not", "QQ", "AV", *LAYER[:-2]]) == 2
    assert "expected one of the Einsums" in capsys.readouterr().err
