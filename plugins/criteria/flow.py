"""Criteria that look at what flows through the network: gradients, or its inputs."""

from typing import Annotated

import torch
from torch import Tensor

from framework import Interval, Mode, Network

Count = Annotated[int, Interval(ge=1)]


def grasp(
    network: Network,
    per_class: Count = 10,
    batch_size: Count = 128,
    temperature: Annotated[float, Interval(gt=0)] = 200.0,
    mode: Mode = "train",
) -> dict[str, Tensor]:
    """GraSP (Wang et al. 2020, arXiv:2002.07376): keep the weights that the flow of gradients needs.

    The score is w · Hg, where g is the gradient of the loss and H its Hessian; with the paper's sign, -w · Hg, the
    largest go. Made for networks that have not been trained yet.

    Args:
        per_class: images of each class that the loss is taken over.
        batch_size: images at a time.
        temperature: what the outputs are divided by.
        mode: of normalisation meanwhile: by the batch (``train``) or by the running statistics.

    Example:
        stages:
          - prune: {amount: 0.9, criterion: grasp}
          - train: {epochs: 10}
    """
    network.model.train(mode == "train")
    weights, batches = list(network.weights.values()), network.batches(size=batch_size, per_class=per_class)

    def gradient(inputs: Tensor, targets: Tensor, graph: bool) -> tuple[Tensor, ...]:
        loss = network.loss(network.model(inputs) / temperature, targets)
        return torch.autograd.grad(loss, weights, create_graph=graph, materialize_grads=True)

    whole = [sum(parts) for parts in zip(*(gradient(*batch, False) for batch in batches), strict=True)]
    flow = [torch.zeros_like(weight) for weight in weights]
    for batch in batches:
        product = sum((g * fixed).sum() for g, fixed in zip(gradient(*batch, True), whole, strict=True))
        products = torch.autograd.grad(product, weights, materialize_grads=True)
        flow = [total + hg for total, hg in zip(flow, products, strict=True)]
    return {name: weight * hg for (name, weight), hg in zip(network.weights.items(), flow, strict=True)}


def synflow(network: Network) -> dict[str, Tensor]:
    """SynFlow (Tanaka et al. 2020, arXiv:2006.05467): how much of what flows through the network goes through a weight.

    The score is |w · ∂R/∂w|, where R is the sum of the outputs for an input of ones, of a network with the absolute
    values of its weights and statistics. No data is needed. Meant for ``rounds: 100``; computed in float64, as scores
    vanish in float32 at high compression. Where all that flows through a weight goes on through one other weight, both
    have the same score, so scores are rounded to 32 bits: else rounding errors, which depend on the machine, would
    decide which of the two goes, and not their position.

    Example:
        stages:
          - prune: {amount: 0.99, criterion: synflow, rounds: 100}
          - train: {epochs: 10}
    """
    model = network.model.double()
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.abs_()
    data = network.trial.data
    dtype = torch.float64 if data.dtype.is_floating_point else data.dtype
    ones = torch.ones(1, *data.shape, dtype=dtype, device=network.trial.device)
    flow = torch.autograd.grad(model(ones).sum(), list(network.weights.values()), materialize_grads=True)
    with torch.no_grad():
        return {
            name: _rounded((weight * g).abs_()) for (name, weight), g in zip(network.weights.items(), flow, strict=True)
        }


def _rounded(scores: Tensor) -> Tensor:
    """Round numbers of float64, which are not negative, in place to 32 bits of their 52."""
    return scores.view(torch.int64).add_(1 << 19).bitwise_and_(-1 << 20).view(torch.float64)
