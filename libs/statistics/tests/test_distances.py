import numpy as np
import pytest
from headrace_statistics.distances import chance_in_jensen_shannon, jensen_shannon


def test_the_divergence_has_its_ends_and_no_side() -> None:
    p, q = np.array([0.7, 0.3, 0.0]), np.array([0.1, 0.4, 0.5])
    assert jensen_shannon(p, p) == 0
    assert jensen_shannon([1, 0], [0, 1]) == pytest.approx(1)
    assert jensen_shannon(p, q) == pytest.approx(jensen_shannon(q, p))


def test_chance_is_taken_off_rightly() -> None:
    """Of samples of one source, what is left after chance is nothing on average: a tenth of it at most."""
    rng = np.random.default_rng(3)
    shares = 1 / (np.arange(50) + 3)
    shares /= shares.sum()
    seen, chance = [], []
    for _ in range(300):
        p, q = rng.multinomial(2000, shares) / 2000, rng.multinomial(500, shares) / 500
        variances = shares * (1 - shares) * (1 / 2000 + 1 / 500)
        seen.append(jensen_shannon(p, q))
        chance.append(chance_in_jensen_shannon(variances, (p + q) / 2))
    assert np.mean(seen) > 0.01
    assert np.mean(seen) == pytest.approx(np.mean(chance), rel=0.1)
