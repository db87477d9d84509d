"""Train LeNet-5 on the digits with seeds 0 to 4, and once for the last 360 in file order: ``python benchmarks/accuracy.py``.

Where the environment variable PYCNN_DATA names a folder with MNIST's files in ``mnist/``, on these too. Writes
``results/<device>/<date>-<commit>-accuracy.json``, which ``report.py`` turns into the README's table.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from pycnn import train
from pycnn.bench.command import prepare
from pycnn.bench.report import document, save

RESULTS = Path(__file__).with_name("results")
RUNS: list[dict] = [{"data": "digits", "split": "stratified", "seed": seed} for seed in range(5)]
RUNS.append({"data": "digits", "split": "last360", "seed": 0})
if (mnist := Path(os.environ.get("PYCNN_DATA", ""), "mnist")).is_dir():
    RUNS.append({"data": "mnist", "data_dir": str(mnist), "seed": 0})


def main() -> int:
    setting, _, threads = prepare()
    rows = []
    for settings in RUNS:
        with tempfile.TemporaryDirectory() as folder:
            result = train.train({"model": "lenet5"} | settings, output=Path(folder) / "run", live=False)
        name = ", ".join([settings["data"], *filter(None, [settings.get("split")]), f"seed {settings['seed']}"])
        row = {"group": "accuracy", "name": name, "ok": True}
        rows.append(row | {key: result[key] for key in ("test_accuracy", "test_images", "seconds")})
    print(save(document(rows, setting, threads, [], kind="accuracy"), RESULTS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
