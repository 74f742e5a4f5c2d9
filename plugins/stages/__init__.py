"""The built-in stages."""

from collections.abc import Mapping

from framework import Stage, hookimpl
from framework_plugins.stages.distill import Distill
from framework_plugins.stages.freeze import Freeze, Unfreeze
from framework_plugins.stages.initialize import Initialize
from framework_plugins.stages.prune import Prune
from framework_plugins.stages.rewind import Rewind
from framework_plugins.stages.shuffle import ShuffleMasks
from framework_plugins.stages.test import Test
from framework_plugins.stages.train import Train
from framework_plugins.stages.unprune import Unprune


@hookimpl
def register_stages() -> Mapping[str, type[Stage]]:
    return {
        "initialize": Initialize,
        "train": Train,
        "distill": Distill,
        "freeze": Freeze,
        "unfreeze": Unfreeze,
        "prune": Prune,
        "unprune": Unprune,
        "rewind": Rewind,
        "shuffle_masks": ShuffleMasks,
        "test": Test,
    }
