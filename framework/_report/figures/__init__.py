"""Figures of trials and of sweeps. What draws trials imports neither torch nor MLflow."""

from framework._report.figures.against import plot_against
from framework._report.figures.data import CONFUSION, WEIGHTS, FigureData, figure_data
from framework._report.figures.densities import plot_densities
from framework._report.figures.dots import plot_variants
from framework._report.figures.files import FORMATS, as_files, as_svg
from framework._report.figures.history import plot_history
from framework._report.figures.sweep import all_sweep_figures, sweep_figures
from framework._report.figures.trial import NAMES, trial_figures

__all__ = [
    "CONFUSION",
    "FORMATS",
    "NAMES",
    "WEIGHTS",
    "FigureData",
    "all_sweep_figures",
    "as_files",
    "as_svg",
    "figure_data",
    "plot_against",
    "plot_densities",
    "plot_history",
    "plot_variants",
    "sweep_figures",
    "trial_figures",
]
