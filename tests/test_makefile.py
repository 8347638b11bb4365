"""`make help` says what each target does and how long it takes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_help_tells_what_every_target_takes_in_time() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("  make ")]
    targets = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert {line.split()[1] for line in lines} == {n for words in targets for n in words.split()}
    for line in lines:
        assert re.search(r"\((\d+ s|.*minutes?.*|an hour)\)$", line), line
