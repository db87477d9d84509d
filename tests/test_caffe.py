"""Reading Caffe's files: both formats, damaged files, and Caffe's nets with their published weights."""

import struct

import numpy as np
import pytest
from helpers import rng
from model_checks import check_against_torch, parameters
from real_data import real_data, run_batches

from pycnn.models import create_model, load_weights
from pycnn.models.caffe import CaffeError, caffe_state, read_caffemodel
from pycnn.models.weight_files import WeightsError

# ---- a writer of the few fields, after caffe.proto --------------------------------------------------------------------


def varint(n: int) -> bytes:
    return bytes([n & 127 | 128]) + varint(n >> 7) if n > 127 else bytes([n])


def field(number: int, value) -> bytes:
    """An int as varint, anything else as bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def blob(array, old: bool = False) -> bytes:
    array = np.asarray(array, "<f4")
    if old:
        shape = (1,) * (4 - array.ndim) + array.shape
        return b"".join(field(i + 1, n) for i, n in enumerate(shape)) + field(5, array.tobytes())
    return field(7, field(1, b"".join(varint(n) for n in array.shape))) + field(5, array.tobytes())


def layer(name: str, kind, *arrays, old: bool = False) -> bytes:
    if old:
        return field(2, field(4, name) + field(5, kind) + b"".join(field(6, blob(a, True)) for a in arrays))
    return field(100, field(1, name) + field(2, kind) + field(3, "bottom") + b"".join(field(7, blob(a)) for a in arrays))


def lenet_file(path, old: bool = False, seed: int = 0):
    """A file of Caffe's LeNet with random weights; returns its arrays."""
    state = {
        n: rng(seed + i).standard_normal(v.shape).astype("f4")
        for i, (n, v) in enumerate(create_model("lenet_caffe").state_dict().items())
    }
    convolution, inner = (4, 14) if old else ("Convolution", "InnerProduct")
    content = field(1, "LeNet") + layer("mnist", 5 if old else "Data", old=old)
    for name in ("conv1", "conv2", "ip1", "ip2"):
        kind = convolution if name.startswith("conv") else inner
        content += layer(name, kind, state[f"{name}.weight"], state[f"{name}.bias"], old=old)
    path.write_bytes(content)
    return state


@pytest.mark.parametrize("old", [False, True], ids=["layer", "V1 layers"])
def test_both_formats_load(tmp_path, old):
    state = lenet_file(tmp_path / "lenet.caffemodel", old)
    model = create_model("lenet_caffe")
    assert load_weights(model, tmp_path / "lenet.caffemodel") == []
    assert all(np.array_equal(value, state[name]) for name, value in model.state_dict().items())


def test_numbers_one_by_one_and_doubles(tmp_path):
    single = b"".join(varint(5 << 3 | 5) + struct.pack("<f", x) for x in (1.5, -2.0))
    double = field(8, np.array([3.0, 4.0]).tobytes()) + field(7, field(1, 2))
    content = field(100, field(1, "a") + field(2, "Scale") + field(7, single) + field(7, double))
    (tmp_path / "x.caffemodel").write_bytes(content)
    state = caffe_state(tmp_path / "x.caffemodel")
    assert state["a.weight"].tolist() == [1.5, -2.0] and state["a.bias"].tolist() == [3.0, 4.0]


def test_batch_norm_and_scale_are_one_layer(tmp_path):
    from pycnn import nn

    model = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2, bias=False), nn.BatchNorm2d(6), nn.Linear(6, 2))
    w, mean, var, gamma, beta, fc = (
        rng(i).uniform(1, 2, s).astype("f4") for i, s in enumerate([(6, 2, 3, 3), 6, 6, 6, 6, (2, 6)])
    )
    content = layer("c", "Convolution", w) + layer("c/bn", "BatchNorm", 2 * mean, 2 * var, [2.0])
    content += layer("c/scale", "Scale", gamma, beta) + layer("fc", "InnerProduct", fc, [1.0, 2.0])
    (tmp_path / "x.caffemodel").write_bytes(content)
    assert load_weights(model, tmp_path / "x.caffemodel") == []
    state = model.state_dict()
    for name, value in {"0.weight": w, "1.running_mean": mean, "1.running_var": var, "1.weight": gamma, "1.bias": beta}.items():
        assert np.array_equal(state[name], value), name
    assert state["2.bias"].tolist() == [1.0, 2.0]


def test_layers_are_matched_in_order_and_a_wrong_shape_is_named(tmp_path):
    from pycnn import nn

    lenet_file(tmp_path / "x.caffemodel")
    model = nn.Sequential(nn.Conv2d(1, 20, 5), nn.Conv2d(20, 50, 5), nn.Linear(800, 500), nn.Linear(500, 10))
    load_weights(model, tmp_path / "x.caffemodel")
    assert np.array_equal(model.state_dict()["2.bias"], caffe_state(tmp_path / "x.caffemodel")["ip1.bias"])
    wrong = nn.Sequential(nn.Conv2d(1, 20, 5), nn.Conv2d(20, 50, 3), nn.Linear(800, 500), nn.Linear(500, 10))
    before = wrong.state_dict()
    with pytest.raises(WeightsError, match=r"conv2 has weight \(50, 20, 5, 5\), bias \(50,\), 1 needs weight \(50, 20, 3, 3\)"):
        load_weights(wrong, tmp_path / "x.caffemodel")
    assert all(np.array_equal(value, before[name]) for name, value in wrong.state_dict().items())
    with pytest.raises(WeightsError, match=r"4 layers \(conv1, conv2, ip1, ip2\), the model has 1 \(0\)"):
        load_weights(nn.Sequential(nn.Conv2d(1, 20, 5)), tmp_path / "x.caffemodel")


def test_another_type_with_parameters_is_refused(tmp_path):
    (tmp_path / "x.caffemodel").write_bytes(layer("p", "PReLU", [0.1, 0.2]))
    with pytest.raises(CaffeError, match=r"layer 'p' \(PReLU\) has blobs of shapes \(2,\): only Convolution"):
        caffe_state(tmp_path / "x.caffemodel")


# ---- damage -----------------------------------------------------------------------------------------------------------


def test_cut_anywhere(tmp_path):
    whole = layer("a", "InnerProduct", [[1, 2], [3, 4]], [5, 6]) + layer("b", "InnerProduct", [[7, 8]], [9])
    path = tmp_path / "x.caffemodel"
    end_of_a = len(layer("a", "InnerProduct", [[1, 2], [3, 4]], [5, 6]))
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        if cut == end_of_a:  # nothing in the format tells this from a whole file
            assert [found.name for found in read_caffemodel(path)] == ["a"]
        else:
            with pytest.raises(CaffeError, match="x.caffemodel"):
                read_caffemodel(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (varint(100 << 3 | 2) + varint(1 << 62), r"field 100 needs 4,611,686,018,427,387,904 bytes, 0 are left"),
        (b"\xff" * 16, "a number of more than 10 bytes"),
        (b"\x0b", "wire type 3"),
        (b"\x02\x00", "a field of number 0"),
        (
            field(100, field(1, "a") + field(7, field(7, field(1, 1 << 40) + field(1, 1 << 40)) + field(5, b"\0" * 4))),
            "1,208,925,819,",
        ),
        (field(100, field(7, field(5, b"\0" * 6))), "6 bytes of data, no multiple of 4"),
        (field(100, field(7, field(7, field(1, b"\1" * 40)) + field(5, b"\0" * 4))), "has shape 1 × 1"),
        (b'name: "LeNet"\nlayer { }', "is no caffemodel"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"", "is empty"),
        (field(1, "LeNet"), "no layer with parameters"),
    ],
)
def test_absurd_files(tmp_path, content, message):
    (tmp_path / "x.caffemodel").write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        load_weights(create_model("lenet_caffe"), tmp_path / "x.caffemodel")


def test_flipped_bytes_raise_nothing_else(tmp_path):
    whole = bytearray(layer("a", "InnerProduct", [[1, 2], [3, 4]], [5, 6]) + layer("b", 14, [[7, 8]], [9], old=True))
    path, random = tmp_path / "x.caffemodel", rng()
    refused = 0
    for _ in range(500):
        damaged = bytearray(whole)
        for at in random.integers(0, len(whole), 3):
            damaged[at] = random.integers(256)
        path.write_bytes(damaged)
        try:
            caffe_state(path)
        except CaffeError:
            refused += 1
    assert refused > 100


# ---- the nets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "count", "image"), [("lenet_caffe", 431_080, (1, 28, 28)), ("cifar10_quick", 145_578, (3, 32, 32))]
)
def test_nets(name, count, image):
    assert parameters(create_model(name)) == count
    for training in (False, True):
        check_against_torch(name, image, training)


def test_maps_of_cifar10_quick():
    from pycnn.tensor import Tensor

    shapes = [y.shape for y in create_model("cifar10_quick").stages(Tensor(np.zeros((1, 3, 32, 32), "f4")))]
    assert shapes == [(1, 32, 16, 16), (1, 32, 8, 8), (1, 64, 4, 4)]


def test_published_lenet():
    """98.6 % and loss 0.0444183 on the first 5,000 test images, as published; every logit as computed in fp64."""
    from pycnn import data

    folder = real_data("weights/lenet_caffe")
    model = create_model("lenet_caffe")
    load_weights(model, folder / "lenet_iter_10000.caffemodel")
    _, test = data.load("mnist", data_dir=folder.parents[1])
    logits = run_batches(model, test.images[:, :, 2:-2, 2:-2] * np.float32(1 / 256))
    assert np.abs(logits - np.load(folder / "ref_t10k.npz")["logits_f64"]).max() < 1e-3
    right = logits.argmax(1) == test.labels
    assert right.sum() == 9905 and right[:5000].sum() == 4930
    first = logits[:5000].astype("f8")
    loss = np.log(np.exp(first).sum(1)) - first[np.arange(5000), test.labels[:5000]]
    assert loss.mean() == pytest.approx(0.0444183, abs=1e-6)


def test_published_cifar10_quick():
    """4,043 of the first 5,000 training images are right, as in fp64."""
    from real_data import cifar10

    folder = real_data("weights/cifar10_quick_caffe")
    model = create_model("cifar10_quick")
    load_weights(model, folder / "cifar10_quick_iter_5000.caffemodel")
    images, labels = cifar10(5000)
    logits = run_batches(model, images - np.load(folder / "mean_3x32x32_f32.npy"))
    assert np.abs(logits[:200] - np.load(folder / "ref_train0-199.npz")["logits_f64"]).max() < 1e-3
    assert (logits.argmax(1) == labels).sum() == 4043
