"""Run one trial: restore what the store has of it, then run the stages that are left."""

from framework._trial.data import Images, prepare, task_of
from framework._trial.layout import describe_changes, unkept
from framework._trial.model import build_model, fill_lazy, make_model
from framework._trial.reports import Noted, Recorded, Report, StageEnd, StagesEnded
from framework._trial.run import run_trial
from framework._trial.snapshot import History, masks_in, model_state, network_state, restore_network

__all__ = [
    "History",
    "Images",
    "Noted",
    "Recorded",
    "Report",
    "StageEnd",
    "StagesEnded",
    "build_model",
    "describe_changes",
    "fill_lazy",
    "make_model",
    "masks_in",
    "model_state",
    "network_state",
    "prepare",
    "restore_network",
    "run_trial",
    "task_of",
    "unkept",
]
