"""LeNet-5, AlexNet, ZFNet, NiN, VGG, GoogLeNet, SqueezeNet: counts, layer tables, state and initialisation, and agreement.

Fully connected layers of 4096 are narrowed to 16 where outputs and gradients are compared in fp64; a slow test takes them whole.
"""

import dataclasses
import math

import numpy as np
import pytest
from model_checks import check_against_torch, layer_outputs, parameters, torchvision_models

import pycnn
from pycnn import nn
from pycnn.models import create_model, registry
from pycnn.tensor import Tensor

COUNTS = {
    "lenet5": 61_706,
    "lenet5_1998": 60_000,
    "alexnet": 61_100_840,
    "alexnet_paper": 60_965_224,
    "alexnet_lecture": 62_378_344,
    "zfnet": 62_357_608,
    "zfnet_512_1024_512": 107_627_624,
    "nin_cifar": 966_986,
    "nin": 7_595_176,
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840,
    "vgg13_bn": 133_053_736,
    "vgg16_bn": 138_365_992,
    "vgg19_bn": 143_678_248,
    "googlenet": 13_004_888,
    "googlenet_paper": 13_378_280,
    "squeezenet1_0": 1_248_424,
    "squeezenet1_1": 1_235_496,
}
LENET = [(6, 28, 28), (16, 10, 10), (16, 5, 5)]
ALEXNET = [(96, 55, 55), (256, 27, 27), (256, 13, 13), (256, 6, 6)]
ZFNET = [(96, 110, 110), (96, 55, 55), (256, 26, 26)]
VGG = [(64, 224, 224), (128, 112, 112), (256, 56, 56), (512, 28, 28), (512, 14, 14), (512, 7, 7)]
GOOGLENET = [(64, 112, 112), (192, 56, 56), (480, 28, 28), (832, 14, 14), (1024, 7, 7)]
STAGES = {
    "lenet5": LENET,
    "lenet5_1998": LENET,
    "alexnet": [(64, 55, 55), (192, 27, 27), (256, 13, 13), (256, 6, 6)],
    "alexnet_paper": ALEXNET,
    "alexnet_lecture": ALEXNET,
    "zfnet": [*ZFNET, (256, 13, 13), (256, 6, 6)],
    "zfnet_512_1024_512": [*ZFNET, (512, 13, 13), (512, 6, 6)],
    "nin_cifar": [(96, 32, 32), (192, 16, 16), (10, 8, 8)],
    "nin": [(96, 55, 55), (256, 27, 27), (384, 13, 13), (1000, 6, 6)],
    **{f"vgg{depth}{bn}": VGG for depth in (11, 13, 16, 19) for bn in ("", "_bn")},
    "googlenet": GOOGLENET,
    "googlenet_paper": GOOGLENET,
    "squeezenet1_0": [(96, 109, 109), (256, 54, 54), (512, 27, 27), (512, 13, 13)],
    "squeezenet1_1": [(64, 111, 111), (128, 55, 55), (256, 27, 27), (512, 13, 13)],
}
TORCHVISION = [name for name in COUNTS if name.startswith(("vgg", "squeezenet")) or name in ("alexnet", "googlenet")]
WIDTH = 16


def note_draws(patch) -> dict:
    """Parameters stay as memory comes: counts and shapes need no numbers. Returns what would have filled each: id -> (how, …)."""
    calls = {}

    def instead_of(name):
        def note(tensor, *numbers, **named):
            calls[id(tensor)] = (name, *numbers, *named.values())
            return tensor

        return note

    for name in ("uniform_", "normal_", "constant_"):
        patch.setattr(nn.init, name, instead_of(name))
    return calls


@pytest.fixture
def drawn(monkeypatch):
    return note_draws(monkeypatch)


# ---- counts, shapes, names ----


@pytest.mark.parametrize("name", COUNTS)
def test_parameters(name, drawn):
    assert parameters(create_model(name)) == COUNTS[name]


@pytest.mark.parametrize("name, count", [("googlenet", 6_624_904), ("googlenet_paper", 6_998_552)])
def test_googlenet_without_auxiliary_heads(name, count, drawn):
    assert parameters(create_model(name, aux_logits=False)) == count


def counts_of_children(model):
    """Parameters of each child that has any."""
    return {name: count for name, child in model.named_children() if (count := parameters(child))}


def test_parameters_of_lenets_layers_are_the_papers():
    counts = {"c1": 156, "s2": 12, "c3": 1_516, "s4": 32, "c5": 48_120, "f6": 10_164}
    assert counts_of_children(create_model("lenet5_1998")) == counts


def test_parameters_of_alexnets_layers_are_the_papers(drawn):
    counts = [34_944, 307_456, 885_120, 663_936, 442_624, 37_752_832, 16_781_312, 4_097_000]
    assert [*counts_of_children(create_model("alexnet_paper")).values()] == counts


def test_parameters_of_googlenets_layers_are_the_papers(drawn):
    counts = counts_of_children(create_model("googlenet_paper"))
    blocks = [163_696, 388_736, 376_176, 449_160, 510_104, 605_376, 868_352, 1_043_456, 1_444_080]
    assert [count for name, count in counts.items() if name.startswith("inception")] == blocks
    assert counts["conv1"] + counts["conv2"] + counts["conv3"] == 124_416
    assert (counts["aux1"], counts["aux2"]) == (3_188_840, 3_190_888)


@pytest.mark.parametrize("name", COUNTS)
def test_maps_and_logits(name, drawn):
    """The table of stages at the size that the net was designed for; forward runs through them."""
    model = create_model(name).eval()
    seen, stages = [], model.stages

    def watched(*inputs):
        for x in stages(*inputs):
            seen.append(x.shape)
            yield x

    model.stages = watched
    with pycnn.no_grad():
        logits = model(Tensor(np.zeros((1, *registry.entry(name).image), np.float32)))
    assert seen == [(1, *shape) for shape in STAGES[name]]
    assert logits.shape == (1, 10 if name.startswith("lenet") or name.endswith("_cifar") else 1000)


def test_maps_of_the_inception_blocks(drawn):
    shapes = layer_outputs(create_model("googlenet_paper"), np.zeros((1, 3, 224, 224), np.float32))
    widths = {"3a": 256, "3b": 480, "4a": 512, "4b": 512, "4c": 512, "4d": 528, "4e": 832, "5a": 832, "5b": 1024}
    sizes = {"3": 28, "4": 14, "5": 7}
    for block, width in widths.items():
        assert shapes[f"inception{block}"] == (1, width, sizes[block[0]], sizes[block[0]])
    assert shapes["aux1.pool"] == (1, 512, 4, 4) and shapes["aux2.pool"] == (1, 528, 4, 4)


def test_squeezenet_at_the_papers_size(drawn):
    model = create_model("squeezenet1_0", conv10_padding=1)
    shapes = layer_outputs(model, np.zeros((1, 3, 227, 227), np.float32))
    assert shapes["features.0"] == (1, 96, 111, 111) and shapes["features.12"] == (1, 512, 13, 13)
    assert shapes["classifier.1"] == (1, 1000, 15, 15)


@pytest.mark.parametrize("name", COUNTS)
def test_head_and_top_name_layers(name, drawn):
    """`num_classes` shapes the heads and nothing else; `top` are children."""
    two, three = ({n: p.shape for n, p in create_model(name, num_classes=k).named_tensors()} for k in (2, 3))
    model = create_model(name, num_classes=2)
    changed = {n.rpartition(".")[0] for n in two if two[n] != three[n]}
    assert changed == set(type(model).head)
    assert set(model.top) <= {n for n, _ in model.named_children()}


@pytest.mark.parametrize("name", TORCHVISION)
def test_state_is_torchvisions(name, drawn):
    models = torchvision_models()
    import torch

    with torch.device("meta"):
        theirs = models.get_model(name, weights=None, **({"init_weights": False} if name == "googlenet" else {}))
    shapes = {n: tuple(v.shape) for n, v in theirs.state_dict().items()}
    assert {n: t.shape for n, t in create_model(name).named_tensors()} == shapes


# ---- initialisation ----


@pytest.mark.parametrize(
    "name", ["alexnet_paper", "zfnet", "nin_cifar", "squeezenet1_1", "vgg11_bn", "googlenet", "googlenet_paper"]
)
def test_initialisation(name, drawn):
    got = {n: drawn.get(id(p)) for n, p in create_model(name).named_parameters()}
    bound = math.sqrt(3 / 64)  # a 1×1 convolution's of 64 channels
    expected = {
        "alexnet_paper": {
            "conv1.weight": ("normal_", 0.01),
            "fc8.weight": ("normal_", 0.01),
            **{f"{n}.bias": ("constant_", 0.0) for n in ("conv1", "conv3", "fc8")},
            **{f"{n}.bias": ("constant_", 1.0) for n in ("conv2", "conv4", "conv5", "fc6", "fc7")},
        },
        "zfnet": {"conv5.weight": ("normal_", 0.01), "fc7.bias": ("constant_", 0.0)},
        "nin_cifar": {"conv1.weight": ("normal_", 0.05), "cccp6.bias": ("constant_", 0.0)},
        "squeezenet1_1": {
            "features.3.squeeze.weight": ("uniform_", -bound * math.sqrt(2), bound * math.sqrt(2)),
            "classifier.1.weight": ("normal_", 0.01),
            "classifier.1.bias": ("constant_", 0.0),
        },
        "vgg11_bn": {
            "features.0.weight": ("normal_", math.sqrt(2 / (64 * 9))),
            "features.0.bias": ("constant_", 0.0),
            "classifier.6.weight": ("normal_", 0.01),
        },
        "googlenet": {"conv1.conv.weight": ("normal_", 0.01), "aux1.fc2.weight": ("normal_", 0.01)},
        "googlenet_paper": {
            "conv2.conv.weight": ("uniform_", -bound, bound),
            "conv2.conv.bias": ("constant_", 0.2),
            "aux1.fc1.bias": ("constant_", 0.2),
            "fc.bias": ("constant_", 0.0),
            "aux2.fc2.bias": ("constant_", 0.0),
        },
    }[name]
    for path, (how, *numbers) in expected.items():
        assert got[path][0] == how, path
        np.testing.assert_allclose(got[path][1:], numbers, rtol=1e-12, err_msg=path)


# ---- LeNet-5 of 1998 ----

TABLE_I = """
X...XXX..XXXX.XX
XX...XXX..XXXX.X
XXX...XXX..X.XXX
.XXX..XXXX..X.XX
..XXX..XXXX.XX.X
...XXX..XXXX.XXX
""".split()  # rows: maps of S2, columns: maps of C3


def test_c3_sees_the_maps_of_table_1():
    c3 = create_model("lenet5_1998").c3
    nothing = c3(Tensor(np.zeros((1, 6, 5, 5), np.float32))).numpy()
    for i, row in enumerate(TABLE_I):
        x = np.zeros((1, 6, 5, 5), np.float32)
        x[0, i] = 1
        assert "".join("X" if c else "." for c in (c3(Tensor(x)).numpy() != nothing).ravel()) == row, f"map {i}"
    assert sum(row.count("X") for row in TABLE_I) == 60


def test_squashing_maps_one_to_one():
    from pycnn.models.lenet import squash

    np.testing.assert_allclose(squash(Tensor([-1.0, 0.0, 1.0])).numpy(), [-1, 0, 1], atol=1e-5)


def test_the_output_is_minus_the_distance_from_the_bitmaps():
    model = create_model("lenet5_1998")
    bitmaps = model.output.centers.numpy()
    assert bitmaps.shape == (10, 84) and set(np.unique(bitmaps)) == {-1, 1}
    distances = model.output(Tensor(bitmaps)).numpy()
    np.testing.assert_array_equal(np.diag(distances), 0)
    assert (distances + 100 * np.eye(10) >= 4 * 8).all(), "two digits differ in less than 8 pixels"
    assert "output.centers" in model.state_dict() and "output.centers" not in dict(model.named_parameters())


@pytest.mark.parametrize("count", [0, 11])
def test_there_are_bitmaps_of_digits_only(count):
    with pytest.raises(ValueError, match=f"num_classes must be 1 to 10, .* got {count}"):
        create_model("lenet5_1998", num_classes=count)


def test_lenet5_1998_learns():
    """60 steps on one batch of ten digits' bitmaps as images."""
    model = create_model("lenet5_1998")
    glyphs = model.output.centers.numpy().reshape(10, 12, 7)
    images = np.full((10, 1, 32, 32), -0.1, np.float32)
    images[:, 0, 4:28, 9:23] = np.where(np.kron(glyphs, np.ones((2, 2))) > 0, 1.175, -0.1)
    optimizer = pycnn.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    x, target = Tensor(images), Tensor(np.arange(10))
    for _ in range(60):
        optimizer.zero_grad()
        loss = pycnn.ops.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()
    assert (model(x).numpy().argmax(1) == np.arange(10)).all()


# ---- errors ----


def test_other_sizes(drawn):
    """Global average pooling takes them; fully connected layers over a fixed number of pixels refuse them by name."""
    x = Tensor(np.zeros((1, 3, 320, 320), np.float32))
    with pycnn.no_grad():
        assert create_model("squeezenet1_1", num_classes=3)(x).shape == (1, 3)
        with pytest.raises(pycnn.errors.ShapeError, match=r"fc6 = Linear\(9216, 4096\): got an input of shape \(1, 16384\)"):
            create_model("alexnet_paper")(x)


# ---- agreement ----


def narrow(model, linear):
    """Hidden fully connected layers of WIDTH units, in place, made by `linear`."""
    layers = [(path, m) for path, m in model.named_modules() if type(m).__name__ == "Linear"]
    for i, (path, layer) in enumerate(layers):
        parent, _, name = path.rpartition(".")
        inputs = layer.in_features if i == 0 else WIDTH
        outputs = WIDTH if i + 1 < len(layers) else layer.out_features
        setattr(dict(model.named_modules())[parent], name, linear(inputs, outputs))
    return model


def filled(model):
    """Random weights that keep a signal's size, and biases that count."""
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter, nonlinearity="relu")
        else:
            nn.init.normal_(parameter, std=0.1)
    return model


def check(monkeypatch, name, image, training, batch, shrink, **options):
    """`check_against_torch`, against torchvision where it has the net, with narrowed layers if `shrink`."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from pycnn.bench.torch_twin import torch_model

    entry = registry.entry(name)
    with torch.device("meta"):
        if name in TORCHVISION:
            more = {"init_weights": False} if name == "googlenet" else {}
            theirs = torchvision_models().get_model(name, weights=None, **options, **more)
        else:
            theirs = torch_model(name, **options)
        theirs = (narrow(theirs, torch.nn.Linear) if shrink else theirs).to_empty(device="cpu")

    def build(**options):
        with pytest.MonkeyPatch.context() as patch:
            note_draws(patch)
            model = entry.build(**options)
            model = narrow(model, nn.Linear) if shrink else model
        return filled(model)

    monkeypatch.setitem(registry._entries, name, dataclasses.replace(entry, build=build))
    check_against_torch(name, image, training, batch, torch_build=lambda: theirs, **options)


modes = pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])


@modes
@pytest.mark.parametrize(
    "name, image, batch, shrink",
    [
        ("lenet5_1998", (1, 32, 32), 3, False),
        ("alexnet", (3, 67, 75), 2, True),
        ("nin_cifar", (3, 32, 32), 2, False),
        ("nin", (3, 99, 99), 1, False),
        ("vgg11", (3, 32, 64), 2, True),
        ("vgg11_bn", (3, 64, 64), 2, True),
        ("googlenet", (3, 64, 64), 2, False),
        ("squeezenet1_0", (3, 64, 64), 2, False),
        ("squeezenet1_1", (3, 64, 64), 2, False),
    ],
)
def test_agreement(name, image, batch, shrink, training, monkeypatch):
    classes = {} if name.startswith("lenet") else {"num_classes": 7}
    check(monkeypatch, name, image, training, batch, shrink, **classes)


FIXED_SIZE = [("alexnet_paper", 227), ("alexnet_lecture", 227), ("zfnet", 224)]


@pytest.mark.parametrize("name, size", FIXED_SIZE)
def test_agreement_at_the_one_size(name, size, monkeypatch):
    check(monkeypatch, name, (3, size, size), True, 1, True, num_classes=7)


@pytest.mark.slow
@pytest.mark.parametrize("name, size", FIXED_SIZE)
def test_agreement_at_the_one_size_eval(name, size, monkeypatch):
    """Without dropout it is what training does."""
    check(monkeypatch, name, (3, size, size), False, 1, True, num_classes=7)


def test_agreement_of_googlenet_paper_eval(monkeypatch):
    check(monkeypatch, "googlenet_paper", (3, 64, 64), False, 2, False, num_classes=7)


def test_agreement_of_googlenet_paper_train(monkeypatch):
    """Its auxiliary heads need maps of 14×14."""
    check(monkeypatch, "googlenet_paper", (3, 223, 223), True, 1, False, num_classes=7)


def test_agreement_of_squeezenet_with_a_padded_last_convolution():
    check_against_torch("squeezenet1_0", (3, 64, 64), True, conv10_padding=1, num_classes=7)


@pytest.mark.slow
@modes
@pytest.mark.parametrize("name", ["zfnet_512_1024_512", "vgg13", "vgg16", "vgg19", "vgg13_bn", "vgg16_bn", "vgg19_bn"])
def test_agreement_of_large_nets(name, training, monkeypatch):
    size = 224 if name.startswith("zfnet") else 64
    check(monkeypatch, name, (3, size, size), training, 2, True, num_classes=7)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alexnet", "vgg16"])
def test_agreement_of_whole_nets(name, monkeypatch):
    check(monkeypatch, name, (3, 96, 96), True, 1, False)
