"""`python -m redistill`."""

from redistill.cli import main

main()
