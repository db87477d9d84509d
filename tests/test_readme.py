"""README's code is the examples' code, which run as tests (test_cli.py), and its links lead somewhere."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_python_blocks_are_pieces_of_the_examples():
    examples = [path.read_text() for path in (ROOT / "examples").glob("*.py")]
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(blocks) >= 2
    for block in blocks:
        assert any(block in text for text in examples), f"not in any example:\n{block}"


def test_the_first_net_has_at_most_15_lines():
    net = re.search(r"class Net.*?\n\n\n", README, re.S).group(0)
    assert len([line for line in net.splitlines() if line.strip()]) <= 15


def test_links_lead_somewhere():
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "NOTES.md", ROOT / "kernels" / "README.md"):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"
