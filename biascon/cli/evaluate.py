"""``biascon evaluate``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from biascon.cli.joint_output import format_image_averages, format_joint_bias
from biascon.cli.options import (
    FOLDER,
    choose_dataset,
    load_dataset,
    no_features_option,
    training_options,
)
from biascon.cli.output import (
    Progress,
    format_interval,
    format_percent,
    format_table,
    print_json,
    print_note,
    print_text,
)
from biascon.cli.presets import make_run_configs, watch_cost
from biascon.cli.processes import train_in_processes
from biascon.utils.text import message_line, shorten

if TYPE_CHECKING:
    import torch

    from biascon.config.run_config import RunConfig
    from biascon.data.dataset import BiasedDataset
    from biascon.evaluation.transfer import EncoderSource
    from biascon.runs.evaluation import Evaluation
    from biascon.runs.identity import BiasRecord

    Job = tuple[RunConfig, EncoderSource | None]


@click.command(name="evaluate")
@partial(training_options, requires_loss=False)
@click.option("--run", "sources", type=FOLDER, multiple=True, metavar="RUN",
              help="Evaluate the encoder of this finished run on --data. Repeatable.")  # fmt: skip
@no_features_option
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
    recompute: bool,
    root: Path,
    sources: tuple[Path, ...],
    no_features: bool,
    as_json: bool,
) -> None:
    """Train what is missing, evaluate the encoders, and measure them on the unbiased test split.

    With --run the encoder of a finished run is evaluated on --data. The encoder may be trained on another
    dataset.
    """
    from biascon.evaluation.transfer import read_source, transfer_config
    from biascon.utils.devices import pick_device
    from biascon.utils.distributed import distributed_session, is_main_process, world_size

    _check_sources(losses, sources)
    evaluations: list[Evaluation] = []
    with distributed_session(pick_device(device)) as session_device:
        jobs: list[Job] = []
        encoder_sources = [read_source(path) for path in dict.fromkeys(sources)]
        if losses:
            configs, folder = make_run_configs(
                losses, seeds, preset, settings, data, session_device.type,
                compiled=compiled, weights=weights, protocol=protocol,
            )  # fmt: skip
            jobs = [(config, None) for config in configs]
        else:
            folder = choose_dataset(data)
        dataset = load_dataset(folder, bias)
        for source in encoder_sources:
            config = transfer_config(
                source, dataset, protocol=protocol, preset=preset, settings=settings
            )
            jobs.append((config, source))
        if world_size() > 1:
            jobs, resume = _train_jobs(jobs, dataset, root, session_device, resume, recompute)
        if not is_main_process():
            return
        for config, encoder_source in jobs:
            evaluation = _evaluate_job(
                config, encoder_source, dataset, root=root, device=session_device,
                resume=resume, keep_features=not no_features, recompute=recompute,
            )  # fmt: skip
            if evaluation is not None:
                evaluations.append(evaluation)
                if as_json:
                    print_json(json.dumps(evaluation.to_json()))
    if evaluations and not as_json:
        print_text(format_evaluations(evaluations))


def _evaluate_job(
    config: RunConfig, source: EncoderSource | None, dataset: BiasedDataset, **options: Any
) -> Evaluation | None:
    """Evaluate a configuration with a progress line, and print what became of the run."""
    from biascon.evaluation.pipeline import evaluate

    watch = watch_cost(config.preset, dataset.manifest, options["device"].type)
    with closing(Progress(config, watch=watch)) as progress:
        result = evaluate(config, dataset, on_epoch=progress, source=source, **options)
    if result.evaluation is not None:
        print_note(f"{result.folder}: {'finished before, reused' if result.reused else 'done'}")
        if result.other_processor is not None:
            print_note(
                f"{result.folder} was computed on another processor ({result.other_processor}); the same "
                "command gives other last bits here, and an accuracy that differs as with another seed"
            )
    return result.evaluation


def _train_jobs(
    jobs: Sequence[Job],
    dataset: BiasedDataset,
    root: Path,
    device: torch.device,
    resume: bool,
    recompute: bool,
) -> tuple[list[Job], bool]:
    """Train in all processes; return the jobs that the main process evaluates, and how it resumes them."""
    configs = [config for config, source in jobs if source is None]
    trained = train_in_processes(
        configs, dataset, root=root, device=device, resume=resume, recompute=recompute
    )
    # What was just trained is not trained again.
    return [*((config, None) for config in trained), *jobs[len(trained) :]], resume or bool(trained)


def _check_sources(losses: tuple[str, ...], sources: tuple[Path, ...]) -> None:
    """Refuse a command with both --loss and --run, or with neither, and options that --run does not use."""
    from click.core import ParameterSource

    from biascon.errors import UsageError

    if bool(losses) == bool(sources):
        got = "both" if losses else "neither"
        raise UsageError(
            f"expected --loss NAME to train, or --run RUN to take its encoder, but got {got}"
        )
    context = click.get_current_context()
    unused = [
        option
        for option, name in (
            ("--seeds", "seeds"),
            ("--weights", "weights"),
            ("--compile", "compiled"),
        )
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if sources and unused:
        raise UsageError(
            f"{', '.join(unused)} would change nothing: the encoder of --run is trained"
        )


def format_evaluations(evaluations: Sequence[Evaluation]) -> str:
    """Format evaluations on one dataset as a table, with the protocol above it."""
    first = evaluations[0]
    identities = [evaluation.identity for evaluation in evaluations]
    identity, protocol = first.identity, first.protocol
    has_transfer = any(i.encoder_dataset != i.dataset for i in identities)
    descriptions = dict.fromkeys(evaluation.protocol.evaluation for evaluation in evaluations)
    presets = dict.fromkeys(i.preset_with_overrides for i in identities)
    header = [
        "loss", "seed", "by", *(["trained on"] if has_transfer else []),
        *(["top-1"] if identity.bias else ["top-1 [95 %]", "top-5 [95 %]"]),
        "unbiased [95 %]", "aligned", "conflicting", "worst group",
        "DPD", "EOD", "EOpp", "run",
    ]  # fmt: skip
    rows = [_table_row(evaluation, has_transfer=has_transfer) for evaluation in evaluations]
    lines = [
        message_line(
            f"{identity.dataset} ({identity.source}), preset {' or '.join(presets)}, percent"
        ),
        message_line(
            f"test: {protocol.test}, n = {first.summary['top1'].n:,}; {' or '.join(descriptions)}; "
            f"selection: {protocol.selection}"
        ),
        "",
        format_table(header, rows),
        "",
        *_legend(identity.bias, first.summary.positive),
        *format_image_averages(evaluations),
        *format_joint_bias(evaluations),
    ]
    for evaluation in evaluations:
        if evaluation.selected_images is not None:
            run = f"{evaluation.identity.label} seed {evaluation.identity.seed}"
            lines.append(message_line(f"{run}: {evaluation.selected_images.describe()}"))
    if any(i.uses_bias_labels for i in identities):
        lines.append(
            "† the method uses bias labels: compare it only with methods that use them too"
        )
    return "\n".join(lines)


def _table_row(evaluation: Evaluation, *, has_transfer: bool) -> list[str]:
    """Return the cells of one evaluation."""
    identity, summary = evaluation.identity, evaluation.summary
    worst_group = summary["worst_group"]
    if identity.bias is None:
        accuracies = [format_interval(summary["top1"]), format_interval(evaluation.top5)]
        worst = "-"
    else:
        accuracies = [format_percent(summary["top1"])]
        worst = f"{format_percent(worst_group)} (n={worst_group.n})"
    return [
        identity.label + " †" * identity.uses_bias_labels,
        str(identity.seed),
        identity.evaluated_by.short,
        *([identity.encoder_dataset] if has_transfer else []),
        *accuracies,
        format_interval(summary["unbiased"]),
        format_percent(summary["bias_aligned"]),
        format_percent(summary["bias_conflicting"]),
        worst,
        format_percent(summary["demographic_parity_difference"]),
        format_percent(summary["equalized_odds_difference"]),
        format_percent(summary["equal_opportunity_difference"]),
        identity.digest[:8],
    ]


def _legend(bias: BiasRecord | None, positive: str | None) -> list[str]:
    """Return the meaning of the columns, and which of them do not apply to the dataset."""
    if bias is None:
        return [
            "the dataset has no bias attribute: group metrics do not apply; "
            "interval: Wilson, over test images"
        ]
    lines = [
        "unbiased, aligned, conflicting: mean over label x bias cells; interval: 95 %, "
        "over test images",
        "DPD, EOD, EOpp: demographic parity, equalized odds, equal opportunity difference, "
        + (
            "mean over classes"
            if positive is None
            else f"for the positive class {shorten(positive)}"
        ),
    ]
    if not bias.knows_aligned:
        lines.append(
            f"no alignment is defined for {shorten(bias.name)}: aligned, conflicting do not apply"
        )
    return lines
