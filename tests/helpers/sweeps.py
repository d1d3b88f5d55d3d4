"""What `pytest` tries of a list of cases, and what is left to `pytest --exhaustive`."""

import pytest

exhaustive = pytest.mark.exhaustive


def sweep(cases, quick):
    """Cases of one argument or several, those for which `quick(*case)` does not hold marked as exhaustive."""
    cases = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [pytest.param(*case, marks=[] if quick(*case) else [exhaustive]) for case in cases]


def first(values, count=1):
    """Values of one argument, all but the first few marked as exhaustive."""
    return [pytest.param(value, marks=[exhaustive] if place >= count else []) for place, value in enumerate(values)]
