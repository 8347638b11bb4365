"""A stand-in for `docker`: the call sees the mounted folder under the container's name, no other.

    python docker.py run --rm -v FOLDER:/run -w /run IMAGE TOOL ARGUMENT...

The folder is copied to a place of its own, the tool's stand-in runs in the copy without this
process's environment, and what it wrote is copied back: a name from outside would not be found.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

IMAGE = "timeloopaccelergy/accelergy-timeloop-infrastructure:latest"
STAND_IN = Path(__file__).with_name("stand_in.py")


def main(arguments: list[str]) -> int:
    run, rm, v, volume, w, inside, image, *call = arguments
    mounted, _, target = volume.rpartition(":")
    assert [run, rm, v, w] == ["run", "--rm", "-v", "-w"], arguments
    assert image == IMAGE, image
    assert inside == target == "/run", volume
    assert Path(mounted).is_absolute(), "docker takes a relative name for a volume's"
    with tempfile.TemporaryDirectory() as container:
        place = Path(container) / "run"
        shutil.copytree(mounted, place)
        environment = {"PATH": os.defpath}
        script = [sys.executable, str(STAND_IN), *call]
        done = subprocess.run(script, cwd=place, env=environment, check=False)
        shutil.copytree(place, mounted, dirs_exist_ok=True)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
