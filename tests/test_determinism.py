"""Equal bits for 1, 2 and 3 threads and for a block's threads in forward, reverse and random order: every op and version."""

import pytest
from helpers import DEVICE, bits

import pycnn
from pycnn import backend, nn
from pycnn.bench.cases import CASES, Case, normal, targets
from pycnn.bench.frameworks import framework, run
from pycnn.errors import NotSupported

pytestmark = pytest.mark.skipif(DEVICE != "cpu", reason="thread counts and orders belong to the CPU")
SETTINGS = [(1, "forward"), (2, "reverse"), (3, "random"), (2, "random")]
VERSIONS = [(row["op"], row["version"]) for row in backend.list_kernels()]
EACH = 3  # cases for each version


def filled(F, x):
    backend.cpu().run("fill", (x.size, 0.5), x.dtype, x.data)
    return x * x


def counted(F, x):
    layer = nn.BatchNorm2d(3)
    return {"y": layer(x), "count": layer.num_batches_tracked}


@pycnn.no_grad()
def folded(F, x):
    """A convolution that batch norm's fixed statistics are folded into."""
    return F.conv_bn(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4).eval(), x, relu=False)


IMAGES = {"x": normal(4, 3, 9, 11)}
OTHERS = {  # ops that no comparison with PyTorch runs
    "cast": [Case("other/cast", lambda F, x: F.cast(x, "float16"), IMAGES)],
    "dropout": [Case("other/dropout", lambda F, x: F.dropout(x, 0.3), IMAGES)],
    "drop_path": [Case("other/drop_path", lambda F, x: F.drop_path(x, 0.3), IMAGES)],
    "batch_norm_fold": [Case("other/folded", folded, IMAGES, constants=("x",))],
    "fill": [Case("other/fill", filled, IMAGES, constants=("x",))],
    "increment": [Case("other/increment", counted, IMAGES)],
}


def net(F, x, w1, w2, scale, shift, w3, target):
    """Enough of everything that work is spread over threads."""
    y = F.max_pool2d(F.relu(F.conv2d(x, w1, padding=1)), 3, 2, 1)
    y = F.relu(F.batch_norm(F.conv2d(y, w2, stride=2, padding=1), None, None, scale, shift, True))
    y = F.linear(F.flatten(F.avg_pool2d(y, 3, 2, 1), 1), w3)
    return F.cross_entropy(F.tanh(y), target)


LARGE = Case(
    "large/net", net,
    {
        "x": normal(8, 3, 64, 60), "w1": normal(40, 3, 3, 3), "w2": normal(48, 40, 3, 3), "scale": normal(48),
        "shift": normal(48), "w3": normal(301, 48 * 8 * 8), "target": targets(301, 8),
    },
)  # fmt: skip


def results_by_setting(compute):
    """The set of what `compute()` returns under each setting."""
    module, threads, seen = backend.cpu().module, pycnn.get_num_threads(), set()
    try:
        for count, order in SETTINGS:
            pycnn.set_num_threads(count)
            module.set_thread_order(order, 7)
            seen.add(compute())
    finally:
        pycnn.set_num_threads(threads)
        module.set_thread_order("forward", 0)
    return seen


def all_bits(case) -> bytes:
    pycnn.manual_seed(0)
    return b"".join(bits(array) for _, array in sorted(run(framework("pycnn"), case).items()))


@pytest.fixture(scope="module")
def users():
    """op -> the cases that run it."""
    found: dict[str, list] = {}
    for case in CASES:
        with pycnn.kernels():
            run(framework("pycnn"), case)
            for op in backend.versions_used():
                found.setdefault(op, []).append(case)
    return found


@pytest.mark.parametrize("op, version", VERSIONS, ids=lambda v: v)
def test_bits_do_not_depend_on_threads(op, version, users):
    done = 0
    for case in sorted(users.get(op, OTHERS.get(op, ())), key=lambda case: case.family == "lenet5"):
        try:
            with pycnn.kernels(**{op: version}):
                assert len(results_by_setting(lambda case=case: all_bits(case))) == 1, case.name
        except NotSupported:
            continue
        done += 1
        if done == EACH:
            return
    assert done, f"no case runs {op}:{version}"


def test_bits_of_a_net_do_not_depend_on_threads():
    assert len(results_by_setting(lambda: all_bits(LARGE))) == 1
