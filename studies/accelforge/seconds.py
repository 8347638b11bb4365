"""CPU seconds of AccelForge's own searches for its optima, on one machine.

Source: optima.py beside this file with Accelergy-Project/accelforge at 1c1929c2, one process.
"""

from __future__ import annotations

from collections.abc import Mapping

_PREFILL = "BATCH_SIZE=1,DECODE=False,N_NEW_TOKENS=2048"
_SHORT = "BATCH_SIZE=1,DECODE=False,N_NEW_TOKENS=256"
_DECODE = "BATCH_SIZE=1,DECODE=True,N_CACHED_TOKENS=2047,N_NEW_TOKENS=1"
_CHAIN = "KN=64,M=64,N_EINSUMS=2"
# By chip, workload, parameters, and fused or not.
SECONDS: Mapping[tuple[str, str, str, str], float] = {
    ("eyeriss", "gpt3_6.7B", _DECODE, "fused"): 49.4,
    ("eyeriss", "gpt3_6.7B", _DECODE, "unfused"): 16.6,
    ("eyeriss", "matmuls", _CHAIN, "fused"): 9.0,
    ("eyeriss", "matmuls", _CHAIN, "unfused"): 3.4,
    ("simba", "gpt3_6.7B", _PREFILL, "fused"): 74.8,
    ("simba", "gpt3_6.7B", _PREFILL, "unfused"): 18.4,
    ("simba", "three_matmuls_annotated", "", "fused"): 10.0,
    ("simba", "three_matmuls_annotated", "", "unfused"): 4.3,
    ("simple", "gpt3_175B", _PREFILL, "fused"): 20.2,
    ("simple", "gpt3_175B", _PREFILL, "unfused"): 3.7,
    ("simple", "three_matmuls_annotated", "", "unfused"): 1.2,
    ("snowcat", "gpt3_175B", _SHORT, "unfused"): 2.3,
    ("snowcat", "gpt3_6.7B", _SHORT, "unfused"): 2.3,
    ("snowcat", "three_matmuls_annotated", "", "unfused"): 0.9,
    ("snowcat", "qwen3_30B_A3B", _SHORT, "unfused"): 4.6,
    ("snowcat", "mobilenet_28", "", "unfused"): 2.7,
    ("snowcat", "llama4_scout", f"ATTENTION_TYPE=grouped_query,{_SHORT}", "unfused"): 6.3,
    ("tpu_v4i", "gpt3_175B", _DECODE, "fused"): 119.8,
    ("tpu_v4i", "gpt3_175B", _DECODE, "unfused"): 33.8,
    ("tpu_v4i", "three_matmuls_annotated", "", "fused"): 18.5,
    ("tpu_v4i", "three_matmuls_annotated", "", "unfused"): 6.0,
}
