"""Small inputs, and the command line asked about them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flat_mapper.cli.main import main

BLOCK = """
problem:
  ranks: {B: 1, H: 2, P: 8, M: P, E: 4, F: 4, D: 8, N: 16}
  operators: {softmax: [QK_max, QK_exp, QK_sum, A]}
  roles: {batch: B, heads: H, queries: P, keys: M}
  einsums:
  - Q[b,h,p,e] = X[b,p,d] * WQ[h,e,d]
  - QK[b,h,p,m] = Q[b,h,p,e] * K[b,h,m,e]
  - QK_max[b,h,p] = max(QK[b,h,p,m])
  - QK_exp[b,h,p,m] = exp(QK[b,h,p,m] - QK_max[b,h,p])
  - QK_sum[b,h,p] = sum(QK_exp[b,h,p,m])
  - A[b,h,p,m] = QK_exp[b,h,p,m] / QK_sum[b,h,p]
  - AV[b,h,p,f] = A[b,h,p,m] * V[b,h,m,f]
  - O[b,p,d] = AV[b,h,p,f] * WO[h,f,d]
  - {name: NORM, einsum: "G[b,p,d] = gelu(O[b,p,d])", unit: vector}
  - UP[b,p,n] = G[b,p,d] * W[d,n]
"""


def file(folder: Path, text: str, name: str = "mine.yaml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


def chip(folder: Path, edit: tuple[str, str], name: str = "chip") -> str:
    """The example's chip, changed."""
    examples = Path(__file__).parents[1] / "examples"
    for suffix in (".yaml", ".sfu.yaml"):
        text = (examples / f"my_chip{suffix}").read_text(encoding="utf-8")
        file(folder, text.replace(*edit), f"{name}{suffix}")
    return str(folder / f"{name}.yaml")
