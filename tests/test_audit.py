"""Over all readers of foreign files: no process, no pickle, no socket, no write but as asked."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import exported
from sweep_files import counted, written

ROOT = Path(__file__).parents[1]

# What Python reports before it happens; the renderer of templates is the one process there may be.
HOOK = """
import os, sys
seen = []

def hook(event, args):
    if event in ("os.system", "os.exec", "os.fork", "pickle.find_class", "socket.bind",
                 "socket.connect"):
        seen.append(f"{event} {args!r}"[:200])
    if event in ("subprocess.Popen", "os.posix_spawn") and args[1][1:] != [
            "-P", "-m", "flat_mapper.spec.rendering"]:
        if args[1][0] != "fc-list":  # matplotlib's list of fonts
            seen.append(f"{event} {args[1]!r}"[:200])
    if event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR):
        path = os.path.abspath(os.fsdecode(args[0])) if not isinstance(args[0], int) else ""
        if path and path != os.devnull and "__pycache__" not in path and not path.startswith(OUT):
            seen.append(f"writes {path}")

OUT = sys.argv[1]
from flat_mapper.cli.main import main
sys.addaudithook(hook)
codes = []
for line in sys.stdin:
    words = line.split()
    try:
        codes.append(main(words))
    except BaseException as error:
        codes.append(repr(error))
print("#", codes, seen, file=sys.stderr)
"""


class Evil:
    """What would start a process when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("true",)


def test_a_file_of_others_executes_nothing(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    counted(written(folder), folder / "r.db")
    text = (folder / "nano.yaml").read_text()
    template = text.replace("depth: 256", "depth: {{ ''.__class__.__mro__ }}")
    (folder / "template.yaml").write_text(template)
    (folder / "good.yaml").write_text(text.replace("depth: 256", "depth: {{ 2 * 128 }}"))
    for name in ("template", "good"):
        (folder / f"{name}.sfu.yaml").write_text((folder / "nano.sfu.yaml").read_text())
    (folder / "tagged.yaml").write_text("!!python/object/apply:os.system ['true']\n")
    (folder / "evil.json").write_text(json.dumps({"arch": "!!python/name:os.system"}))
    config = {
        "model_type": "llama",
        "hidden_size": 64,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "intermediate_size": 96,
        "vocab_size": 64,
        "max_position_embeddings": 16,
        "auto_map": {"AutoModel": "evil.Model"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    evil = pickle.dumps(Evil())
    exported.saved(folder / "m.pt2", exported.attention(), {"data/sample_inputs/model.pt": evil})
    (folder / "evil.onnx").write_bytes(evil)
    (folder / "evil.db").write_bytes(evil)
    with zipfile.ZipFile(folder / "zip.onnx", "w") as archive:
        archive.writestr("x", evil)
    problem = f"--problem {folder}/attend.yaml --ert {folder}/ert.yaml --mapspace flat-h"
    commands = [
        f"import {folder}/m.pt2 -o {out}/m.yaml",
        f"import {folder}/config.json -o {out}/c.yaml",
        f"import {folder}/evil.onnx",
        f"import {folder}/zip.onnx",
        f"map --arch {folder}/template.yaml {problem}",
        f"map --arch {folder}/good.yaml {problem} -o {out}/answer",
        f"map --arch {folder}/tagged.yaml {problem}",
        f"evaluate {out}/answer --ert {folder}/ert.yaml",
        f"evaluate {folder}/tagged.yaml",
        f"report {folder}/evil.json -o {out}/x.html",
        f"report {folder}/evil.db -o {out}/x.html",
        f"report {out}/answer -o {out}/y.html",
        f"sweep {folder}/r.db -o {out}/r.csv",
        f"sweep {folder}/evil.db",
    ]
    done = subprocess.run(
        [sys.executable, "-B", "-c", HOOK, str(out)],
        input="\n".join(commands),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(out)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    told = done.stderr.splitlines()[-1]
    codes, _, seen = told.removeprefix("# ").partition("] ")
    assert seen == "[]", told
    assert "'" not in codes, told  # an exception
    found = [int(code) for code in codes.strip("[").split(", ")]
    assert found == [0, 0, 2, 2, 2, 0, 2, 0, 2, 2, 2, 0, 0, 2], told
