"""``biascon evaluate``."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from biascon.cli.options import FOLDER, configurations, load_dataset, training_options
from biascon.cli.output import Progress, format_interval, format_percent, format_table, print_note

if TYPE_CHECKING:
    from biascon.config.run_config import RunConfig


@click.command(name="evaluate")
@partial(training_options, trains=False)
@click.option("--run", "sources", type=FOLDER, multiple=True, metavar="RUN",
              help="Judge the encoder of this finished run on --data; repeat it for several.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a run.")
def command(
    losses: tuple[str, ...],
    seeds: list[int],
    data: Path | None,
    bias: list[str] | None,
    preset: str | None,
    settings: tuple[str, ...],
    weights: Path | None,
    protocol: str | None,
    device: str,
    compiled: bool,
    resume: bool,
    root: Path,
    sources: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Train what is missing, judge the encoders, and measure them on the unbiased test split.

    With --run an encoder that was trained before, on this dataset or on another one, is judged on --data.
    """
    from biascon.evaluation.pipeline import evaluate
    from biascon.evaluation.transfer import Source, read_source, transfer_config
    from biascon.utils.devices import pick_device
    from biascon.utils.distributed import distributed_session, is_main_process

    _check_sources(losses, sources)
    found = []
    with distributed_session(pick_device(device)) as place:
        jobs: list[tuple[RunConfig, Source | None]] = []
        if losses:
            configs = configurations(
                losses, seeds, preset, settings, place.type,
                compiled=compiled, weights=weights, protocol=protocol,
            )  # fmt: skip
            jobs = [(config, None) for config in configs]
        origins = [read_source(folder) for folder in dict.fromkeys(sources)]
        dataset = load_dataset(data, bias)
        for origin in origins:
            config = transfer_config(
                origin, dataset, protocol=protocol, preset=preset, settings=settings
            )
            jobs.append((config, origin))
        for config, source in jobs:
            progress = Progress(config, show=is_main_process())
            try:
                folder, evaluation, reused = evaluate(
                    config,
                    dataset,
                    root=root,
                    device=place,
                    resume=resume,
                    on_epoch=progress,
                    source=source,
                )
            finally:
                progress.close()
            if not is_main_process():
                continue
            print_note(f"{folder}: {'finished before, reused' if reused else 'done'}")
            found.append(evaluation)
            if as_json:
                click.echo(json.dumps(evaluation))
    if not found:
        return
    if not as_json:
        click.echo(format_evaluations(found))


def _check_sources(losses: tuple[str, ...], sources: tuple[Path, ...]) -> None:
    """Refuse neither, or both, of runs to train and runs to take encoders from."""
    from click.core import ParameterSource

    from biascon.errors import UsageError

    if bool(losses) == bool(sources):
        got = "both" if losses else "neither"
        raise UsageError(
            f"expected --loss NAME to train, or --run RUN to take its encoder, but got {got}"
        )
    here = click.get_current_context()
    given = [
        option
        for option, name in (
            ("--seeds", "seeds"),
            ("--weights", "weights"),
            ("--compile", "compiled"),
        )
        if here.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if sources and given:
        raise UsageError(
            f"{', '.join(given)} would change nothing: the encoder of --run is trained"
        )


def format_evaluations(evaluations: list[dict[str, Any]]) -> str:
    """Lay out evaluations of one dataset and preset as a table, with the protocol above it."""
    first = evaluations[0]
    elsewhere = any(_trained_on(e) != e["dataset"] for e in evaluations)
    rows = [
        [
            e["label"] + " †" * e["sees_bias"],
            str(e["seed"]),
            e["judged"].split()[-1],
            *([_trained_on(e)] if elsewhere else []),
            format_percent(e["top1"]) if first["bias"] else format_interval(e["top1"]),
            *([] if first["bias"] else [format_interval(e["top5"])]),
            format_interval(e["unbiased"]),
            format_percent(e["bias_aligned"]),
            format_percent(e["bias_conflicting"]),
            f"{format_percent(e['worst_group'])} (n={e['worst_group']['n']})"
            if first["bias"]
            else "-",
            format_percent(e["demographic_parity_difference"]),
            format_percent(e["equalized_odds_difference"]),
            format_percent(e["equal_opportunity_difference"]),
            e["digest"][:8],
        ]
        for e in evaluations
    ]
    header = [
        "loss", "seed", "by", *(["trained on"] if elsewhere else []),
        *(["top-1"] if first["bias"] else ["top-1 [95 %]", "top-5 [95 %]"]),
        "unbiased [95 %]", "aligned", "conflicting", "worst group",
        "DPD", "EOD", "EOpp", "run",
    ]  # fmt: skip
    protocol = first["protocol"]
    judges = list(dict.fromkeys(e["protocol"]["evaluation"] for e in evaluations))
    recipes = dict.fromkeys(" + ".join([e["preset"], *e["changes"]]) for e in evaluations)
    preset = " or ".join(recipes)
    return "\n".join(
        [
            f"{first['dataset']} ({first['source']}), preset {preset}, percent",
            f"test: {protocol['test']}, n = {first['top1']['n']:,}; {' or '.join(judges)}; "
            f"selection: {protocol['selection']}",
            "",
            format_table(header, rows),
            "",
            *_legend(first["bias"]),
            *(
                ["† is given bias labels: not comparable with a method that is not"]
                if any(e["sees_bias"] for e in evaluations)
                else []
            ),
        ]
    )


def _trained_on(evaluation: dict[str, Any]) -> str:
    """Return the name of the dataset that the encoder was trained on."""
    origin = evaluation["config"].get("origin", evaluation)
    return str(origin["dataset"])


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
