"""Runs trials in parallel with Ray Tune, on this machine or on a cluster. The only package that imports ray."""

import os

# Read when ray is imported: records go to our own tracking alone, and Ctrl-C is ours to handle.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")
os.environ.setdefault("TUNE_WARN_THRESHOLD_S", "10")
# With one, Tune's default here, a slot that falls free beside another waits for the next round.
os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", "4")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "A worker died or was killed")  # we say so, and of which trial

from framework._executors.ray_tune.cluster import connect
from framework._executors.ray_tune.space import expand
from framework._executors.ray_tune.suggest import Optuna
from framework._executors.ray_tune.trials import run

__all__ = ["Optuna", "connect", "expand", "run"]
