"""``python -m biascon``."""

from biascon.cli import main

main()
