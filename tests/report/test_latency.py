from collections.abc import Callable

import pytest
import torch
from torch import nn

from framework._report import latency
from framework._report.latency import latencies


def test_a_network_is_measured_against_itself_with_its_zeros_filled_in(
    make_net: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "_SECONDS", 0.05)
    seen: list[list[float]] = []
    network = make_net().eval()
    with torch.no_grad():
        network.conv2.weight.view(-1)[:48] = 0
        network.bn1.bias.zero_()

    def measured(dense: nn.Module, sparse: nn.Module, **rest: object) -> latency.Latency:
        for copy in (dense, sparse):
            seen.append([float((weight == 0).float().mean()) for weight in (copy.conv2.weight, copy.bn1.bias)])
            others = network.conv2.weight != 0
            assert torch.equal(copy.conv2.weight[others], network.conv2.weight[others])
        return real(dense, sparse, **rest)

    real = latency._measure
    monkeypatch.setattr(latency, "_measure", measured)
    threads = torch.get_num_threads()
    found = list(latencies(network, ["conv1.weight", "conv2.weight", "fc.weight"], (1, 8, 8)))
    assert seen[:2] == [[0.0, 1.0], [0.5, 1.0]]  # only the prunable weights' zeros
    assert {one.batch for one in found} == {1, 128}
    assert {one.threads for one in found} == {1, threads}
    assert all(one.rounds >= 5 and one.dense > 0 and one.sparse > 0 for one in found)
    assert torch.get_num_threads() == threads
    assert float((network.conv2.weight == 0).float().mean()) == 0.5
