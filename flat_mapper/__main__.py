"""`python -m flat_mapper`."""

import sys

from flat_mapper.cli.main import run

sys.exit(run())
