import math

import pytest
import torch
from torch import nn

from framework.testing import check_stage, run_stage, tiny_trial
from framework_plugins.stages import Initialize


def test_by_default_the_network_is_another_draw_of_the_model():
    trial, other = tiny_trial(seed=3), tiny_trial(seed=3)
    before = {name: tensor.clone() for name, tensor in trial.model.state_dict().items()}
    run_stage("train", trial, epochs=1)
    trial.seed = other.seed = 8
    run_stage("initialize", trial)
    after = trial.model.state_dict()
    assert all(not torch.equal(before[name], after[name]) for name in ("conv1.weight", "fc.weight", "fc.bias"))
    assert torch.equal(after["norm1.running_mean"], torch.zeros(4))
    run_stage("initialize", other)
    assert all(torch.equal(tensor, after[name]) for name, tensor in other.model.state_dict().items())


@pytest.mark.parametrize(
    ("scheme", "std", "bound"),
    [
        ("kaiming_normal", math.sqrt(2 / 400), None),
        ("kaiming_uniform", math.sqrt(2 / 400), math.sqrt(6 / 400)),
        ("xavier_normal", math.sqrt(2 / (400 + 300)), None),
        ("xavier_uniform", math.sqrt(2 / (400 + 300)), math.sqrt(6 / (400 + 300))),
    ],
)
def test_a_scheme_draws_weights_of_its_deviation_and_zero_biases(scheme, std, bound):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 400), nn.BatchNorm1d(400), nn.Linear(400, 300), nn.Linear(300, 3))
    trial = run_stage("initialize", tiny_trial(model=model), weights=scheme)
    weight = trial.model[3].weight.detach()
    assert weight.std().item() == pytest.approx(std, rel=0.01)
    assert weight.mean().item() == pytest.approx(0, abs=3 * std / 300)
    if bound is not None:
        assert weight.abs().max().item() == pytest.approx(bound, rel=1e-3)
    assert all(not trial.model[i].bias.any() for i in (1, 3, 4))
    assert torch.equal(trial.model[2].weight, torch.ones(400))  # normalisation is no weight


def test_orthogonal_weights_are_orthogonal():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.Linear(20, 3))
    weight = run_stage("initialize", tiny_trial(model=model), weights="orthogonal").model[1].weight
    torch.testing.assert_close(weight @ weight.T, torch.eye(20))


def test_the_biases_of_recurrent_layers_and_attention_are_0_as_well():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.attention = nn.LSTM(8, 6, batch_first=True), nn.MultiheadAttention(6, 2, batch_first=True)
            self.fc = nn.Linear(6, 3)

        def forward(self, x):
            x = self.rnn(x.squeeze(1))[0]
            return self.fc(self.attention(x, x, x)[0].mean(1))

    trial = run_stage("initialize", tiny_trial(model=Mixed()), weights="xavier_normal")
    biases = {name: bool(p.any()) for name, p in trial.model.named_parameters() if "bias" in name}
    assert biases == dict.fromkeys(
        ["rnn.bias_ih_l0", "rnn.bias_hh_l0", "attention.in_proj_bias", "attention.out_proj.bias", "fc.bias"], False
    )


def test_what_is_pruned_stays_0_and_what_is_frozen_as_it_is():
    trial = run_stage("prune", tiny_trial(), amount=0.5)
    run_stage("freeze", trial, layers=["conv1"])
    masks = {name: mask.clone() for name, mask in trial.masks.items()}
    held = trial.model.conv1.weight.detach().clone()
    run_stage("initialize", trial, weights="kaiming_normal")
    assert torch.equal(trial.model.conv1.weight, held)
    for name, weight in trial.weights().items():
        assert torch.equal(trial.masks[name], masks[name])
        assert not weight[~masks[name]].any()
        assert weight[masks[name]].all()


def test_it_keeps_to_what_a_stage_promises():
    check_stage(Initialize)
