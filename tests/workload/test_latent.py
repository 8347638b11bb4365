"""Latent attention in its two forms: equal on real numbers, both asked, the answer named."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from execution.random_fused import random_mapping, random_platform

import flat_mapper as fm
from flat_mapper.base.errors import SpecError
from flat_mapper.cli.main import main
from flat_mapper.execution.run import execute
from flat_mapper.reports.answers import SearchResult
from flat_mapper.workload.graph import Softmax, Workload
from flat_mapper.workload.reader import load_workload
from flat_mapper.workload.softmax import LATENTS, alternatives, with_latent

TEXT = """
problem:
  name: latent
  ranks: {{B: 1, H: 4, P: {queries}, M: {keys}, E: 2, F: 3, D: 6, FF: 8}}
  layers: 2
  mask: causal
  attention: {{softmax: row}}
  layer: {{norm: rms, positions: rotary, latent: {{rank: 4, rotary: 2, queries: 3{form}}}}}
"""


def text(queries: int = 4, keys: int = 4, form: str = "") -> str:
    return TEXT.format(queries=queries, keys=keys, form=form and f", form: {form}")


def computed(workload: Workload, tensors: dict[str, np.ndarray]) -> np.ndarray:
    """The attention's output by NumPy, from its written Einsums alone."""
    known = dict(tensors)

    def rank(einsum: object, name: str) -> str:
        return "".join("bhpmefdlr"["BHPMEFDLR".index(r)] for r in name)

    for einsum in workload.ordered:
        spots = [rank(einsum, a.ranks) for a in einsum.inputs]
        out, values = rank(einsum, einsum.output.ranks), [known[a.tensor] for a in einsum.inputs]
        if einsum.operation in ("mul", "matmul") or einsum.unit == "matrix":
            known[einsum.output.tensor] = np.einsum(f"{','.join(spots)}->{out}", *values)
            continue
        axes = dict(zip(spots[0], range(len(spots[0])), strict=True))
        over = tuple(axes[r] for r in spots[0] if r not in out)
        wide = [
            v if s == spots[0] else np.expand_dims(v, -1)
            for v, s in zip(values, spots, strict=True)
        ]
        text = einsum.text.partition("=")[2]
        if text.strip().startswith("max"):
            found = values[0].max(over)
        elif text.strip().startswith("sum"):
            found = values[0].sum(over)
        elif text.strip().startswith("exp"):
            found = np.exp(wide[0] - wide[1])
        elif "/" in text:
            found = wide[0] / wide[1]
        else:
            found = wide[0] + wide[1]
        known[einsum.output.tensor] = found
    return known["OV" if "OV" in known else "AV"]


def test_both_forms_are_the_attention_of_the_paper() -> None:
    """NumPy from each form's lines, against scores and values of explicit keys and values."""
    rng = np.random.default_rng(1)
    workload = load_workload(text(3, 5), mask="none")
    rebuilt, absorbed = alternatives(workload)
    assert (rebuilt.latent, absorbed.latent) == ("rebuilt", "absorbed")
    sizes = workload.rank_sizes
    assert sizes["L"] == 4
    made = {
        "Q": rng.normal(size=(1, 4, 3, 2)),
        "QR": rng.normal(size=(1, 4, 3, 2)),
        "CKV": rng.normal(size=(1, 5, 4)),
        "KR": rng.normal(size=(1, 5, 2)),
        "WK": rng.normal(size=(4, 2, 4)),
        "WV": rng.normal(size=(4, 3, 4)),
    }
    scores = np.empty((4, 3, 5))
    for h, p, m in np.ndindex(4, 3, 5):
        key = made["WK"][h] @ made["CKV"][0, m]
        scores[h, p, m] = made["Q"][0, h, p] @ key + made["QR"][0, h, p] @ made["KR"][0, m]
    shares = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    values = np.einsum("ml,hfl->hmf", made["CKV"][0], made["WV"])
    wanted = np.einsum("hpm,hmf->hpf", shares, values)
    for form in (rebuilt, absorbed):
        assert np.allclose(computed(form, made)[0], wanted), form.latent


@pytest.mark.parametrize("softmax", ["row", "online"])
@pytest.mark.parametrize("mask", ["none", "causal"])
def test_both_forms_compute_what_they_say(softmax: Softmax, mask: str) -> None:
    """The fused attention on real numbers, by random mappings on random chips."""
    whole = load_workload(text(2, 4), softmax=softmax, mask=mask)
    for form in alternatives(whole):
        group = form.subset(tuple(n for n in form.core if n not in ("K", "V", "QC", "OV")))
        for seed in range(4):
            rng = random.Random(seed)
            chip = random_platform(rng)
            done = execute(group, chip, random_mapping(rng, group, chip), seed=seed)
            assert done.right, (form.latent, seed, done.errors)


@pytest.mark.parametrize(("space", "softmax"), [("naive", "row"), ("flat", "any"), ("any", "row")])
@pytest.mark.parametrize(("phase", "keys"), [("decode", 32), ("", 8)])
def test_the_better_form_is_answered_and_named(
    space: str, softmax: str, phase: str, keys: int
) -> None:
    found = {}
    for form in ("", *LATENTS):
        problem = fm.load_problem(text(form=form), seq=keys, phase=phase, softmax=softmax)
        one = fm.search(problem, "edge", space, objective="latency")
        assert isinstance(one, SearchResult)
        assert one.certificate.optimal
        assert execute(one.workload, one.platform, one.mapping).right
        found[form or "left out"] = one
    alone = {form: found[form].result.cycles for form in ("rebuilt", "absorbed")}
    if space == "naive":
        assert min(alone, key=alone.__getitem__) == ("absorbed" if phase else "rebuilt")
    for form in ("any", "left out"):
        best = found[form].workload.latent
        assert found[form].result.cycles == alone[best] == min(alone.values())
        assert f"({best})" in str(found[form])


def test_a_layer_and_a_model_ask_both() -> None:
    step = {"mapspace": "naive", "objective": "latency"}
    for scope, times in (("layer", 1), ("model", 2)):
        problem = fm.load_problem(text(), scope=scope, seq=64, phase="decode")
        found = fm.search(problem, "edge", **step)
        assert isinstance(found, SearchResult)
        assert (found.workload.latent, found.result.repeat) == ("absorbed", times)


def test_the_form_is_in_the_json_and_stays_in_the_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.yaml").write_text(text())
    words = ["--arch", "edge", "--problem", str(tmp_path / "p.yaml"), "--mapspace", "naive"]
    out = tmp_path / "out"
    assert main(["map", *words, "--phase", "decode", "--seq", "64", "--json", "-o", str(out)]) == 0
    assert json.loads(capsys.readouterr().out)["latent"] == "absorbed"
    assert main(["evaluate", str(out / "fused-mapping.yaml")]) == 0
    assert "WV into the output (absorbed)" in capsys.readouterr().out


def test_cores_ask_both_too() -> None:
    problem = fm.load_problem(text(), seq=16, phase="decode")
    found = fm.search(problem, "tpu-v4i-cores", "cores", objective="latency")
    assert isinstance(found, SearchResult)
    assert found.workload.latent == "absorbed"
    assert any({"QKE", "QKR", "QK", "AV"} <= set(g.names) for g in found.mapping.groups)


def test_only_a_rebuilt_latent_is_used_otherwise() -> None:
    with pytest.raises(SpecError, match=r"expected a latent that is rebuilt, .* got 'none'"):
        with_latent(fm.attention(B=1, H=2, P=2, M=2, E=2, F=2), "absorbed")
    with pytest.raises(SpecError, match="form: expected one of rebuilt, absorbed, any"):
        fm.load_problem(text(form="kept"))
