"""Train LeNet-5 on the digits with seeds 0 to 4, and once for the last 360 in file order: ``python benchmarks/accuracy.py``.

Writes ``results/<device>/<date>-<commit>-accuracy.json``, which ``report.py`` turns into the README's table.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from pycnn import train
from pycnn.bench.command import prepare
from pycnn.bench.report import document, save

RESULTS = Path(__file__).with_name("results")
RUNS = [("stratified", seed) for seed in range(5)] + [("last360", 0)]


def main() -> int:
    setting, _, threads = prepare()
    rows = []
    for split, seed in RUNS:
        with tempfile.TemporaryDirectory() as folder:
            given = {"model": "lenet5", "data": "digits", "split": split, "seed": seed}
            result = train.train(given, output=Path(folder) / "run", live=False)
        rows.append({"group": "accuracy", "name": f"{split}, seed {seed}", "split": split, "seed": seed, "ok": True}
                    | {name: result[name] for name in ("test_accuracy", "test_images", "seconds")})  # fmt: skip
    print(save(document(rows, setting, threads, [], kind="accuracy"), RESULTS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
