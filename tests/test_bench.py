"""The benchmark: its table, its checks (a wrong result must be seen), its figures, its files and the README's tables."""

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pycnn import backend
from pycnn.bench import command, convolution, main, measure, report, rows, transposed
from pycnn.bench.contest import Contest, Setting, numbers
from pycnn.bench.measure import CpuClock, Effort, compare, interleave

ROOT = Path(__file__).parent.parent
TINY = Effort(1e-5, 1e-3, 3)
SMALL = convolution.Layer("convolution", "net", "layer", 2, 4, 9, 7, 6, 3, 3, 2, 1, 2)


def pytorch():
    """PyTorch on one thread (its threads spin while they wait), or None."""
    torch = command._torch("cpu")
    if torch is not None:
        torch.set_num_threads(1)
    return torch


@pytest.fixture
def alone(monkeypatch):
    """As if PyTorch were not installed."""
    monkeypatch.setattr(command, "_torch", lambda device: None)


# ---- the table --------------------------------------------------------------------------------------------------------


def test_rows_have_names_groups_and_ops():
    table = list(rows.rows())
    assert len({row.id for row in table}) == len(table)
    assert {row.group for row in table} == set(rows.GROUPS)
    ops = {record["op"] for record in backend.list_kernels()}
    assert {row.op for row in table if row.op} <= ops
    probes = ["import"] + ["peak memory"] * 2 * len(rows.net.NETS) + ["net memory"] * len(rows.full_nets.NETS)
    assert [row.group for row in table if row.prepare is None] == probes


def test_layers_are_those_of_six_nets():
    layers = convolution.layers()
    nets = {net: sum(layer.net == net for layer in layers if layer.groups == 1) for net in {layer.net for layer in layers}}
    dense = {"LeNet-5": 3, "AlexNet": 5, "VGG-16": 9, "GoogLeNet": 48, "ResNet-18": 11, "ResNet-50": 17}
    assert {net: nets[net] for net in dense} == dense
    extents = [(x.C, x.H, x.K, x.R, x.S, x.stride, x.pad, x.groups) for x in layers]
    assert len(set(extents)) == len(extents)
    assert {x.group for x in layers if x.R * x.S == x.groups == 1} == {"1x1 convolution"}
    stem = next(layer for layer in layers if layer.layer == "stem 7x7/2")
    assert (stem.P, stem.Q) == (112, 112)
    assert stem.flops == pytest.approx(4 * 0.236e9, rel=1e-3)


def test_select():
    assert [r.id for r in rows.select("relu*of")] == []
    assert [r.id for r in rows.select("*relu*of*")] == ["overhead/relu of 8 numbers"]
    assert {r.group for r in rows.select("LeNet-5")} >= {"step", "convolution"}
    assert all(r.op == "conv2d_forward" for r in rows.select(op="conv2d_forward"))


def test_every_memory_bound_row_is_right_on_small_images(monkeypatch):
    monkeypatch.setattr(rows.memory_bound, "shape", lambda setting: (2, 8, 14, 14))  # adaptive pooling makes 7 x 7
    monkeypatch.setattr(rows.memory_bound, "logits_shape", lambda setting: (17, rows.memory_bound.CLASSES))
    setting = Setting(torch=pytorch(), quick=True)
    for row in rows.select(group="memory"):
        errors = row.prepare(setting).errors()
        assert errors["pycnn"] <= 1 and max(errors.values()) < 10, (row.name, errors)


@pytest.mark.parametrize("direction", convolution.PASSES)
def test_convolution_rows_are_right(direction):
    errors = convolution.contest(Setting(torch=pytorch()), SMALL, direction).errors()
    assert errors["pycnn"] <= 1 and max(errors.values()) < 10, errors


@pytest.mark.parametrize("direction", convolution.PASSES)
def test_transposed_convolution_rows_are_right(direction):
    layer = transposed.Layer("net", 2, 4, 6, 5, 3, pad=1, output_pad=1)
    contest = transposed.contest(Setting(torch=pytorch()), layer, direction)
    errors = contest.errors()
    assert errors["pycnn"] <= 1 and max(errors.values()) < 10, errors
    wrong = numbers(contest.pycnn())[0].copy()
    wrong[0, 0, 0, 0] += 1e-3
    assert contest.error(wrong) > 1


@pytest.mark.parametrize("name", rows.net.NETS)
def test_training_steps_are_right(name):
    net = rows.net.NETS[name]
    small = replace(net, batch=8 if name == "LeNet-5" else 2)
    errors = rows.net.training_step(Setting(torch=pytorch()), small).errors()
    assert errors["pycnn"] <= 1 and max(errors.values()) < 10, errors


def test_a_training_step_keeps_no_array_alive():
    """What forward saved is gone once backward has passed it: after a step only parameters, gradients and momentum are left."""
    import gc
    import weakref

    net = replace(rows.net.NETS["ResNet, small"], batch=2)
    made, empty = [], backend.Backend.empty

    def counted(self, *arguments):
        array = empty(self, *arguments)
        made.append(weakref.ref(array))
        return array

    step = rows.net.pycnn_step("cpu", net, rows.net.initial_weights(net), *rows.net.batch(net))
    step()
    gc.disable()  # nothing may need it
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(backend.Backend, "empty", counted)
            step()
        assert len(made) > 50 and not [a for a in (reference() for reference in made) if a is not None]
    finally:
        gc.enable()


# ---- wrong results are seen -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", convolution.PASSES)
def test_one_lost_product_is_seen(direction):
    contest = convolution.contest(Setting(), replace(SMALL, groups=1), direction)
    right = numbers(contest.pycnn())[0]
    wrong = right.copy()
    wrong[-1, -1, -1, -1] += 1e-3
    assert contest.error(right) <= 1 < contest.error(wrong)


def test_nan_is_infinitely_wrong():
    contest = convolution.contest(Setting(), SMALL, "forward")
    result = numbers(contest.pycnn())[0].copy()
    result[0, 1, 1, 1] = np.nan
    assert contest.error(result) == np.inf


def test_a_wrong_row_fails_the_command(alone, monkeypatch, capsys):
    wrong = rows.Row("gemm", "wrong", "gemm", prepare=lambda s: Contest(lambda: np.zeros(1), {}, lambda y: 2.0))
    refused = rows.Row("gemm", "refused", "gemm", prepare=lambda s: backend.get("cuda:99"))
    monkeypatch.setattr(rows, "rows", lambda: iter([wrong, refused]))
    monkeypatch.setattr(command, "QUICK", TINY)
    assert main(["--quick"]) == 1
    printed = capsys.readouterr().out
    assert "2.00 WRONG" in printed and "FAILED" in printed and "refused: device 'cuda" in printed


# ---- timing -----------------------------------------------------------------------------------------------------------


class FakeClock:
    """Runs take the seconds their functions return."""

    modes = ("warm",)

    def sample(self, run, repeats, mode):
        return run()


def test_sides_take_turns_and_medians_are_compared():
    order = []

    def side(name, seconds):
        return lambda: order.append(name) or seconds

    runs = {"pycnn": side("p", 0.2), "NCHW": side("t", 0.5), "channels_last": side("c", 0.3)}
    samples = interleave(runs, FakeClock(), "warm", Effort(0.1, 3.0, 4))
    assert "".join(order[-9:]) in ("ptcctpptc", "ctpptcctp")
    found = compare(samples)
    assert found["rival"] == "channels_last" and found["ratio"] == pytest.approx(1.5)
    assert found["ratio_p20"] == pytest.approx(1.5) and found["ratio_best"] == pytest.approx(1.5)


def test_the_cpu_clock_measures_seconds():
    import time

    assert 0.001 <= CpuClock().sample(lambda: time.sleep(0.001), 2, "warm") < 0.1


def test_geometric_mean():
    assert measure.geometric_mean([1, 4]) == pytest.approx(2)


def test_summary_needs_both_means():
    record = {"group": "convolution", "name": "a", "quantity": "s", "pycnn": 1.0, "torch": 2.0, "ratio": 2.0}
    (line,) = report.summarize([record | {"ratio_best": 0.5}])
    assert line["mean"] == 2 and line["mean_best"] == 0.5 and line["met"] is False
    assert report.summarize([record | {"ratio_best": 0.9}])[0]["met"] is True
    one_slow = [record | {"ratio_best": 2.0}, record | {"ratio": 0.4, "ratio_best": 2.0}]
    assert report.summarize(one_slow)[0]["mean"] > 0.8 and report.summarize(one_slow)[0]["met"] is False
    slow = {"group": "import", "name": "import", "quantity": "s", "pycnn": 0.4}
    assert report.summarize([slow])[0]["met"] is False


@pytest.mark.parametrize(
    ("value", "quantity", "text"),
    [
        (1.234, "s", "1.23 s"),
        (0.01234, "s", "12.3 ms"),
        (123.4e-6, "s", "123 µs"),
        (4.5e-7, "s", "0.450 µs"),
        (3.2e8, "B", "320 MB"),
    ],
)
def test_figures_have_three_digits(value, quantity, text):
    assert report.figure(value, quantity) == text


# ---- the command ------------------------------------------------------------------------------------------------------


def test_command_without_pytorch_saves_its_own_column(alone, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(command, "QUICK", TINY)
    assert main(["--quick", "--threads", "1", "--filter", "overhead", "--json", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "PyTorch is not installed" in printed and "relu of 8 numbers" in printed
    (path,) = tmp_path.glob("*/*.json")
    result = json.loads(path.read_text())
    assert result["device"]["slug"] == path.parent.name and path.stem.startswith(result["date"][:10])
    assert result["threads"] == 1 and result["quick"] is True and result["commit"] in path.stem
    assert {"pycnn", "python", "torch", "build"} <= set(result["versions"])
    assert [row["ok"] for row in result["rows"]] == [True, True]
    assert "ratio" not in result["rows"][0]


def test_command_against_pytorch(monkeypatch, tmp_path, capsys):
    pytest.importorskip("torch", reason="PyTorch is not installed (pycnn bench was run alone)")
    monkeypatch.setattr(command, "QUICK", TINY)
    file = tmp_path / "new" / "result.json"
    arguments = ["--quick", "--threads", "1", "--filter", "gemm/LeNet*", "--kernels", "gemm=naive", "--json", str(file)]
    assert main(arguments) == 0
    (row,) = json.loads(file.read_text())["rows"]
    assert row["ratio"] > 0 and row["ratio_p20"] <= row["ratio_p80"] and row["torch"] > 0 and row["rate"] > 0
    assert "torch/pycnn" in capsys.readouterr().out


def test_versions(alone, monkeypatch, capsys):
    monkeypatch.setattr(command, "QUICK", TINY)
    assert main(["versions", "conv2d_forward", "--quick", "--shape", "1,4,6,6,8,3,3,1,1"]) == 0
    printed = capsys.readouterr().out
    for version in {record["version"] for record in backend.list_kernels("conv2d_forward")}:
        assert version in printed
    assert main(["versions", "gemm", "--quick", "--shape", "16,16,16"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--filter", "nonsense"], "no row matches 'nonsense'"),
        (["--filter", "overhead", "--kernels", "relu=fast"], "has no version 'fast'"),
        (["--filter", "overhead", "--device", "tpu"], "unknown device"),
        (["versions", "nonsense"], "there is no op 'nonsense'"),
        (["versions", "conv2d_forward", "--shape", "1,2"], "a convolution's shape is"),
        (["versions", "relu", "--shape", "1,2"], "not for relu"),
    ],
)
def test_wrong_usage_says_what_is_wrong(alone, arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_list(capsys):
    assert main(["--list", "--filter", "memory"]) == 0
    assert "memory/sgd with momentum" in capsys.readouterr().out


def test_importing_pycnn_loads_neither_pytorch_nor_cupy():
    heavy = {"torch", "cupy", "rich", "matplotlib"}
    code = f"import sys, pycnn, pycnn.bench; assert not {heavy} & set(sys.modules), sorted(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- files and tables -------------------------------------------------------------------------------------------------


@pytest.fixture
def script():
    """benchmarks/report.py as a module."""
    path = ROOT / "benchmarks" / "report.py"
    if not path.exists():
        pytest.skip("benchmarks/ is not part of an installed package")
    spec = importlib.util.spec_from_file_location("benchmarks_report", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def result(folder: Path, date: str, ratio: float, quick=False) -> None:
    record = {"group": "memory", "name": "relu", "op": "relu", "unit": "B/s", "quantity": "s", "mode": "warm", "ok": True}
    record |= {"pycnn": 0.001, "torch": 0.001 * ratio, "rival": "NCHW", "ratio": ratio, "ratio_best": ratio, "error": 0.5}
    record |= {"ratio_p20": ratio, "ratio_p80": ratio, "rounds": 5, "rate": 2.5e10, "work": 2.5e7}
    made = report.document([record], Setting(quick=quick), 2, []) | {"date": f"{date}T00:00:00Z", "commit": "abc1234"}
    report.save(made, folder)


def test_report_rewrites_what_lies_between_markers(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "ROOT", tmp_path)
    result(tmp_path, "2024-01-01", 0.5)
    result(tmp_path, "2024-01-02", 1.25)
    result(tmp_path, "2024-01-03", 9.0, quick=True)
    text = "before\n<!-- bench:memory -->\nold\n<!-- /bench:memory -->\nbetween\n"
    text += "<!-- bench:summary -->\n<!-- /bench:summary -->\n<!-- bench:gemm -->\nstale\n<!-- /bench:gemm -->\nafter\n"
    new = script.rewrite(text, tmp_path)
    assert "| relu | 1.00 ms | 1.25 ms NCHW | 1.25 |" in new and "25.0 GB/s" in new
    assert "| Memory-bound ops | 1 | 1.25 |" in new and "| met |" in new
    assert "commit abc1234" in new and "2024-01-02" in new
    assert "old" not in new and "stale" not in new and "9.00" not in new
    assert new.startswith("before\n") and "\nbetween\n" in new and new.endswith("after\n")
    assert script.rewrite(new, tmp_path) == new


def test_benchmark_files_are_not_collected_with_the_tests():
    assert not [path.name for path in (ROOT / "benchmarks").glob("test_*.py")]
