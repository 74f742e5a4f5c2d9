"""The hooks that register what decides which weights are pruned."""

from collections.abc import Callable, Mapping

from torch import Tensor

from framework._hookspecs.marks import hookspec
from framework._sparsifier import Sparsifier


@hookspec
def register_criteria() -> Mapping[str, Callable[..., Tensor | Mapping[str, Tensor]]]:  # type: ignore[empty-body]
    """Pruning criteria: functions that give each weight a score; the lowest are pruned.

    A criterion asks for those of the arguments that it needs. One that asks for ``network`` is called once, and returns
    scores by the names of ``network.weights``; any other is called with one layer after the other, and returns scores
    of the weight's shape. There must be no NaN. The score of a whole filter is the sum of those of its weights. A
    criterion that asks for ``gamma`` scores whole filters only, by what follows them; it returns one score for each.

    Called with:
        weight: of one layer, float of any shape, on the trial's device. Not to be changed.
        gradient: of the loss by this weight, of the same shape, a mean over some training batches. It is computed only
            where a criterion asks for it.
        generator: for random numbers, on the CPU, with the stage's seed.
        network: a `framework.Network`: a copy of the whole network, with which a criterion can do what it likes, the
            weights that are to be scored, masks, the loss, training batches and gradients of single batches.
        gamma: the weight of one batch normalisation, float (channels,), on the trial's device. Not to be changed.

    Example:
        from framework import Network, hookimpl
        from torch import Tensor

        def saliency(weight: Tensor, gradient: Tensor) -> Tensor:
            \"\"\"The change of the loss, to first order, without the weight.\"\"\"
            return (weight * gradient).abs()

        def fisher(network: Network, batches: int = 10) -> dict[str, Tensor]:
            \"\"\"The squared change of the loss, to first order, averaged over batches (Molchanov et al. 2017).\"\"\"
            found = list(network.gradients(network.batches(batches)))
            return {
                name: sum((weight.detach() * gradients[name]).square() for gradients in found) / len(found)
                for name, weight in network.weights.items()
            }

        @hookimpl
        def register_criteria():
            return {"saliency": saliency, "fisher": fisher}
    """


@hookspec
def register_distributions() -> Mapping[str, Callable[..., Mapping[str, int]]]:  # type: ignore[empty-body]
    """Distributions: functions that say how many of the weights that are pruned go from which layer.

    They return a number for each layer, between 0 and its candidates; the sum is ``count`` exactly.
    `framework.apportion` divides a number in proportion to shares. A distribution asks for those of the arguments that
    it needs. Layers are known by the names of their weights, in forward order.

    Called with:
        shapes: by name, of each weight, tuples of ints.
        candidates: by name, how many weights may go.
        count: int, how many go in all.
        scores: by name, those of the candidates, (N,); the lowest go.

    Example:
        from framework import apportion, hookimpl

        def square_root(candidates: dict[str, int], count: int) -> dict[str, int]:
            \"\"\"Large layers lose more than small ones, but not in proportion.\"\"\"
            return apportion(count, {name: n**0.5 for name, n in candidates.items()}, candidates)

        @hookimpl
        def register_distributions():
            return {"square_root": square_root}
    """


@hookspec
def register_sparsifiers() -> Mapping[str, Callable[..., Sparsifier]]:  # type: ignore[empty-body]
    """Sparsifiers: they change masks while a stage trains. Classes that derive from `framework.Sparsifier`.

    The parameters of the class are those in YAML. One object is made for each stage that trains with it. Its
    ``update(step)`` is called at every step, between the backward pass and the optimizer's step, with a
    `framework.Step`: the number of the step, weights, masks, and the gradients of masked weights too. It returns new
    masks, or None.

    Example:
        from dataclasses import dataclass

        from framework import Masks, Sparsifier, Step, hookimpl, remove_lowest

        @dataclass
        class Shave(Sparsifier):
            \"\"\"Prune the smallest weight of each layer, again and again.\"\"\"

            every: int = 10

            def update(self, step: Step) -> Masks | None:
                if step.number % self.every:
                    return None
                sizes = {name: weight.abs() for name, weight in step.weights.items()}
                return remove_lowest(sizes, step.masks, {name: min(1, int(m.sum())) for name, m in step.masks.items()})

        @hookimpl
        def register_sparsifiers():
            return {"shave": Shave}
    """
