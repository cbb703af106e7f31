"""`python -m solon.cli`: the same as `solon`."""

from solon.cli import main

main()
