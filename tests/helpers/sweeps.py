"""What `pytest` tries of a list of cases, and what is left to `pytest --exhaustive`."""

import pytest

exhaustive = pytest.mark.exhaustive


def sweep(cases, quick):
    """The cases of a parametrized test, those for which `quick(*case)` does not hold marked as exhaustive."""
    swept = []
    for case in cases:
        values = case if isinstance(case, tuple) else (case,)
        swept.append(pytest.param(*values, marks=[] if quick(*values) else [exhaustive]))
    return swept


def first(cases, count=1):
    """The cases, all but the first few marked as exhaustive."""
    quick = list(cases)[:count]
    return sweep(cases, lambda *case: (case if len(case) > 1 else case[0]) in quick)
