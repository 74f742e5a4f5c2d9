"""Files of code that belong to no package: what specs call them, what is in them, and how they are imported.

A spec names what is in a file as ``./mine.py:Net``. Files are read once, together with what they import from beside
them, and are from then on plain data (`Code`): they go to other processes and are kept with runs as such, and are
imported out of it. Nobody's path for modules (`sys.path`) is touched.
"""

from framework._code.code import NO_CODE, Code, read_code
from framework._code.modules import load_file, make_importable, place_in, place_of
from framework._code.names import PATTERN, canonical, file_in, is_file_name, module_in, stored_in

__all__ = [
    "NO_CODE",
    "PATTERN",
    "Code",
    "canonical",
    "file_in",
    "is_file_name",
    "load_file",
    "make_importable",
    "module_in",
    "place_in",
    "place_of",
    "read_code",
    "stored_in",
]
