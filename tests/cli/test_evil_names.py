"""Escape codes, bidirectional controls and line breaks in names reach no terminal; long names are cut."""

from __future__ import annotations

import ast
import csv
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import biascon
from biascon.cli import output
from biascon.utils.text import (
    format_table,
    join_lines,
    message_line,
    quote_some,
    shorten,
    show_value,
    visible,
    visible_lines,
)
from tests.cli.outcomes import only_error
from tests.data import image_files

ESCAPE, TITLE, CSI, BIDI = "\x1b[2J", "\x1b]0;owned\x07", "\x9b31m", "\u202e"
LABELS = (f"cat{ESCAPE}{TITLE}", f"dog{BIDI}{'x y' * 1000}")
VALUES = (f"red{CSI}\nerror: fake", "blue\u2066" + "z" * 3000)
LABEL_COLUMN, BIAS_COLUMN = f"animal{ESCAPE}", f"color{BIDI}\r\n"


def assert_safe(*texts: str) -> None:
    """Check that no text has a control character but line breaks, a line of a name, or a very long line."""
    for text in texts:
        bad = [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") and c != "\n"]
        assert not bad
        for line in text.splitlines():
            assert not line.startswith("error: fake")
            assert len(line) <= 2100


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Write a CSV file with evil labels, values and columns, and its 40 images."""
    (tmp_path / "pics").mkdir()
    with (tmp_path / "evil.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", LABEL_COLUMN, BIAS_COLUMN, "guess"])
        for k in range(40):
            name = f"{k}.png"
            picture = image_files.encode(image_files.draw_image(k, 32, 32), "PNG")
            (tmp_path / "pics" / name).write_bytes(picture)
            writer.writerow([name, LABELS[k % 2], VALUES[(k // 2) % 2], LABELS[(k // 4) % 2]])
    return tmp_path / "evil.csv"


@pytest.fixture
def columns(table: Path) -> list[str]:
    bias = BIAS_COLUMN.strip()  # make-table strips the names of columns
    return ["--image-col", "file", "--label-col", LABEL_COLUMN, "--bias-col", bias,
            "--root", str(table.parent / "pics"), "--size", "32"]  # fmt: skip


def test_building_and_inspecting_a_dataset_prints_names_visibly(
    cli: Callable[..., Any], table: Path, columns: list[str]
) -> None:
    for words in (["--dry-run"], [], []):  # the preview, the build, and the same build again
        outcome = cli("make-table", table, *columns, *words)
        assert outcome.code == 0, outcome.err
        assert_safe(outcome.out, outcome.err)
        assert r"cat\x1b[2J\x1b]0;owned\x07" in outcome.out
        assert r"red\x9b31m\nerror: fake" in outcome.out
    data = table.parent / "data" / "evil-32"
    shown = cli("inspect", data)
    assert shown.code == 0
    assert_safe(shown.out, shown.err)
    plain = cli("inspect", data, "--json")
    assert_safe(plain.err)
    assert not any(c in plain.out for c in f"{ESCAPE}{BIDI}{CSI}" if not c.isprintable())
    assert sorted(json.loads(plain.out)["labels"]) == sorted(LABELS)  # data keep their names


def test_errors_about_names_of_files_are_one_visible_line(
    cli: Callable[..., Any], table: Path, columns: list[str]
) -> None:
    bad = [*columns]
    bad[3] = f"none{ESCAPE}"
    for words in (
        ["make-table", table, *bad],
        ["make-table", table, *columns, "--aligned", f"{ESCAPE}=x"],
        ["make-table", f"missing{ESCAPE}{'y' * 3000}.csv", *columns],
        ["audit", table, "--label", LABEL_COLUMN, "--prediction", f"no{CSI}", "--bias", "file"],
        ["evaluate", "--loss", f"ce{BIDI}\nerror: fake"],
        ["list", "runs", "--runs", f"x{ESCAPE}"],
        [f"make{ESCAPE}"],
    ):
        outcome = cli(*words)
        assert outcome.code in (1, 2)
        assert_safe(outcome.out, only_error(outcome.err))


def test_an_audit_of_evil_labels_is_safe(cli: Callable[..., Any], table: Path) -> None:
    words = ["--label", LABEL_COLUMN, "--prediction", "guess", "--bias", BIAS_COLUMN]
    outcome = cli("audit", table, *words)
    assert outcome.code == 0, outcome.err
    assert_safe(outcome.out, outcome.err)
    as_json = cli("audit", table, *words, "--json")
    assert_safe(as_json.err)
    assert json.loads(as_json.out)["bias"] == BIAS_COLUMN


def test_notes_warnings_and_progress_are_safe(capsys: pytest.CaptureFixture[str]) -> None:
    evil = f"{LABELS[0]}{LABELS[1]}{VALUES[0]}{VALUES[1]}"
    output.print_note(evil)
    output.print_error(f"warning: {evil}")
    output.print_text(evil)
    printed = capsys.readouterr()
    assert_safe(printed.err)
    assert "\x1b" not in printed.out


def test_json_is_printed_as_it_is_but_for_the_delete_character(
    capsys: pytest.CaptureFixture[str],
) -> None:
    value = {"a": f"{ESCAPE}{BIDI}{CSI}\x7f{'x' * 3000}"}
    output.print_json(json.dumps(value))
    text = capsys.readouterr().out
    assert text.isascii()
    assert "\x7f" not in text
    assert json.loads(text) == value


def test_text_is_visible_and_cut() -> None:
    assert visible("a\tb\u2028\ud800") == r"a\tb\u2028\ud800"
    assert visible("naïve 日本") == "naïve 日本"
    assert len(shorten("x" * 3000)) == 72
    assert visible_lines(f"a{ESCAPE}\nb") == "a\\x1b[2J\nb"
    assert join_lines(["a\nb", "c"]) == "a\\nb\nc"
    assert message_line(f"{'x' * 3000} is bad") == f"{shorten('x' * 3000, 200)} is bad"
    assert len(message_line("x " * 5000)) == 2000
    assert quote_some(["x" * 3000, "b"], 1) == f"'{shorten('x' * 3000)}' and 1 more"
    assert show_value(10**400) == shorten("1" + "0" * 400)
    assert show_value(16**9000) == "a very long int"


def test_a_table_keeps_its_form_with_evil_cells() -> None:
    lines = format_table(["a\nb", "n"], [[ESCAPE, "1"], ["x" * 3000, "2"]]).split("\n")
    assert len(lines) == 4
    assert lines[0].startswith(r"a\nb ")
    assert len({len(line) for line in lines}) == 1
    assert len(lines[0]) < 500


def test_only_the_output_module_prints() -> None:
    root = Path(biascon.__file__).parent
    allowed = {"cli/output.py", "cli/app.py", "data/images/compile_kernel.py"}
    printing = set()
    for path in root.rglob("*.py"):
        code = path.read_text(encoding="utf-8")
        if not any(word in code for word in ("print(", "echo(", "stdout.write(")):
            continue
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "print",
                "click.echo",
                "click.secho",
                "sys.stdout.write",
            ):
                printing.add(str(path.relative_to(root)))
    assert printing <= allowed
