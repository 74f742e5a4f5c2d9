"""What trials report, kept as MLflow runs. The only importer of mlflow, and only once something is tracked."""

from framework._tracking.models import load_model, load_model_state
from framework._tracking.server import default_uri, ui_command
from framework._tracking.tracker import Finished, Tracker

__all__ = ["Finished", "Tracker", "default_uri", "load_model", "load_model_state", "ui_command"]
