"""Archives as torch.export.save writes them, made without torch: JSON and plain bytes in a zip."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FLOAT, LONG, BOOL = 7, 5, 12


def tensor(*shape: int, dtype: int = FLOAT) -> dict[str, Any]:
    """What an archive says of a tensor."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.insert(0, {"as_int": step})
        step *= size
    return {
        "dtype": dtype,
        "sizes": [{"as_int": size} for size in shape],
        "strides": strides,
        "storage_offset": {"as_int": 0},
        "requires_grad": False,
        "device": {"type": "cpu", "index": None},
        "layout": 7,
    }


def t(name: str) -> dict[str, Any]:
    """A tensor as an argument."""
    return {"as_tensor": {"name": name}}


def call(target: str, out: str, *arguments: dict[str, Any], **named: Any) -> dict[str, Any]:
    """A node."""
    inputs = [{"name": f"a{i}", "arg": arg, "kind": 1} for i, arg in enumerate(arguments)]
    inputs += [{"name": key, "arg": arg, "kind": 2} for key, arg in named.items()]
    return {
        "target": f"torch.ops.aten.{target}",
        "inputs": inputs,
        "outputs": [t(out)],
        "name": out,
    }


def attention(masked: bool = True) -> dict[str, Any]:
    """The graph of one attention whose mask is made by the graph itself."""
    nodes = [
        call("transpose.int", "kt", t("k"), {"as_int": -1}, {"as_int": -2}),
        call("matmul.default", "scores", t("q"), t("kt")),
        call("softmax.int", "shares", t("scores"), {"as_int": -1}),
        call("matmul.default", "out", t("shares"), t("v")),
        call("linear.default", "y", t("out"), t("w")),
    ]
    if masked:
        nodes[2]["inputs"][0]["arg"] = t("hidden")
        nodes[2:2] = [
            call("full.default", "inf", {"as_ints": [4, 4]}, {"as_float": "-Infinity"}),
            call("triu.default", "above", t("inf"), {"as_int": 1}),
            call("add.Tensor", "hidden", t("scores"), t("above")),
        ]
    wide = tensor(1, 2, 4, 8)
    square = tensor(1, 2, 4, 4)
    kinds = {
        **dict.fromkeys(("q", "k", "v", "out", "y"), wide),
        "kt": tensor(1, 2, 8, 4),
        **dict.fromkeys(("scores", "hidden", "shares"), square),
        **dict.fromkeys(("inf", "above"), tensor(4, 4)),
        "w": tensor(8, 8),
    }
    given = [{"user_input": {"arg": t(name)}} for name in "qkv"]
    weight = {"parameter": {"arg": {"name": "w"}, "parameter_name": "out.weight"}}
    return {
        "graph_module": {
            "graph": {
                "inputs": [t(name) for name in ("w", "q", "k", "v")],
                "outputs": [t("y")],
                "nodes": nodes,
                "tensor_values": kinds,
                "sym_int_values": {},
            },
            "signature": {"input_specs": [weight, *given], "output_specs": []},
        },
        "schema_version": {"major": 8, "minor": 8},
    }


def saved(path: Path, model: object, files: Mapping[str, bytes] | None = None) -> Path:
    """An archive with that graph."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/models/model.json", json.dumps(model))
        for name, data in (files or {}).items():
            archive.writestr(f"m/{name}", data)
    return path
