"""What the tests in the laboratory share: whether this machine can have one."""

import pytest

from tests.natlab.namespaces import why_not


@pytest.fixture(scope="session")
def machine() -> None:
    """Skip where there can be no laboratory, with the reason."""
    if (problem := why_not()) is not None:
        pytest.skip(problem)
