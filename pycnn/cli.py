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
    return tuple(found)


def _parser() -> argparse.ArgumentParser:
    from . import __version__

    parser = argparse.ArgumentParser(prog="pycnn", description="Convolutional networks on kernels you can read.")
    parser.add_argument("--version", action="version", version=f"pycnn {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _train_parser(commands)
    _summary_parser(commands)
    _compare_parser(commands)

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
        description="Train a model. What is not said comes from the data set's recipe.",
    )
    add = parser.add_argument
    add("model", nargs="?", help="a registered model, or an own one as file.py:ClassName")
    add("--data", choices=("digits", "mnist", "fashion-mnist"), help="data set (digits)")
    add("--data-dir", metavar="DIR", help="where MNIST files are; absent ones are downloaded there")
    add("--split", choices=("stratified", "last360"), help="of digits (stratified)")
    add("--device", help="cpu, cuda or cuda:N (cpu)")
    add("--kernels", nargs="+", action="extend", metavar="CHOICE", help="'own' (no host micro-kernels) and OP=VERSION")
    add("--seed", type=int, help="of parameters, order and shifts (0)")
    add("--epochs", type=int)
    add("-b", "--batch-size", type=int)
    add("--optimizer", "--opt", choices=("sgd", "adam", "adamw"), help="(sgd)")
    add("--lr", type=float, help="learning rate at the start")
    add("--momentum", type=float, help="of sgd")
    add("--weight-decay", "--wd", type=float)
    schedules = ("cosine", "constant", "step", "multistep", "exponential", "poly", "plateau")
    add("--lr-schedule", "--lr-scheduler", "--schedule", dest="schedule", choices=schedules, help="of the learning rate (cosine)")
    add("--lr-step-size", type=int, metavar="EPOCHS", help="of step (30)")
    add("--lr-milestones", type=int, nargs="+", metavar="EPOCH", help="of multistep")
    add("--lr-gamma", type=float, help="factor of step, multistep, exponential (each epoch) and plateau (0.1)")
    add("--lr-power", type=float, help="of poly (0.9)")
    add("--lr-patience", type=int, metavar="EPOCHS", help="of plateau (10)")
    add("--lr-min", type=float, help="where cosine ends and what plateau does not go below (0)")
    add("--lr-warmup-epochs", type=int, metavar="EPOCHS", help="raise the rate in a straight line first (0)")
    add("--lr-warmup-decay", type=float, metavar="FACTOR", help="of the rate at the start of the warm-up (0.01)")
    add("--shift", type=int, metavar="PIXELS", help="move training images by up to so much")
    add("--threads", type=int, help="CPU threads; results do not depend on it")
    add("--output", metavar="DIR", default=None, help="folder of the run (runs/<date>-<time>-<model>-<data>)")
    add("--resume", metavar="DIR", default=None, help="go on with the run in DIR, or 'auto': with the newest unfinished one")
    add("--save-every", type=int, metavar="STEPS", help="checkpoints within an epoch as well")
    parser.set_defaults(command=_train)


def _train(options: argparse.Namespace) -> None:
    from .train import train

    given = {name: value for name, value in vars(options).items() if name not in ("command", "output", "resume")}
    train(given, output=options.output, resume=options.resume)


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
    from .models import registry
    from .nn import init
    from .train.run import load_model

    try:
        if options.all:
            print(ledger.render(list(ledger.lines(options.model or None)), options.format or "markdown"), end="")
            return
        if not options.model:
            raise NotSupported("name a model, for example: pycnn summary lenet5; --all is the ledger of all")
        for name in options.model:
            with init.skip():
                model = load_model(name)
            size = options.size or (None if ":" in name else registry.entry(name).image)
            found = summary(model, size, name.rpartition(":")[2])
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
    except ValueError as error:
        raise NotSupported(str(error)) from error


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
