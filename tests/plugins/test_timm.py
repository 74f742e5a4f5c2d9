"""Models of timm with timm's own code, without a network: weights are files that the tests write."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import timm as library
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import nn

from framework import DataError, StageError
from framework._component import build
from framework._registry import installed
from framework_plugins.models import timm


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Weights as the hub has them: of three channels, 160×160 and 1000 classes."""
    folder = tmp_path_factory.mktemp("hub")

    def file(name: str) -> Path:
        path = folder / f"{name}.safetensors"
        if not path.exists():
            torch.manual_seed(7)
            save_file(library.create_model(name).state_dict(), path)
        return path

    return file


def own(name: str, path: Path, **options: Any) -> nn.Module:
    """What timm itself makes of these weights."""
    overlay = {"file": str(path), "hf_hub_id": None}
    model: nn.Module = library.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    return model.eval()


@pytest.mark.parametrize(("name", "shape"), [("test_resnet", (1, 32, 48)), ("test_vit", (5, 32, 32))])
def test_it_takes_any_channels_sizes_and_classes(name: str, shape: tuple[int, int, int]) -> None:
    network = timm(shape, 7, name)
    assert network.training
    assert network(torch.randn(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize(("name", "channels"), [("test_resnet", 1), ("test_resnet", 3), ("test_vit", 4)])
def test_weights_are_adapted_as_timm_adapts_them(
    name: str, channels: int, published: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    found = timm((channels, 64, 64), 7, name, published(name)).state_dict()
    size = {"img_size": (64, 64)} if name == "test_vit" else {}
    expected = own(name, published(name), in_chans=channels, num_classes=7, **size).state_dict()
    heads = {name for name in found if name.startswith(("fc.", "head."))}
    assert [key for key in expected if key not in heads and not torch.equal(found[key], expected[key])] == []
    said = [record.getMessage() for record in caplog.records if record.name == "framework"]
    head = "fc" if name == "test_resnet" else "head"
    assert said == [
        f"weights '{published(name)}' do not fit {head}.weight, {head}.bias: left at initialisation",
        f"the weights r160_in1k of {name} were trained on images of 160×160, and the data has images of 64×64",
    ]


def test_pretrained_weights_see_images_as_they_did_in_their_training(published: Callable[[str], Path]) -> None:
    for name, channels in (("test_vit", 3), ("test_resnet", 1)):
        mean, std = (0.1, 0.2, 0.3)[:channels], (0.4, 0.5, 0.6)[:channels]
        network = timm((channels, 160, 160), 1000, name, published(name), data_mean=mean, data_std=std).eval()
        config = library.get_pretrained_cfg(name)
        images = torch.rand(2, channels, 160, 160)

        def normalised(mean: Any, std: Any, images: torch.Tensor = images) -> torch.Tensor:
            return (images - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)

        # The mean of the three colours is that of a grey image.
        wanted = (config.mean, config.std) if channels == 3 else ((sum(c) / 3,) for c in (config.mean, config.std))
        expected = own(name, published(name), in_chans=channels)(normalised(*wanted))
        torch.testing.assert_close(network(normalised(mean, std)), expected, rtol=1e-4, atol=1e-5)
        assert "input_scale" not in network.state_dict()  # timm's own names, and no others


def test_weights_of_an_earlier_run_fit_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    earlier = timm((1, 160, 160), 7, "test_vit")
    torch.save(earlier.state_dict(), tmp_path / "earlier.pt")
    caplog.clear()
    again = timm((1, 160, 160), 7, "test_vit", tmp_path / "earlier.pt")
    assert all(map(torch.equal, earlier.state_dict().values(), again.state_dict().values()))
    assert not [record for record in caplog.records if record.name == "framework"]


def test_the_hubs_cache_is_asked_before_the_network(
    tmp_path: Path, published: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError) as caught:
        timm((3, 160, 160), 1000, "test_resnet", "r160_in1k")
    assert re.fullmatch(
        r"weights .r160_in1k. of test_resnet cannot be downloaded from \S+/timm/test_resnet\.r160_in1k \(.*offline "
        r"mode is enabled.*\): download model\.safetensors there, and name it as weights: FILE",
        str(caught.value),
        re.DOTALL,
    )
    folder = tmp_path / "models--timm--test_resnet.r160_in1k"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs/main").write_text("abc")
    (folder / "snapshots/abc").mkdir(parents=True)
    (folder / "snapshots/abc/model.safetensors").write_bytes(published("test_resnet").read_bytes())
    expected = own("test_resnet", published("test_resnet")).state_dict()
    for weights in ("r160_in1k", "DEFAULT"):
        found = timm((3, 160, 160), 1000, "test_resnet", weights).state_dict()
        assert all(map(torch.equal, found.values(), expected.values()))


class Code:
    def __reduce__(self) -> Any:
        return (print, ("run",))


def test_pickled_code_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"weight": Code()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(DataError, match="cannot be read as a state dict"):
        timm((3, 32, 32), 7, "test_resnet", tmp_path / "pytorch_model.bin")
    assert capsys.readouterr().out == ""


def test_weights_that_do_not_fit_are_refused(tmp_path: Path, published: Callable[[str], Path]) -> None:
    with pytest.raises(DataError, match=r"^weights '.*test_vit\.safetensors' do not fit test_resnet: "):
        timm((3, 32, 32), 7, "test_resnet", published("test_vit"))


@pytest.mark.parametrize(
    ("architecture", "weights", "error", "message"),
    [
        ("resnet19", None, StageError, "timm has no model 'resnet19' (did you mean 'resnet18'?)"),
        (
            "test_resnet",
            "r160_in2k",
            DataError,
            "weights 'r160_in2k': there is no such file, nor such weights of test_resnet in timm "
            "(did you mean 'r160_in1k'?)",
        ),
        (
            "test_resnet.r160_in1k",
            "a1_in1k",
            StageError,
            "architecture 'test_resnet.r160_in1k' names other weights than 'a1_in1k': leave one out",
        ),
    ],
)
def test_unknown_names_are_told_with_the_nearest(
    architecture: str, weights: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        timm((3, 32, 32), 7, architecture, weights)
    assert str(caught.value) == message


def test_an_image_too_small_is_told() -> None:
    with pytest.raises(StageError, match=r"^(timm cannot make test_vit|test_vit cannot take images of) .*3×8×8"):
        timm((3, 8, 8), 7, "test_vit")


def test_without_the_package_a_spec_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValidationError, match=r"needs the package timm: pip install 'framework\[timm\]'"):
        build(installed(), "model", {"name": "timm", "architecture": "resnet18"})
