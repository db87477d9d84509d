"""docs/lecture.md: its commands run, its figures are what they print, and it has every topic of the lecture."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
if not (ROOT / "docs").is_dir():
    pytest.skip("docs/ is in the source checkout only", allow_module_level=True)

spec = importlib.util.spec_from_file_location("lecture", ROOT / "docs" / "lecture.py")
lecture = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lecture)
TEXT = lecture.PAGE.read_text(encoding="utf-8")
BLOCKS = {
    f"{section.partition(chr(10))[0].lstrip('# ')} {i}": block
    for section in lecture.sections(TEXT)
    for i, block in enumerate(lecture.blocks(section))
}

# The lecture's topics in its order; slides that repeat a heading are left out.
TOPICS = """
pooling and convolutions | sparse connectivity | parameter sharing | LeNet architecture |
how can we design the architecture? | objectives of the lecture | CNN architecture evolution: image classification | ILSVRC |
## AlexNet | layer 1 | layer 2 | can we change the input to AlexNet? | 61M parameters | ReLU | normalization layers |
data augmentation | dropout | batch size | momentum | learning rate | weight decay | top-5 error, one net and seven |
## ZFNet | 7×7 and stride 2 | 512, 1024, 512 |
## VGGNet | VGG-16 and VGG-19 | objects at different scales | three 3×3 convolutions instead of one 7×7 | non-linearities |
96 MB | 138M | 80 % | FC7 features generalize |
## GoogLeNet | 22 layers | 5M | 12 times | 27 times | inception module | 1×1 convolutions | 442,368 | 126,976 |
global average pooling (GAP) | network in network | auxiliary classifiers | 4 % every 8 epochs | dropout in the last layer |
## ResNet | increase the depth | training* error | residual blocks | H(X) = F(X) + X | bottleneck | twice the filters |
F(X) = 0 | weight decay | direct path | layers on ImageNet | layers on CIFAR | batch normalization after every convolution |
He's initialization | no dropout | improvements and modifications | identity mappings | wide residual blocks | ResNeXt |
stochastic depth | DenseNet |
## comparing different CNN architectures | AlexNet low accuracy | VGG highest number of parameters | ResNet best accuracy |
## efficient networks for mobile applications | MobileNet | SqueezeNet | ShuffleNet |
## semantic segmentation | crop a patch | no downsampling | encoder–decoder | FCN, SegNet, DeconvNet, U-Net |
## object detection | single object detection | R-CNN | Faster R-CNN | SSD, YOLO |
## summary | human | efficient networks
"""
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e-?\d+)?")


def rows():
    """(subject, lecture's cell, our cell, remark) of the tables that compare figures; markers still in them."""
    for line in TEXT.splitlines():
        if line.startswith("| ") and len(cells := line.strip("|").split(" |")) == 4 and "examples/" not in line:
            if cells[2].strip() != "pycnn" and ".py](" not in line:
                yield [cell.strip() for cell in cells]


def plain(cell: str) -> str:
    """A cell as it is read, without the markers."""
    return lecture.FIGURE.sub(lambda found: found["text"], cell)


def numbers(cell: str) -> list[float]:
    return [float(number.replace(",", "")) for number in NUMBER.findall(cell)]


def test_every_topic_is_there_in_order():
    text, place = " ".join(plain(TEXT).lower().split()), 0
    for topic in re.split(r"\s*\|\s*", TOPICS.strip()):
        found = text.find(topic.lower(), place)
        assert found >= 0, f"{topic!r} does not come after what is before it"
        place = found


@pytest.mark.parametrize("name", BLOCKS)
def test_commands_run(name):
    assert lecture.output(BLOCKS[name])


def test_figures_are_what_the_commands_print():
    assert len(lecture.FIGURE.findall(TEXT)) > 80
    assert lecture.rewrite(TEXT) == TEXT, "python docs/lecture.py writes the page anew"


def test_no_figure_of_ours_is_typed_in():
    found = list(rows())
    assert len(found) > 60
    for row in found:
        assert not NUMBER.search(lecture.FIGURE.sub("", row[2])), row


def test_what_is_called_equal_is_equal():
    equal = [row for row in rows() if row[3] == "equal"]
    assert len(equal) > 25
    for _, said, ours, _ in equal:
        assert numbers(said) == numbers(plain(ours)) != []
    for row in rows():  # and what is not says why
        assert row[3] or not numbers(row[1]), row


def test_topics_that_are_not_built_say_so():
    for heading in ("Semantic segmentation", "Object detection"):
        (section,) = (s for s in lecture.sections(TEXT) if s.startswith(f"## {heading}\n"))
        assert "**The nets are not built yet**" in section and section.count("| not built yet") == 4


def test_links_lead_somewhere():
    anchors = {lecture.anchor(line.lstrip("# ")) for line in TEXT.splitlines() if line.startswith("#")}
    targets = re.findall(r"\]\(([^)\s]+)\)", TEXT)
    assert len(targets) > 60
    for target in targets:
        path, _, place = target.partition("#")
        assert (lecture.PAGE.parent / path).exists(), target
        assert path or place in anchors, target


def test_every_experiment_has_its_place():
    table = lecture.TABLE.search(TEXT)[0]
    for path in (ROOT / "examples" / "experiments").glob("*.py"):
        assert path.stem == "lab" or f"[{path.name}](../examples/experiments/{path.name})" in table


def test_a_command_that_fails_is_named():
    with pytest.raises(RuntimeError, match="exit code 1 of\npycnn summary lenet\n(?s:.*)did you mean lenet5"):
        lecture.output("pycnn summary lenet\n")
    with pytest.raises(ValueError, match="no command of its section prints figure:Total"):
        lecture.figure("Total", "nothing")


def test_figures_come_from_their_own_section():
    text = "## a\n```sh\none\n```\n<!-- figure:x = (\\d) --><!-- /figure -->\n"
    text += "## b\n```sh\ntwo\n```\n<!-- figure:x = .* -->9<!-- /figure -->"
    made = lecture.rewrite(text, {"one\n": "x = 1\n", "two\n": "x = 2 \n"}.get)
    assert plain(made).replace("```", "") == "## a\nsh\none\n\n1\n## b\nsh\ntwo\n\nx = 2"
