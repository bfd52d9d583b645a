"""Several p-values of one table: adjusted by Holm, with their names kept."""

from __future__ import annotations

import math
from collections.abc import Mapping

from biascon.metrics.paired_tests import holm


def adjust_p_values(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return Holm's adjusted p-values of the tests of one table, by name.

    Args:
        p_values: The p-values by name; None or NaN for a test that is undefined.

    Returns:
        The adjusted p-values by the same names; None for undefined tests, which do not count.

    Raises:
        UsageError: A p-value is outside 0..1.

    >>> adjust_p_values({"a": 0.01, "b": 0.04, "c": None})
    {'a': 0.02, 'b': 0.04, 'c': None}
    """
    values = [math.nan if p is None else p for p in p_values.values()]
    adjusted = holm(values).tolist()
    return {name: None if math.isnan(p) else p for name, p in zip(p_values, adjusted, strict=True)}
