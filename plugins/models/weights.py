"""The weights that a model starts from."""

import logging
import os
import pickle
import stat
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, TypeAlias

import torch
from pydantic import AfterValidator
from safetensors import SafetensorError
from torch import Tensor, nn

from framework import DataError, nearest
from framework_plugins.download import FAILURES, one_at_a_time, reason

_SUFFIXES = (".pt", ".pth", ".safetensors")
_SHOWN = 3
_UNREADABLE = (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile, SafetensorError)


def _as_path(weights: str) -> str | Path:
    path = os.path.expanduser(weights)
    try:
        return Path(path) if stat.S_ISREG(os.stat(path).st_mode) else path
    except (FileNotFoundError, NotADirectoryError):
        return path  # the name of weights, or of a run
    except OSError as error:
        raise ValueError(f"the file system refuses this path: {error.strerror}") from error


# The parameter that `load` takes; a file as a path, by which two trials of the same content are the same.
Weights: TypeAlias = Annotated[str, AfterValidator(_as_path)]


def load(
    model: nn.Module, weights: str | Path | None, *, replaceable: Sequence[str], architecture: str | None = None
) -> None:
    """Load weights into a model.

    Args:
        model: the model.
        weights: a file, ``runs:/<id>/model``, or the name of torchvision weights; None leaves the model as it is.
        replaceable: the layers (stem and head) that stay at their initialisation where they don't fit, with a warning.
        architecture: what torchvision calls the model.

    Raises:
        DataError: the weights cannot be had, or don't fit elsewhere than in these layers.
    """
    if weights is None:
        return
    fit(model, read(weights, architecture), str(weights), replaceable=replaceable)


def fit(model: nn.Module, state: Mapping[str, Tensor], weights: str, *, replaceable: Sequence[str]) -> None:
    """Load a state dict into a model.

    Args:
        model: the model.
        state: the state dict.
        weights: what it is called in messages.
        replaceable: as in `load`.

    Raises:
        DataError: it does not fit elsewhere than in these layers.
    """
    fresh, wrong = _compare(model.state_dict(), state, tuple(f"{layer}." for layer in replaceable))
    if wrong:
        more = f", and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise DataError(f"weights {weights!r} do not fit the model: {', '.join(wrong[:_SHOWN])}{more}")
    fitting = OrderedDict((name, tensor) for name, tensor in state.items() if name not in fresh)
    # Some modules do not load a state without their versions, which not every file has: then it is today's.
    versions = getattr(state, "_metadata", None) or model.state_dict()._metadata  # type: ignore[attr-defined]
    fitting._metadata = versions  # type: ignore[attr-defined]
    model.load_state_dict(fitting, strict=False)
    if fresh:
        logging.getLogger("framework").warning(
            "weights %r do not fit %s: left at initialisation", weights, ", ".join(fresh)
        )


def _compare(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor], replaceable: tuple[str, ...]
) -> tuple[list[str], list[str]]:
    """The tensors of the model that stay as they are, and what is wrong."""
    fresh, wrong = [], []
    for name, tensor in own.items():
        if name in given and given[name].shape == tensor.shape:
            continue
        if name.startswith(replaceable):
            fresh.append(name)
        elif name in given:
            wrong.append(f"{name} is of shape {tuple(given[name].shape)}, not {tuple(tensor.shape)}")
        elif not name.endswith("num_batches_tracked"):  # older than torch 0.4.1, and of no consequence
            wrong.append(f"{name} is missing")
    wrong += [f"{name} is unexpected" for name in given if name not in own and not name.startswith(replaceable)]
    return fresh, wrong


def read(weights: str | Path, architecture: str | None = None) -> Mapping[str, Tensor]:
    """Read a state dict from where `load` takes it.

    Raises:
        DataError: it cannot be had.
    """
    weights = str(weights)
    if weights.startswith("runs:/"):
        from framework import load_model_state

        return load_model_state(weights)
    file = Path(weights)
    if file.is_file():
        return read_file(file)
    if file.suffix in _SUFFIXES or "/" in weights or architecture is None:
        raise DataError(f"weights {weights!r}: there is no such file")
    return _download(weights, architecture)


def read_file(file: Path) -> Mapping[str, Tensor]:
    """Read a state dict from a file, and run nothing that is in it.

    Raises:
        DataError: it cannot be read.
    """
    from safetensors.torch import load_file

    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        # torch does not compress what it saves: something else could unpack to more than there is memory.
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
                    raise ValueError("it is compressed, as torch.save does not write it")
        # weights_only: a pickle could run anything.
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (
        OSError,
        RuntimeError,
        EOFError,
        ValueError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        SafetensorError,
    ) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else "it is empty"
        raise DataError(f"weights {str(file)!r} cannot be read as a state dict: {first}") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        kind = type(state).__name__
        found = f"a dict of {', '.join(map(str, state))}" if isinstance(state, Mapping) else f"a {kind}"
        raise DataError(f"weights {str(file)!r} must hold a state dict (names to tensors), not {found}")
    return state


def _download(name: str, architecture: str) -> Mapping[str, Tensor]:
    from torchvision import models

    known = models.get_model_weights(architecture)
    if name not in known.__members__:
        raise DataError(
            f"weights {name!r}: there is no such file, nor such weights of {architecture} in torchvision "
            f"({nearest(name, known.__members__)})"
        )
    entry = known[name]
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    file = folder / Path(entry.url).name
    try:
        with nullcontext() if file.is_file() else one_at_a_time(folder):
            # By way of the model: torchvision renames what its older files call differently.
            pretrained: nn.Module = models.get_model(architecture, weights=entry, progress=False)
            return pretrained.state_dict()
    except FAILURES as error:
        raise DataError(
            f"weights {name!r} of {architecture} cannot be downloaded from {entry.url} ({reason(error)}): "
            f"put the file at {file}, or name a file of your own"
        ) from error
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise DataError(f"{file} is damaged ({reason(error)}): delete it, and it is downloaded again") from error
