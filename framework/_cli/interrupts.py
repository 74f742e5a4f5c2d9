"""Ctrl-C, and a batch system's request to stop."""

import signal
import sys
from threading import Timer, main_thread

_SOON = 0.05  # seconds


def heed_interrupts() -> None:
    """Let SIGTERM be as Ctrl-C, and let neither get lost.

    Python raises KeyboardInterrupt wherever the main thread is. In a destructor, such as while garbage is collected, it
    is printed as ignored, and the program goes on. Here it is raised again soon, until it is heeded.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    before = sys.unraisablehook

    def again(ignored: "sys.UnraisableHookArgs") -> None:
        if issubclass(ignored.exc_type, KeyboardInterrupt):
            timer = Timer(_SOON, signal.pthread_kill, [main_thread().ident, signal.SIGINT])
            timer.daemon = True
            timer.start()
        else:
            before(ignored)

    sys.unraisablehook = again
