"""Runs whose names hold code: the report shows the names, and nothing executes."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from biascon.report.experiments import Experiment, group_runs
from biascon.report.html import render_html
from biascon.report.latex import render_latex
from biascon.report.markdown import render_markdown
from biascon.report.repeat_commands import format_repeat_commands
from biascon.runs.finished import FinishedRun
from tests.run_helpers import reseal

GOLDEN = Path(__file__).parents[1] / "golden" / "report" / "runs" / "bmnist5k-0.9" / "contex"
EVIL = {
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>\"'",
    "latex": "\\input{/etc/passwd} \\write18{id} $\\frac{ ^^M }% {",
    "shell": "$(touch pwned) `touch pwned`; touch pwned | cat > 'pwned'",
    "lines": "a\n\\input{/etc/passwd}\n\n# title\n| x | y |\r\u2028z",
    "marks": "\u202eevil\u202d\x1b[2J|*b*`c`[l](javascript:x)",
    "formula": "=cmd|' /C calc'!A0",
}


def rename(tree: dict[str, Any], evil: str) -> None:
    """Put a name at every place of an evaluation that holds a name."""
    for key in ("dataset", "source", "loss", "label", "preset", "encoder"):
        tree[key] = evil
    tree["protocol"] = dict.fromkeys(tree["protocol"], evil)
    tree["parameters"] = {evil: evil}
    old, tree["labels"] = tree["labels"], [f"{evil}{k}" for k in range(len(tree["labels"]))]
    tree["by_class"] = {
        new: tree["by_class"][name]
        for name, new in zip(old, tree["labels"], strict=True)
        if name in tree["by_class"]
    }
    tree["bias"]["name"] = evil
    tree["bias"]["values"] = [f"{evil}{k}" for k in range(len(tree["bias"]["values"]))]


@pytest.fixture(scope="module")
def attacks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Experiment]]:
    source = next(path for path in sorted(GOLDEN.iterdir()) if path.is_dir())
    experiments = {}
    for kind, evil in {**EVIL, "all": "".join(EVIL.values())}.items():
        folder = tmp_path_factory.mktemp(kind) / "run"
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns(".cache"))
        tree = json.loads((folder / "evaluation.json").read_text())
        rename(tree, evil)
        (folder / "evaluation.json").write_text(json.dumps(tree))
        settings = f"loss = {json.dumps(tree['loss'])}\nseed = {tree['seed']}\n"
        (folder / "config.toml").write_text(settings)
        reseal(folder)
        run = FinishedRun.read(folder)
        assert run is not None
        experiments[kind] = group_runs([run])
    return experiments


class _Tags(HTMLParser):
    """Collects the tags and the attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.bad += [tag] * (tag in ("img", "iframe", "object", "embed", "foreignobject"))
        for name, value in attributes:
            is_code = name.startswith("on") or (value or "").strip().startswith("javascript:")
            self.bad += [f"{tag} {name}"] * is_code


# A name of several hundred letters leaves no room for the axes of a picture.
@pytest.mark.filterwarnings("ignore:constrained_layout")
def test_nothing_in_a_report_executes(attacks: dict[str, list[Experiment]]) -> None:
    tags = _Tags()
    tags.feed(render_html(attacks["all"]))
    assert not tags.bad
    assert tags.scripts == 1, "the script of the page itself"


@pytest.mark.parametrize("kind", EVIL)
def test_latex_has_no_command_of_a_name(kind: str, attacks: dict[str, list[Experiment]]) -> None:
    evil, experiments = EVIL[kind], attacks[kind]
    code = "\n".join(
        line for line in render_latex(experiments).split("\n") if line.lstrip()[:1] != "%"
    )
    assert r"\input" not in code and r"\write18" not in code
    if "{" in evil:
        bare = re.sub(r"\\[{}]", "", code)
        assert bare.count("{") == bare.count("}")


@pytest.mark.parametrize("kind", EVIL)
def test_tables_of_markdown_stay_whole(kind: str, attacks: dict[str, list[Experiment]]) -> None:
    experiments = attacks[kind]
    text = render_markdown(experiments)
    assert not re.search(r"(?<!\\)<(script|img)", text)
    assert "\x1b" not in text and "\u202e" not in text and "\u2028" not in text
    cells = 0
    for line in text.split("\n"):
        n = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert not n or not cells or n == cells, line
        cells = n


@pytest.mark.parametrize("kind", EVIL)
def test_repeat_commands_are_only_words(kind: str, attacks: dict[str, list[Experiment]]) -> None:
    evil, experiments = EVIL[kind], attacks[kind]
    words = shlex.split(format_repeat_commands(experiments[0]), comments=False)
    assert words[words.index("--loss") + 1] == evil
    assert words[words.index("--preset") + 1] == evil
    assert f"data/{evil}" in words
