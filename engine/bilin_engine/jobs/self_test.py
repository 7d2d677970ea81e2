"""The self-test as a job: its report is text for people to read and send."""

from bilin_engine import selftest
from bilin_engine.jobs.base import JobReporter

NUM_CHECKS = 9  # about: how many there are depends on the devices and on what failed before
RANKS = 2


def self_test(reporter: JobReporter) -> str:
    """All checks on every device. Raises JobStopped between two of them."""
    begun = 0

    def on_check(_name: str) -> None:
        nonlocal begun
        reporter.tell("self_test", min(begun, NUM_CHECKS), NUM_CHECKS)
        begun += 1

    return selftest.report_text(selftest.run((), RANKS, on_check))
