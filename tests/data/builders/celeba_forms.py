"""CelebA in each form of its lists, with known counts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biascon.utils.types import Array

ATTRIBUTES = ["5_o_Clock_Shadow", "Blond_Hair", "Male", "Young"]


@dataclass(frozen=True)
class CelebAForm:
    """A form of the lists.

    Attributes:
        attributes: Suffix of the list of attributes.
        partition: Suffix of the list of partitions.
        separator: Of a CSV file.
        values: How -1 and 1 are written.
        eol: End of a line.
        mark: Byte order mark.
        count: Whether the text has the line with the number of images.
        header: Whether the CSV file of the partition has a header.
        index: Whether the CSV files have an index column.
        file_column: The name of the column of files.
        folders: Folders of the attributes, of the partition and of the images.
        listed: Suffixes of the names in the list of attributes and in that of the partition.
        suffix: Suffix of the images.
        reverse: Whether the lines are in reverse order.
    """

    attributes: str = "txt"
    partition: str = "txt"
    separator: str = ","
    values: tuple[str, str] = ("-1", "1")
    eol: str = "\n"
    mark: str = ""
    count: bool = True
    header: bool = True
    index: bool = False
    file_column: str = "image_id"
    folders: tuple[str, str, str] = ("", "", "img_align_celeba")
    listed: tuple[str, str] = ("jpg", "jpg")
    suffix: str = "jpg"
    reverse: bool = False


CSV = {"attributes": "csv", "partition": "csv"}
PNG = ("", "", "img_align_celeba_png")
FORMS = {
    "official text": CelebAForm(),
    "text without the number of images": CelebAForm(count=False),
    "text with byte order mark and CRLF": CelebAForm(mark="\ufeff", eol="\r\n"),
    "official tree": CelebAForm(folders=("Anno", "Eval", "Img/img_align_celeba")),
    "Kaggle CSV": CelebAForm(**CSV, folders=("", "", "img_align_celeba/img_align_celeba")),
    "text and CSV": CelebAForm(attributes="csv", partition="txt", reverse=True),
    "CSV of 0 and 1": CelebAForm(**CSV, values=("0", "1")),
    "CSV of floats": CelebAForm(**CSV, values=("-1.0", "1.0")),
    "CSV of words": CelebAForm(**CSV, values=("False", "True")),
    "semicolons": CelebAForm(**CSV, separator=";"),
    "tabs": CelebAForm(**CSV, separator="\t"),
    "index column": CelebAForm(**CSV, index=True),
    "index column, other names": CelebAForm(**CSV, index=True, file_column="picture"),
    "CSV with byte order mark and CRLF": CelebAForm(**CSV, mark="\ufeff", eol="\r\n"),
    "partition without a header": CelebAForm(**CSV, header=False),
    "semicolons, index, no header": CelebAForm(**CSV, separator=";", index=True, header=False),
    "PNG edition": CelebAForm(folders=PNG, suffix="png"),
    "PNG edition, listed as PNG": CelebAForm(folders=PNG, suffix="png", listed=("png", "png")),
    "PNG edition, one list as PNG": CelebAForm(folders=PNG, suffix="png", listed=("jpg", "png")),
}


@dataclass(frozen=True)
class DrawnLists:
    """N rows of CelebA: int ``(N, 4)`` values of -1 and 1, and int ``(N,)`` partitions."""

    values: Array
    partition: Array

    def cells(self, part: int) -> list[list[int]]:
        """Return the counts of (Blond_Hair, Male) in a partition."""
        rows = self.values[self.partition == part]
        return [
            [int(((rows[:, 1] == label) & (rows[:, 2] == male)).sum()) for male in (-1, 1)]
            for label in (-1, 1)
        ]


def draw_lists(n: int) -> DrawnLists:
    """Draw n rows; three fifths are for training."""
    values = np.where(np.random.default_rng(n).random((n, 4)) < 0.5, 1, -1)
    partition = np.repeat([0, 1, 2], [n * 3 // 5, n // 5, n - n * 3 // 5 - n // 5])
    return DrawnLists(values, partition)


def write_lists(folder: Path, form: CelebAForm, lists: DrawnLists) -> None:
    """Write the two lists in a form."""
    n = len(lists.partition)
    cells = [[form.values[int(value > 0)] for value in row] for row in lists.values]
    rows = [[f"{k + 1:06d}.{form.listed[0]}", *row] for k, row in enumerate(cells)]
    parts = [[f"{k + 1:06d}.{form.listed[1]}", str(p)] for k, p in enumerate(lists.partition)]
    header, part_header = [form.file_column, *ATTRIBUTES], [form.file_column, "partition"]
    if form.reverse:
        rows, parts = rows[::-1], parts[::-1]
    if form.index:
        rows, parts = ([[str(k), *row] for k, row in enumerate(table)] for table in (rows, parts))
        header, part_header = ["", *header], ["", *part_header]
    if form.attributes == "csv":
        lines = [form.separator.join(row) for row in (header, *rows)]
    else:
        lines = [str(n)] * form.count + [" ".join(ATTRIBUTES) + " "]
        lines += [f"{row[0]} " + " ".join(f"{value:>2}" for value in row[1:]) for row in rows]
    _write(folder / form.folders[0] / f"list_attr_celeba.{form.attributes}", lines, form)
    separator = form.separator if form.partition == "csv" else " "
    with_header = form.header and form.partition == "csv"
    lines = [separator.join(row) for row in ([part_header] * with_header + parts)]
    _write(folder / form.folders[1] / f"list_eval_partition.{form.partition}", lines, form)


def _write(path: Path, lines: list[str], form: CelebAForm) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((form.mark + form.eol.join([*lines, ""])).encode())


def write_files(folder: Path, form: CelebAForm, n: int, data: list[bytes]) -> None:
    """Write n images; with several contents, each is used in turn."""
    images = folder / form.folders[2]
    images.mkdir(parents=True, exist_ok=True)
    for k in range(n):
        (images / f"{k + 1:06d}.{form.suffix}").write_bytes(data[k % len(data)])
