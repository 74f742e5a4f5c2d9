import torch
from framework.testing import check_metric

from a_plugin.metric import WorstClass


def test_it_keeps_to_what_a_metric_promises() -> None:
    check_metric(WorstClass, least=2)


def test_its_value_is_the_one_computed_by_hand() -> None:
    metric = WorstClass(num_classes=3)
    metric.update(torch.eye(3)[[0, 0, 1]], torch.tensor([0, 1, 1]))  # of class 1, one of two is right
    metric.update(torch.eye(3)[[0, 0]], torch.tensor([0, 0]))
    assert metric.compute() == 0.5
