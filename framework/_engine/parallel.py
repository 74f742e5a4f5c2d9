"""Compute the gradients of a batch on several processes, each of which has some of its rows."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from framework import _ranks as ranks
from framework._engine.sync_batchnorm import synchronised
from framework._errors import StageError
from framework._random import derived_seed, random_state_kept


class DataParallel:
    """Gradients and loss of batches, of which each process computes its rows with `DistributedDataParallel`.

    Every process is given the whole batch, takes its share of it, and ends with the gradients, the loss and the outputs
    of the whole one. What a forward pass draws at random differs from process to process; torch's global generators go
    on alike on all of them. Buffers, such as the statistics of batch normalisation, become those of rank 0.

    Args:
        objective: what is minimised, see `framework.Objective`.
        forward: the network, compiled or not.
        model: the network.
        loss: what has buffers that training changes; anything.
        trained: parameters that the optimizer has, of which some may be none of the network's.
        synchronise: compute batch normalisation by the statistics of the whole batch.
    """

    def __init__(
        self,
        objective: Callable[..., tuple[Tensor, Tensor]],
        forward: Callable[[Any], Tensor],
        model: nn.Module,
        loss: object,
        trained: Iterable[nn.Parameter],
        synchronise: bool,
    ) -> None:
        self._model, self._synchronise = model, synchronise
        modules = [model, *(part for part in (loss, objective) if isinstance(part, nn.Module))]
        self._buffers = [*dict.fromkeys(buffer for module in modules for buffer in module.buffers())]
        # Torch makes buckets of gradients anew after the first step, by the order in which these came, unless unused
        # parameters are looked for. Sums of floats depend on buckets, and training that is resumed would end otherwise.
        with ranks.others_needed():
            self._objective = DistributedDataParallel(
                _Objective(objective, forward, model, trained), find_unused_parameters=True
            )

    def backward(
        self,
        inputs: Any,
        targets: Any,
        scale: Callable[[Tensor], Tensor],
        autocast: AbstractContextManager[Any],
        *,
        fraction: float,
        last: bool,
    ) -> tuple[Tensor, Tensor]:
        """Add the gradients of one part of a batch to those that there are.

        Args:
            inputs: of all processes.
            targets: as ``inputs``.
            scale: makes of a loss what is differentiated.
            autocast: the context of the forward pass.
            fraction: of the batch, that the part is.
            last: whether no other part follows: the processes add up their gradients then.

        Returns:
            The loss of the part and the outputs, of all processes and detached.
        """
        share = ranks.share(len(targets))
        with nullcontext() if last else self._objective.no_sync(), ranks.others_needed():
            with _own_random_numbers(), autocast, synchronised(self._model, share, self._synchronise):
                loss, outputs = self._objective(share.of(inputs), share.of(targets))
            check_scalar(loss)
            loss = loss * (share.weight * fraction)
            scale(loss).backward()  # type: ignore[no-untyped-call]
        return ranks.summed(loss) / ranks.size(), share.gathered(outputs)

    def take_buffers(self) -> None:
        """Take the buffers of rank 0."""
        ranks.take_from_first(self._buffers)


class _Objective(nn.Module):
    """All that is differentiated, as one module: whatever the objective does with the network, it is called once."""

    def __init__(
        self,
        objective: Callable[..., tuple[Tensor, Tensor]],
        forward: Callable[[Any], Tensor],
        model: nn.Module,
        trained: Iterable[nn.Parameter],
    ) -> None:
        super().__init__()
        known = {*model.parameters()}
        self.model = model
        self.more = nn.ParameterList([parameter for parameter in trained if parameter not in known])
        self._called = (objective, forward)  # in a tuple, in which no module is found once more

    def forward(self, inputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
        objective, forward = self._called
        loss, outputs = objective(forward, inputs, targets)
        return loss, outputs.detach()  # or parameters that only they depend on would be waited for

    def named_buffers(self, *args: Any, **options: Any) -> Iterator[tuple[str, Tensor]]:
        """None: `DistributedDataParallel` would make them equal before each forward pass, and here that is done after.

        What is done with the network after a step then finds the same everywhere.
        """
        return iter(())


@contextmanager
def _own_random_numbers() -> Iterator[None]:
    seed = int(torch.randint(2**62, ()))
    with random_state_kept():
        torch.manual_seed(derived_seed(seed, "rank", ranks.rank()))
        yield


def check_scalar(loss: Tensor) -> None:
    """Check that a loss can be differentiated.

    Raises:
        StageError: it is no scalar.
    """
    if loss.dim():
        raise StageError(f"the loss must be a scalar, not of shape {tuple(loss.shape)}")
