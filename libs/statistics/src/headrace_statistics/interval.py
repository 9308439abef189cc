"""The one shape in which every estimate of this package is handed out."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.special import ndtri, stdtrit


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and what the data leave open around it: `low` to `high`, at `confidence` (.95: nineteen of twenty
    such intervals hold the truth).
    """

    estimate: float
    low: float
    high: float
    confidence: float

    def __post_init__(self) -> None:
        check_confidence(self.confidence)
        if not self.low <= self.high:
            raise ValueError(f"an interval from {self.low} to {self.high} has its ends swapped or missing")

    def contains(self, value: float) -> bool:
        """Whether `value` is still possible; both ends belong to the interval."""
        return self.low <= value <= self.high

    def within(self, margin: float) -> bool:
        """Whether everything that is still possible lies between −`margin` and +`margin`."""
        return -margin <= self.low and self.high <= margin

    def mirrored(self) -> Interval:
        """The same interval of −x: what `A − B` is where this one is of `B − A`."""
        return Interval(-self.estimate, -self.high, -self.low, self.confidence)

    def clipped(self, lowest: float, highest: float) -> Interval:
        """The same interval with its ends inside what the quantity can be at all."""
        return Interval(
            self.estimate,
            min(max(self.low, lowest), highest),
            min(max(self.high, lowest), highest),
            self.confidence,
        )

    @property
    def half_width(self) -> float:
        """Half the distance between the ends; what is printed after a ±."""
        return (self.high - self.low) / 2


def check_confidence(confidence: float) -> None:
    """Refuse what is no confidence: it lies strictly between 0 and 1 (.95, not 95)."""
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence lies between 0 and 1, as .95 does: {confidence}")


def normal_quantile(confidence: float) -> float:
    """How many standard errors a two-sided normal interval reaches to each side: 1.96 at .95."""
    check_confidence(confidence)
    return float(ndtri((1 + confidence) / 2))


def t_quantile(confidence: float, degrees: float) -> float:
    """The same of Student's t with `degrees` (> 0) degrees of freedom: 2.23 at .95 and 10."""
    check_confidence(confidence)
    return float(stdtrit(degrees, (1 + confidence) / 2))
