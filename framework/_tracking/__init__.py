"""What trials report, kept as MLflow runs. The only importer of mlflow, and only once something is tracked."""

from framework._tracking.database import database_uri
from framework._tracking.loading import LoggedModel, fetch_model, load_model, load_model_state
from framework._tracking.masks import MASKS, decode_masks, encode_masks
from framework._tracking.models import WEIGHTS, save_program
from framework._tracking.params import valid_name
from framework._tracking.reader import Point, Reader, TrialRun
from framework._tracking.run import RunArtifacts
from framework._tracking.server import default_uri, ui_command
from framework._tracking.tags import CODE, SPEC
from framework._tracking.tracker import Tracker

__all__ = [
    "CODE",
    "MASKS",
    "SPEC",
    "WEIGHTS",
    "LoggedModel",
    "Point",
    "Reader",
    "RunArtifacts",
    "Tracker",
    "TrialRun",
    "database_uri",
    "decode_masks",
    "default_uri",
    "encode_masks",
    "fetch_model",
    "load_model",
    "load_model_state",
    "save_program",
    "ui_command",
    "valid_name",
]
