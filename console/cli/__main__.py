"""`python -m console.cli` is `ops-console`."""

from console.cli import main

main()
