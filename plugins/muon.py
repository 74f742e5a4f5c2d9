"""Muon, for a whole network."""

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim.adamw import adamw

from framework import Interval

# The quintic Newton-Schulz iteration of the Muon post, steep at 0 rather than exact at 1.
_A, _B, _C = 3.4445, -4.7750, 2.0315
_EPS = 1e-7


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) for the weights of linear layers, convolutions and attention, AdamW for the rest.

    The steps are those of the authors' own code (https://github.com/KellerJordan/Muon), and for matrices torch's: a
    convolution's weight is orthogonalised as the matrix (out, in × kernel), and the step grows with √(rows / columns)
    of a tall matrix, for a convolution of its kernel (so that square ones are not scaled). The authors choose by hand
    what AdamW gets, and give it the first convolution and the last layer too; here these are Muon's, as which layers
    are first and last cannot be told of any network. The two kinds are two parameter groups.

    Args:
        params: tensors. Without a model, those of two or four dimensions, more than one row and column are Muon's.
        model: the network that they are of: biases, norms, tokens, embeddings and tables of positions are AdamW's.
        lr: Muon's learning rate; a step moves a weight by about ``lr`` in spectral norm.
        momentum: of the gradients' running mean: how much of it each step keeps.
        nesterov: look ahead along the momentum.
        weight_decay: decoupled, for both groups: a step shrinks by ``lr × weight_decay``.
        ns_steps: Newton-Schulz iterations.
        adamw_lr: AdamW's learning rate.
        betas: AdamW's: how slowly its running means of the gradients and of their squares change.
        eps: AdamW's: added to the denominator.

    Example:
        stages:
          - train: {epochs: 5, optimizer: {name: muon, lr: 0.02, adamw_lr: 0.001}}
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        model: nn.Module | None = None,
        *,
        lr: Annotated[float, Interval(ge=0)] = 0.02,
        momentum: Annotated[float, Interval(ge=0, lt=1)] = 0.95,
        nesterov: bool = True,
        weight_decay: Annotated[float, Interval(ge=0)] = 0.01,
        ns_steps: Annotated[int, Interval(ge=1, lt=100)] = 5,
        adamw_lr: Annotated[float, Interval(ge=0)] = 3e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: Annotated[float, Interval(ge=0)] = 1e-8,
    ) -> None:
        params = list(params)
        layers = None if model is None else {id(p) for p in _layer_weights(model)}
        suits = [p.ndim in (2, 4) and 1 < len(p) < p.numel() and (layers is None or id(p) in layers) for p in params]
        matrices = [p for p, suited in zip(params, suits, strict=True) if suited]
        others = [p for p, suited in zip(params, suits, strict=True) if not suited]
        muon = {"params": matrices, "lr": lr, "momentum": momentum, "nesterov": nesterov, "ns_steps": ns_steps}
        adam = {"params": others, "lr": adamw_lr, "betas": betas, "eps": eps}
        groups: list[dict[str, Any]] = [group for group in (muon, adam) if group["params"]]
        super().__init__(groups or params, {"weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step.

        Args:
            closure: computes the loss and its gradients.

        Returns:
            The closure's loss.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            moved = [(p, p.grad) for p in group["params"] if p.grad is not None]
            if "ns_steps" in group:
                self._muon(moved, group)
            elif moved:
                self._adamw(moved, group)
        return loss

    def _muon(self, moved: list[tuple[Tensor, Tensor]], group: dict[str, Any]) -> None:
        for param, gradient in moved:
            state = self.state[param]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(gradient)
            mean = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
            update = gradient.lerp(mean, group["momentum"]) if group["nesterov"] else mean
            matrix = orthogonalized(update.flatten(1), group["ns_steps"])
            scale = max(1, param.shape[-2] / param.shape[-1]) ** 0.5
            param.mul_(1 - group["lr"] * group["weight_decay"])
            param.add_(matrix.view(param.shape), alpha=-group["lr"] * scale)

    def _adamw(self, moved: list[tuple[Tensor, Tensor]], group: dict[str, Any]) -> None:
        for param, _ in moved:
            if not self.state[param]:
                self.state[param].update(
                    step=torch.tensor(0.0), exp_avg=torch.zeros_like(param), exp_avg_sq=torch.zeros_like(param)
                )
        states = [self.state[param] for param, _ in moved]
        adamw(
            params=[param for param, _ in moved],
            grads=[gradient for _, gradient in moved],
            exp_avgs=[state["exp_avg"] for state in states],
            exp_avg_sqs=[state["exp_avg_sq"] for state in states],
            max_exp_avg_sqs=[],
            state_steps=[state["step"] for state in states],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def _layer_weights(model: nn.Module) -> Iterator[Tensor]:
    """The weights that multiply features; not those that are looked up or added."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.MultiheadAttention):
            yield from module.parameters(recurse=False)
            if parametrize.is_parametrized(module):
                yield from module.parametrizations.parameters()  # type: ignore[union-attr]


def orthogonalized(matrix: Tensor, steps: int) -> Tensor:
    """The matrix with all its singular values brought close to 1.

    Args:
        matrix: (rows, columns); a matrix of zeros stays zero.
        steps: iterations; five bring them to about 0.7-1.2.
    """
    # Precision enough, and the faster one on a GPU; a CPU takes twenty times as long for it as for float32.
    x = matrix.bfloat16() if matrix.is_cuda else matrix.float()
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T  # the smaller Gram matrix is the cheaper one
    x = x / x.norm().clamp(min=_EPS)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
    return (x.T if tall else x).contiguous()
