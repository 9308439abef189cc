"""Many tests at once, and many looks at each: how an error is shared out among them."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """p-values corrected so that the chance of any false one below α is at most α, however they hang together.

    Source: S. Holm, Scandinavian Journal of Statistics 6 (1979) 65-70.
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected, so_far = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        so_far = max(so_far, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = so_far
    return tuple(corrected)


def spent_at(look: int, *, error: float, planned: int) -> float:
    """What look number `look` (from 1) may spend of a whole `error`, so that all looks together spend no more.

    The m planned looks share half of it equally; of the other half, look k > m takes m / k(k - 1), which sums to 1 and
    goes on from where the planned ones end: nobody is ever without anything to spend. It is Bonferroni's inequality, so
    it holds however looks hang together, sliding windows included. Of windows that slide by hours over a week it
    gives little away: the largest of 168 such is nearly as large as that of independent ones.
    Source of sharing by a function fixed beforehand: K. K. G. Lan, D. L. DeMets, Biometrika 70 (1983) 659-663.
    """
    if look < 1 or planned < 1:
        raise ValueError(f"looks are counted from 1: {look} of {planned}")
    if look <= planned:
        return error / 2 / planned
    return error / 2 * planned / (look * (look - 1))
