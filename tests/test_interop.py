"""Sharing memory with NumPy, PyTorch and CuPy: what is shared is written through, what is not is a copy."""

import gc

import ml_dtypes
import numpy as np
import pytest
from helpers import DEVICE, DTYPES

import pycnn
from pycnn import nn, ops
from pycnn.errors import DeviceError, DTypeError, GraphError, ShapeError

on_cpu = pytest.mark.skipif(DEVICE != "cpu", reason="sharing memory with NumPy is tested on the CPU")
on_gpu = pytest.mark.skipif(DEVICE == "cpu", reason="sharing memory with CuPy needs a GPU (PYCNN_TEST_DEVICE=cuda)")
every_dtype = pytest.mark.parametrize("dtype", [*DTYPES, "int32", "uint8"])


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed")


def numbers(dtype, *shape):
    return np.arange(np.prod(shape)).reshape(shape).astype(getattr(np, dtype, None) or getattr(ml_dtypes, dtype))


def image(dtype="float32"):
    """(2, 3, 4, 5), lying as N, H, W, C."""
    return numbers(dtype, 2, 4, 5, 3).transpose(0, 3, 1, 2)


# ---- NumPy ----


@on_cpu
@every_dtype
def test_numpy_shares_memory_both_ways(dtype):
    array = numbers(dtype, 4, 3)
    tensor = pycnn.Tensor(array)
    array[1, 2] = 77
    tensor.numpy()[0, 0] = 55
    np.asarray(tensor)[3, 0] = 33
    assert tensor.numpy()[1, 2] == 77 and array[0, 0] == 55 and array[3, 0] == 33
    assert tensor.numpy().dtype == array.dtype


@on_cpu
def test_an_image_is_a_transposed_view():
    array = image()
    tensor = pycnn.Tensor(array, layout="image")
    assert tensor.shape == array.shape and np.shares_memory(tensor.data, array)
    array[1, 2, 3, 4] = 77
    tensor.numpy()[0, 1, 0, 0] = 55
    assert tensor.numpy()[1, 2, 3, 4] == 77 and array[0, 1, 0, 0] == 55 and tensor.numpy().shape == (2, 3, 4, 5)
    again = pycnn.Tensor(tensor, layout="image")
    assert np.shares_memory(again.data, array)


@on_cpu
@pytest.mark.parametrize(
    ("array", "layout"),
    [
        (image(), "plain"),
        (numbers("float32", 2, 3, 4, 5), "image"),
        (numbers("float32", 4, 6).T, "plain"),
        (numbers("float32", 4, 6)[:, ::2], "plain"),
        (numbers("float32", 6)[::-1], "plain"),
        (np.frombuffer(bytes(41), np.uint8)[1:].view(np.float32), "plain"),
    ],
    ids=["image to plain", "plain to image", "transposed", "strided", "reversed", "unaligned"],
)
def test_other_layouts_are_copied(array, layout):
    tensor = pycnn.Tensor(array, layout=layout)
    assert np.array_equal(tensor.numpy(), array) and not np.shares_memory(tensor.data, array)
    assert tensor.data.flags.c_contiguous and tensor.data.flags.aligned


@on_cpu
def test_array_protocol():
    tensor = pycnn.Tensor(numbers("float32", 2, 3))
    assert np.shares_memory(np.array(tensor, copy=None), tensor.data)
    assert np.shares_memory(tensor.__array__(np.float32, copy=False), tensor.data)
    assert not np.shares_memory(np.array(tensor), tensor.data) and not np.shares_memory(tensor.__array__(copy=True), tensor.data)
    assert np.asarray(tensor, np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="without a copy"):
        tensor.__array__(np.float64, copy=False)
    assert np.add(tensor, 1.0).tolist() == (numbers("float32", 2, 3) + 1).tolist()


@on_cpu
def test_read_only_arrays_are_read_but_not_written():
    array = numbers("float32", 8)
    array.flags.writeable = False
    tensor = pycnn.Tensor(array)
    assert np.shares_memory(tensor.data, array) and ops.relu(tensor).numpy().tolist() == array.tolist()
    with pytest.raises(ShapeError, match="'y' is read-only but is written to"):
        tensor.backend.run("copy", (8, 0), array.dtype, numbers("float32", 8), tensor.data)
    assert not tensor.numpy().flags.writeable and not np.from_dlpack(tensor).flags.writeable
    with pytest.raises(BufferError):
        tensor.__dlpack__()  # without max_version there is no word for read-only
    taken = pycnn.from_dlpack(array)
    assert np.shares_memory(taken.data, array) and not taken.data.flags.writeable
    parameter = nn.Parameter(array)
    pycnn.optim.SGD([parameter], lr=1.0)  # moves it into its own memory
    assert parameter.data.flags.writeable and array[0] == 0


@on_cpu
@pytest.mark.parametrize("dtype", [name for name in [*DTYPES, "int32", "uint8"] if name != "bfloat16"])
def test_dlpack_with_numpy(dtype):
    array = numbers(dtype, 3, 4)
    tensor = pycnn.from_dlpack(array)
    assert tensor.layout == "plain" and tensor.dtype == array.dtype
    array[1, 1] = 99
    assert tensor.numpy()[1, 1] == 99
    back = np.from_dlpack(tensor)
    assert np.shares_memory(back, array) and back.dtype == array.dtype


@on_cpu
def test_from_dlpack_finds_the_layout():
    array = image()
    tensor = pycnn.from_dlpack(array)
    assert tensor.layout == "image" and tensor.shape == array.shape and np.shares_memory(tensor.data, array)
    assert np.array_equal(np.from_dlpack(tensor), array) and np.shares_memory(np.from_dlpack(tensor), array)
    assert pycnn.from_dlpack(numbers("float32", 2, 3, 4, 5)).layout == "plain"
    strided = numbers("float32", 4, 6)[:, ::2]
    copied = pycnn.from_dlpack(strided)
    assert np.array_equal(copied.numpy(), strided) and not np.shares_memory(copied.data, strided)
    with pytest.raises(BufferError, match="need a copy, and copy is False"):
        pycnn.from_dlpack(strided, copy=False)
    for source, layout in [(array, "image"), (numbers("float32", 3), "plain")]:
        own = pycnn.from_dlpack(source, copy=True)
        assert own.layout == layout and np.array_equal(own.numpy(), source) and not np.shares_memory(own.data, source)


@on_cpu
def test_dlpack_options():
    tensor = pycnn.Tensor(numbers("float32", 3))
    assert tensor.__dlpack_device__() == (1, 0)
    with pytest.raises(RuntimeError, match="stream"):
        tensor.__dlpack__(stream=1)
    if np.lib.NumpyVersion(np.__version__) >= "2.1.0":
        assert np.shares_memory(np.from_dlpack(tensor, device="cpu", copy=False), tensor.data)
        assert not np.shares_memory(np.from_dlpack(tensor, copy=True), tensor.data)
        with pytest.raises(BufferError):
            tensor.__dlpack__(max_version=(1, 0), dl_device=(2, 0))


@on_cpu
def test_memory_outlives_its_exporter():
    array = numbers("float32", 1000)
    tensor, expected = pycnn.from_dlpack(array), array.copy()
    del array
    taken = np.from_dlpack(tensor)
    view = tensor.numpy()
    del tensor
    gc.collect()
    garbage = [np.full(1000, np.nan, np.float32) for _ in range(20)]  # would land in freed memory
    assert np.array_equal(taken, expected) and np.array_equal(view, expected) and len(garbage) == 20


def test_what_requires_a_gradient_is_not_exported():
    parameter = nn.Parameter(np.ones((2, 3), np.float32))
    result = ops.relu(parameter)
    for tensor in (parameter, result):
        with pytest.raises(GraphError, match=r"requires a gradient .* use .detach\(\)"):
            tensor.__dlpack__()
    if DEVICE == "cpu":
        np.from_dlpack(parameter.detach())[0, 0] = 5
        assert parameter.numpy()[0, 0] == 5


def test_bad_input():
    with pytest.raises(DTypeError, match="from_dlpack takes an object with __dlpack__ .* got a list"):
        pycnn.from_dlpack([1.0])
    with pytest.raises(DTypeError, match="dtype int16 is not stored"):
        pycnn.from_dlpack(np.zeros(3, np.int16))

    class Elsewhere:
        def __dlpack_device__(self):
            return (8, 0)  # Metal

        def __dlpack__(self, **_):
            raise AssertionError("never asked")

    with pytest.raises(DeviceError, match="DLPack device type 8"):
        pycnn.from_dlpack(Elsewhere())


@on_cpu
def test_a_cpu_tensor_has_no_cuda_array_interface():
    assert not hasattr(pycnn.Tensor([1.0]), "__cuda_array_interface__")


# ---- PyTorch ----


@on_cpu
@every_dtype
def test_torch_shares_memory_both_ways(torch, dtype):
    theirs = torch.arange(12).reshape(3, 4).to(getattr(torch, dtype))
    for tensor in (pycnn.from_dlpack(theirs), pycnn.Tensor(theirs)):
        assert tensor.dtype == DTYPES.get(dtype, dtype) and tensor.shape == (3, 4)
        theirs[1, 1] = 99
        assert tensor.numpy()[1, 1] == 99
        tensor.numpy()[2, 3] = 55
        assert theirs[2, 3] == 55
        back = torch.from_dlpack(tensor)
        assert back.dtype == theirs.dtype and back.data_ptr() == theirs.data_ptr() and torch.equal(back, theirs)
        theirs[1, 1] = theirs[2, 3] = 0


@on_cpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_channels_last_is_the_image_layout(torch, dtype):
    theirs = torch.arange(120).reshape(2, 3, 4, 5).to(getattr(torch, dtype)).to(memory_format=torch.channels_last)
    tensor = pycnn.from_dlpack(theirs)
    assert tensor.layout == "image" and tensor.shape == (2, 3, 4, 5)
    theirs[1, 2, 3, 4] = 7
    assert tensor.numpy()[1, 2, 3, 4] == 7
    back = torch.from_dlpack(tensor)
    assert back.is_contiguous(memory_format=torch.channels_last) and back.data_ptr() == theirs.data_ptr()
    assert pycnn.Tensor(theirs, layout="image").data.ctypes.data == theirs.data_ptr()
    copied = pycnn.Tensor(theirs)
    assert copied.layout == "plain" and copied.data.ctypes.data != theirs.data_ptr()
    assert np.array_equal(copied.numpy(), tensor.numpy())


@on_cpu
def test_torch_computes_the_same_on_shared_memory(torch):
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(s).astype(np.float32) for s in [(2, 3, 6, 7), (4, 3, 3, 3)])
    images, weight = pycnn.Tensor(x, layout="image"), pycnn.Tensor(w, layout="image")
    ours = ops.conv2d(images, weight)
    theirs = torch.nn.functional.conv2d(torch.from_dlpack(images), torch.from_dlpack(weight))
    np.testing.assert_allclose(torch.from_dlpack(ours).numpy(), theirs.numpy(), rtol=1e-5, atol=1e-5)


@on_cpu
def test_torch_gradients_lifetimes_and_scalars(torch):
    with pytest.raises((BufferError, RuntimeError), match="require"):
        pycnn.from_dlpack(torch.ones(3, requires_grad=True))
    theirs = torch.full((500,), 3.0)
    tensor = pycnn.from_dlpack(theirs)
    del theirs
    back = torch.from_dlpack(tensor)
    del tensor
    gc.collect()
    garbage = [torch.full((500,), float("nan")) for _ in range(20)]
    assert bool((back == 3).all()) and len(garbage) == 20
    scalar = pycnn.from_dlpack(torch.tensor(2.5))
    assert scalar.shape == () and scalar.item() == 2.5
    assert pycnn.from_dlpack(torch.zeros(0, 4)).shape == (0, 4)
    assert torch.as_tensor(pycnn.Tensor([1.0, 2.0]).numpy()).tolist() == [1.0, 2.0]


# ---- CuPy and CUDA ----


@on_gpu
def test_cupy_shares_memory_both_ways():
    import cupy

    array = cupy.asarray(numbers("float32", 3, 4))
    for tensor in (pycnn.Tensor(array), pycnn.from_dlpack(array)):
        assert tensor.device == "cuda" and tensor.data.data.ptr == array.data.ptr
    assert cupy.from_dlpack(tensor).data.ptr == cupy.asarray(tensor).data.ptr == array.data.ptr
    tensor.backend.write(tensor.data, np.full((3, 4), 7, np.float32))
    assert cupy.asnumpy(array).tolist() == np.full((3, 4), 7).tolist()
    described = tensor.__cuda_array_interface__
    assert described["version"] == 3 and described["data"] == (array.data.ptr, False) and "stream" in described
    assert pycnn.Tensor(array, device="cpu").device == "cpu"
    channels_last = cupy.asarray(numbers("float32", 2, 4, 5, 3)).transpose(0, 3, 1, 2)
    assert pycnn.from_dlpack(channels_last).layout == "image"


@on_gpu
def test_a_gpu_tensor_is_copied_to_numpy():
    tensor = pycnn.Tensor(numbers("float32", 3))
    tensor.numpy()[0] = 9
    assert tensor.numpy()[0] == 0
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(tensor, copy=False)
    with pytest.raises(AttributeError, match="bfloat16"):
        _ = pycnn.Tensor(numbers("bfloat16", 3)).__cuda_array_interface__


@on_gpu
def test_streams_and_torch_on_a_gpu(torch):
    import cupy

    if not torch.cuda.is_available():
        pytest.skip("PyTorch is installed without CUDA")
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        theirs = torch.ones(1 << 22, device="cuda")
        for _ in range(50):
            theirs += 1  # still running when it is taken
        tensor = pycnn.from_dlpack(theirs)
    assert tensor.data.data.ptr == theirs.data_ptr()
    assert ops.relu(tensor).sum().item() == 51.0 * (1 << 22)
    with cupy.cuda.Stream.from_external(side):
        doubled = tensor + tensor
    with torch.cuda.stream(side):
        assert float(torch.from_dlpack(doubled).max()) == 102.0
    assert torch.from_dlpack(pycnn.Tensor(numbers("bfloat16", 3))).dtype == torch.bfloat16
