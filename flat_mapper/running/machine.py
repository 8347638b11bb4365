"""The machine at hand as an architecture: its caches as the system tells them, its rates measured.

One core is a chip with four levels: DRAM, the largest cache that a core has to itself, its first
cache, and two registers for each of as many lanes as a vector has float32. Rates are those of loops
as programs of mappings have them, compiled alike, in the processor's seconds, the fastest of five
rounds. The clock is the lanes': in a cycle each multiplies and adds once. Half of a cache is a
level's room, as a fuller one forgets what it should keep (`measure`). The last cache, which cores
share, is left out: a rate of DRAM is that of packing past it, every other tile turned, as a
program packs keys and values. `max` and `add` are those of a row, each waiting for the one before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from flat_mapper.base.errors import BackendError, expected
from flat_mapper.running.measure import found_tool, tool_said
from flat_mapper.running.source import FAST, SOURCE

_SYSTEM = Path("/sys/devices/system/cpu/cpu0/cache")
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
_PAST = 4  # times the last cache: bytes that are read to find the rate of DRAM
_RATES = r"""
#include <math.h>
#include <stdio.h>
#include <time.h>
#define TILE 4096
#define LANES (__BIGGEST_ALIGNMENT__ / 4)
static float all[ALL / 4], near[NEAR / 4], tile[TILE], q[32][64], k[64][64], out[32][64];
static volatile float kept;
static double now(void) { return (double)clock() / CLOCKS_PER_SEC; }
static void mac(void) {
    for (int p = 0; p < 32; p++)
        for (int m0 = 0; m0 < 64; m0 += LANES)
            for (int e = 0; e < 64; e++)
                for (int m = m0; m < m0 + LANES; m++) out[p][m] += q[p][e] * k[e][m];
}
static void exp_of(void) { for (int i = 0; i < TILE; i++) tile[i] = expf(tile[i] - 1); }
static void mul_of(void) { for (int i = 0; i < TILE; i++) tile[i] *= 1.0001f; }
static void div_of(void) { float by = kept + 1.01f; for (int i = 0; i < TILE; i++) tile[i] /= by; }
static void max_of(void) {
    for (int i = 0; i < TILE; i++) out[0][0] = out[0][0] > tile[i] ? out[0][0] : tile[i];
}
static void add_of(void) { for (int i = 0; i < TILE; i++) out[0][1] += tile[i]; }
static void packed(float *from, long words, int turned) {
    for (long i = 0; i + TILE <= words; i += TILE) {
        if (turned && i / TILE % 2)
            for (int m = 0; m < 64; m++)
                for (int e = 0; e < 64; e++) tile[e * 64 + m] = from[i + m * 64 + e];
        else
            for (int j = 0; j < TILE; j++) tile[j] = from[i + j];
        kept = tile[i % TILE];
    }
}
static void dram(void) { packed(all, ALL / 4, 1); }
static void cache(void) { packed(near, NEAR / 4, 0); }
static void rate(const char *name, void (*work)(void), double each) {
    double least = INFINITY;
    long times = 1;
    for (int round = 0; round < 5; round++) {
        double spent = 0;
        for (long i = 0; spent < 0.02; i++) {
            if (i) times *= 2;
            double begin = now();
            for (long j = 0; j < times; j++) work();
            spent = now() - begin;
        }
        least = fmin(least, spent / (double)times);
    }
    kept = out[3][5] + tile[7];
    printf("%s %.6g\n", name, each / least);
}
int main(void) {
    for (long i = 0; i < ALL / 4; i++) all[i] = (float)(i % 7);
    for (long i = 0; i < NEAR / 4; i++) near[i] = (float)(i % 7);
    printf("lanes %d\n", LANES);
    rate("mac", mac, 32 * 64 * 64);
    rate("exp", exp_of, TILE);
    rate("mul", mul_of, TILE);
    rate("div", div_of, TILE);
    rate("max", max_of, TILE);
    rate("add", add_of, TILE);
    rate("dram", dram, ALL / 4);
    rate("cache", cache, NEAR / 4);
    return 0;
}
"""
_NODES = """\
architecture:
  version: 0.4
  nodes:
  - !Component
    name: DRAM
    class: DRAM
    attributes: {{width: 512, datawidth: 32, shared_bandwidth: {dram:.4g}}}
  - !Component
    name: {cache}
    class: SRAM
    attributes: {{width: 512, depth: {cache_rows}, datawidth: 32, read_bandwidth: {near:.4g}}}
  - !Component
    name: L1
    class: SRAM
    attributes: {{width: 512, depth: {first_rows}, datawidth: 32, shared_bandwidth: {first:.4g}}}
  - !Container {{name: lane, spatial: {{meshX: {lanes}}}}}
  - !Component
    name: {registers}
    class: regfile
    attributes: {{width: 32, depth: 2, datawidth: 32}}
"""
_UNIT = "  - !Component {{name: {}, class: intmac, attributes: {{multiplier_width: 32}}}}\n"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Facts that were told and measured: bytes of caches by name, and numbers a second by loop."""

    caches: Mapping[str, int]
    own: str  # the largest that one core has to itself
    lanes: int  # float32 of a vector
    rates: Mapping[str, float]

    def files(self, name: str, suffix: str) -> dict[str, str]:
        """The architecture: the matrix path as NAME.yaml, the vector path as NAME.sfu.yaml.

        suffix: of both files.
        """
        rates = self.rates
        cycles = rates["mac"] / self.lanes  # a second
        told = dict(
            dram=rates["dram"] / cycles,
            cache=self.own,
            cache_rows=self.caches[self.own] // 2 // 64,
            near=rates["cache"] / cycles,
            first_rows=self.caches["L1"] // 2 // 64,
            first=2 * rates["mul"] / cycles,
            lanes=self.lanes,
        )
        slow = {n: max(1.0, rates["mac"] / rates[n]) for n in ("exp", "div", "max", "add")}
        each = "".join(f"  {n}_cycles: {cost:.4g}\n" for n, cost in slow.items())
        found = {}
        for end, unit, more in (("", "MAC", ""), (".sfu", "VALU", each)):
            nodes = _NODES.format(**told, registers="LREG" if end else "REG")
            head = "".join(f"# {line}\n" for line in str(self).splitlines())
            variables = f"variables:\n  version: 0.4\n  global_cycle_seconds: {1 / cycles:.6g}\n"
            found[f"{name}{end}{suffix}"] = f"{head}{variables}{more}\n{nodes}{_UNIT.format(unit)}"
        return found

    def __str__(self) -> str:
        caches = ", ".join(f"{n} {size:,} bytes" for n, size in self.caches.items())
        rates = ", ".join(f"{n} {rate:.3g}" for n, rate in self.rates.items())
        return (
            "One core of this machine: caches as the system tells them, rates measured by\n"
            "`flat-mapper check --this-machine`, with loops as `lower --for c` writes them.\n"
            f"caches: {caches}; {self.own} is the largest that a core has to itself\n"
            f"float32 a second: {rates}; {self.lanes} lanes\n"
            "A level's room is half of its cache. Components have no energies.\n"
            "A program's tiles have one copy, packed in turn with computing: take\n"
            "`policy: {buffering: 1}` in the mapspace."
        )


def measured_machine() -> Machine:
    """The machine at hand; it takes some seconds.

    raises: BackendError without a compiler, or where the system does not tell its caches.
    """
    compiler = found_tool("cc", "a C compiler, such as gcc")
    sizes, shared = _caches()
    if "L1" not in sizes:
        condition = f"a system that tells its caches in {_SYSTEM}"
        raise BackendError(expected("check: this machine", condition, "none"))
    own = max((n for n in sizes if n not in shared and n != "L1"), default=max(sizes))
    past = _PAST * max(sizes.values()) // 2**14 * 2**14
    near = sizes[own] // 2 // 2**14 * 2**14
    defined = [f"-DALL={past}L", f"-DNEAR={near}L"]
    with TemporaryDirectory(prefix="flat-mapper-") as folder:
        where = Path(folder)
        (where / SOURCE).write_text(_RATES, encoding="ascii")
        tool_said([compiler, *FAST, *defined, "-o", "run", SOURCE, "-lm"], where)
        said = tool_said(["./run"], where)
    rates = {n: float(r) for n, r in re.findall(r"^(\w+) ([0-9.e+]+)$", said, re.MULTILINE)}
    return Machine(caches=sizes, own=own, lanes=int(rates.pop("lanes")), rates=rates)


def _caches() -> tuple[dict[str, int], set[str]]:
    """Bytes of the caches for data, by name from the first out, and which serve several cores."""
    sizes: dict[str, int] = {}
    shared: set[str] = set()
    words = ("level", "type", "size", "shared_cpu_list", "../../topology/thread_siblings_list")
    for folder in sorted(_SYSTEM.glob("index*")):
        level, kind, told, cores, threads = ((folder / w).read_text().strip() for w in words)
        size = re.fullmatch(r"(\d+)([KMG]?)", told)
        if kind != "Instruction" and size:
            sizes[f"L{level}"] = int(size[1]) * _UNITS[size[2]]
            shared |= {f"L{level}"} if cores != threads else set()
    return sizes, shared
