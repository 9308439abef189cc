import itertools

import numpy as np
import pytest
from headrace_statistics.multiplicity import holm, spent_at


def test_holm_is_that_of_the_paper() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == ()
    assert holm([0.9, 0.8]) == (1.0, 1.0)


def test_holm_holds_its_error_where_tests_hang_together() -> None:
    rng = np.random.default_rng(1)
    false = 0
    for _ in range(2000):
        common = rng.normal()
        z = 0.7 * common + np.sqrt(1 - 0.49) * rng.normal(size=20)
        p_values = 2 * (1 - _normal(np.abs(z)))
        false += min(holm(p_values.tolist())) <= 0.05
    assert false / 2000 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)


def _normal(z: np.ndarray) -> np.ndarray:
    from scipy.special import ndtr

    return ndtr(z)


@pytest.mark.parametrize("planned", [1, 7, 168])
def test_all_looks_together_spend_no_more_than_there_is(planned: int) -> None:
    spent = [spent_at(look, error=0.05, planned=planned) for look in range(1, 20_000)]
    assert sum(spent) <= 0.05
    assert sum(spent[:planned]) == pytest.approx(0.025)
    assert all(one > 0 for one in spent)
    assert all(later <= earlier for earlier, later in itertools.pairwise(spent))


def test_looks_are_counted_from_one() -> None:
    with pytest.raises(ValueError, match="from 1"):
        spent_at(0, error=0.05, planned=7)
