"""``biascon evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from biascon.commands.shared import (
    Progress,
    configurations,
    load_dataset,
    note,
    percent,
    percent_interval,
    table,
    training_options,
)


@click.command(name="evaluate")
@training_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a run.")
def command(
    losses: tuple[str, ...],
    seeds: list[int],
    data: Path | None,
    bias: list[str] | None,
    preset: str | None,
    settings: tuple[str, ...],
    device: str,
    compiled: bool,
    resume: bool,
    root: Path,
    as_json: bool,
) -> None:
    """Train what is missing, probe the frozen encoders, and measure them on the unbiased test split."""
    from biascon.evaluate import evaluate, pick_device
    from biascon.parallel import joined, leads

    found = []
    with joined(pick_device(device)) as place:
        configs = configurations(losses, seeds, preset, settings, place.type, compiled=compiled)
        dataset = load_dataset(data, bias)
        for config in configs:
            progress = Progress(config, show=leads())
            try:
                folder, evaluation, reused = evaluate(
                    config, dataset, root=root, device=place, resume=resume, say=progress
                )
            finally:
                progress.close()
            if not leads():
                continue
            note(f"{folder}: {'finished before, reused' if reused else 'done'}")
            found.append(evaluation)
            if as_json:
                click.echo(json.dumps(evaluation))
    if not found:
        return
    if not as_json:
        click.echo(show(found))


def show(evaluations: list[dict[str, Any]]) -> str:
    """Lay out evaluations of one dataset and preset as a table, with the protocol above it."""
    first = evaluations[0]
    rows = [
        [
            e["label"] + " †" * e["sees_bias"],
            str(e["seed"]),
            e["judged"].split()[-1],
            percent(e["top1"]) if first["bias"] else percent_interval(e["top1"]),
            *([] if first["bias"] else [percent_interval(e["top5"])]),
            percent_interval(e["unbiased"]),
            percent(e["bias_aligned"]),
            percent(e["bias_conflicting"]),
            f"{percent(e['worst_group'])} (n={e['worst_group']['n']})" if first["bias"] else "-",
            percent(e["demographic_parity_difference"]),
            percent(e["equalized_odds_difference"]),
            percent(e["equal_opportunity_difference"]),
            e["digest"][:8],
        ]
        for e in evaluations
    ]
    header = [
        "loss", "seed", "by", *(["top-1"] if first["bias"] else ["top-1 [95 %]", "top-5 [95 %]"]),
        "unbiased [95 %]", "aligned", "conflicting", "worst group",
        "DPD", "EOD", "EOpp", "run",
    ]  # fmt: skip
    protocol = first["protocol"]
    judges = list(dict.fromkeys(e["protocol"]["evaluation"] for e in evaluations))
    preset = " + ".join([first["preset"], *first["changes"]])
    return "\n".join(
        [
            f"{first['dataset']} ({first['source']}), preset {preset}, percent",
            f"test: {protocol['test']}, n = {first['top1']['n']:,}; {' or '.join(judges)}; "
            f"selection: {protocol['selection']}",
            "",
            table(header, rows),
            "",
            *_legend(first["bias"]),
            *(
                ["† is given bias labels: not comparable with a method that is not"]
                if any(e["sees_bias"] for e in evaluations)
                else []
            ),
        ]
    )


def _legend(bias: dict[str, Any] | None) -> list[str]:
    """Say what the columns are, and which of them do not apply to the dataset."""
    if bias is None:
        return [
            "the dataset has no bias attribute: group metrics do not apply; "
            "interval: bootstrap over test images"
        ]
    lines = [
        "unbiased, aligned, conflicting: mean over label x bias cells; interval: bootstrap over "
        "test images",
        "DPD, EOD, EOpp: demographic parity, equalized odds, equal opportunity difference, "
        "mean over classes",
    ]
    if bias.get("aligned", "") is None:
        lines.append(
            f"no alignment is defined for {bias['name']}: aligned, conflicting do not apply"
        )
    return lines
