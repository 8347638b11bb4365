"""`python -m flat_mapper`."""

import sys

from flat_mapper.cli import run

sys.exit(run())
