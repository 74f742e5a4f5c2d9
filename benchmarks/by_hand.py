"""The study's trials as one would write them for Ray Tune: a function trainable that goes through a list of stages.

Pruning is `torch.nn.utils.prune`, unpruning its `remove`, freezing `requires_grad=False` and BatchNorm in eval mode.
The networks come from the framework's model functions and the batches from `framework.ImageBatches`, so that both
sides compute the same; the loop, the optimizer, the schedule, the measuring and the reporting are written here.
"""

import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from framework import ImageBatches

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BFLOAT16 = DEVICE.type == "cuda" and torch.cuda.is_bf16_supported()
RESULTS = ("sparsity", "test/accuracy", "epochs", "training", "time_total_s")


def run(folder: Path, trials: Sequence[Mapping[str, Any]], reuse_actors: bool = False) -> dict[str, Any]:
    """Run the trials under Ray Tune, with its callback for MLflow.

    Args:
        folder: takes everything.
        trials: each a mapping of ``experiment``, ``name``, ``seed``, ``model``, ``data`` and ``stages``.
        reuse_actors: whether trials take turns in a process.

    Returns:
        Stamps, and by trial what came out.
    """
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    from framework._registry import installed
    from framework._trial import prepare

    stamps: dict[str, float] = {}

    class Stopwatch(tune.Callback):
        def on_trial_start(self, **info: Any) -> None:
            stamps.setdefault("first", time.time())

        def on_trial_complete(self, **info: Any) -> None:
            stamps["last"] = time.time()

    arrays = prepare(trials[0]["data"], installed())
    stamps["ready"] = time.time()
    ray.init(address="local")
    database = f"sqlite:///{folder / 'mlflow.db'}"
    found = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(train, trials=trials, arrays=arrays),
            {"cpu": 1, "gpu": 1 if DEVICE.type == "cuda" else 0},
        ),
        param_space={"trial": tune.grid_search(list(range(len(trials))))},
        tune_config=tune.TuneConfig(reuse_actors=reuse_actors),
        run_config=tune.RunConfig(
            name="study",
            storage_path=str(folder / "ray"),
            callbacks=[
                MLflowLoggerCallback(tracking_uri=database, experiment_name="study", save_artifact=True),
                Stopwatch(),
            ],
        ),
    ).fit()
    stamps["fitted"] = time.time()
    ray.shutdown()
    finished = [result for result in found if not result.error]
    return {
        "stamps": stamps,
        "images": len(arrays.splits["train"][1]),
        "trials": {result.config["trial"]: {key: result.metrics[key] for key in RESULTS} for result in finished},
    }


def train(config: Mapping[str, Any], trials: Sequence[Mapping[str, Any]], arrays: Any) -> None:
    """One trial."""
    from ray import tune

    torch.set_num_threads(1)
    plan = trials[config["trial"]]
    torch.manual_seed(plan["seed"])
    trial = HandTrial(plan, arrays)
    for stage in plan["stages"]:
        if stage["name"] == "train":
            for metrics in trial.train(stage):
                tune.report(metrics)
        elif stage["name"] == "prune":
            trial.prune(stage["amount"])
        elif stage["name"] == "unprune":
            trial.unprune()
        else:
            trial.freeze(stage["fraction"])
    metrics = {**trial.measure("test"), **trial.sparsity(), "epochs": trial.epochs, "training": trial.seconds}
    if trial.pruned:
        trial.unprune()  # the file has plain weights
    with tempfile.TemporaryDirectory() as temporary:
        torch.save(trial.model.state_dict(), Path(temporary, "model.pt"))
        tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(temporary))


class HandTrial:
    """A network and what the stages do to it."""

    def __init__(self, plan: Mapping[str, Any], arrays: Any) -> None:
        from framework_plugins.models.convnet import convnet
        from framework_plugins.models.resnet import resnet18

        model = dict(plan["model"])
        make = {"convnet": convnet, "resnet18": resnet18}[model.pop("name")]
        shape = arrays.splits["train"][0].shape[1:]
        self.model: nn.Module = make(shape, len(arrays.task.outputs), **model).to(DEVICE)
        self.criterion = nn.CrossEntropyLoss()
        self.augment = plan["data"]["augment"]
        self.splits = {
            name: (torch.tensor(images).to(DEVICE), torch.tensor(labels).to(DEVICE))
            for name, (images, labels) in arrays.splits.items()
        }
        self.statistics = torch.tensor(arrays.mean), torch.tensor(arrays.std)
        self.still: list[nn.Module] = []
        self.pruned, self.epochs, self.seconds = False, 0, 0.0

    def layers(self) -> dict[str, nn.Module]:
        return {name: m for name, m in self.model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}

    def prune(self, amount: float) -> None:
        targets = [(layer, "weight") for layer in self.layers().values()]
        prune.global_unstructured(targets, pruning_method=prune.L1Unstructured, amount=amount)
        self.pruned = True

    def unprune(self) -> None:
        for layer in self.layers().values():
            prune.remove(layer, "weight")
        self.pruned = False

    def freeze(self, fraction: float) -> None:
        """Hold the first layers, with the normalisation that follows each."""
        left = math.ceil(round(fraction * len(self.layers()), 6))
        for module in self.model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                left -= 1
                if left < 0:
                    return
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
            if isinstance(module, nn.BatchNorm2d):
                self.still.append(module)

    def train(self, stage: Mapping[str, Any]) -> Iterator[dict[str, float]]:
        """Train for the stage's epochs, with a fresh optimizer; gives each epoch's metrics."""
        batches = ImageBatches(
            *self.splits["train"],
            *self.statistics,
            batch_size=stage["batch_size"],
            augment=self.augment,
            seed=int(torch.randint(2**31, ())),
        )
        optimizer, schedule = self._optimizer(stage, stage["epochs"] * len(batches))
        for epoch in range(stage["epochs"]):
            began = time.perf_counter()
            self.model.train()
            for module in self.still:
                module.eval()
            loss = torch.zeros((), device=DEVICE)
            correct = torch.zeros((), device=DEVICE, dtype=torch.int64)
            seen = 0
            for images, labels in batches.epoch(epoch):
                optimizer.zero_grad(set_to_none=True)
                batch_loss, outputs = self._forward(images, labels)
                batch_loss.backward()
                optimizer.step()
                schedule.step()
                loss += batch_loss.detach() * len(labels)
                correct += (outputs.detach().argmax(1) == labels).sum()
                seen += len(labels)
            learned = {"train/loss": loss.item() / seen, "train/accuracy": correct.item() / seen}
            self.epochs, self.seconds = self.epochs + 1, self.seconds + time.perf_counter() - began
            yield {**learned, **self.measure("validation"), **self.sparsity()}

    def _optimizer(self, stage: Mapping[str, Any], steps: int) -> tuple[Any, Any]:
        kind = {key: stage[key]["name"] for key in ("loss", "optimizer", "schedule")}
        if kind != {"loss": "cross_entropy", "optimizer": "sgd", "schedule": "cosine"}:
            raise ValueError(f"not written by hand: {kind}")
        asked = stage["optimizer"]
        optimizer = torch.optim.SGD(
            [parameter for parameter in self.model.parameters() if parameter.requires_grad],
            **{key: asked[key] for key in ("lr", "momentum", "weight_decay")},
        )
        return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    def _forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=BFLOAT16):
            outputs = self.model(images)
            return self.criterion(outputs, labels), outputs

    def measure(self, split: str) -> dict[str, float]:
        batches = ImageBatches(*self.splits[split], *self.statistics, batch_size=256)
        loss = torch.zeros((), device=DEVICE)
        correct = torch.zeros((), device=DEVICE, dtype=torch.int64)
        self.model.eval()
        with torch.no_grad():
            for images, labels in batches.epoch(0):
                outputs = self.model(images)
                loss += self.criterion(outputs, labels) * len(labels)
                correct += (outputs.argmax(1) == labels).sum()
        count, name = len(self.splits[split][1]), "val" if split == "validation" else split
        return {f"{name}/loss": loss.item() / count, f"{name}/accuracy": correct.item() / count}

    def sparsity(self) -> dict[str, float]:
        weights = {name: layer.weight for name, layer in self.layers().items()}
        zeros = {name: int((weight == 0).sum()) for name, weight in weights.items()}
        sizes = {name: weight.numel() for name, weight in weights.items()}
        each = {f"sparsity/{name}": zeros[name] / sizes[name] for name in weights}
        return {"sparsity": sum(zeros.values()) / sum(sizes.values()), **each}
