"""The numbers of an audit as text; ``-`` stands for an undefined value."""

from __future__ import annotations

from collections.abc import Callable

from biascon.metrics.names import METRIC_NAMES
from biascon.metrics.records import Metric, PermutationResult

TOO_FEW = "too few rows"
_ROUNDED = 0.0005  # a limit nearer than this to the end of the range is printed as the end
# Printed with three decimals: scores, not rates in percent.
_SCORES = ("brier", "auc")


def format_value(name: str, value: float | None) -> str:
    """Return a metric's value as text: a rate in percent, a ratio in 0..1, the AUC and the Brier score."""
    if value is None:
        return "-"
    if name in _SCORES:
        return f"{value:.3f}"
    return f"{value:.2f}" if METRIC_NAMES[name].is_ratio else format_percent(value)


def format_percent(value: float | None) -> str:
    """Return a rate or a difference of rates in percent; a difference that rounds to 0 has no sign."""
    if value is None:
        return "-"
    text = f"{100 * value:.1f}"
    return "0.0" if text == "-0.0" else text


def format_interval(name: str, metric: Metric) -> str:
    """Return ``low to high``; ``too few rows`` where the interval is the whole range of the metric."""
    if metric.interval is None or metric.value is None:
        return "-"
    low, high = metric.interval
    if says_nothing(metric):
        return TOO_FEW
    return f"{format_value(name, low)} to {format_value(name, high)}"


def says_nothing(metric: Metric) -> bool:
    """Return whether the interval is printed as the whole range: 0 to 1, or -1 to 1."""
    if metric.interval is None:
        return False
    low, high = metric.interval
    return high > 1 - _ROUNDED and (abs(low) < _ROUNDED or low < -1 + _ROUNDED)


def format_rate(metric: Metric) -> str:
    """Return a rate or a signed difference with its interval in one cell: ``71.1 [65.0, 76.5]``."""
    return _with_interval(metric, format_percent)


def format_ratio(metric: Metric) -> str:
    """Return a ratio with its interval in one cell; ``-`` for a ratio or an upper limit that is infinite."""
    if metric.low is not None and metric.high is None:
        return f"{'-' if metric.value is None else f'{metric.value:.2f}'} [{metric.low:.2f}, -]"
    return _with_interval(metric, lambda x: "-" if x is None else f"{x:.2f}")


def format_score(metric: Metric) -> str:
    """Return an AUC with its interval in one cell."""
    return _with_interval(metric, lambda x: "-" if x is None else f"{x:.3f}")


def _with_interval(metric: Metric, form: Callable[[float | None], str]) -> str:
    text = form(metric.value)
    if metric.value is None or metric.interval is None:
        return text
    if says_nothing(metric):
        return f"{text} [{TOO_FEW}]"
    return f"{text} [{form(metric.low)}, {form(metric.high)}]"


def format_permutation(result: PermutationResult, p: float | None) -> str:
    """Return a p-value of a permutation test, ``< 0.0005`` at the smallest one that it can have.

    Args:
        result: The test.
        p: Its p-value, or its adjusted one.
    """
    if p is None or result.p is None:
        return "-"
    is_floor = result.p <= 1.000001 / (result.replicates + 1)
    # The adjusted value is above the floor of the single test by the same factor.
    return f"< {p:.4f}" if is_floor and p < 1 else f"{p:.4f}"


def format_p(p: float | None) -> str:
    """Return a p-value, ``< 0.0001`` below that."""
    if p is None:
        return "-"
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"
