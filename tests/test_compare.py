"""pycnn compare: the figures behind the lecture's two pictures, and pictures whose labels can be read."""

from __future__ import annotations

import csv
import io
import json

import pytest

from pycnn import cli
from pycnn.arithmetic import compare


def pixels(path):
    from matplotlib.image import imread

    return imread(path)


def test_published_figures_have_their_most_exact_value_and_a_source():
    found = {net.name: net for net in compare.nets(compute=False)}
    vgg = found["vgg16"]
    assert (vgg.top1, vgg.top5, vgg.macs, vgg.parameters, vgg.figures) == (71.592, 90.382, 15.47e9, 138_357_544, "published")
    assert found["alexnet"].parameters == 61_100_840 and "torchvision" in found["alexnet"].source
    assert all(net.source for net in found.values()) and vgg.activations is None


def test_a_registered_net_is_computed(monkeypatch):
    fact = compare.facts()[0].__class__("net", "lenet5", "top1", "99.0", "published", "nowhere", "")
    monkeypatch.setattr(compare, "facts", lambda: (fact,))
    monkeypatch.setattr(compare, "of_net", lambda name: [fact])
    (net,) = compare.nets()
    assert (net.macs, net.parameters, net.figures, net.top5) == (416_520, 61_706, "computed", None)


def test_an_unknown_net_is_named():
    with pytest.raises(ValueError, match="no accuracy of 'lenet5' is known; there are accuracies of .*vgg16"):
        compare.nets(["lenet5"])


def test_history_goes_down_and_passes_the_human_figure():
    entries, human = compare.history()
    assert human == 5.1 and [e.year for e in entries] == sorted(e.year for e in entries)
    winners = {e.year: e for e in entries}  # of 2014 the better one
    errors = [winners[year].top5_error for year in range(2010, 2018)]
    assert errors == [28.2, 25.8, 16.4, 11.7, 6.7, 3.57, 2.99, 2.25]
    assert [year for year in winners if winners[year].top5_error < human] == [2015, 2016, 2017]
    assert [winners[year].depth for year in (2010, 2012, 2014, 2015)] == [None, 8, 22, 152]


def test_names_do_not_overlap(tmp_path, monkeypatch):
    """Nor do they cover a point of another net, or leave the axes."""
    kept = []
    monkeypatch.setattr(compare, "_save", lambda figure, path: kept.append(figure))
    nets = compare.nets(compute=False)
    compare.draw(nets, tmp_path / "x.png")
    (figure,) = kept
    (axes,) = figure.axes
    renderer = figure.canvas.get_renderer()
    texts = [text for text in axes.texts if text.get_text()]
    drawn = [net for net in nets if None not in (net.macs, net.top1, net.parameters)]
    assert {text.get_text() for text in texts} == {net.name for net in drawn} and len(drawn) >= 35
    boxes = [text.get_window_extent(renderer) for text in texts]
    overlapping = [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]
    assert overlapping == []
    inside = axes.get_window_extent()
    assert all(inside.x0 <= b.x0 and b.x1 <= inside.x1 and inside.y0 <= b.y0 and b.y1 <= inside.y1 for b in boxes)
    points = axes.transData.transform([(net.macs / 1e9, net.top1) for net in drawn])
    assert not any(box.contains(*point) for box in boxes for point in points)


def test_a_blobs_area_is_proportional_to_parameters(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(compare, "_save", lambda figure, path: kept.append(figure))
    compare.draw(compare.nets(["vgg16", "vgg19"], compute=False), tmp_path / "x.png")
    sizes = next(c.get_sizes() for c in kept[0].axes[0].collections if len(c.get_sizes()) == 2)
    assert sizes[1] / sizes[0] == pytest.approx(143_667_240 / 138_357_544)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [("speed", "top1", "x must be one of macs, flops"), ("macs", "x", "y must be"), ("flops", "top1", "no net has both")],
)
def test_bad_axes_are_named(tmp_path, x, y, message):
    with pytest.raises(ValueError, match=message):
        compare.draw(compare.nets(["vgg16"], compute=False), tmp_path / "x.png", x, y)


def test_the_command_draws_and_prints(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["compare", "--published", "--x", "parameters", "--y", "top5", "--format", "csv"]) == 0
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    assert rows["resnet18"]["macs"] == "1814000000" and rows["resnet18"]["top5"] == "89.078"
    assert pixels("compare.png").shape[:2] == (1040, 1625)
    assert cli.main(["compare", "--history", "--format", "json", "--output", "h.png"]) == 0
    assert json.loads(capsys.readouterr().out)[2]["name"] == "AlexNet" and pixels("h.png").std() > 0.1
    assert cli.main(["compare", "vgg16", "--published", "--format", "markdown", "--output", "-"]) == 0
    assert capsys.readouterr().out.splitlines()[2].startswith("| vgg16 | 71.592 | 90.382 | 15,470,000,000 | 138,357,544 |")
    assert cli.main(["compare", "nonsense"]) == 1
    assert capsys.readouterr().err.startswith("pycnn: no accuracy of 'nonsense' is known")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["compare.png", "h.png"]
