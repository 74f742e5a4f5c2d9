"""A trial, on which stages work."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from framework import _masks as masks
from framework._batches import Batches
from framework._data import Data, SplitName
from framework._emptied import EMPTY, empty_layers
from framework._errors import StageError, shown
from framework._masks import Masks
from framework._measures import Measures, measures
from framework._reported import artifact_fault, clash, is_epoch, plain_metrics
from framework._stage.record import Record
from framework._task import Classification, Task


class Recipe(Protocol):
    """A component with its parameters, such as a stage's parameter of type `framework.Loss`."""

    def __call__(self) -> nn.Module:
        """Make what it describes."""

    def plain(self, *, stored: bool = False) -> Mapping[str, Any]:
        """Itself as plain data; as it is stored with states, which other specs read too, if that is asked for."""


@dataclass(eq=False)
class Trial:
    """One trial while it runs: the state that its stages change, and what they need to do so.

    A stage's result is the network, masks, frozen elements, values before pruning, loss, epoch, records and artifacts:
    these are kept, so that other trials go on from there. Whatever else a stage leaves on the trial is not.

    Attributes:
        model: the network, on ``device``.
        data: inputs and targets, on ``device``.
        device: where the trial runs.
        task: what the network's outputs mean, and how they are measured.
        masks: pruning, by parameter name; True = the weight may be non-zero.
        frozen: freezing, by name of a parameter or a buffer; True = the element is held.
        before_pruning: by name of a masked parameter, the values that pruned weights had; 0 for all others.
        epoch: position on the continuous epoch axis; a stage that trains advances it.
        loss: what evaluation reports as loss; set with `use_loss`.
        loss_recipe: what made the loss, as plain data; None for the task's own.
        records: all that has been reported, by stages found in the store too, the oldest first.
        artifacts: all files that have been logged so far, by name; add to them with `log_artifact`.
        seed: of the current stage; torch's global generators are already seeded with it.
        initial_state: rebuilds the state dict that the trial began with, on the CPU; with a seed, the one that it
            would have begun with if that were its seed.
        earlier_state: gives the state dict, on the CPU, that the network had at a `framework.StageLabel`: ``initial``,
            or after the latest stage of that label.
        make_model: makes another network for this data out of a stage's parameter of type `framework.Model`, on the
            CPU and in train mode, with the weights that it names.
        emit: takes the reported metrics on to the tracking.
        keep: takes a checkpoint on to the store.
        recall: gives the progress of an interrupted stage.
        lengths: those of the stage at which other trials end or go on, and which it has not reached: see `reached`.
        keep_length: takes the progress at one of them on to the store.
    """

    model: nn.Module
    data: Data
    device: torch.device
    task: Task = field(default_factory=Classification)
    masks: Masks = field(default_factory=dict)
    frozen: Masks = field(default_factory=dict)
    before_pruning: dict[str, Tensor] = field(default_factory=dict)
    epoch: int = 0
    loss: nn.Module = field(default_factory=nn.CrossEntropyLoss)
    loss_recipe: Mapping[str, Any] | None = None
    records: list[Record] = field(default_factory=list)
    artifacts: dict[str, bytes] = field(default_factory=dict)
    seed: int = 0
    initial_state: Callable[..., Mapping[str, Tensor]] = lambda seed=None: {}
    earlier_state: Callable[[str], Mapping[str, Tensor]] = lambda label: {}
    make_model: Callable[[Any], nn.Module] = lambda model: model()
    emit: Callable[[int, Mapping[str, float]], None] = lambda epoch, metrics: None
    keep: Callable[[Callable[[], Any]], None] = lambda progress: None
    recall: Callable[[], Any] = lambda: None
    lengths: tuple[int, ...] = ()
    keep_length: Callable[[int, Callable[[], Any]], None] = lambda length, progress: None

    @cached_property
    def forward_order(self) -> list[str]:
        """Names of all parameters and buffers in the order in which a forward pass first uses them; the unused last."""
        return masks.forward_order(self.model, self.data.shape, self.data.dtype)

    def weights(self, also: Iterable[str] = ()) -> dict[str, nn.Parameter]:
        """The prunable weights by parameter name, in forward order; empty where the network has none.

        The weights of embeddings are among them as long as they are pruned.

        Args:
            also: names of weights of embeddings that are listed though they are not pruned.
        """
        return masks.prunable(self.model, self.forward_order, {*self.masks, *also})

    def computed_weights(self) -> list[str]:
        """Names of the weights that are computed from other parameters, as weight_norm does: they cannot be pruned."""
        return list(masks.computed_weights(self.model))

    def candidates(self, layers: Sequence[str] | None = None, exclude: Sequence[str] = ()) -> Masks:
        """What may be pruned or regrown: the elements of the chosen weights that are not frozen.

        Args:
            layers: patterns of names, see `framework.select`; None chooses all weights. Embeddings are chosen only
                by their whole names.
            exclude: patterns of names to leave out.

        Returns:
            By name a bool tensor of the weight's shape, True = may be pruned or regrown; in forward order.

        Raises:
            StageError: there is none, a pattern matches nothing, or one matches a weight that is computed from others.
        """
        weights = self.weights(f"{layer}.weight" for layer in masks.embeddings(self.model) if layer in (layers or ()))
        return masks.candidates(self.model, weights, self.frozen, layers, exclude)

    def batches(self, split: SplitName, size: int = 256, *, channels_last: bool = False) -> Batches:
        """Batches of (inputs, targets), on the trial's device.

        Those to train on are shuffled and augmented anew in every pass, by the stage's seed; the others come in their
        order.

        Args:
            split: which; a trial may be without ``validation``.
            size: inputs per batch.
            channels_last: memory format of the inputs.

        Raises:
            StageError: there is no validation set.
        """
        seed = self.seed if split == "train" else None
        return self.data.batches(split, size, seed=seed, channels_last=channels_last)

    def set_masks(self, masks: Masks) -> None:
        """Prune and unprune: take these masks in the place of those of the same names.

        What is pruned now becomes 0, and its value is kept in ``before_pruning``; what is unpruned stays 0 until
        something gives it a value. A weight whose mask is all True is no longer listed in ``masks``.

        While an optimizer lives, `Trainer.set_masks` has to be told as well: its state knows nothing of this.

        Args:
            masks: by name of a parameter, bool of its shape; True = the element may be non-zero. Of parameters that are
                no prunable weights, those are masked that go with a whole filter: its bias and its normalisation.
        """
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        for name, mask in masks.items():
            value = parameters[name].detach()
            closed = ~mask if name not in self.masks else ~mask & self.masks[name]
            before = self.before_pruning.get(name, torch.zeros_like(value))
            self.before_pruning[name] = torch.where(closed, value, before).masked_fill_(mask, 0.0)
            value.masked_fill_(~mask, 0.0)
            self.masks[name] = mask
            if bool(mask.all()):
                del self.masks[name], self.before_pruning[name]

    def set_state(self, state: Mapping[str, Tensor]) -> None:
        """Set the network to a state dict: what is pruned stays 0, and what is frozen stays as it is.

        Args:
            state: has a tensor for each of the network's, of its shape, on any device.
        """
        for name, tensor in self.model.state_dict().items():
            value = state[name].to(tensor)
            if name in self.masks:
                value = value.masked_fill(~self.masks[name], 0.0)
            if name in self.frozen:
                value = torch.where(self.frozen[name], tensor, value)
            tensor.copy_(value)

    def generator(self) -> torch.Generator:
        """A fresh CPU generator with the stage's seed: two of them draw the same numbers."""
        return torch.Generator().manual_seed(self.seed)

    @cached_property
    def measures(self) -> Measures:
        """Which metrics are measured, the primary one first, and whether more of each is better."""
        return measures(self.task)

    def use_loss(self, loss: Recipe | None) -> nn.Module:
        """Make the loss that evaluation reports from now on, on the trial's device; None: the task's own."""
        self.loss = (self.task.loss() if loss is None else loss()).to(self.device)
        self.loss_recipe = None if loss is None else loss.plain(stored=True)
        return self.loss

    def checkpoint(self, progress: Callable[[], Any]) -> None:
        """Say that the stage could go on from here if it were interrupted now; best at the end of an epoch.

        The trial's state and torch's generators are kept besides, and not at every call: a checkpoint may take no more
        than a fiftieth of the time.

        Args:
            progress: gives what the stage has to know to go on: mappings, lists, numbers, strings and tensors.
        """
        self.keep(progress)

    def reached(self, length: int, progress: Callable[[], Any]) -> None:
        """Say that the stage has come to one of `lengths`, where others go on from: the trial's state is kept.

        Args:
            length: which, in the unit of `Stage.planned_length`. A stage that only counts whole epochs says so after
                the last one that ends by then; one that has stopped early, for all that are left.
            progress: as for `checkpoint`.
        """
        self.keep_length(length, progress)

    def resume(self) -> Any:
        """What the stage gave to `checkpoint` before it was interrupted, or to `reached`; None if it begins.

        The trial's state is as it was at that moment; torch's generators are so after this call.
        """
        return self.recall()

    def report(self, metrics: Mapping[str, float]) -> None:
        """Report metrics at the current epoch.

        Sparsity, the frozen fraction and the number of empty layers are added, measured on the model, if it has weights
        that can be pruned. A layer is empty if all of its weights are pruned, and the network uses it.

        Args:
            metrics: numbers by name, of up to 250 characters: of Python, of NumPy, or tensors of no dimension. NaN and
                infinity may be among them.

        Raises:
            StageError: something else is among them, or the epoch is no whole number from 0 on.
        """
        if not is_epoch(self.epoch):
            raise StageError(f"trial.epoch must be a whole number from 0 to 2**53, not {shown(self.epoch)}")
        try:
            numbers = plain_metrics(metrics)
        except ValueError as error:
            raise StageError(f"trial.report takes numbers by name: {error}") from None
        weights = self.weights()
        measured = masks.sparsity(weights, masks.computed_values(self.model).values())
        if measured:
            measured["frozen"] = masks.held_fraction(self.model, weights, self.frozen)
            measured |= self._empty_layers(measured)
        self.emit(self.epoch, {**numbers, **measured})

    def _empty_layers(self, sparsity: Mapping[str, float]) -> dict[str, float]:
        """Their number, and 1 for each of them by name; 0 for one that was empty when last reported."""
        full = [name for name in self.masks if sparsity.get(f"sparsity/{masks.layer_name(name)}") == 1]
        empty = [masks.layer_name(name) for name in full if not self.masks[name].any() and name in self._used]
        before = empty_layers(self.records[-1].metrics) if self.records else []
        by_layer = {f"{EMPTY}/{name}": float(name in empty) for name in (*before, *empty)}
        return {EMPTY: float(len(empty)), **by_layer}

    @cached_property
    def _used(self) -> set[str]:
        return masks.used(self.model, self.data.shape, self.data.dtype)

    def log_artifact(self, name: str, content: bytes) -> None:
        """Keep a file with the trial's run in MLflow, and with the stage's result; one of the same name is replaced.

        Args:
            name: a relative path, such as ``norms/conv1.png``, of up to 500 bytes in UTF-8, and 250 of each part,
                without any of ``\\ : * ? " < > | # %``, which file systems or URLs take for something else.
            content: what is in it. It is stored again with every later stage, so keep it small.

        Raises:
            StageError: the name is no such path, or a file has the name of another's folder; the content is no bytes.
        """
        if fault := artifact_fault(name):
            wanted = "an artifact's name is a relative path such as 'norms/conv1.png'"
            raise StageError(f"{wanted}, not {shown(name)}: each part {fault}")
        for other in self.artifacts:
            if clash(name, other):
                raise StageError(f"of the artifacts {name!r} and {other!r} one would be a file and a folder")
        if not isinstance(content, bytes | bytearray | memoryview):
            raise StageError(f"the content of the artifact {name!r} must be bytes, not a {type(content).__name__}")
        self.artifacts[name] = bytes(content)
