"""Models of timm (PyTorch Image Models), with their own pretrained weights."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import AfterValidator
from torch import Tensor, nn

from framework import DataError, StageError, nearest
from framework_plugins.download import one_at_a_time, reason
from framework_plugins.models.weights import Weights, fit, read, read_file
from framework_plugins.models.zoo import check_size

_FILES = ("model.safetensors", "pytorch_model.bin")  # as the hub has them; the first that there is


def _installed(architecture: str) -> str:
    if find_spec("timm") is None:
        raise ValueError("the model timm needs the package timm: pip install 'framework[timm]'")
    return architecture


def timm(
    shape: tuple[int, int, int],
    classes: int,
    architecture: Annotated[str, AfterValidator(_installed)],
    weights: Weights | None = None,
    data_mean: tuple[float, ...] | None = None,
    data_std: tuple[float, ...] | None = None,
) -> nn.Module:
    """Any model of timm (Wightman 2019), for images of any size, number of channels and classes.

    It needs the package timm: ``pip install 'framework[timm]'``.

    **Normalisation.** The images come normalised by mean and standard deviation of the training set; weights of timm
    were trained on images normalised in their own way. The network undoes the first and does the second, with mean and
    std of timm's configuration, before its first layer. So pretrained weights see the images as they did in their
    training, and the logged network takes images like every other one (less ``data.mean``, divided by ``data.std``).

    **Size.** The network is built for the images' size: resize them in the data, such as with ``imagefolder``'s
    ``size``. Position embeddings are interpolated where their number differs. If the images are not of the size that
    the weights were trained with, the run notes which that is.

    **Channels and classes.** The first layer's weights are summed for grey images, and repeated for more than three
    channels, as timm does. The last layer stays at its initialisation where the number of classes differs.

    Args:
        shape: (channels, height, width) of one image.
        classes: how many outputs.
        architecture: its name in timm, such as ``resnet18`` or ``vit_tiny_patch16_224``; with the name of weights
            (``resnet18.a1_in1k``) for their mean, std and size.
        weights: where to start from: the name of timm's weights for this architecture (``a1_in1k``, or ``DEFAULT``),
            downloaded once; a file; or a model of an earlier run as ``runs:/<id>/model``. Pickled code is never run.
        data_mean: of the training images in [0, 1], by channel.
        data_std: as ``data_mean``.

    Raises:
        StageError: timm has no such model, or it cannot take images of that size.
        DataError: the weights cannot be had, or don't fit.

    Example:
        model: {name: timm, architecture: resnet18, weights: a1_in1k}
    """
    import timm as library

    config = _config(architecture, weights)
    made = {"in_chans": shape[0], **({"img_size": shape[1:]} if config.fixed_input_size else {})}
    name = config.architecture
    try:
        model: nn.Module = library.create_model(name, pretrained_cfg=config, num_classes=classes, **made)
    except Exception as error:  # whatever an architecture makes of a size
        size = "×".join(map(str, shape))
        raise StageError(f"timm cannot make {name} for images of {size}: {reason(error)}") from error
    check_size(model, name, shape)
    if weights is not None:
        state = _state(config, weights)
        with torch.random.fork_rng(devices=[]):
            donor = _donor(config, state, model, classes, made, weights)
        heads = [config.classifier] if isinstance(config.classifier, str) else config.classifier or ()
        fit(model, donor.state_dict(), str(weights), replaceable=tuple(heads))
        if shape[1:] != tuple(config.input_size[1:]) and not str(weights).startswith("runs:/"):
            logging.getLogger("framework").warning(
                "the weights %s of %s were trained on images of %d×%d, and the data has images of %d×%d",
                *(config.tag or "of timm", name, *config.input_size[1:], *shape[1:]),
            )
    if data_mean is not None and data_std is not None:
        _normalise_as(model, config, data_mean, data_std)
    return model


def _config(architecture: str, weights: str | Path | None) -> Any:
    """timm's configuration: of the weights that are named, or of the architecture."""
    from timm.models import get_pretrained_cfg, is_model, list_models, list_pretrained

    name, _, tag = architecture.partition(".")
    if not is_model(name):
        raise StageError(f"timm has no model {name!r} ({nearest(name, list_models())})")
    if isinstance(weights, str) and "/" not in weights and weights != "DEFAULT":
        if tag and tag != weights:
            raise StageError(f"architecture {architecture!r} names other weights than {weights!r}: leave one out")
        tag = weights
    known = [full.partition(".")[2] for full in list_pretrained(f"{name}.*")]
    named = isinstance(weights, str) and "/" not in weights
    if (named and not known) or (tag and tag not in known):
        raise DataError(
            f"weights {tag or 'DEFAULT'!r}: there is no such file, nor such weights of {name} in timm "
            f"({nearest(tag, known)})"
        )
    config = get_pretrained_cfg(f"{name}.{tag}" if tag else name)
    return replace(config, architecture=name)


def _state(config: Any, weights: str | Path) -> Mapping[str, Tensor]:
    if isinstance(weights, Path) or "/" in weights:
        return read(weights)
    try:
        return read_file(_from_hub(config.hf_hub_id) if config.hf_hub_id else _from_url(config.url))
    except DataError:
        raise
    except Exception as error:  # what the network, the hub's client and the disk raise
        from huggingface_hub.constants import ENDPOINT

        where = f"{ENDPOINT}/{config.hf_hub_id}" if config.hf_hub_id else config.url
        raise DataError(
            f"weights {config.tag!r} of {config.architecture} cannot be downloaded from {where} "
            f"({reason(error.__cause__ or error)}): "
            f"download {_FILES[0] if config.hf_hub_id else 'the file'} there, and name it as weights: FILE"
        ) from error


def _from_hub(repository: str) -> Path:
    """The file in the hub's cache, which is asked before the network is."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    repository, _, revision = repository.partition("@")
    for name in _FILES:
        if isinstance(found := try_to_load_from_cache(repository, name, revision=revision or None), str):
            return Path(found)
    for name in _FILES[:-1]:
        try:
            return Path(hf_hub_download(repository, name, revision=revision or None))
        except LocalEntryNotFoundError:
            raise  # there is no network, rather than no such file
        except EntryNotFoundError:
            continue
    return Path(hf_hub_download(repository, _FILES[-1], revision=revision or None))


def _from_url(url: str) -> Path:
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    file = folder / url.rpartition("/")[2]
    if not file.is_file():
        with one_at_a_time(folder):
            torch.hub.download_url_to_file(url, str(file), progress=False)
    return file


def _donor(
    config: Any, state: Mapping[str, Tensor], model: nn.Module, classes: int, made: Mapping[str, Any], weights: Any
) -> nn.Module:
    """A network of timm that has loaded the weights in timm's own way, with as many classes as they have."""
    import timm as library

    head = config.classifier if isinstance(config.classifier, str) else next(iter(config.classifier or ()), None)
    rows = len(state[f"{head}.weight"]) if f"{head}.weight" in state else config.num_classes
    given = classes if rows == classes else rows - (config.label_offset or 0)
    stem = config.first_conv if isinstance(config.first_conv, str) else None
    own = model.state_dict().get(f"{stem}.weight")
    # Weights of an earlier run may have the channels of this data already.
    adapted = own is not None and f"{stem}.weight" in state and state[f"{stem}.weight"].shape == own.shape
    channels = made["in_chans"] if adapted else config.input_size[0]
    config = replace(
        config,
        state_dict=dict(state),
        num_classes=given,
        label_offset=rows - given,
        input_size=(channels, *config.input_size[1:]),
        custom_load=False,
    )
    try:
        donor: nn.Module = library.create_model(
            config.architecture, pretrained=True, pretrained_cfg=config, num_classes=given, **made
        )
    except Exception as error:  # whatever an architecture makes of a state dict that is not its own
        raise DataError(f"weights {str(weights)!r} do not fit {config.architecture}: {reason(error)}") from error
    return donor


class _Renormalise:
    """Takes images from the data's normalisation to that which the network was trained with."""

    def __call__(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        images, *rest = inputs
        return torch.addcmul(model.input_shift, images, model.input_scale), *rest


def _normalise_as(model: nn.Module, config: Any, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    def by_channel(values: tuple[float, ...]) -> Tensor:
        # As timm adapts the first layer: grey is the mean of the colours, and more channels begin again with red.
        own = torch.tensor(values, dtype=torch.float64)
        return own.mean().repeat(len(mean)) if len(mean) == 1 else own.repeat(len(mean))[: len(mean)]

    wanted_mean, wanted_std = by_channel(config.mean), by_channel(config.std)
    given_mean, given_std = (torch.tensor(values, dtype=torch.float64) for values in (mean, std))
    for name, values in (
        ("input_scale", given_std / wanted_std),
        ("input_shift", (given_mean - wanted_mean) / wanted_std),
    ):
        # Not persistent: the state dict stays timm's own.
        model.register_buffer(name, values.float().view(-1, 1, 1), persistent=False)
    model.register_forward_pre_hook(_Renormalise())
