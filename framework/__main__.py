"""Run the command line as ``python -m framework``."""

import os
import sys

# Python searches the working folder first: a user's own `statistics.py` there would be imported in place of Python's.
if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()]:
    del sys.path[0]

from framework._cli import command

command()
