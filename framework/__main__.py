"""``python -m framework``."""

import os
import sys

# Python puts the working folder first, where a user's own `statistics.py` or `queue.py` would be taken for Python's.
if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()]:
    del sys.path[0]

from framework._cli import main

main()
