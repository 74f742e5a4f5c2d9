import subprocess
import sys

PROGRAM = """
import signal, time
from framework._cli.interrupts import heed_interrupts

class Collected:
    def __del__(self):
        signal.raise_signal({name})  # where Python cannot raise anything

heed_interrupts()
try:
    Collected()
    time.sleep(20)
    print("lost")
except KeyboardInterrupt:
    print("heeded")
"""


def test_an_interrupt_that_comes_while_an_object_is_destroyed_is_heeded() -> None:
    for name in ("signal.SIGINT", "signal.SIGTERM"):
        # Under nohup, and in the background of a script, processes are born deaf to Ctrl-C.
        program = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n{PROGRAM}"
        command = [sys.executable, "-c", program.format(name=name)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.stdout, done.stderr) == ("heeded\n", "")
