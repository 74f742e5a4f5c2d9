"""What a-plugin brings to framework: hooks, each with its component in a file of its own."""

from a_plugin.criterion import register_criteria as register_criteria  # if criterion
from a_plugin.dataset import register_datasets as register_datasets  # if dataset
from a_plugin.distribution import register_distributions as register_distributions  # if distribution
from a_plugin.loss import register_losses as register_losses  # if loss
from a_plugin.metric import register_metrics as register_metrics  # if metric
from a_plugin.model import register_models as register_models  # if model
from a_plugin.observer import epoch_ended as epoch_ended  # if observer
from a_plugin.optimizer import register_optimizers as register_optimizers  # if optimizer
from a_plugin.schedule import register_schedules as register_schedules  # if schedule
from a_plugin.sparsifier import register_sparsifiers as register_sparsifiers  # if sparsifier
from a_plugin.stage import register_stages as register_stages  # if stage
from a_plugin.transform import register_transforms as register_transforms  # if transform
