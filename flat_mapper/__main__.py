"""`python -m flat_mapper`."""

import sys

if not sys.flags.safe_path:  # Python put the working folder first: what lies there is not ours
    del sys.path[0]
    root = __file__.rpartition("flat_mapper")[0].rstrip("/\\") or "."
    if root not in sys.path:  # a checkout that is not installed: found last
        sys.path.append(root)

from flat_mapper.cli.main import run

sys.exit(run())
