"""What every view of the Errors page gets: the run, and one evaluation of it."""

from dataclasses import dataclass

from dashboard.examples import Evaluation
from superft_hf.records import RunRecord


@dataclass(frozen=True)
class View:
    """What is looked at.

    Attributes:
        record: The run.
        evaluation: One of its evaluations.
        is_test_open: Whether its test results have been looked at, so that views may show them beside eval's.
    """

    record: RunRecord
    evaluation: Evaluation
    is_test_open: bool
