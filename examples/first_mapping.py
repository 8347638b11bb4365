"""A first mapping: the best fused one of a tiny attention, beside what does without fusion."""

import flat_mapper as fm

best = fm.search("tiny", "edge", "flat")
print(best)

found = fm.compare("tiny", "edge", ["naive", "flex", "flat"])
print(found)

result = best.result
print(f"{result.cycles:,} cycles, {result.energy_pj:,.0f} pJ, limited by {result.bottleneck}")
for einsum in result.einsums:
    print(f"{einsum.einsum:<7} {einsum.cycles:>6,} cycles on {einsum.unit}")
