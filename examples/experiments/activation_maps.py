"""Class activation maps: where a net that learned classes alone has looked.

The lecture shows the picture of "Global Average Pooling Layers for Object Localization": behind global average pooling and one
linear layer, the logit of a class is the mean over all pixels of Σ_k w_k·f_k(x, y), the weights w of that class times the last
maps f. That sum is the class activation map (Zhou et al. 2016, Learning deep features for discriminative localization).

A net learns the class of the largest digit in scenes of digit-scenes, 64×64 pixels in grey, 1 to 4 digits each. No box is shown
to it. Counted is how often the maximum of the true class's map, enlarged to the scene's size, lies in the largest digit's box.
"""

import lab
import numpy as np

import pycnn
from pycnn import nn, ops
from pycnn.data import DataLoader

SCENES, STEPS = (3000, 600), 360


def block(channels, maps, stride=1):
    """3×3 convolution, batch normalization, ReLU."""
    return nn.Sequential(nn.Conv2d(channels, maps, 3, stride, padding=1, bias=False), nn.BatchNorm2d(maps), nn.ReLU())


class Net(nn.Module):
    """x: (N, 1, 64, 64) -> logits (N, 10)."""

    def __init__(self):
        self.features = nn.Sequential(
            block(1, 16, stride=2), nn.MaxPool2d(2),  # N,16,16,16
            block(16, 32), block(32, 32), nn.MaxPool2d(2),  # N,32,8,8
            block(32, 64), block(64, 64),
        )  # fmt: skip
        self.classifier = nn.Linear(64, 10, bias=False)

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))

    def activation_maps(self, x):
        """(N, 10, 8, 8): the map of each class, whose mean is the logit."""
        return ops.conv2d(self.features(x), self.classifier.weight.reshape(10, 64, 1, 1))


def maps_of(net, scenes, classes):
    """(n, 8, 8): the activation map of one class for each scene."""
    net.eval()
    with pycnn.no_grad():
        every = np.concatenate([net.activation_maps(images).numpy() for images, _ in DataLoader(scenes, 100)])
    return every[np.arange(len(scenes)), classes]


def enlarged(maps):
    """(n, 64, 64) of (n, 8, 8), bilinear."""
    maps = np.asarray(maps, np.float32)[:, None]
    return ops.interpolate(pycnn.Tensor(maps), (64, 64), mode="bilinear", align_corners=False).numpy()[:, 0]


def peaks(maps):
    """(n, 2): x and y of the maximum of each map (n, 8, 8) when it is enlarged."""
    at = enlarged(maps).reshape(len(maps), -1).argmax(1)
    return np.stack([at % 64, at // 64], 1)


def inside(points, boxes):
    """Whether each point (x, y) lies in its box (x1, y1, x2, y2)."""
    return ((points >= boxes[:, :2]) & (points < boxes[:, 2:])).all(1)


def largest(scenes):
    """(n, 4): the box of the largest digit of each scene, by height: no two digits of a scene are of one size."""
    return np.array([boxes[(boxes[:, 3] - boxes[:, 1]).argmax()] for boxes in scenes.boxes])


def run(quick):
    data, test = lab.load("digit-scenes", channels=1, n=(256, 60) if quick else SCENES)
    steps, box = 4 if quick else STEPS, largest(test)
    middle = inside(np.full((len(test), 2), 32), box)  # where the middle of the scene lies in the box
    pictures = []

    def measure(seed):
        net = Net()
        untrained = inside(peaks(maps_of(net, test, test.labels)), box)
        lab.train(net, data, steps, lr=0.1, seed=seed)
        maps = maps_of(net, test, test.labels)
        hit = inside(peaks(maps), box)
        right = lab.predict(net, test).argmax(1) == test.labels
        if not pictures:
            pictures.extend(np.flatnonzero(right & ~middle)[:5].tolist() or [0])
            examples["maps"] = np.round(maps[pictures], 3).tolist()
        percent = {
            "accuracy": right, "hit": hit, "untrained": untrained, "hit, middle outside": hit[~middle],
            "untrained, middle outside": untrained[~middle], "hit, class right": hit[right], "hit, class wrong": hit[~right],
        }  # fmt: skip
        return {name: 100 * float(np.mean(found)) if len(found) else 0.0 for name, found in percent.items()}

    examples = {}
    runs = lab.each_seed(measure, quick)
    area = ((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])).mean() / 64**2
    examples |= {"scenes": test.images[pictures, 0].tolist(), "boxes": box[pictures].tolist()}
    return {key: [one[key] for one in runs] for key in runs[0]} | {
        "middle": 100 * float(middle.mean()), "outside": int((~middle).sum()), "area": 100 * float(area),
        "images": [len(data), len(test)], "steps": steps, "examples": examples,
    }  # fmt: skip


def report(results, page):
    (trained, tested), examples = results["images"], results["examples"]
    shares = lambda *keys: [lab.text(results[key], unit=" %") for key in keys]
    page.say(
        f"{trained:,} scenes for training, {results['steps']} steps of 64; accuracy on {tested:,} test scenes "
        f"{lab.text(results['accuracy'], unit=' %')}. The box covers {results['area']:.0f} % of a scene on average, and the "
        f"scene's middle lies in it in {results['middle']:.1f} % of the scenes, so the {results['outside']} scenes where it does "
        "not are counted apart. The maximum lies in the largest digit's box:"
    )
    page.table(
        ["maps of", "all test scenes", "middle outside of the box", "class right", "class wrong"],
        [
            ["the trained net", *shares("hit", "hit, middle outside", "hit, class right", "hit, class wrong")],
            ["fresh weights", *shares("untrained", "untrained, middle outside"), "", ""],
            ["(the middle of the scene)", f"{results['middle']:.1f} %", "0.0 %", "", ""],
        ],
    )
    figure = page.picture(
        "Test scenes, the box of the largest digit and the map of its class (bright: speaks for the class) with its maximum: the "
        "first five that are classified right and whose middle lies outside of the box",
        7.2, 1.75,
    )  # fmt: skip
    axes = np.atleast_1d(figure.subplots(1, len(examples["maps"])))
    maps = examples["maps"]
    for axis, scene, box, found, peak in zip(
        axes, examples["scenes"], examples["boxes"], enlarged(maps), peaks(maps), strict=True
    ):
        axis.imshow(scene, cmap="gray", vmin=0, vmax=255)
        axis.imshow(found, cmap="magma", alpha=0.55)
        x1, y1, x2, y2 = box
        axis.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], color="#35c46b", linewidth=1.5)
        axis.plot(*peak, "+", color="white", markersize=10)
        axis.set(xlim=(0, 63), ylim=(63, 0))
        axis.set_axis_off()
    page.verdict("The map of the true class points at the digit", results["hit"], results["untrained"], unit=" %")
    middle = [results["middle"]] * results["seeds"]
    page.verdict("It points there more often than the middle of the scene does", results["hit"], middle, unit=" %")
    page.verdict(
        "So it does where the middle lies outside of the box",
        results["hit, middle outside"], results["untrained, middle outside"], unit=" %",
    )  # fmt: skip
    right, wrong = results["hit, class right"], results["hit, class wrong"]
    page.verdict("It points there more often where the net names the class rightly", right, wrong, unit=" %")


if __name__ == "__main__":
    lab.main(__file__, __doc__, run, report)
