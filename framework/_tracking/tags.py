"""The tags, metrics and files by which our runs are known."""

_TAGS = ("command", "higher_is_better", "key", "plugins", "point", "reason", "stages", "stopped", "threads", "variant")
COMMAND, HIGHER, KEY, PLUGINS, POINT, REASON, STAGES, STOPPED, THREADS, VARIANT = (
    f"framework.{name}" for name in _TAGS
)
STAGE = "stage"  # a metric with every record: the index of the stage that reported it
PARENT = "mlflow.parentRunId"
SPEC = "spec.yaml"
CODE = "code"  # the folder that has files of code and the spec, so that the trial can be run from it
LONGEST_TAG = 5000
