"""The rule by which costs of kernels are fitted, chosen without the rows that are set aside.

Both rules of `fit.py` (every row counts once; every kind of rows alike) are cross-validated within
the rows that are not set aside: five folds of whole shapes, by other digits of the same SHA-256 as
the split; each fold's rows by the costs that a rule fits to the other four.

Criterion, fixed before the first run: of each chip, kernel and phase the median and the 90th
percentile of the held-out errors of all its rows together (but decodes of fewer than 128 keys,
which are in no fit), in percent, added; the rule is chosen whose mean of these sums over kernels
and phases is less. It is the measure of the error bands that answers carry. Errors by kind of rows
are printed beside it, and so are those of the reference formula (`reference.py`), whose
scale and free number are fitted to the same folds; they choose nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from studies.silicon.fit import FOLDS, Floats, Rule, fold_of, held_out, timed
from studies.silicon.gpu import TINY, is_meant
from studies.silicon.reference import Formula, choices, fitted_scale, formula, name_of, scaled_to
from studies.silicon.rows import Case

RULES: tuple[Rule, ...] = get_args(Rule)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Held-out errors of a kernel's rows, by rule and by the formula."""

    chip: str
    kernel: str
    kinds: Sequence[str]
    errors: dict[str, Floats]

    def lines(self) -> Iterator[tuple[str, ...]]:
        """A line for all rows, and one for each kind if there are more."""
        kinds = np.array(self.kinds)
        names = list(dict.fromkeys(self.kinds))
        for name in (["all"] if len(names) > 1 else []) + names:
            own = np.ones(len(kinds), np.bool_) if name == "all" else kinds == name
            said = (" / ".join(f"{n:.1f}" for n in measures(e[own])) for e in self.errors.values())
            yield self.chip, self.kernel, name, str(own.sum()), *said


def measures(errors: Floats) -> tuple[float, float]:
    """Median and 90th percentile, in percent."""
    return 100 * float(np.median(errors)), 100 * float(np.quantile(errors, 0.9))


def held(own: Sequence[Case]) -> Held:
    """The held-out errors of a kernel; no row may be set aside."""
    rows = timed(own)
    several = len(set(rows.kinds.tolist())) > 1
    found = {"rows": held_out(rows, "rows")}
    found["kinds"] = held_out(rows, "kinds") if several else found["rows"]
    said = formula_errors(own, formula)
    kernel, kinds = own[0].kernel, [case.kind for case in own]
    return Held(chip=name_of(own[0]), kernel=kernel, kinds=kinds, errors={**found, "formula": said})


def formula_errors(own: Sequence[Case], what: Formula) -> Floats:
    """Errors of a formula, each by its numbers of the other folds."""
    folds = np.array([fold_of(case) for case in own])
    scaled = np.array([scaled_to(case) for case in own])
    ratios = {n: np.array([what(c, n) / c.measured_s for c in own]) for n in choices(own[0])}
    found = np.zeros(len(own))
    for fold in range(FOLDS):
        fits = {n: fitted_scale(ratio[scaled & (folds != fold)]) for n, ratio in ratios.items()}
        best = min(fits, key=lambda n: fits[n][0])
        out = folds == fold
        found[out] = np.abs(ratios[best][out] * fits[best][1] - 1)
    return found


def held_of(found: Sequence[Case]) -> Iterator[Held]:
    """The held-out errors of a file's kernels, by its rows that are not set aside."""
    fit = [case for case in found if not case.aside and case.kind != TINY]
    for kernel in dict.fromkeys(case.kernel for case in fit if is_meant(case.columns)):
        yield held([case for case in fit if case.kernel == kernel])


def means(found: Sequence[Held]) -> dict[Rule, float]:
    """The criterion: the least is chosen."""
    return {r: float(np.mean([sum(measures(h.errors[r])) for h in found])) for r in RULES}
