"""What the model computed stands in the same table as what was played."""

import numpy as np

from simulations.metrics import Metrics
from simulations.model.outcomes import unfilled
from simulations.modelled import tabulate


def test_each_outcome_is_a_row_of_plain_numbers() -> None:
    outcomes = unfilled(3)
    outcomes.seconds[:] = (0.25, 0.5, 3.0)
    outcomes.success[:] = (True, True, False)
    outcomes.hops[:] = (1, 2, 3)
    outcomes.requests[:] = (20, 21, 22)
    outcomes.failures[:] = (0, 0, 5)
    metrics = Metrics(7, lambda: 0.0)
    with metrics.during("churn"):
        tabulate(metrics, "get", outcomes)
    rows = list(metrics.tables["operations"].rows())
    assert rows[2] == ("churn", "get", 0.0, 3.0, False, "", 3, 22, 5, -1)
    assert not any(isinstance(cell, np.generic) for row in rows for cell in row)
    assert metrics.figure("get.success") == 2 / 3
    assert metrics.figure("get.max", phase="churn") == 3.0
