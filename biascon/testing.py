"""Assertions about predictions by groups, for test suites; they need no test framework."""

from __future__ import annotations

import warnings
from typing import Any, Literal

from biascon.auditing import audit
from biascon.auditing.tolerance import Outcome
from biascon.auditing.verdicts import Verdict, describe_verdicts
from biascon.errors import BiasconWarning, UsageError
from biascon.utils.text import visible

__all__ = ["assert_within"]

OnInconclusive = Literal["fail", "warn", "pass"]
_CHOICES = ("fail", "warn", "pass")


def assert_within(
    y_true: Any,
    y_pred: Any,
    *,
    sensitive_features: Any,
    metric: str = "equalized_odds_difference",
    tolerance: float,
    on_inconclusive: OnInconclusive = "fail",
    **audit_options: Any,
) -> list[Verdict]:
    """Check that a metric is within a tolerance, by its 95 % interval.

    A difference or an error is within if the upper limit of its interval is at most the tolerance. An
    accuracy or a ratio is within if the lower limit is at least the tolerance. It exceeds the tolerance if
    the whole interval is on the other side. Otherwise it is inconclusive: there are too few rows. A metric
    without a value or an interval is undefined, and always fails.

    Args:
        y_true: Labels ``(N,)``.
        y_pred: Predicted labels ``(N,)``.
        sensitive_features: The values that group the rows, as for ``biascon.audit``. With several features,
            the metric must be within by each of them alone and by their combinations.
        metric: A name of ``Audit.overall``.
        tolerance: The tolerated value: 0.05 is 5 points, 0.8 of a ratio is four fifths.
        on_inconclusive: What an inconclusive verdict does: ``"fail"`` raises, ``"warn"`` gives a
            ``BiasconWarning``, ``"pass"`` does nothing.
        audit_options: Other arguments of ``biascon.audit``, such as ``scores``, ``drop_missing``, ``seed``.

    Returns:
        The verdicts, one for each feature and one for the combinations of several features.

    Raises:
        AssertionError: The metric exceeds the tolerance, or it is undefined or inconclusive. The message is
            one line.
        UsageError: A metric, a tolerance or a choice is not known, the metric has no interval or needs scores
            or aligned values that are not known, or the arrays do not fit.
        DataError: As for ``biascon.audit``.

    >>> y, group = [0, 1] * 600, ["a"] * 600 + ["b"] * 600
    >>> str(assert_within(y, y, sensitive_features=group, tolerance=0.05)[0].outcome)
    'Outcome.WITHIN'
    """
    __tracebackhide__ = True  # pytest shows the line of the caller
    if on_inconclusive not in _CHOICES:
        choices = ", ".join(_CHOICES)
        raise UsageError(
            f"expected on_inconclusive to be one of {choices}, but got {on_inconclusive!r}"
        )
    result = audit(y_true, y_pred, sensitive_features=sensitive_features, **audit_options)
    verdicts = result.judge({metric: tolerance})
    inconclusive = [v for v in verdicts if v.outcome is Outcome.INCONCLUSIVE]
    failed = [v for v in verdicts if v.outcome in (Outcome.EXCEEDS, Outcome.UNDEFINED)]
    if on_inconclusive == "fail":
        failed += inconclusive
    if failed:
        raise AssertionError(_join(failed))
    if on_inconclusive == "warn" and inconclusive:
        warnings.warn(_join(inconclusive), BiasconWarning, stacklevel=2)
    return verdicts


def _join(verdicts: list[Verdict]) -> str:
    """Return the verdicts as one line, with what the rows could detect."""
    return visible("; ".join(describe_verdicts(verdicts)))
