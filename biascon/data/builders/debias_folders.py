"""Sets of debiasing papers whose labels stand in file names: the folders of DisEnt, and BAR.

DisEnt (Lee et al., NeurIPS 2021) published Colored MNIST, Corrupted CIFAR-10 and bFFHQ in this layout::

    0.5pct/align/LABEL/ID_LABEL_BIAS.png     0.5pct/conflict/LABEL/ID_LABEL_BIAS.png
    0.5pct/valid/... or valid/...            test/...      (with or without a folder for each label)

BAR (Nam et al., NeurIPS 2020) has ``train/LABEL_ID.jpg`` and ``test/LABEL_ID.jpg``, and no bias labels.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from pathlib import Path

from biascon.data.builders.file_patterns import FILE, read_pattern_table
from biascon.data.builders.table import plan_table
from biascon.data.builders.table_rows import ImageTable, TableSpec
from biascon.data.building.plan import BuildPlan, PublishedCounts
from biascon.data.building.published import with_published_counts
from biascon.data.building.splitting import check_split_options
from biascon.data.images.decoding import ImageSpec
from biascon.errors import BiasconWarning, DataError, UsageError
from biascon.utils.text import count_of, quote_some

_PARTS = ("align", "conflict")
_NAME = "{id}_{label:#}_{bias:#}.{ext}"
# bFFHQ alone has two labels; Colored MNIST and Corrupted CIFAR-10 have ten. The names in parentheses are the
# keys of the two accuracies in evaluation.json.
_BFFHQ_LABELS = {"0", "1"}
_BFFHQ_NOTE = (
    "two test definitions are published for bFFHQ: all of them (top1), or the bias-conflicting ones alone "
    "(bias_conflicting_samples, in two papers)"
)
_BAR_ACTIONS = ("climbing", "diving", "fishing", "pole vaulting", "racing", "throwing")
_BAR_NOTE = (
    "the authors of one paper withdrew their numbers on BAR as sensitive to the learning rate"
)
_BAR_COUNTS: PublishedCounts = {
    "train": dict(zip(((x,) for x in _BAR_ACTIONS), (326, 520, 163, 279, 336, 317), strict=True)),
    "test": dict(zip(((x,) for x in _BAR_ACTIONS), (105, 159, 42, 131, 132, 85), strict=True)),
}


def plan_debias(
    folder: Path,
    image_spec: ImageSpec,
    *,
    percent: str = "",
    seed: int = 0,
    val_protocol: str = "held-out",
) -> tuple[Path, BuildPlan]:
    """Assign the images of such a set to splits.

    Args:
        folder: The folder of the set, or of one of its percentages.
        image_spec: How an image becomes an array.
        percent: The name of the folder with ``align`` and ``conflict``, such as ``0.5pct``; "" for the only
            one.
        seed: Seed of the validation images, for a set without validation images (BAR).
        val_protocol: ``held-out`` (10 % of the training images of each label) or ``none``, for such a set.

    Returns:
        The folder of the images, and the plan.

    Raises:
        DataError: The folder does not have one of the layouts, or a split would be empty.
        UsageError: The percentage is not there, or has to be chosen.
    """
    check_split_options(val_protocol, seed)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder")
    if is_bar(folder):
        if percent:
            raise UsageError("BAR has no percentages: leave out --percent")
        return folder, _plan_bar(folder, image_spec, seed, val_protocol)
    root, percent = _choose_percent(folder, percent)
    return root, _plan_disent(root, percent, image_spec, seed, val_protocol)


def is_bar(folder: Path) -> bool:
    """Return whether a folder has the layout of BAR: ``train`` and ``test`` with files of its actions."""
    return all(
        any(next((folder / part).glob(f"{action}_*"), None) for action in _BAR_ACTIONS)
        for part in ("train", "test")
    )


def list_percents(folder: Path) -> list[str]:
    """Return the names of the subfolders that have ``align`` and ``conflict``, sorted."""
    return sorted(
        path.name
        for path in folder.iterdir()
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", path.name)
        and all((path / part).is_dir() for part in _PARTS)
    )


def _choose_percent(folder: Path, percent: str) -> tuple[Path, str]:
    """Return the folder of the set, and the name of the folder of one percentage."""
    if all((folder / part).is_dir() for part in _PARTS):
        folder = folder.resolve()
        if percent not in ("", folder.name):
            raise UsageError(
                f"{folder} is the folder of {folder.name}: leave out --percent {percent}"
            )
        return folder.parent, folder.name
    percents = list_percents(folder)
    if not percents:
        raise DataError(
            f"{folder} has no folder with align and conflict: expected 0.5pct/align, 0.5pct/conflict, valid "
            "and test of a set of DisEnt, or train and test of BAR; for other names use biascon make-table "
            "--pattern"
        )
    if not percent and len(percents) == 1:
        return folder, percents[0]
    if percent not in percents:
        got = f"'{percent}'" if percent else "none"
        raise UsageError(f"expected --percent to be one of {quote_some(percents)}, but got {got}")
    return folder, percent


def _plan_disent(
    root: Path, percent: str, image_spec: ImageSpec, seed: int, val_protocol: str
) -> BuildPlan:
    """Assign the images of a set of DisEnt to splits."""
    if not (root / "test").is_dir():
        raise DataError(f"{root} has no folder test beside {percent}")
    valid = next((path for path in (f"{percent}/valid", "valid") if (root / path).is_dir()), None)
    nested = [path for path in (valid, "test") if path is not None]
    head = f"{{percent:{percent}}}/"
    places = [f"{head}{{split:align|conflict}}/{{label:#}}/"]
    for path in nested:
        start = f"{head}{{split:valid}}/" if "/" in path else f"{{split:{path}}}/"
        places += [start, f"{start}{{label:#}}/"]
    spec = TableSpec(
        FILE,
        "label",
        ("bias",),
        "split",
        name=re.sub("[^A-Za-z0-9._]+", "-", f"{root.resolve().name}-{percent}").strip("-._"),
        seed=seed,
        val_protocol=val_protocol,
        image_spec=image_spec,
        split_map={
            **dict.fromkeys(_PARTS, "train"),
            **({"valid": "val"} if valid else {}),
        },
        hold_out_val=valid is None,
        patterns=tuple(f"{place}{_NAME}" for place in places),
        builder="debias",
        split_texts={
            "train": f"the pictures of {percent}/align and {percent}/conflict",
            "val": f"the pictures of {valid}",
            "test": "the pictures of test",
        },
    )
    inside = [*(f"{percent}/{part}" for part in _PARTS), *nested]
    table = read_pattern_table(root, spec, inside=inside)
    _warn_of_contradictions(table)
    same = {value: value for value in table.columns["label"]}
    if set(same) == _BFFHQ_LABELS:
        test_text = f"{spec.split_texts['test']}; {_BFFHQ_NOTE}"
        spec = replace(spec, split_texts={**spec.split_texts, "test": test_text})
    return plan_table(
        table,
        replace(spec, aligned=same),
        origin=f"{root.resolve().name}, {percent}, by the names of its files",
    )


def _warn_of_contradictions(table: ImageTable) -> None:
    """Warn if files of ``align`` are bias-conflicting by their names, or the reverse."""
    columns = (table.files, *(table.columns[name] for name in ("split", "label", "bias")))
    odd = [
        file
        for file, part, label, bias in zip(*columns, strict=True)
        if part in _PARTS and (part == "align") != (label == bias)
    ]
    if odd:
        warnings.warn(
            f"{count_of(len(odd), 'file')} of align or conflict should be in the other folder by their names "
            f"({quote_some(odd, 2)}); the names count, as in the published loaders",
            BiasconWarning,
            stacklevel=2,
        )


def _plan_bar(folder: Path, image_spec: ImageSpec, seed: int, val_protocol: str) -> BuildPlan:
    """Assign the images of BAR to splits; it has neither validation images nor bias labels."""
    actions = "|".join(_BAR_ACTIONS)
    spec = TableSpec(
        FILE,
        "label",
        (),
        "split",
        name="bar",
        seed=seed,
        val_protocol=val_protocol,
        image_spec=image_spec,
        hold_out_val=True,
        patterns=(f"{{split:train|test}}/{{label:{actions}}}_{{id:#}}.{{ext}}",),
        builder="bar",
        split_texts={
            "train": "official training pictures",
            "test": f"official test pictures; {_BAR_NOTE}",
        },
    )
    table = read_pattern_table(folder, spec, inside=("train", "test"))
    plan = plan_table(table, spec, origin="BAR, by the names of its files")
    return with_published_counts(plan, _BAR_COUNTS)
