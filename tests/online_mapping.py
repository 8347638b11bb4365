"""A mapping of the online softmax's cascade on the small platform, and what it costs."""

from __future__ import annotations

from prices import PRICES
from small_platform import loops, nest, platform, workload

from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import EinsumStats, Result
from flat_mapper.mapping.values import FusedMapping, GroupMapping
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.softmax import with_softmax

ONLINE = with_softmax(workload(), "online")


def mapping(shared: str = "H12 P8 M4", *, corrected: bool = True) -> FusedMapping:
    """The mapping of small_platform.fused with keys cut in four, 64 x 128 pairs a tile."""
    outer, keys = shared, 4 if "M4" in shared else 1
    each, done = {"DRAM": shared}, {"DRAM": shared.replace(" M4", "").replace("M4 ", "")}
    point = {"DRAM": outer, "GLB": f"P64 M{8 // keys}", "lane_x": "M64"}
    reduced = {"DRAM": outer, "GLB": f"M{512 // keys}", "lane_x": "P64"}
    fixes = (
        nest("QK_cor", {"DRAM": [], "GLB": ["QK_max", "QK_cor"]}, **each, lane_x="P64"),
        nest("QK_sum_cor", {"DRAM": [], "GLB": ["QK_cor", "QK_sum"]}, **each, lane_x="P64"),
        nest("AV_cor", {"DRAM": [], "GLB": ["QK_cor", "AV"]}, **each, GLB="P64", lane_x="F64"),
    )
    nests = [
        nest(
            "QK",
            {"DRAM": ["Q", "K"], "GLB": ["Q", "K", "QK"], "RF": ["QK"]},
            **{"DRAM": outer, "GLB": f"M{16 // keys} P2", "PE_y": "P32", "PE_x": "M32"},
            RF="E64",
        ),
        nest("QK_max", {"DRAM": [], "GLB": ["QK", "QK_max"], "VRF": ["QK_max"]}, **reduced),
        fixes[0],
        nest("QK_exp", {"GLB": ["QK", "QK_max", "QK_exp"], "VRF": ["QK_max"]}, **point),
        fixes[1],
        nest("QK_sum", {"GLB": ["QK_exp", "QK_sum"], "VRF": ["QK_sum"]}, **reduced),
        fixes[2],
        nest(
            "AV",
            {"DRAM": ["V"], "GLB": ["QK_exp", "V", "AV"], "RF": ["QK_exp", "V", "AV"]},
            **{"DRAM": outer, "GLB": f"P2 F2 M{128 // keys}", "PE_y": "P32", "PE_x": "F32"},
            RF="M4",
        ),
        nest(
            "AV_div", {"DRAM": ["AV_div"], "GLB": ["AV", "QK_sum"]}, **done, GLB="P64", lane_x="F64"
        ),
    ]
    group = GroupMapping(
        einsums=tuple(n for n in nests if corrected or n not in fixes),
        shared=loops(shared),
        staged=("Q", "K", "V"),
        schedule="interleaved",
    )
    return FusedMapping(groups=(group,))


def cost(fused_mapping: FusedMapping, cascade: Workload = ONLINE) -> Result:
    result = evaluate(cascade, platform(), fused_mapping, PRICES)
    assert isinstance(result, Result), str(result)
    return result


def by_name(result: Result) -> dict[str, EinsumStats]:
    return {e.einsum: e for e in result.einsums}
