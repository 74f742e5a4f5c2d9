"""A process that draws trials: ``python -m framework._report.figures.worker``.

Each `FigureData` comes in and its files go out, pickled; an error goes out as its text. The process ends when nothing
more can come.
"""

import logging
import os
import pickle
import sys

_NICE = 19  # training goes first: Ray has given its workers 15


def main() -> None:
    """Draw what comes."""
    os.nice(_NICE)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not get among the answers
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # "building the font cache", in the middle of a table
    import matplotlib.backends.backend_agg
    import matplotlib.backends.backend_svg
    import matplotlib.figure  # noqa: F401 - while trials run that shall be drawn

    from framework._report.figures import as_files, trial_figures

    while True:
        try:
            trial = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer: object = as_files(trial_figures(trial))
        except Exception as error:  # the next trial is drawn all the same
            answer = f"{type(error).__name__}: {error}"
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main()
