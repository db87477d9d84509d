"""Every experiment runs, on few images and steps, and the pages in docs/experiments say what their results say."""

import json
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER, PAGES = ROOT / "examples" / "experiments", ROOT / "docs" / "experiments"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "lab")


@pytest.fixture(autouse=True)
def lab(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import lab

    return lab


@pytest.mark.parametrize("name", NAMES)
def test_runs_and_writes_its_page(name, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", [name, "--quick", "--folder", str(tmp_path)])
    runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    page = (tmp_path / f"{name}.md").read_text()
    assert "## Verdict\n\n- " in page and "±" in page and "nan ±" not in page
    for picture in tmp_path.glob("*.png"):
        assert f"({picture.name})" in page and 2000 < picture.stat().st_size < 100_000
    json.loads((tmp_path / f"{name}.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_page_in_docs_is_made_of_its_results(name, lab):
    script = runpy.run_path(str(FOLDER / f"{name}.py"))
    page = lab.Page(name, script["__doc__"], json.loads((PAGES / f"{name}.json").read_text()))
    script["report"](page.results, page)
    assert (PAGES / f"{name}.md").read_text() == page.markdown()
    if page.figure:
        assert (PAGES / f"{name}.png").stat().st_size <= 60_000


def test_verdict_needs_more_than_the_sum_of_both_deviations(lab):
    page = lab.Page("x", "Title.\n\nclaim", {"seeds": 3, "seconds": 1})
    assert page.verdict("a", [10, 11, 12], [7, 8, 9]) == "shows"  # 3 > 1 + 1
    assert page.verdict("a", [10, 11, 12], [8, 9, 10]) == "does not show at this size"  # 2 is not more than 2
    assert page.verdict("a", [7, 8, 9], [10, 11, 12]) == "the opposite shows"
    start = "# Title\n\nclaim\n\n## Measured\n\n## Verdict\n\n- a: **shows** (11.0 ± 1.0 against 8.0 ± 1.0)\n"
    assert page.markdown().startswith(start)


def test_training_learns_and_is_repeatable(lab):
    from pycnn import manual_seed, nn

    data, test = lab.load("digits", train=256, test=100, half=True)
    assert data.images.shape == (256, 1, 16, 16) and len(test) == 100

    def once():
        manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(256, 10))
        return lab.train(model, data, 30, 0.02), lab.accuracy(model, test)

    losses, score = once()
    assert len(losses) == 30 and losses[-1] < 0.5 * losses[0] and score > 70
    assert once() == (losses, score)
