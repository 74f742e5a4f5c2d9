"""The tags and metrics by which our runs are known."""

_TAGS = ("command", "key", "plugins", "point", "reason", "stages", "stopped", "variant")
COMMAND, KEY, PLUGINS, POINT, REASON, STAGES, STOPPED, VARIANT = (f"framework.{name}" for name in _TAGS)
STAGE = "stage"  # a metric with every record: the index of the stage that reported it
PARENT = "mlflow.parentRunId"
LONGEST_TAG = 5000
