"""DenseNets, MobileNets and ShuffleNets: parameter counts, layer tables, names, and agreement with PyTorch."""

import numpy as np
import pytest
from helpers import bits, normal, rng
from model_checks import check_against_torch, layer_outputs, parameters, torchvision_models
from test_recompute import peak_bytes

import pycnn
from pycnn import nn, ops
from pycnn.models import create_model, list_models
from pycnn.models.registry import entry
from pycnn.tensor import Tensor

# Torchvision's, the authors' files and papers; shufflenet_v1_g1, g2 and g4 from table 1 of the paper.
COUNTS = {
    "densenet121": 7_978_856, "densenet161": 28_681_000, "densenet169": 14_149_480, "densenet201": 20_013_928,
    "densenet264": 33_337_704, "densenet40_12_cifar": 1_019_722, "densenet100_12_cifar": 6_979_642,
    "densenet_bc100_12_cifar": 769_162, "densenet_bc190_40_cifar": 25_624_430, "densenet_bc250_24_cifar": 15_324_406,
    "mobilenet_v1": 4_231_976, "mobilenet_v1_075": 2_585_560, "mobilenet_v1_050": 1_331_592, "mobilenet_v1_025": 470_072,
    "mobilenet_v2": 3_504_872, "shufflenet_v1_g1": 1_530_936, "shufflenet_v1_g2": 1_732_848, "shufflenet_v1_g3": 1_864_728,
    "shufflenet_v1_g4": 1_967_344, "shufflenet_v1_g8": 2_433_768, "shufflenet_v2_x0_5": 1_366_792,
    "shufflenet_v2_x1_0": 2_278_604, "shufflenet_v2_x1_5": 3_503_624, "shufflenet_v2_x2_0": 7_393_996,
}  # fmt: skip
TORCHVISION = [name for name in COUNTS if name.startswith(("densenet1", "densenet2", "mobilenet_v2", "shufflenet_v2"))
               and name not in ("densenet264", "densenet100_12_cifar")]  # fmt: skip


@pytest.fixture
def undrawn(monkeypatch):
    """Initialisers draw nothing: what is asked for is the shape of a net."""
    for name in ("normal_", "uniform_", "kaiming_normal_", "kaiming_uniform_"):
        monkeypatch.setattr(nn.init, name, lambda tensor, *_, **__: tensor)


def test_every_net_is_counted():
    assert set(COUNTS) == {name for name in list_models() if name.startswith(("densenet", "mobilenet", "shufflenet"))}


@pytest.mark.parametrize("name", COUNTS)
def test_parameters(name, undrawn):
    assert parameters(create_model(name)) == COUNTS[name]


@pytest.mark.parametrize("name", TORCHVISION)
def test_names_and_shapes_are_torchvisions(name, undrawn):
    build = getattr(torchvision_models(), name)
    with pytest.importorskip("torch").device("meta"):
        theirs = build(weights=None).state_dict()
    mine = create_model(name).state_dict()
    assert [(n, v.shape) for n, v in mine.items()] == [(n, tuple(v.shape)) for n, v in theirs.items()]


# ---- layer tables: name -> shapes (C, H, W) of the maps that `stages` yields ------------------------------------------------

MAPS = {
    "densenet121": [(64, 112), (256, 56), (512, 28), (1024, 14), (1024, 7)],
    "densenet_bc100_12_cifar": [(216, 32), (300, 16), (342, 8)],
    "densenet40_12_cifar": [(160, 32), (304, 16), (448, 8)],
    "mobilenet_v1": [(64, 112), (128, 56), (256, 28), (512, 14), (1024, 7)],
    "mobilenet_v1_025": [(16, 112), (32, 56), (64, 28), (128, 14), (256, 7)],
    "mobilenet_v2": [(16, 112), (24, 56), (32, 28), (96, 14), (1280, 7)],
    "shufflenet_v1_g3": [(24, 112), (24, 56), (240, 28), (480, 14), (960, 7)],
    "shufflenet_v1_g8": [(24, 112), (24, 56), (384, 28), (768, 14), (1536, 7)],
    "shufflenet_v2_x1_0": [(24, 112), (24, 56), (116, 28), (232, 14), (1024, 7)],
}


@pytest.mark.parametrize("name", MAPS)
def test_maps_and_backbone(name):
    model, image = create_model(name).eval(), entry(name).image
    with pycnn.no_grad():
        maps = list(model.stages(Tensor(normal((1, *image)))))
    assert [y.shape for y in maps] == [(1, channels, side, side) for channels, side in MAPS[name]]
    backbone = create_model(name, features_only=True, out_indices=(0, -1))
    assert backbone.channels == (MAPS[name][0][0], MAPS[name][-1][0])
    assert backbone.strides == (image[1] // MAPS[name][0][1], image[1] // MAPS[name][-1][1])


TABLES = {
    "densenet121": {
        "features.denseblock1.denselayer1": (32, 56, 56), "features.denseblock1": (256, 56, 56),
        "features.transition1": (128, 28, 28), "features.denseblock2": (512, 28, 28), "features.transition2": (256, 14, 14),
        "features.denseblock3": (1024, 14, 14), "features.transition3": (512, 7, 7), "features.denseblock4": (1024, 7, 7),
        "classifier": (1000,),
    },
    "mobilenet_v1": {
        f"blocks.{i}": (channels, side, side)
        for i, (channels, side) in enumerate([(64, 112), (128, 56), (128, 56), (256, 28), (256, 28), *[(512, 14)] * 6,
                                              (1024, 7), (1024, 7)])
    } | {"classifier": (1000,)},
    "shufflenet_v1_g3": {
        "stage2.0": (240, 28, 28), "stage2.3": (240, 28, 28), "stage3.7": (480, 14, 14), "stage4.3": (960, 7, 7), "fc": (1000,),
    },
    "shufflenet_v2_x1_0": {"stage2.3": (116, 28, 28), "stage3.7": (232, 14, 14), "stage4.3": (464, 7, 7), "fc": (1000,)},
    "mobilenet_v2": {
        "features.1": (16, 112, 112), "features.3": (24, 56, 56), "features.6": (32, 28, 28), "features.10": (64, 14, 14),
        "features.13": (96, 14, 14), "features.16": (160, 7, 7), "features.17": (320, 7, 7), "classifier": (1000,),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_layer_table(name):
    found = layer_outputs(create_model(name).eval(), normal((1, *entry(name).image)))
    assert {path: found[path][1:] for path in TABLES[name]} == TABLES[name]


# ---- against PyTorch -------------------------------------------------------------------------------------------------------

SMALL = {"densenet121": dict(growth_rate=4, block_config=(2, 2, 3, 2), num_init_features=8, num_classes=7)}
for name in ("densenet40_12_cifar", "densenet_bc100_12_cifar"):
    SMALL[name] = dict(block_config=(2, 3, 2), num_classes=7)
SMALL |= {"mobilenet_v1_025": dict(num_classes=7), "shufflenet_v1_g1": dict(num_classes=7)}
SMALL |= {f"shufflenet_v1_g{g}": dict(num_classes=7) for g in (3, 8)}
modes = pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])


@modes
@pytest.mark.parametrize("name", SMALL)
def test_agrees_with_torch(name, training):
    check_against_torch(name, (3, 33, 36) if "cifar" not in name else (3, 12, 8), training, **SMALL[name])


@modes
def test_options_of_mobilenet_v1_agree_with_torch(training):
    check_against_torch("mobilenet_v1_025", (3, 37, 42), training, num_classes=7, relu6=True, tf_padding=True)


@modes
def test_recomputed_densenet_agrees_with_torch(training):
    check_against_torch("densenet121", (3, 33, 36), training, memory_efficient=True, **SMALL["densenet121"])


@modes
def test_mobilenet_v2_agrees_with_torchvision(training):
    build = lambda: torchvision_models().MobileNetV2(width_mult=0.3, num_classes=7)
    check_against_torch("mobilenet_v2", (3, 33, 36), training, torch_build=build, width_mult=0.3, num_classes=7)


@modes
def test_shufflenet_v2_agrees_with_torchvision(training):
    build = lambda: torchvision_models().shufflenet_v2_x0_5(weights=None, num_classes=7)
    check_against_torch("shufflenet_v2_x0_5", (3, 33, 36), training, torch_build=build, num_classes=7)


@modes
def test_densenet_agrees_with_torchvision(training):
    def build():
        return torchvision_models().DenseNet(growth_rate=4, block_config=(2, 2, 3, 2), num_init_features=8, num_classes=7)

    check_against_torch("densenet121", (3, 33, 36), training, torch_build=build, **SMALL["densenet121"])


@pytest.mark.slow
@modes
@pytest.mark.parametrize("name", TORCHVISION)
def test_whole_nets_agree_with_torchvision(name, training):
    build = getattr(torchvision_models(), name)
    check_against_torch(name, (3, 64, 64), training, torch_build=lambda: build(weights=None))


@pytest.mark.parametrize("name", ["mobilenet_v2", "densenet121", "mobilenet_v1_025"])
def test_standard_deviations_of_weights(name):
    """Those of torchvision's initialisers: He et al. 2015 with fan_out of the MobileNets, with fan_in of DenseNet."""
    for module in create_model(name).modules():
        if isinstance(module, nn.Conv2d) and module.weight.size > 10_000:
            fan_in, fan_out = nn.init.fans(module.weight)
            expected = np.sqrt(2 / (fan_in if name == "densenet121" else fan_out))
            assert abs(module.weight.numpy().std() / expected - 1) < 0.05


# ---- what is particular ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(7, 8), (8, 7), (9, 9), (8, 8)])
def test_tf_padding_is_tensorflows(size):
    """Its rule: ceil(n / s) outputs, and of the zeros needed for them the smaller half before the image."""
    model = create_model("mobilenet_v1_025", tf_padding=True).eval()
    H, W = size
    x = normal((1, 3, H, W))
    zeros = [max((-(-n // 2) - 1) * 2 + 3 - n, 0) for n in size]
    padded = np.pad(x, [(0, 0), (0, 0), *[(z // 2, z - z // 2) for z in zeros]])
    expected = ops.relu(model.bn1(ops.conv2d(Tensor(padded), model.conv1.weight, stride=2)))
    assert np.allclose(model.unit(model.conv1, model.bn1, Tensor(x)).numpy(), expected.numpy(), atol=1e-6)
    assert expected.shape[2:] == (-(-H // 2), -(-W // 2))


def test_published_mobilenets_fit():
    """Convolutions with folded batch norm have one number per channel where this net has two: 2,578,121 of TensorFlow's 0.75 at
    192 pixels and 1001 classes; MLPerf Tiny's 0.25 has a bias and 4 numbers per channel, 221,794 in all."""
    channels = lambda model: sum(m.num_features for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    model = create_model("mobilenet_v1_075", num_classes=1001, relu6=True, tf_padding=True)
    assert parameters(model) - channels(model) == 2_578_121
    tiny = create_model("mobilenet_v1_025", num_classes=2, tf_padding=True)
    assert parameters(tiny) + 3 * channels(tiny) == 221_794
    with pycnn.no_grad():
        assert tiny.eval()(Tensor(normal((1, 3, 96, 96)))).shape == (1, 2)


def test_shuffle_is_before_the_depthwise_convolution():
    unit = create_model("shufflenet_v1_g3", num_classes=2).eval().stage2[1]
    x = Tensor(normal((1, 240, 5, 5)))
    y = ops.relu(unit.bn1(unit.conv1(x))).numpy()
    shuffled = y.reshape(1, 3, 20, 5, 5).transpose(0, 2, 1, 3, 4).reshape(y.shape)
    expected = unit.bn3(unit.conv3(unit.bn2(unit.conv2(Tensor(shuffled))))) + x
    assert np.allclose(unit(x).numpy(), ops.relu(expected).numpy(), atol=1e-4)


def test_bad_groups():
    with pytest.raises(ValueError, match="groups must be one of 1, 2, 3, 4, 8, got 5"):
        create_model("shufflenet_v1_g3", groups=5)


def densenet_step(memory_efficient, **options):
    """A DenseNet-BC and a function that makes a training step with it."""
    pycnn.manual_seed(1)
    model = create_model("densenet_bc100_12_cifar", memory_efficient=memory_efficient, **options)
    x, target = Tensor(normal((2, 3, 32, 32))), Tensor(rng(1).integers(0, 10, 2))
    return model, lambda: ops.cross_entropy(model(x), target).backward()


def test_memory_efficient_densenet_has_the_same_bits():
    results = []
    for memory_efficient in (False, True):
        model, step = densenet_step(memory_efficient, p=0.2, block_config=(6, 6, 6))
        step()
        gradients = {name: p.grad.numpy() for name, p in model.named_parameters()}
        results.append([(name, bits(array)) for name, array in (*gradients.items(), *model.state_dict().items())])
    assert results[0] == results[1]


def test_memory_efficient_densenet_needs_less_memory(monkeypatch):
    """Bytes held by the arrays that ops make, at the worst time of a training step."""
    peaks = []
    for memory_efficient in (False, True):
        _, step = densenet_step(memory_efficient)
        step()  # the parameters' gradients are there from now on
        peaks.append(peak_bytes(step, monkeypatch))
    assert peaks[1] < 0.4 * peaks[0]
