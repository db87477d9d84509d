"""pycnn show: pictures are written and hold what they say; activation maps are right or refused."""

import numpy as np
import pytest
from helpers import rng
from PIL import Image
from safetensors.numpy import save_file

import pycnn
from pycnn import cli, nn, ops
from pycnn.models import create_model
from pycnn.models.weights import Preprocessing
from pycnn.predict import Classifier
from pycnn.show import ShowError, class_activation_maps, feature_maps, show_cam, show_features, show_filters
from pycnn.tensor import Tensor


class GapNet(nn.Module):
    """Convolution with batch norm, global average pooling, a linear layer. x: (N, 3, H, W) -> (N, 5)."""

    head = ("fc",)

    def __init__(self):
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.unused = nn.Conv2d(3, 1, 1)
        self.fc = nn.Linear(8, 5)

    def stages(self, x):
        yield ops.conv_bn(self.conv1, self.bn1, x)

    def forward(self, x):
        for x in self.stages(x):  # noqa: B007, B020
            pass
        return self.fc(ops.flatten(ops.adaptive_avg_pool2d(x, 1), 1))


class MaxNet(GapNet):
    """Maximum instead of mean."""

    def forward(self, x):
        (x,) = self.stages(x)
        return self.fc(ops.flatten(ops.adaptive_max_pool2d(x, 1), 1))


class ConvNet(GapNet):
    """As SqueezeNet ends: a 1×1 convolution per class, ReLU, mean."""

    head = ("fc",)

    def __init__(self, relu: bool = True):
        super().__init__()
        self.relu = relu
        self.fc = nn.Conv2d(8, 5, 1)

    def forward(self, x):
        (x,) = self.stages(x)
        y = self.fc(x)
        return ops.flatten(ops.adaptive_avg_pool2d(ops.relu(y) if self.relu else y, 1), 1)


def x(height: int = 12, width: int = 10) -> Tensor:
    return Tensor(rng().standard_normal((1, 3, height, width)).astype("f4"))


def image(height: int = 20, width: int = 30) -> np.ndarray:
    return rng().integers(0, 256, (3, height, width), dtype=np.uint8)


def classifier(model) -> Classifier:
    return Classifier(model.eval(), Preprocessing((16, 24)), tuple("abcde"), True)


def written(path) -> np.ndarray:
    picture = np.asarray(Image.open(path).convert("RGB"))
    assert picture.std() > 5, "an empty picture"
    return picture


# ---- filters and features ---------------------------------------------------------------------------------------------


def test_filters(tmp_path):
    path = tmp_path / "f.png"
    assert show_filters(GapNet(), path) == "conv1: 8 filters of 3×3"
    color = written(path)
    show_filters(GapNet(), path, bgr=True)
    assert not np.array_equal(color, written(path))
    assert show_filters(create_model("lenet5"), path, "c3") == "c3: 16 filters of 5×5, the first of 6 channels"
    assert show_filters(nn.Sequential(nn.Conv2d(1, 100, 3)), path) == "0: 64 of 100 filters of 3×3"
    with pytest.raises(ShowError, match="fc is a Linear; convolutions are conv1, unused"):
        show_filters(GapNet(), path, "fc")
    with pytest.raises(ShowError, match="there is no folder"):
        show_filters(GapNet(), tmp_path / "no" / "f.png")


def test_features_of_layers_that_are_fused():
    model = GapNet().eval()
    model.load_state_dict({"bn1.running_mean": rng().standard_normal(8).astype("f4")}, strict=False)
    with pycnn.no_grad():
        convolved = model.conv1(x())
        expected = model.bn1(convolved)
    assert np.allclose(feature_maps(model, x(), "conv1"), convolved.numpy()[0], atol=1e-6)
    assert np.allclose(feature_maps(model, x(), "bn1"), expected.numpy()[0], atol=1e-6)


def test_features(tmp_path):
    said = show_features(classifier(GapNet()), image(), "conv1", tmp_path / "m.png")
    assert said == "conv1: 8 maps of 16×24" and written(tmp_path / "m.png").shape[1] > 300
    for layer, message in {
        "conv2": "the model has no layer 'conv2'; there are conv1, bn1, unused, fc",
        "unused": "unused = Conv2d.*is not called",
        "fc": r"the output of fc has shape \(1, 5\)",
    }.items():
        with pytest.raises(ShowError, match=message):
            feature_maps(GapNet(), x(), layer)


# ---- class activation maps --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [GapNet, ConvNet, lambda: ConvNet(relu=False)], ids=["linear", "conv, relu", "conv"])
def test_means_of_the_maps_are_the_logits(model):
    model = model().eval()
    with pycnn.no_grad():
        expected = model(x()).numpy()[0]
    maps, logits = class_activation_maps(model, x())
    bias = model.fc.bias.numpy() if isinstance(model.fc, nn.Linear) else 0
    assert maps.shape == (5, 12, 10) and np.allclose(logits, expected)
    assert np.allclose(maps.mean((1, 2)) + bias, expected, atol=1e-5)


def test_the_map_is_where_the_class_is():
    """A net whose first map is red: class 0 is seen where the picture is red."""
    model = GapNet().eval()
    weight = np.zeros((8, 3, 3, 3), "f4")
    weight[0, 0, 1, 1] = 1
    state = {"conv1.weight": weight, "conv1.bias": np.zeros(8, "f4"), "fc.weight": np.eye(5, 8, dtype="f4")}
    model.load_state_dict(state, strict=False)
    red = np.zeros((1, 3, 12, 10), "f4")
    red[0, 0, 2:4, 5:8] = 1
    maps, _ = class_activation_maps(model, Tensor(red))
    assert np.array_equal(maps[0] > 0.5, red[0, 0] > 0.5)


@pytest.mark.parametrize(
    ("model", "image_shape", "message"),
    [
        (lambda: MaxNet(), (1, 3, 12, 10), "MaxNet has no class activation maps: its logits are not the means"),
        (
            lambda: create_model("lenet_caffe"),
            (1, 1, 28, 28),
            "weighs 500 numbers, not one mean per map of the last 50",
        ),
        (lambda: create_model("cifar10_quick"), (1, 3, 32, 32), "its logits are not the means"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 1)), (1, 3, 8, 8), "Sequential does not say where its maps end"),
    ],
    ids=["max", "dense", "as many by chance", "unknown"],
)
def test_nets_without_activation_maps_say_why(model, image_shape, message):
    with pytest.raises(ShowError, match=message):
        class_activation_maps(model().eval(), Tensor(rng().standard_normal(image_shape).astype("f4")))


def test_cam(tmp_path):
    said = show_cam(classifier(GapNet()), image(), tmp_path / "c.png", 2)
    assert said.startswith("c: ") and said.endswith("%, map of 16×24")
    left, right = np.array_split(written(tmp_path / "c.png"), 2, axis=1)
    assert np.abs(left[:, : right.shape[1]].astype(int) - right[:, : left.shape[1]]).mean() > 1  # only the right one is overlaid
    with pytest.raises(ShowError, match="--class must be 0 … 4, got 5"):
        show_cam(classifier(GapNet()), image(), tmp_path / "c.png", 5)


# ---- the command ------------------------------------------------------------------------------------------------------


def test_command(tmp_path, capsys):
    (tmp_path / "own.py").write_text(
        "from pycnn import nn, ops\n"
        "class Own(nn.Module):\n"
        "    head = ('fc',)\n"
        "    def __init__(self):\n"
        "        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)\n"
        "    def stages(self, x):\n"
        "        yield ops.relu(self.conv(x))\n"
        "    def forward(self, x):\n"
        "        (x,) = self.stages(x)\n"
        "        return self.fc(ops.flatten(ops.adaptive_avg_pool2d(x, 1), 1))\n"
    )
    shapes = {"conv.weight": (4, 3, 3, 3), "conv.bias": (4,), "fc.weight": (2, 4), "fc.bias": (2,)}
    save_file({n: rng().standard_normal(s).astype("f4") for n, s in shapes.items()}, tmp_path / "w.safetensors")
    Image.fromarray(image().transpose(1, 2, 0)).save(tmp_path / "x.png")
    common = ["--model", f"{tmp_path / 'own.py'}:Own", "--weights", str(tmp_path / "w.safetensors"), "--resize", "32", "40"]
    photo, out = str(tmp_path / "x.png"), str(tmp_path / "out.png")
    for words in (["filters"], ["features", photo, "--layer", "conv"], ["cam", photo, "--class", "1"]):
        assert cli.main(["show", *words, *common, "--output", out]) == 0
        written(out)
    assert "class 1: " in capsys.readouterr().out
    for words, message in {
        ("cam",): "name the picture: pycnn show cam IMAGE",
        ("features", photo): "name the layer: --layer PATH",
    }.items():
        assert cli.main(["show", *words, *common, "--output", out]) == 1
        assert message in capsys.readouterr().err
