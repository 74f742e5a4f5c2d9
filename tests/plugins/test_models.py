import copy
import pickle

import pytest
import torch
import torchvision
from torch import nn

from framework import StageError
from framework._component import build
from framework._registry import installed
from framework_plugins.models import convnet, lenet5, mlp, resnet18, vgg
from framework_plugins.models import torchvision as zoo
from framework_plugins.models import zoo as zoo_module

SHAPES = [(1, 1, 1), (1, 8, 8), (3, 32, 32), (4, 7, 13), (2, 1, 9)]
VARIANTS = [
    (convnet, {}),
    (convnet, {"widths": (4,), "dropout": 0.5}),
    (resnet18, {"head": (10,), "output": "softmax", "output_scale": 5.0}),
    (resnet18, {"stem": "cifar"}),
    (mlp, {"widths": (7, 5)}),
    (vgg, {"depth": 11}),
    (vgg, {"depth": 11, "batch_norm": False}),
]


def test_all_models_are_registered():
    assert installed().names("model") == ["convnet", "lenet5", "mlp", "resnet18", "timm", "torchvision", "vgg"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("model", "parameters"), VARIANTS)
def test_models_train_on_images_of_any_size(model, parameters, shape):
    network = model(shape, 5, **parameters)
    outputs = network(torch.randn(3, *shape))
    outputs.sum().backward()
    assert outputs.shape == (3, 5)
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize(("model", "parameters"), VARIANTS)
def test_models_survive_export_with_any_batch_size_copying_and_pickling(model, parameters):
    network = model((1, 8, 8), 5, **parameters).eval()
    images = torch.randn(3, 1, 8, 8)
    batch = torch.export.Dim("batch", min=1)
    exported = torch.export.export(network, (images[:2],), dynamic_shapes=({0: batch},)).module()
    expected = network(images)
    torch.testing.assert_close(exported(images), expected)
    assert torch.equal(copy.deepcopy(network)(images), expected)
    assert torch.equal(pickle.loads(pickle.dumps(network))(images), expected)


def test_convnet_has_one_convolution_per_width_and_drops_out_before_the_last_layer():
    network = convnet((3, 8, 8), 2, widths=(5, 7), dropout=0.25)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels) for c in convolutions] == [(3, 5), (5, 7)]
    assert network.dropout.p == 0.25


def test_the_networks_of_the_literature_have_as_many_weights_as_there():
    def count(network):
        return sum(p.numel() for p in network.parameters() if p.dim() > 1)

    assert count(mlp((1, 28, 28), 10)) == 784 * 300 + 300 * 100 + 100 * 10  # LeNet-300-100
    assert count(lenet5((1, 28, 28), 10)) == 430_500
    assert count(vgg((3, 32, 32), 100)) == 14_761_664  # VGG-16 of the SynFlow paper
    for depth in (11, 13, 16, 19):
        layers = [m for m in vgg((3, 32, 32), 10, depth=depth).modules() if isinstance(m, nn.Conv2d)]
        assert len(layers) == depth - 3


def test_lenet5_says_which_images_are_too_small():
    assert lenet5((1, 16, 20), 3)(torch.zeros(2, 1, 16, 20)).shape == (2, 3)
    with pytest.raises(StageError, match="lenet5 needs images of at least 16×16, not 8×15: take convnet or mlp"):
        lenet5((1, 8, 15), 3)


def test_convnet_learns_the_digits():
    digits = installed().get("dataset", "digits").factory()
    torch.manual_seed(0)
    network = convnet(digits.shape, 10, widths=(16, 32))
    images, labels = (torch.from_numpy(a) for a in (digits.train_images / 255, digits.train_labels))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(5):
        for batch in torch.randperm(len(labels)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[batch].float()), labels[batch]).backward()
            optimizer.step()
    found = network.eval()(torch.from_numpy(digits.test_images / 255).float()).argmax(1)
    assert (found == torch.from_numpy(digits.test_labels)).float().mean() > 0.95


# --- resnet18 ----------------------------------------------------------------------------------------------------


def test_resnet18_is_torchvisions_bit_for_bit_from_the_same_seed():
    torch.manual_seed(0)
    ours = resnet18((3, 64, 64), 10)
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(num_classes=10)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(ours(images), theirs(images))


def test_resnet18_stems_divide_the_image_by_4_or_not_at_all():
    images = torch.randn(1, 3, 32, 32)
    sizes = {}
    for stem in ("imagenet", "cifar"):
        network = resnet18((3, 32, 32), 10, stem=stem).eval()
        network.layer1.register_forward_pre_hook(lambda _, x, stem=stem: sizes.update({stem: x[0].shape[2:]}))
        network(images)
    assert sizes == {"imagenet": (8, 8), "cifar": (32, 32)}


def test_resnet18_head_has_a_relu_after_each_hidden_layer():
    head = resnet18((3, 8, 8), 10, head=(100,)).fc
    assert [type(layer) for layer in head] == [nn.Linear, nn.ReLU, nn.Linear]
    assert [tuple(p.shape) for p in head.parameters()] == [(100, 512), (100,), (10, 100), (10,)]


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_resnet18_outputs_are_the_logits_or_their_softmax_times_the_scale(scale):
    images = torch.randn(2, 3, 8, 8)
    plain = resnet18((3, 8, 8), 4).eval()
    logits = plain(images)
    for output, expected in (("logits", logits * scale), ("softmax", logits.softmax(1) * scale)):
        network = resnet18((3, 8, 8), 4, output=output, output_scale=scale).eval()
        network.load_state_dict(plain.state_dict())  # the variants share their weights' names
        torch.testing.assert_close(network(images), expected)


def test_resnet18_head_is_a_list_in_a_spec():
    component = build(installed(), "model", {"name": "resnet18", "head": [100]})
    assert component(shape=(1, 8, 8), classes=3).fc[2].out_features == 3


# --- torchvision -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("architecture", "shape"),
    [("mobilenet_v3_small", (1, 8, 8)), ("squeezenet1_1", (3, 32, 32)), ("shufflenet_v2_x0_5", (4, 16, 24))],
)
def test_torchvisions_models_take_any_channels_and_classes(architecture, shape):
    network = zoo(shape, 7, architecture)
    assert network.training
    assert network(torch.randn(2, *shape)).shape == (2, 7)


def stem_of(network):
    return next((name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d))


# What its initialisation makes of the stem, by torchvision's own code: fan_out, trunc_normal by fan_in or by 0.02, …
@pytest.mark.parametrize(
    ("architecture", "channels", "deviation"),
    [
        ("vgg11_bn", 1, (2 / (64 * 9)) ** 0.5),
        ("resnet18", 4, (2 / (64 * 49)) ** 0.5),
        ("convnext_tiny", 1, 0.02),
        ("vit_b_32", 1, (1 / 32**2) ** 0.5),
        ("densenet121", 1, (2 / 49) ** 0.5),
        ("mobilenet_v2", 4, (2 / (32 * 9)) ** 0.5),
        ("shufflenet_v2_x0_5", 4, (1 / (3 * 4 * 9)) ** 0.5),
    ],
)
def test_a_stem_for_other_channels_begins_as_the_architecture_has_its_stems_begin(
    architecture, channels, deviation, monkeypatch
):
    monkeypatch.setattr(zoo_module, "check_size", lambda *args: None)
    _, stem = stem_of(zoo((channels, 64, 64), 2, architecture))
    assert stem.in_channels == channels
    assert stem.weight.std().item() == pytest.approx(deviation, rel=0.1)
    assert abs(stem.weight.mean().item()) < 0.15 * deviation


# One of each file of torchvision's. RegNets cannot be made without memory; one of them is below.
FAMILIES = {
    torchvision.models.get_model_builder(name).__module__: name
    for name in reversed(torchvision.models.list_models(module=torchvision.models))
}
FAMILIES.pop("torchvision.models.regnet")


@pytest.mark.parametrize("architecture", sorted(FAMILIES.values()))
def test_every_architecture_differs_by_its_stem_only_where_images_have_other_channels(architecture, monkeypatch):
    monkeypatch.setattr(zoo_module, "check_size", lambda *args: None)
    with torch.device("meta"):
        three, five = (zoo((channels, 224, 224), 7, architecture) for channels in (3, 5))
    name, stem = stem_of(five)
    shapes = {key: tensor.shape for key, tensor in five.state_dict().items()}
    differing = {key for key, tensor in three.state_dict().items() if tensor.shape != shapes[key]}
    assert (stem.in_channels, differing) == (5, {f"{name}.weight"})


def test_building_a_model_leaves_convolutions_as_they_were():
    original = nn.Conv2d.__init__
    zoo((5, 64, 64), 2, "regnet_y_400mf")
    with pytest.raises(StageError):
        zoo((1, 8, 8), 10, "squeezenet1_1")
    assert nn.Conv2d.__init__ is original
    assert nn.Conv2d(3, 4, 1).in_channels == 3


def test_for_three_channels_a_model_is_torchvisions_bit_for_bit():
    torch.manual_seed(0)
    ours = zoo((3, 64, 64), 10, "mobilenet_v3_small")
    torch.manual_seed(0)
    theirs = torchvision.models.get_model("mobilenet_v3_small", weights=None, num_classes=10)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_googlenet_has_one_output_also_in_training():
    assert zoo((3, 32, 32), 7, "googlenet")(torch.randn(2, 3, 32, 32)).shape == (2, 7)


def test_an_unknown_architecture_names_the_nearest():
    with pytest.raises(StageError) as caught:
        zoo((3, 32, 32), 10, "resnet19")
    assert str(caught.value) == ("torchvision has no classification model 'resnet19' (did you mean 'resnet18'?)")


def test_an_image_too_small_for_the_architecture_is_told():
    with pytest.raises(StageError, match=r"^squeezenet1_1 cannot take images of 1×8×8: .*Output size is too small$"):
        zoo((1, 8, 8), 10, "squeezenet1_1")
