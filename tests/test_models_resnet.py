"""Residual networks: parameters as published, layer tables, PyTorch's outputs and gradients, and published weights."""

import os
from pathlib import Path

import numpy as np
import pytest
from helpers import normal
from model_checks import check_against_torch, layer_outputs, parameters, torchvision_models

import pycnn
from pycnn import Tensor, nn, ops
from pycnn.models import create_model, list_models
from pycnn.models.registry import entry

COUNTS = {  # with the papers' numbers of classes; those of torchvision, of the authors' files, or worked out from them
    "plain20_cifar": 269_722,
    "plain32_cifar": 464_154,
    "plain44_cifar": 658_586,
    "plain56_cifar": 853_018,
    "plain110_cifar": 1_727_962,
    "preact_resnet110_cifar": 1_727_962,
    "preact_resnet164_cifar": 1_703_258,
    "preact_resnet1001_cifar": 10_327_706,
    "preact_resnet200": 64_666_152,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet50_paper": 25_557_032,
    "resnet101": 44_549_160,
    "resnet101_paper": 44_549_160,
    "resnet152": 60_192_808,
    "resnet152_paper": 60_192_808,
    "resnet20_cifar": 269_722,
    "resnet32_cifar": 464_154,
    "resnet44_cifar": 658_586,
    "resnet56_cifar": 853_018,
    "resnet110_cifar": 1_727_962,
    "resnet1202_cifar": 19_421_274,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x4d": 44_177_704,
    "resnext101_32x8d": 88_791_336,
    "resnext101_64x4d": 83_455_272,
    "resnext29_8x64d_cifar": 34_426_698,
    "resnext29_16x64d_cifar": 68_155_210,
    "stochastic_resnet110_cifar": 1_727_962,
    "stochastic_resnet1202_cifar": 19_421_274,
    "wide_resnet16_8_cifar": 10_961_370,
    "wide_resnet28_10_cifar": 36_479_194,
    "wide_resnet40_4_cifar": 8_949_210,
    "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696,
}
BASIC = [(64, 112, 112), (64, 56, 56), (128, 28, 28), (256, 14, 14), (512, 7, 7)]
BOTTLENECK = [(64, 112, 112), (256, 56, 56), (512, 28, 28), (1024, 14, 14), (2048, 7, 7)]
MAPS = {  # C, H, W of the stages' maps at the design's resolution
    "resnet18": BASIC,
    "resnet50": BOTTLENECK,
    "resnet50_paper": BOTTLENECK,
    "resnext50_32x4d": BOTTLENECK,
    "wide_resnet50_2": BOTTLENECK,
    "preact_resnet200": BOTTLENECK,
    "resnet20_cifar": [(16, 32, 32), (32, 16, 16), (64, 8, 8)],
    "plain20_cifar": [(16, 32, 32), (32, 16, 16), (64, 8, 8)],
    "stochastic_resnet110_cifar": [(16, 32, 32), (32, 16, 16), (64, 8, 8)],
    "preact_resnet110_cifar": [(16, 32, 32), (32, 16, 16), (64, 8, 8)],
    "preact_resnet164_cifar": [(64, 32, 32), (128, 16, 16), (256, 8, 8)],
    "wide_resnet16_8_cifar": [(128, 32, 32), (256, 16, 16), (512, 8, 8)],
    "resnext29_8x64d_cifar": [(256, 32, 32), (512, 16, 16), (1024, 8, 8)],
}
both_modes = pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])


@pytest.fixture
def uninitialised(monkeypatch):
    """Weights as memory has them, which takes no time."""
    for name in ("kaiming_uniform_", "kaiming_normal_", "uniform_"):
        monkeypatch.setattr(nn.init, name, lambda tensor, *_, **__: tensor)


def test_every_net_is_counted():
    assert {name for name in list_models() if "resn" in name or name.startswith("plain")} == set(COUNTS)


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_and_layers(name, uninitialised):
    model = create_model(name)
    assert parameters(model) == COUNTS[name]
    assert entry(name).image == ((3, 32, 32) if name.endswith("_cifar") else (3, 224, 224))
    paths = dict(model.named_modules())
    assert set(model.top) | set(model.head) <= set(paths)
    depth = "".join(c if c.isdigit() else " " for c in name).split()[0]
    weighted = [m for path, m in paths.items() if isinstance(m, nn.Conv2d | nn.Linear) and "downsample" not in path]
    assert len(weighted) == int(depth) - ("wide" in name and "cifar" in name) * 2


@pytest.mark.parametrize("name", MAPS)
def test_layer_table(name, uninitialised):
    model = create_model(name).eval()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    with pycnn.no_grad():
        x = Tensor(np.zeros((1, *entry(name).image), np.float32))
        assert [feature.shape[1:] for feature in model.stages(x)] == MAPS[name]
        assert model(x).shape == (1, model.fc.out_features if hasattr(model, "fc") else 10)


def test_blocks_of_resnet50():
    shapes = layer_outputs(create_model("resnet50").eval(), np.zeros((1, 3, 64, 64), np.float32))
    assert shapes["maxpool"] == (1, 64, 16, 16) and shapes["avgpool"] == (1, 2048, 1, 1) and shapes["fc"] == (1, 1000)
    assert [shapes[f"layer{i}.{j}"] for i, j in [(1, 2), (2, 3), (3, 5), (4, 2)]] == [
        (1, 256, 16, 16), (1, 512, 8, 8), (1, 1024, 4, 4), (1, 2048, 2, 2)]  # fmt: skip


def test_where_the_bottleneck_strides():
    first, second = (create_model(name, layers=(1, 1, 1, 1)).layer2[0] for name in ("resnet50_paper", "resnet50"))
    assert (first.conv1.stride, first.conv2.stride, second.conv1.stride, second.conv2.stride) == ((2, 2), (1, 1), (1, 1), (2, 2))


def test_number_of_classes():
    for name in ("resnet18", "resnet20_cifar", "preact_resnet110_cifar", "wide_resnet16_8_cifar"):
        model = create_model(name, num_classes=7)
        assert dict(model.named_modules())[model.head[0]].weight.shape[0] == 7


def test_another_image_size_and_a_wrong_one():
    model = create_model("resnet18", num_classes=4).eval()
    with pycnn.no_grad():
        assert model(Tensor(normal((2, 3, 65, 97)))).shape == (2, 4)
        with pytest.raises(pycnn.errors.ShapeError, match="3"):
            model(Tensor(normal((2, 1, 64, 64))))


# ---- PyTorch ----

TORCHVISION = {  # name -> what torchvision calls it, and options that keep the test short
    "resnet18": ("resnet18", {}),
    "resnet50": ("resnet50", {"layers": (2, 1, 1, 1)}),
    "resnext50_32x4d": ("resnext50_32x4d", {"layers": (2, 1, 1, 1)}),
    "wide_resnet50_2": ("wide_resnet50_2", {"layers": (1, 1, 1, 1)}),
}


def torchvision_build(name, layers=None, num_classes=10):
    """torchvision's net of that name, perhaps with fewer blocks."""

    def build():
        models = torchvision_models()
        if layers is None:
            return getattr(models, name)(weights=None, num_classes=num_classes)
        options = entry(name).options
        widths = {key: options[key] for key in ("groups", "width_per_group") if key in options}
        return models.resnet.ResNet(models.resnet.Bottleneck, list(layers), num_classes, **widths)

    return build


@both_modes
@pytest.mark.parametrize("name", TORCHVISION)
def test_agreement_with_torchvision(name, training):
    theirs, options = TORCHVISION[name]
    build = torchvision_build(theirs, **options)
    check_against_torch(name, (3, 33, 33), training, torch_build=build, num_classes=10, **options)


@pytest.mark.slow
@both_modes
@pytest.mark.parametrize(
    "name", ["resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d",
             "wide_resnet50_2", "wide_resnet101_2"],
)  # fmt: skip
def test_agreement_of_whole_nets_with_torchvision(name, training):
    check_against_torch(name, (3, 64, 64), training, torch_build=torchvision_build(name, num_classes=1000))


def test_torchvisions_names_and_shapes(uninitialised):
    models = torchvision_models()
    for name in ("resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d",
                 "wide_resnet50_2", "wide_resnet101_2"):  # fmt: skip
        import torch

        with torch.device("meta"):
            theirs = getattr(models, name)(weights=None)
        mine = {path: tensor.shape for path, tensor in create_model(name).named_tensors()}
        assert mine == {path: tuple(tensor.shape) for path, tensor in theirs.state_dict().items()}, name


@both_modes
@pytest.mark.parametrize(
    "name, options",
    [
        ("resnet20_cifar", {}),
        ("plain20_cifar", {}),
        ("stochastic_resnet110_cifar", {"n": 2}),
        ("preact_resnet110_cifar", {"n": 2}),
        ("preact_resnet164_cifar", {"n": 2}),
        ("wide_resnet16_8_cifar", {"k": 2}),
        ("resnext29_8x64d_cifar", {"n": 1, "groups": 4, "width_per_group": 16}),
        ("resnet50_paper", {"layers": (1, 1, 1, 1), "num_classes": 10}),
        ("preact_resnet200", {"layers": (1, 1, 1, 1), "num_classes": 10}),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_agreement_with_torch(name, options, training):
    check_against_torch(name, (3, 16, 16) if name.endswith("cifar") else (3, 33, 33), training, **options)


def test_survival_scales_the_branch_in_evaluation():
    """without_dropout makes the comparison above blind to it."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from pycnn.bench.torch_twin import torch_model

    mine, theirs = (build("stochastic_resnet110_cifar", n=2).eval() for build in (create_model, torch_model))
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in mine.state_dict().items()})
    x = normal((2, 3, 16, 16))
    with pycnn.no_grad(), torch.no_grad():
        expected = theirs(torch.from_numpy(x)).numpy()
        assert np.allclose(mine(Tensor(x)).numpy(), expected, rtol=1e-4, atol=1e-5)
        mine.layer3[1].drop_path.p = 0.0
        assert not np.allclose(mine(Tensor(x)).numpy(), expected, rtol=1e-3, atol=1e-3)


# ---- what a twin of the same file cannot tell ----


def silent(block):
    """A block whose last convolution gives zeros: only its shortcut is left."""
    convolutions = [m for path, m in block.named_modules() if path.startswith("conv")]
    nn.init.zeros_(convolutions[-1].weight)
    return block.eval()


def halved(x, before, after):
    """Every second pixel of x, and channels of zeros."""
    return np.pad(x[:, :, ::2, ::2], ((0, 0), (before, after), (0, 0), (0, 0)))


def test_shortcuts_without_parameters():
    x = np.abs(normal((2, 16, 8, 8)))  # the ReLU at the end of a block leaves it alone
    model = create_model("resnet20_cifar")
    assert np.array_equal(silent(model.layer1[0])(Tensor(x)).numpy(), x)
    assert np.array_equal(silent(model.layer2[0])(Tensor(x)).numpy(), halved(x, 8, 8))
    assert not silent(create_model("plain20_cifar").layer2[0])(Tensor(x)).numpy().any()
    means = np.pad(x.reshape(2, 16, 4, 2, 4, 2).mean((3, 5)), ((0, 0), (0, 16), (0, 0), (0, 0)))
    shortcut = silent(create_model("stochastic_resnet110_cifar", n=1).layer2[0])(Tensor(x)).numpy()
    assert np.allclose(shortcut, means, rtol=1e-6)


def test_shortcuts_of_pre_activation():
    x = normal((2, 16, 8, 8))
    basic = create_model("preact_resnet110_cifar", n=2)
    assert basic.layer1[0].bn1 is None  # the stem's activation is the first unit's
    for unit in (basic.layer1[0], basic.layer1[1]):
        assert np.array_equal(silent(unit)(Tensor(x)).numpy(), x)
    assert np.array_equal(silent(basic.layer2[0])(Tensor(x)).numpy(), halved(x, 8, 8))
    x = normal((2, 64, 8, 8))
    bottleneck = create_model("preact_resnet164_cifar", n=2)
    assert np.array_equal(silent(bottleneck.layer1[1])(Tensor(x)).numpy(), x)
    unit = silent(bottleneck.layer2[0])
    projected = np.einsum(
        "nchw,kc->nkhw", np.maximum(x / np.sqrt(1 + 1e-5), 0)[:, :, ::2, ::2], unit.downsample.weight.numpy()[..., 0, 0]
    )
    assert np.allclose(unit(Tensor(x)).numpy(), projected, rtol=1e-4, atol=1e-5)


# ---- depth ----


def test_dropout_of_wide_resnets():
    model, x = create_model("wide_resnet16_8_cifar", k=1, p=0.3), Tensor(normal((2, 3, 16, 16)))
    assert model.layer1[0].dropout.p == 0.3
    with pycnn.no_grad():
        first, second = model(x).numpy(), model(x).numpy()
        assert not np.allclose(first, second)
        model.eval()
        assert np.array_equal(model(x).numpy(), model(x).numpy())


def test_survival_probabilities():
    gates = [m.p for m in create_model("stochastic_resnet110_cifar").modules() if isinstance(m, nn.DropPath)]
    assert len(gates) == 54 and np.allclose(gates, 0.5 * np.arange(1, 55) / 54)


def training_step(model, x):
    """The loss of a step and the paths of the parameters that got a gradient."""
    model.zero_grad()
    loss = ops.cross_entropy(model(x), Tensor(np.zeros(len(x), np.int64)))
    loss.backward()
    return loss.item(), {path for path, p in model.named_parameters() if p.grad is not None}


def test_a_dropped_block_is_skipped():
    x = Tensor(normal((2, 3, 8, 8)))

    def steps():
        pycnn.manual_seed(3)
        model = create_model("stochastic_resnet110_cifar", n=3, p=0.8)
        optimiser = pycnn.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        taken = []
        for _ in range(6):
            taken.append(training_step(model, x))
            optimiser.step()
        return model, taken

    model, taken = steps()
    assert steps()[1] == taken  # the seed alone decides
    for i, layer in enumerate((model.layer1, model.layer2, model.layer3), 1):
        for j, block in enumerate(layer):
            survived = [f"layer{i}.{j}.conv1.weight" in graded for _, graded in taken]
            assert survived == [f"layer{i}.{j}.bn2.bias" in graded for _, graded in taken]
            assert sum(survived) == block.bn1.num_batches_tracked.item() == block.bn2.num_batches_tracked.item()
    drops = 9 * 6 - sum(f"layer{i}.{j}.bn2.bias" in graded for _, graded in taken for i in (1, 2, 3) for j in range(3))
    assert 10 < drops < 34  # 24 ± 3.4 expected
    assert all("linear.weight" in graded and "conv1.weight" in graded for _, graded in taken)


@pytest.mark.parametrize("name", ["resnet1202_cifar", "preact_resnet1001_cifar", "stochastic_resnet1202_cifar"])
def test_a_step_of_the_deepest_nets(name):
    model = create_model(name)
    loss, graded = training_step(model, Tensor(normal((2, 3, 8, 8))))
    assert np.isfinite(loss) and {"conv1.weight", "bn1.weight"} <= graded
    if not name.startswith("stochastic"):
        assert len(graded) == sum(1 for _ in model.parameters())


# ---- published weights ----

DATA = Path(os.environ.get("PYCNN_DATA", ""))
WEIGHTS = DATA / "weights" / "resnet_cifar10"


@pytest.mark.skipif(not WEIGHTS.is_dir(), reason="PYCNN_DATA names no folder with weights/resnet_cifar10")
@pytest.mark.parametrize("name", ["resnet20", "resnet32"])
def test_published_weights(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from matplotlib.image import imread

    (weights,), (reference,) = WEIGHTS.glob(f"{name}-*.th"), WEIGHTS.glob(f"ref_{name}-*_train0-199.npz")
    state = torch.load(weights, map_location="cpu", weights_only=True)["state_dict"]
    model = create_model(f"{name}_cifar").eval()
    model.load_state_dict({path.removeprefix("module."): value.numpy() for path, value in state.items()}, strict=False)
    assert {path.removeprefix("module.") for path in state} >= {path for path, _ in model.named_parameters()}

    rows = imread(DATA / "cifar10" / "cifar10_batch_00.png")[:200, :, :3]  # 0 … 1, an image's 32×32 pixels in a row
    images = rows.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2)
    mean, std = (np.array(v, np.float32).reshape(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = np.load(reference)["logits_f64"]
    with pycnn.no_grad():
        logits = model(Tensor((images - mean) / std)).numpy()
    assert np.abs(logits - expected).max() < 1e-3
    assert np.array_equal(logits.argmax(1), expected.argmax(1))
