"""A mean difference with its standard error: interval, t test, and equivalence test with a margin."""

from __future__ import annotations

import math
from dataclasses import dataclass

from biascon.errors import UsageError
from biascon.metrics.intervals import LEVEL


@dataclass(frozen=True)
class MeanDifference:
    """The mean difference of two methods, with an uncertainty that is the sum of two parts.

    The standard error is sqrt(v1 + v2). Its degrees of freedom follow from Satterthwaite (Biometrics Bulletin
    2, 1946)::

        df = (v1 + v2)^2 / (v1^2 / df1 + v2^2 / df2)

    Attributes:
        mean: The mean difference a - b.
        standard_error: The standard error; NaN where it is undefined. It is 0 only if both methods have the
            same values everywhere: the difference is then 0, the p-value is 1 and the equivalence p-value 0.
        df: Its degrees of freedom; NaN where undefined.
    """

    mean: float
    standard_error: float
    df: float

    @classmethod
    def combine(cls, mean: float, *parts: tuple[float, float]) -> MeanDifference:
        """Return the difference whose variance is the sum of the given parts.

        Args:
            mean: The mean difference.
            parts: Pairs of a variance of the mean and its degrees of freedom.
        """
        variance = sum(v for v, _ in parts)
        if not (math.isfinite(variance) and variance > 0):
            return cls(mean, 0.0 if variance == mean == 0 else math.nan, math.nan)
        df = variance**2 / sum(v**2 / df for v, df in parts if v > 0)
        return cls(mean, math.sqrt(variance), df)

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Return mean -+ t_{(1 + level) / 2, df} standard_error; NaN where the error is undefined."""
        from scipy import stats

        if self.standard_error == 0:
            return self.mean, self.mean
        half = float(stats.t.ppf((1 + level) / 2, self.df)) * self.standard_error
        return self.mean - half, self.mean + half

    @property
    def p(self) -> float:
        """The two-sided p-value of the hypothesis that the true difference is 0; NaN where undefined."""
        from scipy import stats

        if not self.standard_error > 0:
            return 1.0 if self.standard_error == 0 else math.nan
        return float(2 * stats.t.sf(abs(self.mean) / self.standard_error, self.df))

    def equivalence_p(self, margin: float) -> float:
        """Return the p-value of the hypothesis that the true difference is at least the margin in size.

        This is the larger one of the two one-sided t tests against -margin and margin (TOST; Schuirmann,
        Journal of Pharmacokinetics and Biopharmaceutics 15, 1987). A small value shows that the difference
        is smaller than the margin. NaN where the error is undefined.

        Args:
            margin: The margin, above 0.

        Raises:
            UsageError: The margin is not above 0.
        """
        from scipy import stats

        if not margin > 0:
            raise UsageError(f"expected a margin above 0, but got {margin}")
        if not self.standard_error > 0:
            return 0.0 if self.standard_error == 0 else math.nan
        below = stats.t.sf((self.mean + margin) / self.standard_error, self.df)
        above = stats.t.sf((margin - self.mean) / self.standard_error, self.df)
        return float(max(below, above))
