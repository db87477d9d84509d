"""The command ``pycnn bench``."""

from __future__ import annotations

import argparse
import contextlib
import contextvars
import os
import sys

import numpy as np

from .. import backend
from ..errors import DeviceError, NotSupported, ShapeError
from . import convolution, rows
from .contest import Contest, Setting
from .measure import FULL, GPU, QUICK, CpuClock, CudaClock, Effort, compare, interleave
from .report import Printer, document, load, save, summarize
from .rows import GROUPS, Row


def main(argv: list[str] | None = None) -> int:
    """Measure; returns 0, or 1 if a result was wrong or a row could not run, or 2 for wrong usage."""
    argv = sys.argv[1:] if argv is None else argv
    versions = argv[:1] == ["versions"]
    try:
        if argv[:1] == ["agreement"]:
            return _agreement(_agreement_parser().parse_args(argv[1:]))
        return _main(_parser(versions).parse_args(argv[versions:]), versions)
    except (DeviceError, NotSupported, ValueError) as error:
        print(f"pycnn bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser(versions: bool) -> argparse.ArgumentParser:
    if versions:
        parser = argparse.ArgumentParser(prog="pycnn bench versions", description="Compare all kernel versions of one op.")
        parser.add_argument("op", help="for example conv2d_forward (pycnn kernels lists them)")
        parser.add_argument("--shape", help="of a convolution: N,C,H,W,K,R,S[,stride[,pad[,groups]]]; of gemm: M,N,K")
    else:
        parser = argparse.ArgumentParser(
            prog="pycnn bench",
            description="Measure pycnn against PyTorch, interleaved on the same threads. Every result is checked against float64 "
            "in the same run. torch/pycnn above 1 means that pycnn is faster.",
            epilog="pycnn bench versions OP compares all kernel versions of one op. pycnn bench agreement compares every "
            "version's results with float64.",
        )
        parser.add_argument("--list", action="store_true", help="list the rows and stop")
        parser.add_argument("--kernels", nargs="+", action="extend", default=[], metavar="CHOICE", help="'own' and OP=VERSION")
    parser.add_argument("--filter", metavar="PATTERN", help="rows 'group/name' that hold PATTERN (* and ? are wild)")
    parser.add_argument("--quick", action="store_true", help="fewer samples and smaller arrays")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads of both sides (all cores)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--json", metavar="FILE", help="write the results; into a folder as <device>/<date>-<commit>.json")
    return parser


def _agreement_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pycnn bench agreement",
        description="Compare the results of every kernel version, and PyTorch's, with float64: the worst error in units of its "
        "bound (pycnn/bench/agreement.py), in each storage type. Needs PyTorch.",
    )
    parser.add_argument("--filter", metavar="TEXT", help="versions 'op:version' that hold TEXT")
    parser.add_argument(
        "--json", metavar="FILE", help="write the results; into a folder as <device>/<date>-<commit>-agreement.json"
    )
    return parser


def _agreement(options: argparse.Namespace) -> int:
    setting = Setting("cpu", _torch("cpu"))
    if setting.torch is None:
        raise NotSupported("agreement needs PyTorch's float64 as a reference; run: pip install torch==2.13.0")
    from . import agreement

    printer = Printer()
    records = agreement.measure(options.filter, printer.busy)
    if not records:
        raise NotSupported(f"no kernel version 'op:version' holds {options.filter!r}")
    printer.agreement(records)
    if options.json:
        path = save(document(records, setting, backend.get_num_threads(), [], kind="agreement"), options.json)
        printer.line(f"\nwritten to {path}")
    return 0 if all(error is not None and error <= 1 for record in records for error in record["pycnn"].values()) else 1


def _main(options: argparse.Namespace, versions: bool) -> int:
    chosen = rows.select(options.filter, op=options.op if versions else None)
    if versions:
        return _versions(options, chosen)
    if not chosen:
        raise NotSupported(f"no row matches {options.filter!r}; pycnn bench --list names them")
    if options.list:
        print("\n".join(row.id for row in chosen))
        return 0
    setting, clock, threads = prepare(options.device, options.quick, options.threads)
    modes = [word for word in options.kernels if "=" not in word]
    with backend.kernels(*modes, **dict(word.split("=", 1) for word in options.kernels if "=" in word)):
        records = _run(chosen, setting, clock, threads)
    if options.json:
        print(f"\nwritten to {save(document(records, setting, threads, options.kernels), options.json)}")
    return 0 if all(r["ok"] for r in records) else 1


def prepare(device: str = "cpu", quick: bool = False, threads: int | None = None):
    """(setting, clock, threads): both libraries on the same threads, fp32 strict, PyTorch's own choice of algorithms tuned.

    Raises:
        DeviceError: the device cannot be used.
    """
    backend.get(device)
    if threads is not None:
        backend.set_num_threads(threads)
    threads = backend.get_num_threads()
    torch = _torch(device)
    if torch is not None:
        torch.manual_seed(0)
        torch.set_num_threads(threads)
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
    return Setting(device, torch, quick), CpuClock() if device == "cpu" else CudaClock(device), threads


def _torch(device: str):
    """PyTorch if it is installed and can use the device, else None."""
    try:
        import torch
    except ImportError:
        return None
    return torch if device == "cpu" or torch.cuda.is_available() else None


def _run(chosen: list[Row], setting: Setting, clock, threads: int) -> list[dict]:
    """Measure rows, printing each group when it is complete."""
    printer = Printer()
    against = f"against PyTorch {setting.torch.__version__}" if setting.torch else "alone (PyTorch is not installed)"
    printer.line(f"pycnn {against}, {_where(setting, threads)}{', quick' if setting.quick else ''}")
    if (busy := load() or 0) > (os.cpu_count() or 1) / 2:
        printer.line(f"The machine is busy (load {busy:.1f} before the start); the ratio of the best samples suffers least.")
    records: list[dict] = []
    for name, group in GROUPS.items():
        members = [row for row in chosen if row.group == name]
        if not members or (setting.device != "cpu" and members[0].prepare is None):
            continue
        made = []
        for row in members:
            printer.busy(row.id)
            made += measure(row, setting, clock)
        printer.records(group.title, made)
        records += made
    printer.summary(summarize(records))
    return records


def _where(setting: Setting, threads: int) -> str:
    if setting.device != "cpu":
        return f"device {setting.device}, fp32 without TF32"
    return "1 thread" if threads == 1 else f"{threads} threads"


def measure(row: Row, setting: Setting, clock, effort: Effort | None = None) -> list[dict]:
    """The records of a row, one per mode of the clock. A row that cannot run has a record with its `failure`."""
    effort = effort or _effort(setting)
    head = {"group": row.group, "name": row.name, "op": row.op, "unit": row.unit, "quantity": row.quantity}
    try:
        if row.prepare is None:
            return [head | {"mode": "warm", "ok": True} | _probe(row, setting)]
        context = clock.active(setting.torch) if hasattr(clock, "active") else contextlib.nullcontext()
        with context:
            contest = row.prepare(setting)
            errors = contest.errors()
            error = errors.pop("pycnn")
            verdict = {"error": error, "ok": bool(error <= 1), "torch_errors": errors}
            return [head | {"mode": mode} | verdict | _timed(row, contest, setting, clock, mode, effort) for mode in clock.modes]
    except (NotSupported, ShapeError, RuntimeError) as failure:
        return [head | {"mode": "warm", "ok": False, "failure": str(failure).splitlines()[0][:200]}]


def _effort(setting: Setting) -> Effort:
    return QUICK if setting.quick else FULL if setting.device == "cpu" else GPU


def _timed(row: Row, contest: Contest, setting: Setting, clock, mode: str, effort: Effort) -> dict:
    found = compare(interleave({"pycnn": contest.pycnn} | contest.rivals, clock, mode, effort))
    timing: dict = {"pycnn": found.pop("pycnn_s")}
    if "torch_s" in found:
        timing |= {"torch": found.pop("torch_s")} | found
    if work := row.work(setting):
        timing |= {"work": work, "rate": work / timing["pycnn"]}
    return timing


def _probe(row: Row, setting: Setting) -> dict:
    """Values of new processes, pycnn's and PyTorch's in turn."""
    libraries = ["pycnn", "torch"] if setting.torch else ["pycnn"]
    rounds = 1 if row.quantity == "B" else 3 if setting.quick else 7
    samples: dict[str, list[float]] = {name: [] for name in libraries}
    assert row.probe is not None
    for _ in range(rounds):
        for name in libraries:
            samples[name].append(row.probe(name))
    found = compare({name: np.array(values) for name, values in samples.items()})
    values: dict = {"pycnn": found.pop("pycnn_s")}
    return values | ({"torch": found.pop("torch_s")} | found if "torch_s" in found else {})


# ---- all versions of one op -------------------------------------------------------------------------------------------


def _versions(options: argparse.Namespace, chosen: list[Row]) -> int:
    known = backend.list_kernels(options.op)
    if not known:
        raise NotSupported(f"there is no op {options.op!r}; pycnn kernels lists them")
    row = _shape_row(options.op, options.shape) if options.shape else _middle(chosen)
    if row is None:
        raise NotSupported(f"no row of the benchmark runs {options.op} (pycnn bench --list); only ops of rows can be compared")
    setting, clock, threads = prepare(options.device, options.quick, options.threads)
    printer = Printer()
    printer.line(f"{row.name}, {_where(setting, threads)}")
    effort = _effort(setting)
    head = {"group": "versions", "name": row.name, "op": options.op, "unit": row.unit, "quantity": "s", "mode": clock.modes[0]}
    records, runs = [], {}
    assert row.prepare is not None  # rows of an op have one
    context = clock.active(setting.torch) if hasattr(clock, "active") else contextlib.nullcontext()
    with context, contextlib.ExitStack() as stack:
        contest = row.prepare(setting)
        for version in known:
            record = head | {"version": version["version"], "idea": version["idea"]}
            run = stack.enter_context(_under(options.op, version["version"], contest.pycnn))
            printer.busy(version["version"])
            try:
                error = Contest(run, {}, contest.error).errors()["pycnn"]
                records.append(record | {"error": error, "ok": bool(error <= 1)})
                runs[version["version"]] = run
            except NotSupported as refusal:
                records.append(record | {"failure": str(refusal), "ok": True})
        rivals = contest.rivals if setting.torch else {}
        samples = interleave(runs | {f"torch {name}": run for name, run in rivals.items()}, clock, clock.modes[0], effort)
    medians = {name: float(np.median(values)) for name, values in samples.items()}
    best = min([t for name, t in medians.items() if name.startswith("torch ")], default=None)
    work = row.work(setting)
    for record in records:
        if record["version"] in medians:
            record["pycnn"] = medians[record["version"]]
            record |= {"torch": best, "ratio": best / record["pycnn"]} if best else {}
            record |= {"rate": work / record["pycnn"]} if work else {}
    theirs = [
        head | {"version": name, "idea": "", "pycnn": seconds, "ok": True} | ({"rate": work / seconds} if work else {})
        for name, seconds in medians.items()
        if name.startswith("torch ")
    ]
    printer.versions(options.op, records + theirs)
    if options.json:
        made = document(records + theirs, setting, threads, [], kind=f"versions:{options.op}")
        printer.line(f"\nwritten to {save(made, options.json)}")
    return 0 if all(r["ok"] for r in records) else 1


@contextlib.contextmanager
def _under(op: str, version: str, run):
    """`run` as a function that always uses one version of `op`, whatever is chosen around it."""
    context = contextvars.copy_context()
    choice = backend.kernels(**{op: version})
    context.run(choice.__enter__)
    try:
        yield lambda: context.run(run)
    finally:
        context.run(choice.__exit__, None, None, None)


def _middle(chosen: list[Row]) -> Row | None:
    """Of several rows the largest of at most 1 GFLOP, which the simplest version can still do in seconds."""
    work = lambda row: row.work(Setting())
    small = [row for row in chosen if row.group != "overhead" and work(row) <= 1e9 or row.unit == "B/s"]
    return max(small or chosen, key=work, default=None)


def _shape_row(op: str, shape: str) -> Row:
    """The row of a shape given by its extents."""
    if op.startswith("conv2d_") and op.removeprefix("conv2d_") in convolution.PASSES:
        return rows.convolution_row(convolution.parse_layer(shape), op.removeprefix("conv2d_"))
    if op == "gemm":
        size = tuple(int(v) for v in shape.split(","))
        if len(size) != 3:
            raise ValueError(f"gemm's shape is M,N,K, got {shape!r}")
        return rows.product_row("product", size)
    raise NotSupported(f"--shape is for conv2d_forward, conv2d_backward_data, conv2d_backward_weight and gemm, not for {op}")
