"""Philox and dropout: known answers, every version and storage type against tests/reference.py."""

import itertools

import numpy as np
import pytest
import reference
from helpers import DEVICE, DTYPES, bits, integers, normal, run, versions

import pycnn
from pycnn import Tensor, ops
from pycnn import backend as backends
from pycnn import random as streams

every_version = pytest.mark.parametrize("version, storage", versions("dropout"), ids=lambda v: v)
SHAPES = [(2, 3, 7), (1, 16, 12), (3, 37, 5), (1, 1, 1), (2, 1, 130), (4, 6, 1), (0, 3, 4)]

# Random123's kat_vectors for philox4x32 with 10 rounds: counter, key, words.
KNOWN_ANSWERS = [
    ([0, 0, 0, 0], [0, 0], [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize("counter, key, words", KNOWN_ANSWERS)
def test_reference_philox_gives_the_known_answers(counter, key, words):
    assert reference.philox(counter, key).tolist() == words


def state(seed, counter):
    return np.array([seed, counter, 0, 0, 0, 0, 0, 0], np.int64)


def kept_at(version, p, seed, counter, op_index):
    """Whether the first four elements of an array are kept."""
    y = np.empty(4, np.float32)
    run("dropout", version, (1, 1, 4, 0, op_index, 0, p), "float32", np.ones(4, np.float32), state(seed, counter), y, None)
    return y > 0


@pytest.mark.parametrize("version", sorted({v for v, _ in versions("dropout")}))
@pytest.mark.parametrize("counter, key, words", [a for a in KNOWN_ANSWERS if a[0][0] == 0])
def test_kernels_words_are_the_known_answers(version, counter, key, words):
    """A word is between the highest p that keeps its element and the lowest that drops it."""
    for i, word in enumerate(words):
        assert kept_at(version, word / 2**32, 0, 0, 0)[i] and not kept_at(version, (word + 1) / 2**32, 0, 0, 0)[i]


@every_version
def test_mask_is_the_references(version, storage):
    seed, counter = 0x299F31D0A4093822, 0x0370734413198A2E
    for (N, C, L), last, p, accumulate in itertools.product(SHAPES, (0, 1), (0.5, 0.75), (0, 1)):  # scales 2 and 4: exact
        if version == "four_words" and N == 0:
            continue
        keep = reference.dropout_keep((N, C, L), p, seed, counter, 5)
        keep = keep.transpose(0, 2, 1) if last else keep
        x, y = integers(keep.shape, storage), integers(keep.shape, storage, 1)
        scale = (np.float64 if storage == "float64" else np.float32)(1 / (1 - p))
        expected = np.where(keep, x.astype(scale.dtype) * scale, 0) + accumulate * y.astype(scale.dtype)
        drawn, given = np.zeros(8, np.int64), state(seed, counter)
        run("dropout", version, (N, C, L, last, 5, accumulate, p), storage, x, given, y, drawn)
        assert np.array_equal(y.astype(np.float64), expected.astype(DTYPES[storage]).astype(np.float64)), (N, C, L, last)
        assert np.array_equal(drawn, given)


@every_version
def test_dropping_all_and_special_values(version, storage):
    """As in PyTorch, a dropped element is multiplied by 0: NaN and infinity become NaN."""
    x = np.array([1, -2, np.nan, np.inf], DTYPES[storage])
    y = np.empty_like(x)
    run("dropout", version, (1, 1, 4, 0, 0, 0, 1.0), storage, x, state(1, 2), y, None)
    y = y.astype(np.float64)
    assert (y[:2] == 0).all() and np.isnan(y[2:]).all()


@every_version
def test_threads_do_not_change_bits(version, storage):
    if DEVICE != "cpu":
        pytest.skip("thread counts and orders belong to the CPU")
    module, results = backends.cpu().module, set()
    x = normal((3, 5, 300), storage)
    try:
        for threads, order in ((1, "forward"), (2, "forward"), (3, "reverse"), (2, "random")):
            module.set_num_threads(threads)
            module.set_thread_order(order, 7)
            y, z = np.empty_like(x), np.empty_like(x)
            run("dropout", version, (3, 5, 300, 0, 1, 0, 0.3), storage, x, state(3, 4), y, None)
            run("dropout", version, (3, 300, 5, 1, 1, 0, 0.3), storage, x, state(3, 4), z, None)
            results.add(bits(y) + bits(z))
    finally:
        module.set_thread_order("forward")
        module.set_num_threads(2)
    assert len(results) == 1


def test_the_mask_is_the_same_in_both_layouts():
    masks = []
    for layout in ("plain", "image"):
        pycnn.manual_seed(11)
        masks.append(ops.dropout(Tensor(np.ones((2, 7, 5, 6), np.float32), layout=layout), 0.4).numpy())
    assert np.array_equal(*masks)


def test_ops_steps_and_seeds_draw_different_masks():
    def mask():
        return bits(ops.dropout(Tensor(np.ones(4096, np.float32))).numpy())

    pycnn.manual_seed(0)
    first, second = mask(), mask()
    streams.next_step()
    third = mask()
    pycnn.manual_seed(1)
    assert len({first, second, third, mask()}) == 4
    pycnn.manual_seed(0)
    assert [mask(), mask()] == [first, second]


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_share_and_mean(p):
    y = ops.dropout(Tensor(np.ones(100_000, np.float32)), p).numpy()
    assert abs((y == 0).mean() - p) < 4 * np.sqrt(p * (1 - p) / y.size)
    assert np.allclose(y[y != 0], 1 / (1 - p))


def test_backward_uses_the_mask_of_forward():
    for layout in ("plain", "image"):
        x = Tensor(normal((3, 5, 4, 6)), requires_grad=True, layout=layout)
        y = ops.dropout(x, 0.3)
        streams.next_step()  # the state has moved on when backward runs
        y.backward(Tensor(np.ones(y.shape, np.float32)))
        assert np.allclose(x.grad.numpy() * x.numpy(), y.numpy(), rtol=1e-6)


def test_gradients():
    def dropped(x):
        pycnn.manual_seed(5)
        return ops.dropout(x, 0.4)

    for layout in ("plain", "image"):
        assert pycnn.gradcheck(dropped, (Tensor(normal((2, 3, 4, 3), "float64"), requires_grad=True, layout=layout),))


def test_off():
    x = Tensor(normal((3, 4)))
    assert ops.dropout(x, 0.5, training=False) is x and ops.dropout(x, 0.0) is x
    assert (ops.dropout(x, 1.0).numpy() == 0).all()
    assert ops.dropout(Tensor(np.zeros((0, 3), np.float32))).shape == (0, 3)


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_bad_probability(p):
    with pytest.raises(ValueError, match="p must be a probability between 0 and 1"):
        ops.dropout(Tensor(np.zeros(3, np.float32)), p)


# ---- stochastic depth ----


@pytest.mark.parametrize("version, storage", versions("drop_path"), ids=lambda v: v)
def test_paths_kept_are_the_references(version, storage):
    seed, counter = 0x299F31D0A4093822, 0x0370734413198A2E
    for (rows, length), p, accumulate in itertools.product([(9, 5), (4, 301), (1, 1), (0, 3)], (0.5, 0.75), (0, 1)):
        if version == "strips" and rows == 0:
            continue
        keep = reference.dropout_keep((1, 1, rows), p, seed, counter, 5).reshape(rows, 1)
        x, y = integers((rows, length), storage), integers((rows, length), storage, 1)
        expected = np.where(keep, x.astype(np.float64) / (1 - p), 0) + accumulate * y.astype(np.float64)
        drawn, given = np.zeros(8, np.int64), state(seed, counter)
        run("drop_path", version, (rows, length, 5, accumulate, p), storage, x, given, y, drawn)
        assert np.array_equal(y.astype(np.float64), expected.astype(DTYPES[storage]).astype(np.float64))
        assert np.array_equal(drawn, given)


def test_drop_path():
    x = Tensor(np.ones((400, 2, 1, 3), np.float32), requires_grad=True, layout="image")
    y = ops.drop_path(x, 0.25)
    assert y.layout == "image" and set(np.unique(y.numpy())) == {np.float32(0), np.float32(1 / 0.75)}
    kept = y.numpy().any((1, 2, 3))
    assert (y.numpy().all((1, 2, 3)) == kept).all() and 250 < kept.sum() < 350
    streams.next_step()  # the state has moved on when backward runs
    y.backward(Tensor(np.ones(y.shape, np.float32)))
    assert np.array_equal(x.grad.numpy(), y.numpy())
    whole = [len(np.unique(ops.drop_path(x, 0.5, mode="batch").numpy())) for _ in range(5)]
    assert whole == [1] * 5
    assert ops.drop_path(x, 0.5, training=False) is x and ops.drop_path(x, 0.0) is x
    assert (ops.drop_path(x, 1.0).numpy() == 0).all()
    with pytest.raises(ValueError, match="p must be a probability"):
        ops.drop_path(x, 2)
    with pytest.raises(ValueError, match="mode must be 'row' or 'batch'"):
        ops.drop_path(x, 0.5, mode="column")


def test_the_host_drops_what_the_kernel_would():
    x = Tensor(np.ones(3, np.float32))
    gate, seeds = pycnn.nn.DropPath(0.3, mode="batch"), (0, 2**40 + 3)
    for seed in seeds:
        pycnn.manual_seed(seed)
        kernel = []
        for _ in range(20):
            kernel += [not gate(x).numpy().any() for _ in range(3)]
            streams.next_step()
        pycnn.manual_seed(seed)
        host = []
        for _ in range(20):
            host += [gate.drops() for _ in range(3)]
            streams.next_step()
        assert host == kernel and 5 < sum(host) < 32
    assert pycnn.nn.DropPath(1.0, "batch").drops() and not pycnn.nn.DropPath(0.0, "batch").drops() and not gate.eval().drops()
    with pytest.raises(ValueError, match="drops\\(\\) is for mode='batch'.* 'row'"):
        pycnn.nn.DropPath(0.5).drops()


@pytest.mark.parametrize("counter, key, words", KNOWN_ANSWERS)
def test_the_hosts_philox_gives_the_known_answers(counter, key, words):
    assert streams._philox(counter, key) == tuple(words)
