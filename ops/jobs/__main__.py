"""`python -m ops.jobs JOB_ID`: the process of one job."""

from __future__ import annotations

import logging
import os
import signal
import sys
from types import FrameType

from ops.errors import Cancelled, OpsError
from ops.installation import Installation
from ops.jobs import execute, stop_asked


def main(job_id: str) -> int:
    """Exit status 0 when the work is done, 1 when it failed or was cancelled."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    os.umask(0o077)  # what a job writes is for the console's user only
    home = Installation.open()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stop_asked.set()

    signal.signal(signal.SIGTERM, stop)
    try:
        execute(home, job_id)
    except (OpsError, Cancelled):
        return 1  # the row tells the rest
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
