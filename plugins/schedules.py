"""Schedules: functions of the time in epochs to the factor on the base learning rate.

``epoch`` is fractional: the first step is made at 0, the last one at ``epochs`` less the time of one step, as torch's
schedulers count. With ``warmup`` the rate first rises linearly from 1 % over so many epochs. What spans the training
(cosine, linear, onecycle) then runs over the rest; what names epochs (step, multistep) counts them from the start.
"""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Literal, TypeAlias

from framework import Interval, hookimpl

Epochs: TypeAlias = Annotated[float, Interval(ge=0)]
Factor: TypeAlias = Annotated[float, Interval(ge=0)]
Divisor: TypeAlias = Annotated[float, Interval(gt=0)]

_WARMUP_START = 0.01
# Three steps of a tenth of an epoch are 0.30000000000000004: what is reached but for rounding is reached.
_ROUNDING = 1e-9


def constant(epoch: float, *, warmup: Epochs = 0) -> float:
    """The base learning rate throughout.

    Args:
        warmup: epochs of linear rise from 1 % of the base rate at the beginning (Goyal et al. 2017, arXiv:1706.02677).

    Example:
        stages:
          - train: {epochs: 10, schedule: {name: constant, warmup: 1}}
    """
    return _ramp(epoch, warmup)


def cosine(epoch: float, epochs: float, *, final: Factor = 0, warmup: Epochs = 0) -> float:
    """Half a cosine from the base learning rate down to ``final`` of it (Loshchilov & Hutter 2016, arXiv:1608.03983).

    Args:
        final: the factor at the end.
        warmup: epochs of linear rise from 1 % of the base rate at the beginning (Goyal et al. 2017, arXiv:1706.02677).

    Example:
        stages:
          - train: {epochs: 10, schedule: {name: cosine, warmup: 1}}
    """
    return _ramp(epoch, warmup) * _cosine(1, final, _progress(epoch, epochs, warmup))


def linear(epoch: float, epochs: float, *, final: Factor = 0, warmup: Epochs = 0) -> float:
    """A straight line from the base learning rate down to ``final`` of it.

    Args:
        final: the factor at the end.
        warmup: epochs of linear rise from 1 % of the base rate at the beginning (Goyal et al. 2017, arXiv:1706.02677).

    Example:
        stages:
          - train: {epochs: 10, schedule: {name: linear, final: 0.01}}
    """
    return _ramp(epoch, warmup) * _line(1, final, _progress(epoch, epochs, warmup))


def step(epoch: float, *, every: Divisor, gamma: Factor = 0.1, warmup: Epochs = 0) -> float:
    """Multiplied by ``gamma`` every so many epochs, as torch's StepLR does.

    Args:
        every: how many epochs; may be a fraction.
        gamma: the factor each time.
        warmup: epochs of linear rise from 1 % of the base rate at the beginning (Goyal et al. 2017, arXiv:1706.02677).

    Example:
        stages:
          - train: {epochs: 10, schedule: {name: step, every: 3, gamma: 0.5}}
    """
    return _ramp(epoch, warmup) * gamma ** math.floor(epoch / every * (1 + _ROUNDING))


def multistep(epoch: float, *, milestones: tuple[Epochs, ...], gamma: Factor = 0.1, warmup: Epochs = 0) -> float:
    """Multiplied by ``gamma`` at each of these epochs, as torch's MultiStepLR does.

    Args:
        milestones: the epochs, counted from the beginning of the stage; may be fractions.
        gamma: the factor each time.
        warmup: epochs of linear rise from 1 % of the base rate at the beginning (Goyal et al. 2017, arXiv:1706.02677).

    Example:
        stages:
          - train: {epochs: 10, schedule: {name: multistep, milestones: [5, 8]}}
    """
    return _ramp(epoch, warmup) * gamma ** sum(epoch >= milestone * (1 - _ROUNDING) for milestone in milestones)


def onecycle(
    epoch: float,
    epochs: float,
    steps: int | None = None,
    *,
    pct_start: Annotated[float, Interval(gt=0, lt=1)] = 0.3,
    div_factor: Divisor = 25.0,
    final_div_factor: Divisor = 1e4,
    anneal: Literal["cos", "linear"] = "cos",
    warmup: Epochs = 0,
) -> float:
    """Up to the base learning rate, the largest, and down again (Smith & Topin 2017, arXiv:1708.07120).

    As torch's OneCycleLR does, whose last step is made at the very end of the cycle; the momentum stays as it is.

    Args:
        pct_start: the fraction of the steps up to and with the largest.
        div_factor: it starts at ``1 / div_factor``.
        final_div_factor: it ends at ``1 / (div_factor × final_div_factor)``.
        anneal: the shape of both parts.
        warmup: epochs of linear rise from 1 % before the cycle.

    Example:
        stages:
          - train: {epochs: 10, schedule: {name: onecycle, pct_start: 0.2}}
    """
    done = _progress(epoch, epochs, warmup)
    # Up to the largest and with it, pct_start of the steps are made, so that it stands one step before that time.
    one_step = epochs / steps / (epochs - warmup) if steps and warmup < epochs else 0.0
    peak = pct_start - one_step
    curve = _cosine if anneal == "cos" else _line
    start = 1 / div_factor
    if done < peak:
        factor = curve(start, 1, done / peak)
    else:
        factor = curve(1, start / final_div_factor, min((done - peak) / (1 - pct_start), 1.0))
    return _ramp(epoch, warmup) * factor


def _ramp(epoch: float, warmup: float) -> float:
    return _line(_WARMUP_START, 1, epoch / warmup) if epoch < warmup else 1.0


def _progress(epoch: float, epochs: float, warmup: float) -> float:
    """How much of the time after the warm-up has gone, in [0, 1]."""
    return min((epoch - warmup) / (epochs - warmup), 1.0) if warmup < min(epoch, epochs) else 0.0


def _line(start: float, end: float, done: float) -> float:
    return start + (end - start) * done


def _cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


@hookimpl
def register_schedules() -> Mapping[str, Callable[..., float]]:
    return {
        "constant": constant,
        "cosine": cosine,
        "linear": linear,
        "multistep": multistep,
        "onecycle": onecycle,
        "step": step,
    }
