import logging
import socket

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from framework import DataError
from framework_plugins.models import convnet, resnet18
from framework_plugins.models import torchvision as zoo

SHAPE = (1, 8, 8)
SMALL = {"widths": (4, 6)}


def small(weights=None, *, shape=SHAPE, classes=3, **parameters):
    return convnet(shape, classes, **{**SMALL, **parameters}, weights=None if weights is None else str(weights))


def message(call) -> str:
    with pytest.raises(DataError) as caught:
        call()
    return str(caught.value)


@pytest.fixture
def saved(tmp_path):
    source = small()
    torch.save(source.state_dict(), tmp_path / "w.pt")
    return source, tmp_path / "w.pt"


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_a_file_is_loaded_bit_for_bit_and_in_silence(tmp_path, suffix, caplog):
    source, file = small(), tmp_path / f"w{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(source.state_dict(), file)
    loaded = small(file)
    assert all(
        torch.equal(a, b) for a, b in zip(source.state_dict().values(), loaded.state_dict().values(), strict=True)
    )
    assert not caplog.records


@pytest.mark.parametrize(
    ("changed", "left"),
    [
        ({"classes": 5}, "fc.weight, fc.bias"),
        ({"shape": (3, 8, 8)}, "features.0.weight"),
        ({"shape": (3, 8, 8), "classes": 5}, "features.0.weight, fc.weight, fc.bias"),
    ],
)
def test_a_head_or_stem_of_another_size_keeps_its_initialisation_and_says_so(saved, caplog, changed, left):
    source, file = saved
    torch.manual_seed(5)
    fresh = small(**changed).state_dict()
    torch.manual_seed(5)
    with caplog.at_level(logging.WARNING, logger="framework"):
        loaded = small(file, **changed).state_dict()
    assert caplog.messages == [f"weights {str(file)!r} do not fit {left}: left at initialisation"]
    for name, tensor in source.state_dict().items():
        assert torch.equal(loaded[name], fresh[name] if name in left.split(", ") else tensor)


def test_weights_that_do_not_fit_elsewhere_name_the_first_few(saved):
    _, file = saved
    assert message(lambda: small(file, widths=(4, 8))) == (
        f"weights {str(file)!r} do not fit the model: features.4.weight is of shape (6, 4, 3, 3), not (8, 4, 3, 3), "
        "features.5.weight is of shape (6,), not (8,), features.5.bias is of shape (6,), not (8,), and 2 more"
    )


def test_weights_with_a_missing_and_an_unexpected_name_say_both(saved):
    source, file = saved
    state = source.state_dict()
    state["other.weight"] = state.pop("features.4.weight")
    torch.save(state, file)
    assert message(lambda: small(file)) == (
        f"weights {str(file)!r} do not fit the model: features.4.weight is missing, other.weight is unexpected"
    )


def test_a_missing_file_is_told(tmp_path):
    assert message(lambda: small(tmp_path / "w.pt")) == f"weights {str(tmp_path / 'w.pt')!r}: there is no such file"
    assert message(lambda: small("IMAGENET1K_V1")) == "weights 'IMAGENET1K_V1': there is no such file"


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights at all"])
def test_a_damaged_file_is_told(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    found = message(lambda: small(tmp_path / name))
    assert found.startswith(f"weights {str(tmp_path / name)!r} cannot be read as a state dict: ")
    assert "\n" not in found


class Evil:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


def test_a_pickle_is_never_run(tmp_path):
    torch.save({"fc.weight": Evil()}, tmp_path / "w.pt")
    assert "cannot be read as a state dict: " in message(lambda: small(tmp_path / "w.pt"))


def test_a_file_that_holds_something_else_says_what(tmp_path):
    file = tmp_path / "w.pt"
    torch.save({"epoch": 3, "model": {}}, file)
    assert message(lambda: small(file)) == (
        f"weights {str(file)!r} must hold a state dict (names to tensors), not a dict of epoch, model"
    )
    torch.save([torch.zeros(1)], file)
    assert message(lambda: small(file)).endswith("not a list")


def test_a_run_is_looked_up_in_the_tracking_store():
    assert message(lambda: small("runs:/abc")) == "'runs:/abc' names no logged model: it must be runs:/<run id>/model"


# --- torchvision's -----------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Torch's download folder, empty, behind a proxy that refuses every connection."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{unused.getsockname()[1]}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr("urllib.request._opener", None)  # it remembers the proxies of its first use
    return tmp_path / "hub" / "checkpoints"


def test_weights_that_cannot_be_reached_say_what_to_put_where(hub):
    file = "resnet18-f37072fd.pth"
    assert message(lambda: resnet18((3, 8, 8), 3, weights="DEFAULT")) == (
        f"weights 'DEFAULT' of resnet18 cannot be downloaded from https://download.pytorch.org/models/{file} "
        f"(Connection refused): put the file at {hub / file}, or name a file of your own"
    )


def test_unknown_weights_name_the_nearest():
    assert message(lambda: resnet18((3, 8, 8), 3, weights="IMAGENET1K_V3")) == (
        "weights 'IMAGENET1K_V3': there is no such file, nor such weights of resnet18 in torchvision "
        "(did you mean 'IMAGENET1K_V1'?)"
    )


def test_resnet18_starts_from_torchvisions_weights_but_for_its_head_and_stem(hub, caplog):
    pretrained = torchvision.models.resnet18().state_dict()
    hub.mkdir(parents=True)
    torch.save(pretrained, hub / "resnet18-f37072fd.pth")
    loaded = resnet18((1, 8, 8), 3, head=(10,), weights="IMAGENET1K_V1").state_dict()
    assert caplog.messages == [
        "weights 'IMAGENET1K_V1' do not fit conv1.weight, fc.0.weight, fc.0.bias, fc.2.weight, fc.2.bias: "
        "left at initialisation"
    ]
    rest = [name for name in loaded if not name.startswith(("conv1.", "fc."))]
    assert len(rest) == len(pretrained) - 3
    assert all(torch.equal(loaded[name], pretrained[name]) for name in rest)


def test_a_damaged_download_says_what_to_delete(hub):
    hub.mkdir(parents=True)
    (hub / "resnet18-f37072fd.pth").write_bytes(b"half of it")
    found = message(lambda: resnet18((3, 8, 8), 3, weights="DEFAULT"))
    assert found.startswith(f"{hub / 'resnet18-f37072fd.pth'} is damaged (")
    assert found.endswith("): delete it, and it is downloaded again")
    assert "\n" not in found


def test_torchvisions_models_find_their_own_head(hub, caplog):
    pretrained = torchvision.models.squeezenet1_1().state_dict()
    hub.mkdir(parents=True)
    torch.save(pretrained, hub / "squeezenet1_1-b8a52dc0.pth")
    loaded = zoo((3, 32, 32), 4, "squeezenet1_1", weights="DEFAULT").state_dict()
    assert caplog.messages == [
        "weights 'DEFAULT' do not fit classifier.1.weight, classifier.1.bias: left at initialisation"
    ]
    assert torch.equal(loaded["features.12.expand3x3.weight"], pretrained["features.12.expand3x3.weight"])
