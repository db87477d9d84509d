"""pycnn.summary: LeNet-5's and AlexNet's arithmetic by hand, ops called without a layer, fields through branches, the ledger."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

import pycnn
from pycnn import cli, nn, ops
from pycnn.arithmetic import facts, ledger, render
from pycnn.arithmetic.ops import product_formula, window_formula
from pycnn.models import create_model, list_models
from pycnn.tensor import Function, Tensor

ROOT = Path(__file__).parent.parent


def layers(summary):
    return [row for row in summary.rows if not row.container]


def of_type(summary, kind):
    return [row for row in summary.rows if row.type == kind]


class Run(nn.Module):
    """A model whose forward is the function given; modules are named by the keywords."""

    def __init__(self, function, **modules):
        self.function = function
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x):
        return self.function(self, x)


# ---- by hand ----------------------------------------------------------------------------------------------------------


def test_lenet5_by_hand():
    s = pycnn.summary("lenet5")
    assert s.model == "lenet5" and s.input_shape == (1, 1, 32, 32)
    convolutions = 6 * 28 * 28 * 5 * 5, 16 * 10 * 10 * 6 * 5 * 5
    products = 400 * 120, 120 * 84, 84 * 10
    assert s.macs == sum(convolutions) + sum(products) == 416_520
    biases = 6 * 28 * 28 + 16 * 10 * 10 + 120 + 84 + 10
    relus = 6 * 28 * 28 + 16 * 10 * 10 + 120 + 84
    maxima = 3 * (6 * 14 * 14 + 16 * 5 * 5)  # of 4 numbers: 3 comparisons
    assert s.flops == 2 * s.macs + biases + relus + maxima
    assert s.parameters == s.trainable == 156 + 2416 + 48_120 + 10_164 + 850
    assert s.activations == 32 * 32 + 6 * 28 * 28 + 6 * 14 * 14 + 16 * 10 * 10 + 16 * 5 * 5 + 120 + 84 + 10
    assert s.inference_bytes == 4 * 2 * 6 * 28 * 28  # C1's output and its ReLU
    flattened = 400  # a copy: memory has the channels last
    assert s.training_bytes == 4 * (s.activations + relus + flattened)
    assert s.im2col_bytes == 4 * 1 * 5 * 5 * 28 * 28
    fields = [(row.receptive_field, row.stride) for row in layers(s)][:6]
    assert fields == [((n, n), (j, j)) for n, j in ((5, 1), (5, 1), (6, 2), (14, 2), (14, 2), (16, 4))]
    assert s.row("c5").receptive_field == (32, 32) and s.row("c5").stride is None
    assert s.row("c1").size_formula == "(32 - 5 + 2·0)/1 + 1 = 28" and s.row("c1").parameters_formula == "6·1·5·5 + 6"


def test_alexnets_first_layers_as_the_lecture_works_them_out():
    net = nn.Sequential(nn.Conv2d(3, 96, 11, stride=4), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(96, 256, 5, padding=2, groups=2))
    s = pycnn.summary(net, (3, 227, 227))
    conv1, relu, pool, conv2 = layers(s)
    assert conv1.size_formula == "(227 - 11 + 2·0)/4 + 1 = 55" and conv1.output_shape == (1, 96, 55, 55)
    assert (conv1.parameters_formula, conv1.parameters) == ("96·3·11·11 + 96", 34_944)
    assert conv1.macs == 55 * 55 * 96 * 363 == 105_415_200 and conv1.flops == 2 * conv1.macs + 55 * 55 * 96
    assert conv1.im2col_bytes == 4 * 363 * 3025
    assert pool.size_formula == "(55 - 3 + 2·0)/2 + 1 = 27" and pool.parameters == 0
    assert conv2.parameters == 307_456 and conv2.macs == 27 * 27 * 256 * 48 * 25
    assert [row.receptive_field[0] for row in layers(s)] == [11, 11, 19, 51]
    text = render(s, layout="nhwc")
    assert "[?, 55, 55, 96]" in text and "96·3·11·11 + 96 = 34,944" in text


@pytest.mark.parametrize(
    ("numbers", "formula"),
    [
        ((227, 11, 4, 0, 0, 1, 55), "(227 - 11 + 2·0)/4 + 1 = 55"),
        ((224, 7, 2, 3, 3, 1, 112), "⌊(224 - 7 + 2·3)/2⌋ + 1 = 112"),
        ((112, 3, 2, 0, 0, 1, 56), "⌈(112 - 3 + 2·0)/2⌉ + 1 = 56"),
        ((28, 3, 1, 2, 2, 2, 28), "(28 - (2·(3 - 1) + 1) + 2·2)/1 + 1 = 28"),
        ((32, 4, 1, 1, 2, 1, 32), "(32 - 4 + (1 + 2))/1 + 1 = 32"),
    ],
)
def test_the_output_size_as_a_formula(numbers, formula):
    assert window_formula(*numbers) == formula


def test_equal_terms_of_a_product_come_together():
    assert product_formula([(64,), (64,)]) == "2·64" and product_formula([(96, 3, 11, 11), (96,)]) == "96·3·11·11 + 96"


# ---- what runs without a layer ----------------------------------------------------------------------------------------


def bottleneck():
    """conv_bn three times, the last with a shortcut, whose layers are in a Sequential that is never called."""

    def forward(self, x):
        y = ops.conv_bn(self.conv1, self.bn1, x)
        y = ops.conv_bn(self.conv2, self.bn2, y)
        shortcut = ops.conv_bn(self.down[0], self.down[1], x, relu=False)
        return ops.conv_bn(self.conv3, self.bn3, y, add=shortcut)

    def conv(*settings, **options):
        return nn.Conv2d(*settings, bias=False, **options)

    return Run(
        forward, conv1=conv(8, 4, 1), bn1=nn.BatchNorm2d(4), conv2=conv(4, 4, 3, stride=2, padding=1), bn2=nn.BatchNorm2d(4),
        conv3=conv(4, 16, 1), bn3=nn.BatchNorm2d(16), down=nn.Sequential(conv(8, 16, 1, stride=2), nn.BatchNorm2d(16)),
    )  # fmt: skip


def test_fused_ops_show_the_layers_whose_weights_they_use():
    s = pycnn.summary(bottleneck(), (8, 12, 12))
    assert [(row.type, row.path) for row in layers(s)] == [
        ("Conv2d", "conv1"), ("BatchNorm2d", "bn1"), ("relu", ""),
        ("Conv2d", "conv2"), ("BatchNorm2d", "bn2"), ("relu", ""),
        ("Conv2d", "down.0"), ("BatchNorm2d", "down.1"),
        ("Conv2d", "conv3"), ("BatchNorm2d", "bn3"), ("add", ""), ("relu", ""),
    ]  # fmt: skip
    assert s.row("down.0").name == "down.0" and s.row("down.0").depth == 1
    assert s.row("bn3").parameters == 32 and s.row("bn3").parameters_formula == "2·16"
    assert s.parameters == sum(row.parameters for row in layers(s)) and s.not_run == ()
    assert s.macs == 144 * 4 * 8 + 36 * 4 * 36 + 36 * 16 * 8 + 36 * 16 * 4
    assert s.row("", "add").receptive_field == (3, 3) and s.row("", "add").stride == (2, 2)
    # In training each conv_bn makes two arrays: the convolution's output and what is made of it.
    assert s.training_bytes == 4 * (8 * 144 + 2 * (4 * 144 + 4 * 36 + 16 * 36 + 16 * 36))
    # With fixed statistics one array each; the most is alive at conv2: x, which the shortcut still needs, its input and output.
    assert s.inference_bytes == 4 * (8 * 144 + 4 * 144 + 4 * 36)


def test_pre_activation_shows_batch_norm_first():
    net = Run(lambda self, x: ops.bn_conv(self.bn, self.conv, x), bn=nn.BatchNorm2d(4), conv=nn.Conv2d(4, 8, 3, padding=1))
    s = pycnn.summary(net, (4, 6, 6))
    assert [row.type for row in layers(s)] == ["BatchNorm2d", "relu", "Conv2d"]
    assert s.training_bytes == 4 * 36 * (4 + 4 + 8) == s.inference_bytes


def test_branches_the_largest_field_counts():
    def forward(self, x):
        x = self.stem(x)
        return ops.cat([ops.relu(self.b1(x)), self.b5(ops.relu(self.b5r(x))), self.pool(x)], 1)

    net = Run(
        forward, stem=nn.Conv2d(3, 8, 3, stride=2, padding=1), b1=nn.Conv2d(8, 4, 1), b5r=nn.Conv2d(8, 2, 1),
        b5=nn.Conv2d(2, 6, 5, padding=2), pool=nn.MaxPool2d(3, 1, 1),
    )  # fmt: skip
    s = pycnn.summary(net, (3, 16, 16))
    (cat,) = of_type(s, "cat")
    assert cat.size_formula == "4 + 6 + 8 = 18" and cat.output_shape == (1, 18, 8, 8)
    assert cat.receptive_field == (3 + 4 * 2, 3 + 4 * 2) and cat.stride == (2, 2)
    assert s.row("b1").receptive_field == (3, 3) and s.row("pool").receptive_field == (7, 7)


def test_dilation_widens_the_field():
    s = pycnn.summary(nn.Sequential(nn.Conv2d(1, 1, 3, dilation=4, padding=4), nn.Conv2d(1, 1, 3, padding=1)), (1, 20, 20))
    assert [row.receptive_field for row in layers(s)] == [(9, 9), (11, 11)]


def test_height_and_width_apart():
    s = pycnn.summary(nn.Sequential(nn.Conv2d(1, 2, (1, 5), stride=(1, 2))), (1, 8, 15))
    row = s.rows[1]
    assert row.size_formula == "(8 - 1 + 2·0)/1 + 1 = 8; (15 - 5 + 2·0)/2 + 1 = 6"
    assert row.receptive_field == (1, 5) and row.stride == (1, 2) and "1×5" in render(s)


def test_growing_images():
    net = nn.Sequential(nn.MaxPool2d(2), nn.ConvTranspose2d(3, 4, 4, stride=2, padding=1), nn.Upsample(scale_factor=2))
    up, nearest = layers(pycnn.summary(net, (3, 8, 8)))[1:]
    assert up.size_formula == "(4 - 1)·2 - 2·1 + 4 = 8" and up.macs == 3 * 16 * 4 * 16
    assert up.receptive_field == (2 + 2, 2 + 2) and up.stride == (1, 1) and nearest.stride == (0.5, 0.5)


def test_global_pooling_sees_the_whole_image():
    net = Run(lambda self, x: ops.flatten(ops.adaptive_avg_pool2d(self.conv(x), 1), 1), conv=nn.Conv2d(1, 2, 3))
    conv, pool, _ = layers(pycnn.summary(net, (1, 9, 9)))
    assert pool.receptive_field == (9, 9) and pool.stride is None
    mean = Run(lambda self, x: ops.mean(self.conv(x), (2, 3)), conv=nn.Conv2d(1, 2, 3))
    assert of_type(pycnn.summary(mean, (1, 9, 9)), "mean")[0].receptive_field == (9, 9)


def test_an_array_is_freed_after_its_last_reader():
    """A shortcut stays alive beside what is computed meanwhile."""
    net = Run(lambda self, x: ops.relu(ops.relu(ops.relu(x))) + x)
    assert pycnn.summary(net, (1, 4, 4)).inference_bytes == 4 * 16 * 3
    chain = Run(lambda self, x: ops.relu(ops.relu(ops.relu(x))))
    assert pycnn.summary(chain, (1, 4, 4)).inference_bytes == 4 * 16 * 2


def test_views_cost_nothing():
    def forward(self, x):
        a, b = ops.split(x, 2, 1)
        return ops.cat([ops.relu(a), b], 1)

    s = pycnn.summary(Run(forward), (4, 4, 4))
    assert [(row.type, row.output_bytes) for row in layers(s)] == [("split", 0), ("relu", 128), ("cat", 256)]
    assert s.inference_bytes == 4 * 16 * (4 + 2 + 4)


def test_a_layer_used_twice_is_counted_once_and_computed_twice():
    s = pycnn.summary(Run(lambda self, x: self.conv(self.conv(x)), conv=nn.Conv2d(2, 2, 3, padding=1)), (2, 5, 5))
    first, second = layers(s)
    assert (first.parameters, second.parameters, second.repeated) == (38, 0, True) and s.macs == 2 * first.macs
    assert s.parameters == 38 and "(recursive)" in str(s)


def test_what_evaluation_leaves_out_is_named():
    def forward(self, x):
        return self.head(x), self.aux(x) if self.training else None

    s = pycnn.summary(Run(forward, head=nn.Conv2d(1, 2, 3), aux=nn.Conv2d(1, 3, 3)), (1, 5, 5))
    assert s.not_run == ("aux",) and s.parameters == 20 + 30 and "(aux not run in evaluation mode)" in str(s)


def test_parameters_without_a_layer_and_made_ones_are_found():
    class Masked(nn.Module):
        def __init__(self):
            self.weight = pycnn.Parameter(np.ones((4, 2, 3, 3), np.float32))
            self.mask = pycnn.Buffer(np.ones((4, 2, 3, 3), np.float32))

        def forward(self, x):
            return ops.relu(ops.conv2d(x, self.weight * self.mask))

    s = pycnn.summary(Masked(), (2, 6, 6))
    assert [row.type for row in s.rows] == ["Masked", "conv2d", "relu"]
    assert s.rows[1].parameters == 72 and s.not_run == ()


def test_dropout_is_kept_while_training():
    s = pycnn.summary(nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.0)), (1, 4, 4))
    assert [row.output_bytes for row in layers(s)] == [64, 0] and s.inference_bytes == 64


def test_an_op_of_ones_own_counts_one_flop_per_output():
    class Swish(Function):
        def forward(self, x):
            return x / (1 + self.backend.xp.exp(-x))

    s = pycnn.summary(Run(lambda self, x: Swish()(self.conv(x)), conv=nn.Conv2d(1, 2, 3)), (1, 6, 6))
    assert [row.type for row in layers(s)] == ["Conv2d", "swish"] and layers(s)[1].flops == 2 * 4 * 4


# ---- it only looks ----------------------------------------------------------------------------------------------------


def test_the_model_is_left_as_it_was():
    net = bottleneck()
    net.bn1.eval()
    seen = []
    net.conv1.register_forward_hook(lambda *_: seen.append(1))
    before, state = [dict(vars(m)) for m in net.modules()], net.state_dict()
    pycnn.summary(net, (8, 12, 12))
    assert [dict(vars(m)) for m in net.modules()] == before and not net.bn1.training and net.bn2.training
    after = net.state_dict()
    assert all(np.array_equal(value, after[name]) for name, value in state.items())
    assert seen == [1]  # a forward pass, in which hooks are called


def test_nothing_is_observed_outside_and_after_an_error():
    from pycnn.tensor import current_observer

    assert current_observer() is None
    with pytest.raises(pycnn.errors.ShapeError, match="in_features"):
        pycnn.summary("lenet5", (1, 28, 28))
    assert current_observer() is None and create_model("lenet5").training
    net = create_model("lenet5")
    with pytest.raises(pycnn.errors.ShapeError):
        pycnn.summary(net, (1, 28, 28))
    assert "training" not in vars(net)


def test_no_weights_are_drawn_for_a_name():
    pycnn.manual_seed(3)
    expected = create_model("lenet5").state_dict()
    pycnn.manual_seed(3)
    pycnn.summary("lenet5")
    assert all(np.array_equal(value, expected[name]) for name, value in create_model("lenet5").state_dict().items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((nn.Sequential(nn.ReLU()),), "Sequential is not registered with one image size; give size"),
        (("lenet5", (32, 32)), r"size must be \(C, H, W\) or \(N, C, H, W\), positive integers, got \(32, 32\)"),
        (("lenet5", (1, 0, 32)), "positive integers"),
        (("lenet",), "did you mean lenet5"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        pycnn.summary(*arguments)


def test_a_registered_class_knows_its_size_and_a_batch_counts():
    one, four = pycnn.summary(create_model("lenet5")), pycnn.summary("lenet5", (4, 1, 32, 32))
    assert one.input_shape == (1, 1, 32, 32) and four.macs == 4 * one.macs and four.im2col_bytes == one.im2col_bytes


# ---- formats ----------------------------------------------------------------------------------------------------------


def test_the_text_of_lenet5():
    golden = (ROOT / "tests" / "lenet5_summary.txt").read_text(encoding="utf-8")
    assert render(pycnn.summary("lenet5"), layout="nhwc") + "\n" == golden
    assert str(pycnn.summary("lenet5")).count("[1, 6, 28, 28]") == 4  # of C1, into and out of ReLU, into S2


def test_depth_sums_up():
    net = nn.Sequential(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 3, 3)), nn.Flatten())
    s = pycnn.summary(net, (1, 8, 8))
    shallow = render(s, depth=1, columns=["params", "macs"]).splitlines()
    cells = [line.split()[-2:] for line in shallow[3:6]]
    assert cells == [["--", "--"], ["77", "1,512"], ["--", "--"]] and shallow[4].startswith("├─Sequential (0): 1-1 ")
    assert "2·1·3·3 + 2 = 20" in render(s) and s.rows[0].macs == s.macs == 36 * 2 * 9 + 16 * 3 * 18


def test_json_csv_and_markdown():
    s = pycnn.summary("lenet5")
    told = json.loads(render(s, "json"))
    assert told["macs"] == 416_520 and told["rows"][1]["size_formula"] == "(32 - 5 + 2·0)/1 + 1 = 28"
    rows = list(csv.DictReader(io.StringIO(render(s, "csv"))))
    assert len(rows) == len(s.rows) and rows[1]["output_shape"] == "1x6x28x28" and rows[1]["parameters"] == "156"
    table = render(s, "markdown", columns=["output", "params"]).splitlines()
    assert table[:2] == ["| Layer (type:depth-idx) | Output Shape | Param # |", "| --- | --- | ---: |"]
    assert table[3] == "| Conv2d (c1): 1-1 | [1, 6, 28, 28] | 6·1·5·5 + 6 = 156 |"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "html"}, "format must be one of text, markdown, json, csv, got 'html'"),
        ({"layout": "chwn"}, "layout must be one of nchw, nhwc"),
        ({"columns": ["speed"]}, "there is no column 'speed'; there are input, output"),
        ({"depth": -1}, "depth must be 0 or more"),
    ],
)
def test_bad_formats_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        render(pycnn.summary("lenet5"), **options)


def test_the_command(tmp_path, capsys):
    assert cli.main(["summary", "lenet5", "--layout", "nhwc"]) == 0
    assert capsys.readouterr().out == (ROOT / "tests" / "lenet5_summary.txt").read_text(encoding="utf-8")
    (tmp_path / "own.py").write_text(
        "from pycnn import nn\n\n\nclass Own(nn.Module):\n    def __init__(self):\n        self.conv = nn.Conv2d(3, 4, 3)\n\n"
        "    def forward(self, x):\n        return self.conv(x)\n"
    )
    own = f"{tmp_path / 'own.py'}:Own"
    assert cli.main(["summary", own, "--size", "3", "9", "9", "--columns", "size", "--depth", "1"]) == 0
    assert "(9 - 3 + 2·0)/1 + 1 = 7" in capsys.readouterr().out
    for words, message in (
        (["summary", own], "pycnn: size: Own is not registered"),
        (["summary"], "pycnn: name a model, for example: pycnn summary lenet5"),
        (["summary", "lenet"], "did you mean lenet5"),
        (["summary", "lenet5", "--columns", "speed"], "there is no column 'speed'"),
        (["summary", "lenet5", "--size", "3"], "size must be (C, H, W)"),
    ):
        assert cli.main(words) == 1
        assert message in (error := capsys.readouterr().err) and error.count("\n") == 1


def test_a_file_of_ones_own_draws_its_weights(tmp_path, capsys):
    """Only the model that is shown is built without."""
    (tmp_path / "trains.py").write_text(
        "import numpy as np\nimport pycnn\nfrom pycnn import nn\n\nw = pycnn.Tensor(np.zeros(9, np.float32))\n"
        "assert (nn.init.uniform_(w, 1, 2).numpy() >= 1).all()\n\n\nclass Own(nn.Module):\n    image = (3, 9, 9)\n\n"
        "    def forward(self, x):\n        return x.relu()\n"
    )
    assert cli.main(["summary", f"{tmp_path / 'trains.py'}:Own"]) == 0
    assert "[1, 3, 9, 9]" in capsys.readouterr().out


# ---- the ledger -------------------------------------------------------------------------------------------------------


def test_a_fact_agrees_in_the_digits_of_its_source():
    def fact(value):
        return facts.Fact("net", "x", "parameters", value, "paper", "", "")

    assert fact("61M").agrees(60_965_224) and not fact("60M").agrees(60_965_224) and fact("0.27M").agrees(269_722)
    assert fact("60,965,224").agrees(60_965_224) and not fact("60,965,224").agrees(60_965_225)
    assert fact("80%").agrees(0.8) and not fact("80%").agrees(0.894) and fact("3.858G").number == pytest.approx(3.858e9)


def test_every_fact_has_a_source():
    for fact in facts.facts():
        assert fact.kind in ("net", "claim", "history") and fact.source and fact.number > 0, fact
        assert fact.who in ("paper", "authors", "published", "torchvision", "lecture", "arithmetic"), fact


def test_every_fact_is_of_a_registered_net():
    assert {f.name for f in facts.facts() if f.kind == "net"} - set(list_models()) == set()


def test_the_lectures_worked_examples():
    assert {c.fact.name for c in ledger.claims()} == set(ledger.CLAIMS)
    assert all(c.verdict == ledger.EXACT for c in ledger.claims())


def test_differences_need_a_reason():
    """LeNet-5 has 61,706 parameters, the paper 60,000: the ledger says why; without a note it says that nobody does."""
    net = ledger.line("lenet5")
    (difference,) = ledger.compare_with_facts({"lenet5": net})
    assert difference.ours == 61_706 and "fixed bitmaps" in difference.verdict
    bare = facts.Fact("net", "lenet5", "parameters", "60,000", "paper", "", "")
    assert ledger._verdict(bare, 61_706) == ledger.UNEXPLAINED and ledger._verdict(bare, 60_000) == ledger.EXACT


def ledger_rows() -> dict[str, str]:
    """Lines of the first table of docs/ledger.md by net."""
    lines = (ROOT / "docs" / "ledger.md").read_text(encoding="utf-8").split("## Beside what is said")[0].splitlines()
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines if line.startswith("| ")}


def test_the_written_ledger_has_every_net_and_a_reason_for_every_difference():
    """Write it anew with: pycnn summary --all > docs/ledger.md"""
    assert set(ledger_rows()) - {"Net", "---"} == set(list_models())
    assert ledger.UNEXPLAINED not in (ROOT / "docs" / "ledger.md").read_text(encoding="utf-8")


QUICK = ("lenet5", "lenet5_1998", "resnet20_cifar", "squeezenet1_1", "shufflenet_v1_g3", "mobilenet_v2", "densenet40_12_cifar")


@pytest.mark.parametrize("name", QUICK)
def test_the_written_ledger_is_right(name):
    assert f"| {' | '.join(ledger._cells(ledger.line(name)))} |" == ledger_rows()[name]


@pytest.mark.slow
def test_the_whole_ledger_is_what_would_be_written():
    assert ledger.render(list(ledger.lines())) == (ROOT / "docs" / "ledger.md").read_text(encoding="utf-8")


def test_the_ledgers_formats(capsys):
    assert cli.main(["summary", "--all", "lenet5", "--format", "csv"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (row["name"], row["image"], row["macs"]) == ("lenet5", "1x32x32", "416520")
    told = json.loads(ledger.render([ledger.line("lenet5")], "json"))
    assert told["facts"][0]["verdict"].startswith("C3 sees") and told["nets"][0]["parameters"] == 61_706
    assert "442,368" in ledger.render([], "text")


def test_a_tensor_from_nowhere_is_a_constant():
    s = pycnn.summary(Run(lambda self, x: x + Tensor(np.ones((1, 2, 4, 4), np.float32))), (2, 4, 4))
    assert len(s.rows) == 1 and s.flops == 32 and s.inference_bytes == 4 * 32 * 2
