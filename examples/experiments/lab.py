"""What the experiments share: small data, a training loop, three seeds, the rule of the verdict, and the page.

An experiment is a script with ``run(quick) -> results`` (what JSON can hold) and ``report(results, page)``, which makes tables,
pictures and verdicts of the results alone. ``python examples/experiments/<name>.py`` runs both and writes <name>.json, <name>.md
and <name>.png into docs/experiments.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

import pycnn
from pycnn import ops, optim
from pycnn.data import DataLoader

SEEDS = (0, 1, 2)
PAGES = Path(__file__).resolve().parents[2] / "docs" / "experiments"


def load(name="digits", train=None, test=None, half=False, **options):
    """Training and test part of a data set that comes with pycnn, the first `train` and `test` images of them.

    half: every 2×2 pixels become their mean, so that digits have 16×16.  options: of pycnn.data.load.
    """
    parts = [part.subset(np.s_[:n]) for part, n in zip(pycnn.data.load(name, **options), (train, test), strict=True)]
    return [halved(part) for part in parts] if half else parts


def halved(dataset):
    n, C, H, W = dataset.images.shape
    images = dataset.images.reshape(n, C, H // 2, 2, W // 2, 2).mean((3, 5)).astype(np.uint8)
    return replace(dataset, images=images)


def placed(dataset, size, most=0):
    """Every image in a black one of size×size, at most `most` pixels off the middle, in a place that is drawn once."""
    n, C, H, W = dataset.images.shape
    middle = np.array([(size - H) // 2, (size - W) // 2])
    places = middle + np.random.default_rng(0).integers(-most, most + 1, size=(n, 2))
    images = np.zeros((n, C, size, size), np.uint8)
    for canvas, image, (top, left) in zip(images, dataset.images, places, strict=True):
        canvas[:, top : top + H, left : left + W] = image
    return replace(dataset, images=images)


def train(
    model, data, steps, lr, seed=0, batch_size=64, weight_decay=0.0, aux_weight=0.3, transform=None, each=None, groups=None
):
    """SGD with momentum 0.9, the learning rate falling from `lr` to 0 along a cosine. Returns the loss of every step.

    aux_weight: of the losses of auxiliary logits, if the model returns a tuple.  each: each(step) is called after every step.
    groups: of parameters with settings of their own, for the optimizer; left out, all that learn in one.
    Training ends early when the loss is no finite number, which is the last of those returned.
    """
    optimizer = optim.SGD(groups or [p for p in model.parameters() if p.requires_grad], lr, 0.9, weight_decay=weight_decay)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    batches = DataLoader(data, batch_size, shuffle=True, seed=seed, transform=transform, drop_last=len(data) > batch_size)
    losses = []
    model.train()
    while len(losses) < steps:
        for images, labels in batches:
            outputs = model(images)
            logits, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
            loss = ops.cross_entropy(logits, labels)
            losses.append(loss.item())
            if not np.isfinite(losses[-1]):
                return losses
            for other in auxiliary:
                loss = loss + ops.cross_entropy(other, labels) * aux_weight
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if each:
                each(len(losses))
            if len(losses) == steps:
                break
    return losses


def predict(model, data, batch_size=256):
    """Logits (n, classes) of all images."""
    model.eval()
    with pycnn.no_grad():
        found = [model(images).numpy() for images, _ in DataLoader(data, batch_size)]
    model.train()
    return np.concatenate(found)


def accuracy(model, data):
    """Per cent of images that are recognised."""
    return percent(predict(model, data), data.labels)


def percent(logits, labels):
    return 100 * float((logits.argmax(1) == labels).mean())


def each_seed(measure, quick):
    """[measure(seed) for the seeds 0, 1, 2 (only 0 and 1 if quick)], all that pycnn draws by itself starting at the seed."""
    found = []
    for seed in SEEDS[:2] if quick else SEEDS:
        pycnn.manual_seed(seed)
        found.append(measure(seed))
    return found


# ---- results ----


def spread(values):
    """Standard deviation of a sample: n - 1 in the denominator."""
    return float(np.std(values, ddof=1))


def text(values, digits=1, unit=""):
    """mean ± standard deviation."""
    return f"{np.mean(values):.{digits}f} ± {spread(values):.{digits}f}{unit}"


class Page:
    """A page on what was measured."""

    def __init__(self, name, docstring, results):
        title, _, claim = docstring.strip().partition("\n")
        self.name, self.results, self.figure = name, results, None
        self.parts = [f"# {title.rstrip('.')}", claim.strip(), "## Measured"]
        self.verdicts = []

    def say(self, words):
        self.parts.append(words)

    def table(self, head, rows):
        lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
        self.parts.append("\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines))

    def picture(self, caption, width=8.0, height=3.2):
        """A matplotlib Figure to draw in."""
        from matplotlib.figure import Figure

        self.figure = Figure((width, height), layout="constrained")
        self.parts.append(f"![{caption}]({self.name}.png)\n\n*{caption}*")
        return self.figure

    def verdict(self, claim, larger, smaller, digits=1, unit=""):
        """Whether `larger` is larger than `smaller`: their means differ by more than the sum of both standard deviations."""
        difference, noise = np.mean(larger) - np.mean(smaller), spread(larger) + spread(smaller)
        shows = "shows" if difference > noise else "the opposite shows" if -difference > noise else "does not show at this size"
        numbers = f"{text(larger, digits, unit)} against {text(smaller, digits, unit)}"
        self.verdicts.append(f"- {claim}: **{shows}** ({numbers})")
        return shows

    def fact(self, claim, holds, numbers):
        """A claim on numbers that are the same for every seed."""
        self.verdicts.append(f"- {claim}: **{'shows' if holds else 'does not show'}** ({numbers})")

    def markdown(self):
        rule = (
            f"{self.results['seeds']} seeds, mean ± standard deviation (n - 1). A claim shows if the means differ by more than "
            "the sum of both deviations; what is said holds for the nets, the data and the training steps of this page. "
            f"Written by `python examples/experiments/{self.name}.py`, which took {self.results['seconds']} s of CPU time."
        )
        return "\n\n".join([*self.parts, "## Verdict", "\n".join(self.verdicts), rule]) + "\n"


def main(file, docstring, run, report):
    """The command line of an experiment."""
    name = Path(file).stem
    options = argparse.ArgumentParser(prog=Path(file).name, description=docstring.strip().partition("\n")[0])
    options.add_argument("--quick", action="store_true", help="the same code on few images and steps: seconds, worthless numbers")
    options.add_argument("--folder", type=Path, help="where to write; left out docs/experiments, with --quick a temporary folder")
    options.add_argument("--page", action="store_true", help="only write the page anew, from the results that are there")
    given = options.parse_args()
    folder = given.folder or (Path(tempfile.mkdtemp()) if given.quick else PAGES)
    stored = folder / f"{name}.json"
    if not given.page:
        start = time.process_time()
        results = run(given.quick)
        results |= {"seeds": 2 if given.quick else len(SEEDS), "seconds": round(time.process_time() - start)}
        folder.mkdir(parents=True, exist_ok=True)
        stored.write_text(json.dumps(results) + "\n")
    page = Page(name, docstring, json.loads(stored.read_text()))
    report(page.results, page)
    (folder / f"{name}.md").write_text(page.markdown())
    if page.figure:
        page.figure.savefig(folder / f"{name}.png", dpi=80, metadata={"Software": None})
    print("\n".join(page.verdicts), f"\n{folder / name}.md", file=sys.stdout)
