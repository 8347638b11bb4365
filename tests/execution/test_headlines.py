"""README's two headline mappings, shrunk and executed: the model agrees in everything.

The records in tests/data/headlines are what these commands leave:
flat-mapper map --arch edge --problem bert-base --seq 4096 --mapspace flat [--softmax online] -o ...
"""

from __future__ import annotations

from pathlib import Path

import pytest

from flat_mapper.api.execution import execute

RECORDS = Path(__file__).parents[1] / "data" / "headlines"


@pytest.mark.parametrize("softmax", ["row", "online"])
def test_headline_mapping_does_what_the_model_says(softmax: str) -> None:
    done = execute(RECORDS / f"{softmax}.yaml", "edge", check=True, shrink=True)
    assert done.executed.right
    assert done.differences == ()
