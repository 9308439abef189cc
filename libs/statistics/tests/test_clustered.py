"""How often tests over groups are wrong, and that a careless one is caught by the same measure."""

from collections.abc import Callable

import numpy as np
import pytest
from headrace_statistics.clustered import Spread, Sums, p_of_many, p_of_means, p_of_ranks, p_of_shares
from headrace_statistics.errors import TooFew
from scipy import stats

GROUPS = 32
Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]


def conversations(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each conversation's group and length, and the group of each of its queries."""
    groups, lengths = rng.integers(GROUPS, size=count), rng.geometric(0.4, size=count)
    return groups, lengths, np.repeat(np.arange(count), lengths)


def sums(groups: np.ndarray, values: np.ndarray) -> Sums:
    """By group, of the values of single queries."""
    total = np.zeros((GROUPS, *values.shape[1:]))
    np.add.at(total, groups, values)
    return Sums(total, np.bincount(groups, minlength=GROUPS).astype(float))


def shares(rng: np.random.Generator, count: int, *, share: float = 0.3) -> Sums:
    """Of queries, of which a conversation's do much alike."""
    groups, _, of = conversations(rng, count)
    luck = rng.beta(2 * share, 2 * (1 - share), size=count)
    return sums(groups[of], (rng.random(of.size) < luck[of]).astype(float))


def histograms(rng: np.random.Generator, count: int) -> Sums:
    """Of lengths, of which a conversation's are much alike."""
    groups, _, of = conversations(rng, count)
    lengths = np.clip(rng.normal(20, 4, size=count)[of] + rng.normal(0, 2, size=of.size), 0, 39).astype(int)
    return sums(groups[of], np.eye(40)[lengths])


def many(rng: np.random.Generator, count: int, *, dimensions: int = 300) -> Sums:
    """Of words, a few of which a conversation says again and again; some are said by one sort of people alone."""
    groups, _, of = conversations(rng, count)
    weights = 1 / (np.arange(dimensions) + 5)
    sort = np.where(np.arange(dimensions) % 2, 1.0, 0.2), np.where(np.arange(dimensions) % 2, 0.2, 1.0)
    which = rng.integers(2, size=count)
    p = weights * np.stack(sort)[which]
    return sums(groups[of], rng.multinomial(10, (p / p.sum(axis=1, keepdims=True))[of]).astype(float))


def false_alarms(test: Callable[[np.random.Generator], float], level: float, times: int) -> float:
    rng = np.random.default_rng(11)
    return float(np.mean([test(rng) <= level for _ in range(times)]))


def most(level: float, times: int) -> float:
    """What a test at the level stays below, but once in a thousand seeds; a quarter more is granted to formulas."""
    return float(stats.binom.ppf(0.999, times, 1.25 * level)) / times


def test_shares_of_conversations_are_as_rarely_wrong_as_said() -> None:
    assert false_alarms(lambda rng: p_of_shares(shares(rng, 400), shares(rng, 100)), 0.05, 1000) <= most(0.05, 1000)


def test_rare_shares_are_too() -> None:
    def p(rng: np.random.Generator) -> float:
        return p_of_shares(shares(rng, 400, share=0.02), shares(rng, 60, share=0.02))

    assert false_alarms(p, 0.01, 1000) <= most(0.01, 1000)


def test_forgetting_conversations_is_caught() -> None:
    def careless(rng: np.random.Generator) -> float:
        a, b = shares(rng, 400), shares(rng, 100)
        return float(
            stats.fisher_exact([[a.values.sum(), b.values.sum()], [a.n - a.values.sum(), b.n - b.values.sum()]])[1]
        )

    assert false_alarms(careless, 0.05, 400) > most(0.05, 400)


def test_ranks_of_conversations_are_as_rarely_wrong_as_said() -> None:
    assert false_alarms(lambda rng: p_of_ranks(histograms(rng, 400), histograms(rng, 100)), 0.05, 1000) <= most(
        0.05, 1000
    )


def of_many(rng: np.random.Generator) -> float:
    a, b = many(rng, 200), many(rng, 80)
    pooled = a.values.sum(axis=0) + b.values.sum(axis=0) + 1
    return p_of_many(Spread.of(a), Spread.of(b), weights=pooled.sum() / pooled).p_value


def test_many_numbers_at_once_are_as_rarely_wrong_as_said() -> None:
    rng = np.random.default_rng(11)
    p_values = np.array([of_many(rng) for _ in range(300)])
    assert np.mean(p_values <= 0.05) <= most(0.05, 300)
    assert np.mean(p_values <= 0.01) <= most(0.01, 300)


def test_many_numbers_without_conversations_are_caught() -> None:
    def careless(rng: np.random.Generator) -> float:
        table = np.stack([many(rng, 200).values.sum(axis=0), many(rng, 80).values.sum(axis=0)])
        return float(stats.chi2_contingency(table[:, table.sum(axis=0) > 0])[1])

    assert false_alarms(careless, 0.05, 100) > most(0.05, 100)


def test_of_one_number_it_is_welchs_t() -> None:
    """Groups of one size, one dimension: the square of Welch's t on F."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=30), rng.normal(0.4, 2, size=30)
    a, b = Sums(x[:, None], np.ones(30)), Sums(y[:, None], np.ones(30))
    apart = p_of_many(Spread.of(a), Spread.of(b), weights=np.ones(1))
    expected = stats.ttest_ind(x, y, equal_var=False).pvalue
    assert apart.p_value == pytest.approx(expected, rel=0.15)
    assert p_of_means(a, b) == pytest.approx(expected, rel=0.15)
    assert apart.unbiased == pytest.approx((x.mean() - y.mean()) ** 2 - x.var(ddof=1) / 30 - y.var(ddof=1) / 30)


def test_what_differs_is_found() -> None:
    rng = np.random.default_rng(5)
    assert p_of_shares(shares(rng, 400, share=0.3), shares(rng, 100, share=0.7)) < 1e-6
    shifted = histograms(rng, 100)
    shifted = Sums(np.roll(shifted.values, 4, axis=1), shifted.sizes)
    assert p_of_ranks(histograms(rng, 400), shifted) < 1e-6


def test_nothing_differs_from_itself() -> None:
    a = shares(np.random.default_rng(5), 400)
    assert p_of_shares(a, a) == 1
    none = Sums(np.zeros(GROUPS), np.ones(GROUPS))
    assert p_of_shares(none, none) == 1


def test_one_conversation_says_nothing_of_chance() -> None:
    sizes = np.zeros(GROUPS)
    sizes[3] = 50
    alone = Sums(sizes / 2, sizes)
    with pytest.raises(TooFew, match="groups"):
        p_of_shares(alone, shares(np.random.default_rng(1), 100))
