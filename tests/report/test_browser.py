"""The page in a browser: tables sort, the theme switches, nothing is logged and nothing is requested."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from tests.report.fakes import CLEAR, page_of

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")

# Acts as a reader would, after the script of the page, and leaves what it saw in the document.
READER = """
<script>
const seen = { errors: [] };
addEventListener("error", event => seen.errors.push(event.message));
const tables = [...document.querySelectorAll("table.sortable")];
const table = tables.find(t => t.textContent.includes("worst group"));
const column = name => [...table.tHead.rows[0].cells].findIndex(c => c.textContent.startsWith(name));
const losses = () => [...table.tBodies[0].rows].map(row => row.cells[0].textContent);
const sort = name => table.tHead.rows[0].cells[column(name)].querySelector("button").click();
seen.before = losses();
sort("unbiased"); seen.up = losses(); seen.aria = table.tHead.rows[0].cells[column("unbiased")].ariaSort;
sort("unbiased"); seen.down = losses();
sort("loss"); seen.names = losses();
const paper = () => getComputedStyle(document.body).backgroundColor;
seen.theme = [paper()];
document.querySelector("button.theme").click(); seen.theme.push(paper());
document.querySelector("button.theme").click(); seen.theme.push(paper());
seen.fetched = performance.getEntriesByType("resource").map(entry => entry.name);
seen.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
document.body.append(Object.assign(document.createElement("output"), { textContent: JSON.stringify(seen) }));
</script>
"""


def open_page(folder: Path, page: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Open a page in headless Chromium with a new profile."""
    assert CHROMIUM is not None
    path = folder / "page.html"
    path.write_text(page, encoding="utf-8")
    return subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--disable-background-networking", "--disable-component-update", "--no-first-run",
            f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr",
            *options, path.as_uri(),
        ],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("width", [1280, 390])
def test_tables_sort_and_the_theme_switches(
    width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = page_of(*CLEAR, monkeypatch=monkeypatch).replace("</body>", READER + "</body>")
    completed = open_page(tmp_path, page, f"--window-size={width},900", "--dump-dom")
    output = re.search(r"<output>(.*?)</output>", completed.stdout, re.DOTALL)
    assert output, completed.stdout[-500:]
    seen = json.loads(output[1])
    assert seen["errors"] == []
    assert seen["before"] == ["supcon", "contex"]
    assert seen["up"] == ["supcon", "contex"]
    assert seen["aria"] == "ascending"
    assert seen["down"] == ["contex", "supcon"]
    assert seen["names"] == ["contex", "supcon"]
    light, dark, again = seen["theme"]
    assert light == again != dark
    assert seen["wide"] <= 0  # wide tables scroll in their own frame
    assert "CONSOLE" not in completed.stderr
    assert [name for name in seen["fetched"] if not name.startswith("data:")] == []


def test_page_is_drawn_by_the_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shot = tmp_path / "shot.png"
    page = page_of(*CLEAR, monkeypatch=monkeypatch)
    open_page(tmp_path, page, "--window-size=1280,2000", f"--screenshot={shot}")
    with Image.open(shot) as image:
        assert image.size[0] >= 1280
        assert len(image.convert("RGB").getcolors(1 << 24)) > 100  # something is drawn
