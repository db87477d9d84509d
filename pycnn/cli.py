"""The command ``pycnn``. Each subcommand imports what it needs when it is called."""

from __future__ import annotations

import argparse
import errno
import os
import sys


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns its exit code: 0 done, 1 failed, 2 wrong usage, 130 Ctrl-C, 143 SIGTERM."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        if argv[:1] == ["bench"]:  # it has options of its own
            from .bench import main as bench

            return bench(argv[1:]) or 0
        options = _parser().parse_args(argv)
        return options.command(options) or 0
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `pycnn source … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except _expected_errors() as error:
        print(f"pycnn: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        print(f"pycnn: {error.filename or 'writing'}: {error.strerror}", file=sys.stderr)
        return 1


def _expected_errors() -> tuple[type[Exception], ...]:
    """Errors whose message says all; anything else is a bug and shows its traceback."""
    from . import errors

    found = [errors.DeviceError, errors.NotSupported, errors.ShapeError, errors.DTypeError, errors.LaunchError]
    if train := sys.modules.get("pycnn.train"):
        found += [train.RunError, train.TrainingError, train.CheckpointError]
    if data := sys.modules.get("pycnn.data"):
        found.append(data.DataError)
    if weights := sys.modules.get("pycnn.models.weight_files"):
        found.append(weights.WeightsError)
    if show := sys.modules.get("pycnn.show"):
        found.append(show.ShowError)
    return tuple(found)


def _parser() -> argparse.ArgumentParser:
    from . import __version__

    parser = argparse.ArgumentParser(prog="pycnn", description="Convolutional networks on kernels you can read.")
    parser.add_argument("--version", action="version", version=f"pycnn {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _train_parser(commands)
    _summary_parser(commands)
    _compare_parser(commands)
    _recipes_parser(commands)
    _eval_parser(commands)
    _predict_parser(commands)
    _show_parser(commands)
    _convert_parser(commands)
    _weights_parser(commands)

    doctor = commands.add_parser("doctor", help="say what is installed and what works", description=_doctor.__doc__)
    doctor.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="fail (exit code 1) unless this one works")
    doctor.set_defaults(command=_doctor)

    kernels = commands.add_parser("kernels", help="list the kernel versions of each op", description=_kernels.__doc__)
    kernels.add_argument("pattern", nargs="?", default="*", help="ops to list, for example 'conv2d*'")
    kernels.set_defaults(command=_kernels)

    source = commands.add_parser("source", help="print a kernel's source file", description=_source.__doc__)
    source.add_argument("kernel", metavar="OP:VERSION", help="for example conv2d_forward:naive")
    source.add_argument("--path", action="store_true", help="print where the file is instead")
    source.set_defaults(command=_source)

    commands.add_parser("bench", help="measure pycnn against PyTorch (pycnn bench --help)", add_help=False)
    return parser


def _train_parser(commands) -> None:
    parser = commands.add_parser(
        "train",
        help="train a model",
        argument_default=argparse.SUPPRESS,
        description="Train a model. What is not said comes from the recipe, or else from the data set's settings.",
    )
    add = parser.add_argument
    add("model", nargs="?", help="a registered model, or an own one as file.py:ClassName")
    add("--model", dest="model", metavar="NAME", help="the same")
    add("--recipe", metavar="NAME", help="train as a paper did (pycnn recipes lists them)")
    add("--output", "--output-dir", metavar="DIR", default=None, help="folder of the run (runs/<date>-<time>-<model>-<data>)")
    add("--resume", metavar="DIR", default=None, help="go on with the run in DIR, or 'auto': with the newest unfinished one")
    add("--save-every", type=int, metavar="STEPS", help="checkpoints within an epoch as well")
    add("--patience", type=int, metavar="EPOCHS", help="stop after so many without a better test loss")
    add("--fast-dev-run", action="store_true", default=False, help="one batch of training and test; writes nothing")
    add("--seed", type=int, help="of parameters, order and augmentation (0)")

    add = parser.add_argument_group("machine").add_argument
    add("--device", help="cpu, cuda or cuda:N (cpu)")
    add("--threads", type=int, help="CPU threads; results do not depend on it")
    add("-j", "--workers", type=int, help="threads that decode and augment images; results do not depend on it (0)")
    add("--kernels", nargs="+", action="extend", metavar="CHOICE", help="'own' (no host micro-kernels) and OP=VERSION")

    add = parser.add_argument_group("net").add_argument
    _add_model_option(add)
    add("--weights", metavar="FILE", help="start from these: a file, or a run's folder; a head of other classes stays fresh")
    add("--freeze", action="store_true", help="only the last layer learns")
    add("--dropout", type=float, metavar="P")

    _add_data_options(parser.add_argument_group("data"))
    add = parser.add_argument_group("augmentation").add_argument
    add("--train-resize-size", type=int, metavar="PIXELS", help="resize the shorter side, then take crops of --train-crop-size")
    add(
        "--train-crop-size",
        type=int,
        metavar="PIXELS",
        help="of random crops; without --train-resize-size of random area and aspect",
    )
    add("--random-crop-padding", type=int, metavar="PIXELS", help="random crops of the image with so much margin around it")
    add("--shift", type=int, metavar="PIXELS", help="move images by up to so much")
    add("--hflip-prob", "--hflip", type=float, metavar="P", help="mirror images")
    add("--color-jitter", type=float, metavar="PART", help="change brightness, contrast and saturation by up to this part")
    add("--pca-lighting", type=float, metavar="STD", help="AlexNet's shift of colours (there 0.1)")

    add = parser.add_argument_group("optimizer").add_argument
    add("--epochs", type=int)
    add("-b", "--batch-size", type=int)
    add("--optimizer", "--opt", choices=("sgd", "adam", "adamw"), help="(sgd)")
    add("--lr", type=float, help="learning rate at the start")
    add("--momentum", type=float, help="of sgd")
    add("--nesterov", action="store_true", help="Nesterov's momentum")
    add("--weight-decay", "--wd", type=float)
    add("--norm-weight-decay", type=float, metavar="DECAY", help="of batch norm's weights and biases instead")
    add("--bias-weight-decay", type=float, metavar="DECAY", help="of the other biases instead")
    add("--label-smoothing", "--smoothing", type=float, metavar="PART", help="spread this part of each label over all classes")
    add("--aux-weight", type=float, metavar="FACTOR", help="of auxiliary heads' losses (0.3)")
    add("--clip-grad-norm", "--clip-grad", type=float, metavar="NORM", help="scale longer gradients down to this norm")

    add = parser.add_argument_group("learning rate").add_argument
    schedules = ("cosine", "constant", "step", "multistep", "exponential", "poly", "plateau")
    names = ("--lr-schedule", "--lr-scheduler", "--schedule", "--sched")
    add(*names, dest="schedule", choices=schedules, help="of the learning rate (cosine)")
    add("--lr-step-size", type=int, metavar="EPOCHS", help="of step (30)")
    add("--lr-milestones", type=int, nargs="+", metavar="EPOCH", help="of multistep")
    add("--lr-gamma", type=float, help="factor of step, multistep, exponential (each epoch) and plateau (0.1)")
    add("--lr-power", type=float, help="of poly (0.9)")
    add("--lr-patience", type=int, metavar="EPOCHS", help="of plateau (10)")
    add("--lr-min", type=float, help="where cosine ends and what plateau does not go below (0)")
    add("--lr-warmup-epochs", "--warmup-epochs", type=int, metavar="EPOCHS", help="raise the rate in a straight line first (0)")
    add("--lr-warmup-decay", type=float, metavar="FACTOR", help="of the rate at the start of the warm-up (0.01)")
    parser.set_defaults(command=_train)


def _add_model_option(add) -> None:
    add("--model-option", dest="model_options", type=_key_value, action=_Collect, metavar="KEY=VALUE", help="of the model's own")


def _add_data_options(group) -> None:
    """What says which images a net sees, in training and testing alike."""
    add = group.add_argument
    add("--data", "--data-path", type=_data_set, metavar="NAME|DIR", help="a data set, or a folder with train/ and val/ (digits)")
    add("--data-dir", metavar="DIR", help="where MNIST and CIFAR files are; absent ones are downloaded there")
    add("--split", choices=("stratified", "last360"), help="of digits (stratified)")
    add("--on-error", choices=("raise", "skip"), help="of a folder's images that cannot be decoded (raise)")
    add(
        "--image-size", "--img-size", type=_size, metavar="PIXELS|model", help="resize images, repeat a gray channel, for the net"
    )
    add("--val-resize-size", type=int, metavar="PIXELS", help="resize the shorter side of test images")
    add("--val-crop-size", type=int, metavar="PIXELS", help="of the crop from their middle (--train-crop-size)")


class _Collect(argparse.Action):
    """Puts (key, value) pairs into one dictionary."""

    def __call__(self, parser, namespace, values, option_string=None):
        setattr(namespace, self.dest, (getattr(namespace, self.dest, None) or {}) | dict([values]))


def _key_value(text: str) -> tuple[str, object]:
    """``width=0.5`` as a name and a Python literal (a list for a tuple); what is none is a text."""
    import ast

    name, found, value = text.partition("=")
    if not found or not name:
        raise argparse.ArgumentTypeError(f"must be KEY=VALUE, got {text!r}")
    try:
        made = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value
    return name, list(made) if isinstance(made, tuple) else made


def _data_set(text: str) -> str:
    from .data import list_datasets

    if text not in list_datasets() and not os.path.isdir(text):
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(list_datasets())}, and no folder")
    return text


def _size(text: str) -> int | str:
    if text != "model" and not text.isdigit():
        raise argparse.ArgumentTypeError(f"must be a number of pixels or 'model', got {text!r}")
    return text if text == "model" else int(text)


def _train(options: argparse.Namespace) -> None:
    from .train import train

    apart = ("command", "output", "resume", "fast_dev_run")
    given = {name: value for name, value in vars(options).items() if name not in apart}
    train(given, output=options.output, resume=options.resume, fast_dev_run=options.fast_dev_run)


def _recipes_parser(commands) -> None:
    parser = commands.add_parser("recipes", help="how the papers trained their nets", description=_recipes.__doc__)
    parser.add_argument("name", nargs="?", help="one of them")
    parser.set_defaults(command=_recipes)


def _recipes(options: argparse.Namespace) -> None:
    """Print the settings of --recipe NAME with their sources, and the lecture's where they differ."""
    from .train.config import find_recipe
    from .train.recipes import RECIPES, table

    print(table([find_recipe(options.name)] if options.name else RECIPES.values()))


def _eval_parser(commands) -> None:
    parser = commands.add_parser(
        "eval",
        help="measure trained nets on test images",
        argument_default=argparse.SUPPRESS,
        description="Print top-1 and top-5 accuracy and loss of nets, and of several those of their ensemble (mean of softmax).",
    )
    add = parser.add_argument
    add("weights", nargs="+", help="folders of runs, or files of weights with --model")
    add("--model", metavar="NAME", help="whose weights a file holds; also allows a run's own file.py:ClassName")
    _add_model_option(add)
    add("--ten-crop", action="store_true", default=False, help="average over corners, middle, and their mirror images")
    add("--best", action="store_true", default=False, help="a run's checkpoint of best test accuracy, instead of its newest")
    add("--json", metavar="FILE", default=None, help="write all figures, accuracy per class, the confusion matrix")
    add("--csv", metavar="FILE", default=None, help="write accuracy per class and the confusion matrix")
    add("--device", help="cpu, cuda or cuda:N (cpu)")
    add("--threads", type=int, help="CPU threads; results do not depend on it")
    add("-j", "--workers", type=int, help="threads that decode images (0)")
    _add_data_options(parser.add_argument_group("data, in the place of the runs' own"))
    parser.set_defaults(command=_eval)


def _eval(options: argparse.Namespace) -> None:
    from .train import evaluate

    apart = ("command", "weights", "ten_crop", "best", "json", "csv")
    given = {name: value for name, value in vars(options).items() if name not in apart}
    evaluate(options.weights, given, options.ten_crop, options.best, options.json, options.csv)


def _summary_parser(commands) -> None:
    parser = commands.add_parser("summary", help="show a model's layers and their arithmetic", description=_summary.__doc__)
    add = parser.add_argument
    add("model", nargs="*", help="registered models, or own ones as file.py:ClassName")
    add("--all", action="store_true", help="the ledger: every registered net beside what is published of it")
    add("--size", type=int, nargs="+", metavar="N", help="C H W or N C H W of the input (the one the model was designed for)")
    add("--layout", choices=("nchw", "nhwc"), default="nchw", help="how shapes are written; nhwc: [?, 55, 55, 96] (nchw)")
    add("--format", choices=("text", "markdown", "json", "csv"), help="(text; of --all markdown)")
    add("--depth", type=int, metavar="LEVELS", help="sum up what lies deeper in the tree")
    columns = "input, output, size, params, macs, flops, memory, im2col, field, stride"
    add("--columns", nargs="+", metavar="COLUMN", help=f"which ones of {columns} (all)")
    parser.set_defaults(command=_summary)


def _summary(options: argparse.Namespace) -> None:
    """Show each layer's shapes, the formula of its output's size, parameters, multiply-adds, memory, receptive field and
    stride. The model runs once on zeros, in evaluation mode."""
    from .arithmetic import ledger, render, summary
    from .errors import NotSupported
    from .nn import init
    from .train.build import construct, find_model

    try:
        if options.all:
            print(ledger.render(list(ledger.lines(options.model or None)), options.format or "markdown"), end="")
            return
        if not options.model:
            raise NotSupported("name a model, for example: pycnn summary lenet5; --all is the ledger of all")
        for name in options.model:
            entry = find_model(name)  # a file of one's own runs here, and may train
            with init.skip():
                model = construct(entry, {})
            found = summary(model, options.size or entry.image or None, name.rpartition(":")[2])
            print(render(found, options.format or "text", options.layout, options.depth, options.columns))
    except ValueError as error:
        raise NotSupported(str(error)) from error


def _compare_parser(commands) -> None:
    parser = commands.add_parser(
        "compare", help="draw accuracy against operations, or ILSVRC's history", description=_compare.__doc__
    )
    add = parser.add_argument
    add("model", nargs="*", help="nets to draw (all of which an accuracy is published)")
    axes = ("macs", "flops", "parameters", "activations", "inference_bytes", "training_bytes", "top1", "top5")
    add("--x", choices=axes, default="macs", help="(macs)")
    add("--y", choices=axes, default="top1", help="(top1)")
    add("--history", action="store_true", help="year, depth and top-5 error of ILSVRC's winners, and the human figure")
    add("--published", action="store_true", help="run nothing: published operations and parameters, where there are any")
    add("--format", choices=("text", "markdown", "json", "csv"), default="text", help="of the table (text)")
    add("--output", metavar="PNG", help="the picture (compare.png or history.png); '-': none")
    parser.set_defaults(command=_compare)


def _compare(options: argparse.Namespace) -> None:
    """Draw nets by published accuracy and operations, each blob's area proportional to its parameters, and print the table with
    its sources."""
    from .arithmetic import compare
    from .errors import NotSupported

    try:
        path = options.output or ("history.png" if options.history else "compare.png")
        rows: list = compare.history()[0] if options.history else compare.nets(options.model or None, not options.published)
        if path != "-":
            if options.history:
                compare.draw_history(path)
            else:
                compare.draw(rows, path, options.x, options.y)
            print(f"pycnn: wrote {path}", file=sys.stderr)
        print(compare.render(rows, options.format), end="")
        if options.history and options.format in ("text", "markdown"):
            print(f"\nhuman top-5 error: {compare.history()[1]:g} %")
    except ValueError as error:
        raise NotSupported(str(error)) from error


def _classifier_options(parser: argparse.ArgumentParser) -> None:
    """What predict and show ask in order to build a trained model."""
    add = parser.add_argument
    add("--model", required=True, metavar="NAME", help="a registered model, or an own one as file.py:ClassName")
    _add_model_option(add)
    add("--weights", metavar="FILE", help="a file, a run's folder, or a name that pycnn weights lists (the model's first there)")
    add("--classes", metavar="FILE", help="names of the classes, one a line")
    add("--resize", type=int, nargs="+", metavar="PIXELS", help="the shorter side, or height and width")
    add("--crop", type=int, metavar="PIXELS", help="square cut out of the middle")
    add("--interpolation", choices=("nearest", "bilinear", "bicubic", "lanczos"), help="of --resize (bilinear)")
    add("--mean", nargs="+", metavar="M", help="per channel, or a .npy file of a mean image (C, H, W)")
    add("--std", type=float, nargs="+", metavar="S", help="per channel; the input is (pixel · scale - mean) / std")
    add("--scale", type=float, help="of pixels 0 … 255 (1/255)")
    add("--bgr", action="store_true", help="blue first, as Caffe's nets want it")
    add("--device", default="cpu", help="cpu, cuda or cuda:N (cpu)")


def _classifier(options: argparse.Namespace):
    import numpy as np

    from .models import WeightsError
    from .predict import load_classifier

    try:
        one_file = options.mean and len(options.mean) == 1 and options.mean[0].endswith(".npy")
        mean = np.load(options.mean[0], allow_pickle=False) if one_file else options.mean and tuple(map(float, options.mean))
    except (OSError, ValueError) as error:
        raise WeightsError(f"--mean: {error}") from error
    resize = options.resize and (options.resize[0] if len(options.resize) == 1 else tuple(options.resize))
    return load_classifier(
        options.model,
        options.weights,
        options.classes,
        options.device,
        options.model_options,
        resize=resize,
        crop=options.crop,
        interpolation=options.interpolation,
        mean=mean,
        std=options.std and tuple(options.std),
        scale=options.scale,
        channels="BGR" if options.bgr else None,
    )


def _predict_parser(commands) -> None:
    parser = commands.add_parser("predict", help="say what pictures show", description=_predict.__doc__)
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="JPEG, PNG, BMP, GIF, WebP or PPM")
    _classifier_options(parser)
    parser.add_argument("--top", type=int, default=5, metavar="K", help="how many classes (5)")
    parser.add_argument("--format", choices=("text", "csv", "json"), default="text", help="(text)")
    parser.set_defaults(command=_predict)


def _predict(options: argparse.Namespace) -> int:
    """Print the most likely classes of each picture. How pictures are prepared is recorded with the weights, or said here."""
    from .data import DataError
    from .predict import WRITERS, predict

    classifier = _classifier(options)
    origin = "recorded or given" if classifier.recorded else "a guess: nothing is recorded for these weights"
    print(f"preprocessing ({origin}): {classifier.preprocessing}", file=sys.stderr)
    rows, failed = [], False
    for image in options.images:
        try:
            rows += predict(classifier, image, max(options.top, 1))
        except DataError as error:
            print(f"pycnn: {error}", file=sys.stderr)
            failed = True
    print(WRITERS[options.format](rows), end="")
    return int(failed)


def _show_parser(commands) -> None:
    parser = commands.add_parser("show", help="draw filters, feature maps, activation maps", description=_show.__doc__)
    parser.add_argument("what", choices=("filters", "features", "cam"))
    parser.add_argument("image", nargs="?", metavar="IMAGE", help="for features and cam")
    _classifier_options(parser)
    parser.add_argument("--layer", metavar="PATH", help="of filters (the first convolution) or features, for example layer1.0")
    parser.add_argument("--class", dest="class_index", type=int, metavar="INDEX", help="of cam (the most likely one)")
    parser.add_argument("--output", required=True, metavar="FILE.png", help="the picture to write")
    parser.set_defaults(command=_show)


def _show(options: argparse.Namespace) -> None:
    """Draw a layer's filters, its feature maps for a picture, or where in a picture a class is seen (class activation map)."""
    from .data import read_image
    from .show import ShowError, show_cam, show_features, show_filters

    if options.what != "filters" and options.image is None:
        raise ShowError(f"name the picture: pycnn show {options.what} IMAGE …")
    if options.what == "features" and options.layer is None:
        raise ShowError("name the layer: --layer PATH")
    classifier = _classifier(options)
    if options.what == "filters":
        said = show_filters(classifier.model, options.output, options.layer, classifier.preprocessing.channels == "BGR")
    elif options.what == "features":
        said = show_features(classifier, read_image(options.image), options.layer, options.output)
    else:
        said = show_cam(classifier, read_image(options.image), options.output, options.class_index)
    print(f"{options.output}: {said}")


def _convert_parser(commands) -> None:
    parser = commands.add_parser("convert", help="weights of other formats to safetensors", description=_convert.__doc__)
    parser.add_argument("source", metavar="IN", help=".pth, .pt, .th (these need PyTorch), .npz, .caffemodel or .safetensors")
    parser.add_argument("target", metavar="OUT.safetensors")
    parser.add_argument("--model", metavar="NAME", help="write the names of this model's parameters")
    parser.add_argument("--force", action="store_true", help="write over a file that is there")
    parser.set_defaults(command=_convert)


def _convert(options: argparse.Namespace) -> None:
    """Write weights as safetensors. PyTorch's files are read by an installed PyTorch, tensors only: no code of theirs is run."""
    from .convert import convert
    from .train.build import load_model

    arrays = convert(options.source, options.target, options.model and load_model(options.model), options.force)
    print(f"{options.target}: {len(arrays)} arrays, {sum(a.size for a in arrays.values()):,} numbers")


def _weights_parser(commands) -> None:
    parser = commands.add_parser("weights", help="list trained weights that are recorded", description=_weights.__doc__)
    parser.add_argument("pattern", nargs="?", default="*", help="names to list, for example 'resnet*'")
    parser.add_argument("--fetch", action="store_true", help="download them and print where they are")
    parser.set_defaults(command=_weights)


def _weights(options: argparse.Namespace) -> None:
    """List trained weights: published accuracy, licence, where from, how pictures are prepared."""
    from .models import WeightsError
    from .models.weights import fetch_weights, get_weights, list_weights

    names = list_weights(options.pattern)
    if not names:
        raise WeightsError(f"no recorded weights match {options.pattern!r}")
    for name in names:
        if options.fetch:
            print(fetch_weights(name))
            continue
        w = get_weights(name)
        top5 = f", top-5 {w.accuracy['top5']} %" if "top5" in w.accuracy else ""
        print(f"{name}\n  top-1 {w.accuracy['top1']} %{top5} ({w.accuracy['on']}); {len(w.classes)} classes")
        print(f"  {w.preprocessing}\n  {w.url}\n  {w.licence}")


def _doctor(options: argparse.Namespace) -> int:
    """Say in plain words what is there and why a backend does or does not work."""
    from .doctor import doctor

    return doctor(options.device)


def _kernels(options: argparse.Namespace) -> None:
    """List the kernel versions of each op in reading order; choose one with --kernels OP=VERSION or
    pycnn.kernels(OP="VERSION")."""
    from .backend import list_kernels
    from .errors import NotSupported

    rows = list_kernels(options.pattern) or list_kernels(f"{options.pattern}_*")  # conv2d: its three passes
    if not rows:
        raise NotSupported(f"no op matches {options.pattern!r}")
    width = max(len(row["version"]) for row in rows)
    op = None
    for row in rows:
        if row["op"] != op:
            op = row["op"]
            print(op)
        print(f"  {row['version']:{width}}  {row['idea']}  [{' '.join(row['storage'])}]")


def _source(options: argparse.Namespace) -> None:
    """Print the source file of a kernel version."""
    from .kernel_source import kernel_path, kernel_source

    print(kernel_path(options.kernel) if options.path else kernel_source(options.kernel), end="\n" if options.path else "")


if __name__ == "__main__":
    sys.exit(main())
