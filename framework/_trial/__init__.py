"""Run one trial."""

from framework._trial.data import Arrays, place, prepare
from framework._trial.model import build_model, seed_of
from framework._trial.run import Reporter, StageEnd, run_trial
from framework._trial.snapshot import History, fill, masks_in, model_state

__all__ = [
    "Arrays",
    "History",
    "Reporter",
    "StageEnd",
    "build_model",
    "fill",
    "masks_in",
    "model_state",
    "place",
    "prepare",
    "run_trial",
    "seed_of",
]
