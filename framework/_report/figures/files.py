"""Figures as files."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from framework._report.figures.style import styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg")


def as_files(
    figures: "Mapping[str, Figure]", folder: str = "figures", formats: Sequence[str] = FORMATS
) -> dict[str, bytes]:
    """Figures as files, by their path: ``figures/curves.png``; the same figure gives the same bytes.

    Args:
        figures: by name.
        folder: where they lie; empty for nowhere.
        formats: ``png``, ``svg``.
    """
    prefix = f"{folder}/" if folder else ""
    return {f"{prefix}{name}.{form}": _saved(figure, form) for name, figure in figures.items() for form in formats}


def as_svg(figure: "Figure") -> str:
    """A figure as an element that can stand inside HTML; its text is text."""
    return re.sub(r"^.*?(?=<svg)", "", _saved(figure, "svg").decode(), flags=re.DOTALL)


def _saved(figure: "Figure", form: str) -> bytes:
    file = io.BytesIO()
    with styled():
        figure.savefig(file, format=form, metadata={"Date": None} if form == "svg" else {"Software": None})
    return file.getvalue()
