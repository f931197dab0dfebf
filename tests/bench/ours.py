"""This project's way, in a process of its own as a job is.

python ours.py backup URL FOLDER quick|none
python ours.py restore URL FOLDER ARCHIVE
"""

from __future__ import annotations

import sys
from pathlib import Path

from ops.backup import create_backup
from ops.datafolder import DataFolder
from ops.restore import restore_backup
from ops.target import Target


def main(verb: str, url: str, folder: str, choice: str) -> None:
    """Run one verb."""
    target, data = Target.parse("bench", url), DataFolder(Path(folder))
    if verb == "backup":
        create_backup(target, data, read_back=choice == "quick")
    else:
        restore_backup(target, Path(choice), data)


if __name__ == "__main__":
    main(*sys.argv[1:])
