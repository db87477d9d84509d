"""Loading weights of others, converting them, the records of published ones; and published weights on real images."""

import json
import pickle
import subprocess
import sys
import types

import numpy as np
import pytest
from helpers import rng
from real_data import cifar10, real_data, run_batches
from safetensors.numpy import save_file

import pycnn
from pycnn import cli, nn, ops
from pycnn.convert import convert
from pycnn.models import WeightsError, create_model, list_weights, load_weights, weights
from pycnn.models.registry import entry
from pycnn.models.weight_files import read_weights
from pycnn.models.weights import Preprocessing, fetch_weights, find_weights, get_weights


class Net(nn.Module):
    """A convolution with batch norm and a classifier."""

    head = ("fc",)

    def __init__(self, classes: int = 3, aux_logits: bool = False):
        self.aux_logits = aux_logits
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.bn1 = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, classes)


def trained(seed: int = 7) -> dict[str, np.ndarray]:
    """Arrays for Net."""
    return {n: rng(seed + i).standard_normal(v.shape).astype(v.dtype) for i, (n, v) in enumerate(Net().state_dict().items())}


def same(model, state) -> bool:
    return all(np.array_equal(value, state[name]) for name, value in model.state_dict().items())


# ---- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "state_dict.", "model.module.", "state_dict.model."]
)
@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_wrappers_are_stripped(tmp_path, prefix, suffix):
    state, file = trained(), tmp_path / f"x.{suffix}"
    named = {prefix + name: array for name, array in state.items()}
    save_file(named, file) if suffix == "safetensors" else np.savez(file, **named)
    model = Net()
    assert load_weights(model, file) == [] and same(model, state)


def test_a_compiled_part_and_a_model_that_has_such_a_name():
    state = trained()
    inner = {name.replace("conv1.", "conv1._orig_mod."): array for name, array in state.items()}
    model = Net()
    assert load_weights(model, inner) == [] and same(model, state)
    outer = nn.Sequential()
    outer.model = model
    assert load_weights(outer, {f"model.{name}": array + 1 for name, array in state.items()}) == []
    assert np.array_equal(model.state_dict()["fc.bias"], state["fc.bias"] + 1)


def test_older_and_timm_spellings():
    dense = nn.Sequential()
    dense.denselayer1 = nn.Sequential()
    dense.denselayer1.norm1, dense.denselayer1.conv1 = nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1)
    state = {name.replace("1.norm1", "1.norm.1").replace("1.conv1", "1.conv.1"): v for name, v in dense.state_dict().items()}
    assert "denselayer1.norm.1.weight" in state and load_weights(dense, state) == []
    vgg = nn.Sequential()
    vgg.classifier = nn.Sequential(
        nn.Linear(2 * 3 * 3, 5), nn.ReLU(), nn.ReLU(), nn.Linear(5, 5), nn.ReLU(), nn.ReLU(), nn.Linear(5, 4)
    )
    arrays = [rng(i).standard_normal(s).astype("f4") for i, s in enumerate([(5, 2, 3, 3), 5, (5, 5, 1, 1), 5, (4, 5), 4])]
    names = [f"{path}.{leaf}" for path in ("pre_logits.fc1", "pre_logits.fc2", "head.fc") for leaf in ("weight", "bias")]
    assert load_weights(vgg, dict(zip(names, arrays, strict=True))) == []
    assert np.array_equal(vgg.classifier[0].weight.numpy(), arrays[0].reshape(5, 18))


def test_bfloat16_and_half(tmp_path):
    import ml_dtypes

    state = {name: v.astype(ml_dtypes.bfloat16 if v.dtype == np.float32 else v.dtype) for name, v in trained().items()}
    model = Net()
    load_weights(model, state)
    assert np.array_equal(model.state_dict()["conv1.weight"], state["conv1.weight"].astype("f4"))
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.save({name: torch.from_numpy(v).bfloat16() for name, v in trained().items()}, tmp_path / "x.pt")
    convert(tmp_path / "x.pt", tmp_path / "x.safetensors")
    load_weights(model, tmp_path / "x.safetensors")
    assert np.array_equal(model.state_dict()["conv1.weight"], state["conv1.weight"].astype("f4"))


# ---- what does not fit ------------------------------------------------------------------------------------------------


def without(state, *names):
    return {name: array for name, array in state.items() if name not in names}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (without(trained(), "bn1.running_var"), r"does not fit Net: 1 missing: bn1.running_var$"),
        (trained() | {"extra.bias": np.ones(2)}, r"1 unexpected: extra.bias$"),
        (
            trained() | {"conv1.weight": np.ones((4, 3, 5, 5))},
            r"conv1.weight has shape \(4, 3, 5, 5\), the model's is \(4, 3, 3, 3\)",
        ),
        (
            trained() | {"fc.weight": np.ones((1000, 4)), "fc.bias": np.ones(1000)},
            r"another number of classes: fc.weight \(1000, 4\).*head=False",
        ),
        (trained() | {"conv1.bias": np.array(["a"] * 4)}, r"conv1.bias is of type <U1, not of numbers"),
        (trained() | {"module.fc.bias": np.ones(3)}, r"several arrays are named fc.bias"),
        ({"other": np.ones(3)}, r"none of its names is one of Net's"),
        ({}, r"none of its names is one of Net's"),
    ],
    ids=["missing", "unexpected", "shape", "head", "type", "twice", "foreign", "empty"],
)
def test_nothing_changes_if_anything_does_not_fit(state, message):
    model = Net()
    before = model.state_dict()
    with pytest.raises(WeightsError, match=message):
        load_weights(model, state)
    assert same(model, before)


def test_head_false_leaves_the_head():
    model, state = Net(classes=10), trained()
    before = model.state_dict()
    assert load_weights(model, state, head=False) == ["fc.weight", "fc.bias"]
    assert same(model, state | {"fc.weight": before["fc.weight"], "fc.bias": before["fc.bias"]})
    with pytest.raises(WeightsError, match="missing: conv1.bias"):
        load_weights(model, without(state, "conv1.bias"), head=False)
    with pytest.raises(WeightsError, match="Sequential does not say which layers are its head"):
        load_weights(nn.Sequential(nn.Linear(2, 2)), {"0.weight": np.ones((2, 2)), "0.bias": np.ones(2)}, head=False)


def test_not_strict():
    model, state = Net(), trained()
    assert load_weights(model, without(state, "fc.bias") | {"extra": np.ones(2)}, strict=False) == ["fc.bias"]
    with pytest.raises(WeightsError, match="fc.weight has shape"):
        load_weights(model, state | {"fc.weight": np.ones((3, 5))}, strict=False)


def test_counters_and_auxiliary_heads_that_are_not_needed():
    state = without(trained(), "bn1.num_batches_tracked")
    assert load_weights(Net(), state) == []
    assert load_weights(Net(), state | {"aux1.fc.weight": np.ones((3, 2))}) == []
    with pytest.raises(WeightsError, match="unexpected: aux1.fc.weight"):
        load_weights(Net(aux_logits=True), state | {"aux1.fc.weight": np.ones((3, 2))})


# ---- files ------------------------------------------------------------------------------------------------------------


def test_damaged_files(tmp_path):
    save_file(trained(), tmp_path / "x.safetensors")
    np.savez(tmp_path / "x.npz", **trained())
    for name in ("x.safetensors", "x.npz"):
        whole = (tmp_path / name).read_bytes()
        for cut in (0, 7, 100, len(whole) // 2, len(whole) - 1):
            (tmp_path / name).write_bytes(whole[:cut])
            with pytest.raises(WeightsError, match=name):
                read_weights(tmp_path / name)
    np.savez(tmp_path / "object.npz", a=np.array([{}], object))
    with open(tmp_path / "one.npz", "wb") as file:
        np.save(file, np.ones(3))
    (tmp_path / "x.h5").write_bytes(b"\x89HDF")
    for name, message in {
        "object.npz": "pickle",
        "one.npz": "one array",
        "x.h5": "are read from .safetensors",
        "no.npz": "there is no file",
    }.items():
        with pytest.raises(WeightsError, match=message):
            read_weights(tmp_path / name)


def test_torch_files(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    state = trained()
    tensors = {f"module.{name}": torch.from_numpy(array) for name, array in state.items()}
    torch.save({"epoch": 3, "best_prec1": 0.9, "state_dict": tensors}, tmp_path / "x.pth")
    model = Net()
    assert load_weights(model, tmp_path / "x.pth") == [] and same(model, state)
    torch.save({"epoch": 3}, tmp_path / "none.pth")
    with pytest.raises(WeightsError, match="no named tensors"):
        load_weights(model, tmp_path / "none.pth")


class Evil:
    """Its pickle prints when it is read."""

    def __reduce__(self):
        return print, ("code was run",)


def test_pickled_code_is_not_run(tmp_path, capsys):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    (tmp_path / "x.pth").write_bytes(pickle.dumps({"state_dict": Evil()}, protocol=2))
    with pytest.raises(WeightsError, match="PyTorch refuses to read it as weights only"):
        load_weights(Net(), tmp_path / "x.pth")
    assert "code was run" not in capsys.readouterr().out


def test_without_torch_one_line_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "resnet18.pth").write_bytes(b"PK")
    assert cli.main(["convert", str(tmp_path / "resnet18.pth"), str(tmp_path / "out.safetensors")]) == 1
    error = capsys.readouterr().err
    assert "pip install torch" in error and error.count("\n") == 1 and not (tmp_path / "out.safetensors").exists()


def test_import_needs_no_other_library():
    others = ("pooch", "requests", "PIL", "torch", "matplotlib")
    code = f"import sys, pycnn, pycnn.models; print([m for m in {others} if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout == "[]\n", answer.stderr


# ---- convert ----------------------------------------------------------------------------------------------------------


def test_convert_keeps_names_order_and_origin(tmp_path):
    names = ["z10", "a2", "m1"]  # not the order in which safetensors writes
    model = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.Conv2d(2, 2, 3, bias=False), nn.Conv2d(2, 1, 3, bias=False))
    state = {f"{name}.weight": v for name, v in zip(names, model.state_dict().values(), strict=True)}
    np.savez(tmp_path / "x.npz", **state)
    assert cli.main(["convert", str(tmp_path / "x.npz"), str(tmp_path / "x.safetensors")]) == 0
    assert list(read_weights(tmp_path / "x.safetensors")) == list(state)
    before = model.state_dict()
    assert load_weights(model, tmp_path / "x.safetensors") == [] and same(model, before)
    convert(tmp_path / "x.npz", tmp_path / "own.safetensors", model)
    assert set(read_weights(tmp_path / "own.safetensors")) == set(before)


def test_convert_writes_over_nothing_unless_forced(tmp_path, capsys, monkeypatch):
    np.savez(tmp_path / "x.npz", a=np.ones(3, "f4"))
    target = tmp_path / "x.safetensors"
    target.write_bytes(b"mine")
    words = ["convert", str(tmp_path / "x.npz"), str(target)]
    assert cli.main(words) == 1 and target.read_bytes() == b"mine"
    assert "is there already; --force writes over it" in capsys.readouterr().err
    with monkeypatch.context() as patch:  # a full disk halfway leaves the old file
        patch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        assert cli.main([*words, "--force"]) == 1
    assert target.read_bytes() == b"mine" and sorted(p.name for p in tmp_path.iterdir()) == ["x.npz", "x.safetensors"]
    assert cli.main([*words, "--force"]) == 0
    assert read_weights(target)["a"].tolist() == [1, 1, 1]
    for wrong in ("x.pth", "no/x.safetensors"):
        with pytest.raises(WeightsError):
            convert(tmp_path / "x.npz", tmp_path / wrong)


# ---- records ----------------------------------------------------------------------------------------------------------


def test_records_are_whole():
    assert len(list_weights()) > 40
    for name in list_weights():
        record = get_weights(name)
        assert name.startswith(f"{record.model}.") and record.url.startswith("https://") and record.licence
        assert len(record.sha256) in (8, 10, 64) and set(record.sha256) <= set("0123456789abcdef")
        assert len(record.classes) in (10, 1000) and 0 < record.accuracy["top1"] <= 100 and record.accuracy["on"]
        assert record.preprocessing.channels == ("L" if entry(record.model).image[0] == 1 else "RGB")


def test_records_are_torchvisions():
    from model_checks import torchvision_models

    models = torchvision_models()
    checked = 0
    for name in list_weights("*.imagenet1k_v?"):
        record = get_weights(name)
        theirs = models.get_model_weights(record.model)[name.rpartition(".")[2].upper()]
        transforms, prepared = theirs.transforms(), record.preprocessing
        assert record.url == theirs.url and record.classes == tuple(theirs.meta["categories"])
        metrics = theirs.meta["_metrics"]["ImageNet-1K"]
        assert (record.accuracy["top1"], record.accuracy["top5"]) == (metrics["acc@1"], metrics["acc@5"])
        assert ([prepared.resize], [prepared.crop]) == (transforms.resize_size, transforms.crop_size)
        assert prepared.interpolation == transforms.interpolation.value
        if record.model != "googlenet":  # which torchvision transforms once more in its forward
            assert (list(prepared.mean), list(prepared.std)) == (transforms.mean, transforms.std)
        checked += 1
    assert checked == 39


def test_a_record_is_found_by_the_file_even_when_converted(tmp_path, monkeypatch):
    np.savez(tmp_path / "x.npz", **trained())
    assert find_weights(tmp_path / "x.npz") is None
    record = weights.Weights(
        "net.data", "net", "https://x/x.npz", weights.file_sha256(tmp_path / "x.npz")[:8], "none", Preprocessing(), ("a",), {}
    )
    monkeypatch.setattr(weights, "_records", lambda: {"net.data": record})
    convert(tmp_path / "x.npz", tmp_path / "y.safetensors")
    assert find_weights(tmp_path / "x.npz") == find_weights(tmp_path / "y.safetensors") == record


def fake_pooch(monkeypatch, content: bytes | Exception):
    """A pooch that downloads `content`."""

    def retrieve(url, known_hash, fname, path):
        if isinstance(content, Exception):
            raise content
        (path / fname).write_bytes(content)

    logger = types.SimpleNamespace(setLevel=lambda level: None)
    monkeypatch.setitem(sys.modules, "pooch", types.SimpleNamespace(retrieve=retrieve, get_logger=lambda: logger))


def test_downloads_are_checked_and_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("PYCNN_CACHE", str(tmp_path))
    fake_pooch(monkeypatch, OSError("no route"))
    with pytest.raises(
        WeightsError,
        match=r"https://\S*/resnet18-f37072fd.pth cannot be fetched.*put the file at .*resnet18-f37072fd.pth",
    ):
        fetch_weights("resnet18")
    fake_pooch(monkeypatch, b"a captive portal")
    with pytest.raises(WeightsError, match="has sha256 .* not f37072fd"):
        fetch_weights("resnet18.imagenet1k_v1")
    assert list((tmp_path / "weights").iterdir()) == []
    digest = weights.hashlib.sha256(b"weights").hexdigest()
    record = weights.Weights("net.data", "net", "https://x/net.npz", digest[:8], "none", Preprocessing(), ("a",), {})
    monkeypatch.setattr(weights, "_records", lambda: {"net.data": record})
    fake_pooch(monkeypatch, b"weights")
    path = fetch_weights("net")
    assert path == tmp_path / "weights" / "net.npz" and path.read_bytes() == b"weights"
    fake_pooch(monkeypatch, OSError("not asked again"))
    assert fetch_weights("net") == path
    path.write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="delete"):
        fetch_weights("net")


def test_weights_command(capsys):
    assert cli.main(["weights", "resnet18*"]) == 0
    assert "top-1 69.758 %, top-5 89.078 %" in (out := capsys.readouterr().out) and "resize 256" in out and "BSD-3-Clause" in out
    assert cli.main(["weights", "nonsense"]) == 1


@pytest.mark.parametrize(
    "wrong",
    [{"channels": "XYZ"}, {"interpolation": "x"}, {"crop": 0}, {"resize": (5, -1)}, {"mean": (1.0, 2.0)}, {"std": (0.0,)}],
)
def test_preprocessing_refuses(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Preprocessing(**wrong)


# ---- published weights on real images ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "file", "right"), [(20, "12fca82f", 999), (32, "d509ac18", 1000)])
def test_published_cifar_resnet(depth, file, right):
    """The first 1,000 training images (of the first 5,000, 4,990 and 5,000 are right) and every logit of the first 200."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    folder = real_data("weights/resnet_cifar10")
    model = create_model(f"resnet{depth}_cifar")
    assert load_weights(model, folder / f"resnet{depth}-{file}.th") == []
    prepared = find_weights(folder / f"resnet{depth}-{file}.th").preprocessing
    from pycnn.predict import normalize

    images, labels = cifar10(1000)
    logits = run_batches(model, np.stack([normalize(image, prepared) for image in images]))
    reference = np.load(folder / f"ref_resnet{depth}-{file}_train0-199.npz")["logits_f64"]
    assert np.abs(logits[:200] - reference).max() < 1e-3 and (logits.argmax(1) == labels).sum() == right


def softmax(logits):
    return ops.softmax(pycnn.Tensor(logits), 1).numpy()


def test_published_squeezenet():
    folder = real_data("weights/squeezenet_v1.1")
    model = create_model("squeezenet1_1")
    assert load_weights(model, folder / "weights_f32.npz") == []
    reference, top5 = np.load(folder / "ref.npz"), json.loads((folder / "ref_top5.json").read_text())
    probabilities = softmax(run_batches(model, reference["input_bgr_meansub"]))
    assert np.abs(probabilities - reference["prob_f64"]).max() < 1e-3
    for name, row in zip(reference["names"], probabilities, strict=True):
        expected = sorted(top5[str(name)], reverse=True)
        best = np.argsort(-row)[:5]
        assert np.abs(row[best] - [p for p, _, _ in expected]).max() < 1e-3 and set(best) == {i for _, i, _ in expected}


def mobilenet_state(file) -> dict[str, np.ndarray]:
    """TensorFlow's MobileNet, whose batch norms are folded into filters and biases, as a state_dict of mobilenet_v1 whose batch
    norms add the bias and else do nothing."""
    state = {}
    for name, array in np.load(file).items():
        layer = name.split(";")[0].split("|")[2 if "Logits" not in name else 1]
        number, _, kind = layer.removeprefix("Conv2d_").partition("_")
        path, bn = (
            ("conv1", "bn1") if number == "0" else (f"blocks.{number}.{kind}", f"blocks.{number}.bn{1 + (kind == 'pointwise')}")
        )
        if "Logits" in name:
            state |= {"classifier.bias": array} if array.ndim == 1 else {"classifier.weight": array[:, 0, 0]}
            continue
        if number != "0":
            path, bn = (part.replace(f"blocks.{number}.", f"blocks.{int(number) - 1}.") for part in (path, bn))
        if array.ndim == 4:
            state[f"{path}.weight"] = array.transpose(3, 0, 1, 2) if kind == "depthwise" else array.transpose(0, 3, 1, 2)
            continue
        one = np.ones_like(array)
        state |= {f"{bn}.weight": one, f"{bn}.bias": array, f"{bn}.running_mean": 0 * one, f"{bn}.running_var": (1 - 1e-5) * one}
    return state


def test_published_mobilenet():
    folder = real_data("weights/mobilenet_v1")
    model = create_model("mobilenet_v1_075", num_classes=1001, relu6=True, tf_padding=True)
    assert load_weights(model, mobilenet_state(folder / "mobilenet_v1_0.75_192_quant_dequant_f32.npz")) == []
    reference = np.load(folder / "ref_mobilenet_v1_0.75_192_quant.npz")
    names = [name.removesuffix("_u8hwc") for name in reference if name.endswith("_u8hwc")]
    images = np.stack([reference[f"{name}_u8hwc"].transpose(2, 0, 1) for name in names])
    probabilities = softmax(run_batches(model, (images.astype("f4") - 128) / 128))
    expected = np.concatenate([reference[f"{name}_prob_float"] for name in names])
    assert np.abs(probabilities - expected).max() < 1e-3 and (probabilities.argmax(1) == expected.argmax(1)).all()


def keras_state(file) -> dict[str, np.ndarray]:
    """MLPerf Tiny's MobileNet as a state_dict of mobilenet_v1: layers are numbered from one end to the other, convolutions have
    biases, which batch norm's mean takes up here, and batch norm's eps is 1e-3, where pycnn's is 1e-5."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    state, norms = {}, 0
    with h5py.File(file) as opened:
        layers = opened["model_weights"]

        def array(layer, name):
            return np.array(layers[f"{layer}/{layer}/{name}:0"])

        def numbered(layer, i):
            return f"{layer}_{i}" if i else layer

        pairs = [("conv2d", "conv1", "bn1")]
        for i in range(13):
            depthwise, pointwise = numbered("depthwise_conv2d", i), numbered("conv2d", i + 1)
            pairs += [(depthwise, f"blocks.{i}.depthwise", f"blocks.{i}.bn1")]
            pairs += [(pointwise, f"blocks.{i}.pointwise", f"blocks.{i}.bn2")]
        for layer, path, bn in pairs:
            norm, norms = numbered("batch_normalization", norms), norms + 1
            depthwise = layer.startswith("depthwise")
            kernel = array(layer, "depthwise_kernel" if depthwise else "kernel")
            state[f"{path}.weight"] = kernel.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
            state[f"{bn}.weight"], state[f"{bn}.bias"] = array(norm, "gamma"), array(norm, "beta")
            state[f"{bn}.running_mean"] = array(norm, "moving_mean") - array(layer, "bias")
            state[f"{bn}.running_var"] = array(norm, "moving_variance") + np.float32(1e-3 - 1e-5)
        state["classifier.weight"], state["classifier.bias"] = array("dense", "kernel").T, array("dense", "bias")
    return state


def test_published_person_detector():
    folder = real_data("weights/mobilenet_vww_mlperf")
    model = create_model("mobilenet_v1_025", num_classes=2, tf_padding=True)
    assert load_weights(model, keras_state(folder / "vww_96.h5")) == []
    reference = np.load(folder / "ref.npz")
    names = [name.removesuffix("_u8hwc") for name in reference if name.endswith("_u8hwc")]
    images = np.stack([reference[f"{name}_u8hwc"].transpose(2, 0, 1) for name in names])
    expected = np.concatenate([reference[f"{name}_logits"] for name in names])
    logits = run_batches(model, images.astype("f4") / 255)
    assert np.abs(logits - expected).max() < 1e-3 and (logits.argmax(1) == expected.argmax(1)).all()
