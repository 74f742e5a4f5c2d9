"""``python -m framework``."""

from framework._cli import main

main()
