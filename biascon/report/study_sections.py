"""The sections of the report of a tuning study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from biascon.report import study_figures, study_tables
from biascon.report.document import Block, Code, Document, Picture, Section, Text
from biascon.report.study_comparison import comparison_tables
from biascon.report.study_data import ComparisonGroup, Study
from biascon.report.study_protocol import (
    DATA_NOTE,
    TrialSettings,
    format_commands,
    protocol_section,
)
from biascon.report.study_scope import (
    describe_incomplete_search,
    describe_intervals,
    describe_missing_forms,
    describe_scope,
    describe_split_variance,
    describe_unshared,
)
from biascon.report.study_trials import front_section, importance_section, variance_section
from biascon.report.study_verdicts import describe_comparison, describe_group, in_words
from biascon.studies.curves import TuningCurve, tuning_curve
from biascon.studies.multiverse import specification_curve
from biascon.studies.selection import RULES

MARK_NOTE = "†: uses bias labels of training images; compare such methods only with each other."


def make_document(study: Study, trial_settings: TrialSettings | None = None) -> Document:
    """Return the report of a study.

    Args:
        study: The study.
        trial_settings: Returns the settings of a trial as ``--set`` reads them; None leaves the commands out.
    """
    return Document(
        f"Tuning study {study.table.name}",
        study.source,
        [
            Section("Verdict", _verdict(study)),
            Section("Selection rules", _selection(study)),
            Section("Budget", _budget(study)),
            Section("Search spaces and chosen settings", _spaces(study, trial_settings)),
            Section("Tuning curves", _curves(study)),
            Section("Specification curves", _specifications(study)),
            Section("Accuracy against disparity", front_section(study)),
            Section("Importance of the parameters", importance_section(study)),
            Section("Variance by source", variance_section(study)),
            Section("How it was made", protocol_section(study)),
        ],
        "Trials are chosen on validation images only. Their test metrics are shown to describe the search, "
        "and the best of several trials looks better than its setting is. Only the confirmation supports a "
        "verdict.",
    )


def _verdict(study: Study) -> list[Block]:
    blocks: list[Block] = [Text(text) for text in describe_incomplete_search(study)]
    if study.no_verdict:
        return [Text(study.no_verdict, is_conclusion=True), *blocks]
    blocks.append(Text(describe_scope(study)))
    for group in study.groups:
        blocks += _group_blocks(study, group)
    if any(group.comparisons for group in study.groups):
        blocks.append(Text(describe_intervals(study)))
        blocks += [Text(describe_split_variance(study))] if study.resplits else []
    blocks += [Text(text) for text in (describe_missing_forms(study), _mark_note(study)) if text]
    return [*blocks, *(Picture(figure) for figure in study_figures.confirmation_figures(study))]


def _group_blocks(study: Study, group: ComparisonGroup) -> list[Block]:
    """Return what the confirmation shows for a rule and a color correlation."""
    title, twin = describe_group(group), study.twins.get(group.rule.name)
    if group not in study.shown_groups and twin is not None:
        same = f"rule {group.rule.name} chooses the same trials as rule {twin.name}: see above."
        return [Text(f"{title}: {same}")]
    blocks: list[Block] = [Text(f"{title}: {group.rule.description}.")]
    if twin is not None:
        blocks.append(
            Text(
                f"Rule {group.rule.name} chooses the same trials as rule {twin.name}. Only the variance of "
                "the choice differs: the two rules choose differently among other trials."
            )
        )
    shown = in_words(study, group)
    blocks += [Text(describe_comparison(study, group, c), is_conclusion=True) for c in shown]
    rest = len(group.comparisons) - len(shown)
    if rest:
        state = "are undecided" if group.has_verdict else "have no verdict"
        blocks.append(Text(f"The other {rest} comparisons {state}; they are in the table."))
    if group.missing:
        reasons = "; ".join(f"{method} ({reason})" for method, reason in group.missing.items())
        blocks.append(Text(f"Not compared: {reasons}."))
    return [*blocks, *(comparison_tables(study, group) if group.comparisons else [])]


def _mark_note(study: Study) -> str:
    return MARK_NOTE if any(run.uses_bias_labels for run in study.full.runs) else ""


def _selection(study: Study) -> list[Block]:
    if not study.methods:
        return [Text("No trial is finished for every method.")]
    blocks: list[Block] = [
        study_tables.rule_table(study),
        study_tables.selection_matrix(study),
        Text(
            "These are the metrics of one run of each chosen trial. The verdict uses the confirmation, in "
            "which the setting is trained anew. Of several trials with the same score, the first one is "
            "chosen: where many share it, the rule does not tell them apart."
        ),
        study_tables.selection_table(study),
    ]
    if study.with_oracle:
        blocks.insert(
            0,
            Text(
                "The oracle chooses on the TEST images. It is no selection rule: its accuracy is too high, "
                "and no verdict uses it. It shows what a perfect choice among these trials would reach."
            ),
        )
    return [*blocks, *([Text(_mark_note(study))] if _mark_note(study) else [])]


def _budget(study: Study) -> list[Block]:
    diverged = study_tables.diverged_table(study)
    note = (
        "A trial that diverged counts as a trial. It scores as a classifier that always predicts one class, "
        "and no rule chooses it. Seconds are those of training alone, on the machine of the study."
    )
    return [
        study_tables.budget_table(study),
        Text(note),
        *([] if diverged is None else [diverged]),
    ]


def _spaces(study: Study, trial_settings: TrialSettings | None) -> list[Block]:
    blocks: list[Block] = [
        study_tables.space_table(study),
        Text(
            "augment.strength multiplies the angle of the rotation, the strengths of the jitter and the "
            "probability of a grayscale view of the preset."
        ),
    ]
    fixed = study_tables.fixed_table(study)
    blocks += [] if fixed is None else [fixed]
    commands = format_commands(study, trial_settings) if trial_settings else ""
    if commands:
        blocks += [Text(f"The chosen settings as commands; {DATA_NOTE}:"), Code(commands)]
    return blocks


def _curves(study: Study) -> list[Block]:
    rules = study.rules or [RULES["unbiased"]]
    if study.is_adaptive:
        figures = [study_figures.best_so_far_figure(study, rule) for rule in rules]
        return [
            Text("An adaptive search has no tuning curve: its trials are not independent draws."),
            *(Picture(figure) for figure in figures if figure is not None),
        ]
    blocks: list[Block] = []
    if study.searches > 1:
        blocks.append(Text(f"The trials of the {study.searches} searches are taken together."))
    earlier: dict[str, str] = {}
    for rule in rules:
        found = [
            tuning_curve(study.trials(method), rule, study.n_labels) for method in study.methods
        ]
        curves = [curve for curve in found if curve is not None]
        if not curves:
            blocks.append(
                Text(f"Rule {rule.name}: the score is undefined in a trial of every method.")
            )
            continue
        same = earlier.setdefault(_numbers(curves), rule.name)
        if same != rule.name:
            blocks.append(
                Text(
                    f"Rule {rule.name} has the same scores as rule {same} in every trial: see above."
                )
            )
            continue
        blocks += [
            Text(
                f"Rule {rule.name}. The crossing budget is the last number of trials at which the expected "
                f"curves of the method and of {study.reference} change places. It is descriptive: it has no "
                "interval, and the order of two curves is shown only where their bands are separated. Up to "
                "the n of the last column, the bands of both median curves do not overlap."
            ),
            study_tables.curve_table(study, curves),
            *(Picture(figure) for figure in study_figures.tuning_figures(study, rule, curves)),
        ]
    return blocks


def _numbers(curves: Sequence[TuningCurve]) -> str:
    """Return what is equal for two rules whose tuning curves have the same numbers."""
    return repr([replace(curve, rule="") for curve in curves])


def _specifications(study: Study) -> list[Block]:
    if study.is_adaptive:
        return [
            Text(
                "The trials of an adaptive search are not paired: there is no specification curve."
            )
        ]
    found = [
        specification_curve(study.table, method, study.reference, study.headline)
        for method in study.others
    ]
    curves = [curve for curve in found if curve is not None]
    if not curves:
        return [Text("No recipe is finished for both a method and the reference.")]
    differ = describe_unshared(study)
    unshared = f" (not shared: {differ})" if differ else ""
    return [
        Text(
            "Each paired recipe has the same draws of the shared parameters and the same training seed for "
            f"both methods{unshared}. A parameter is shared if both methods have it with the same "
            "distribution; the own parameters of a method are its own draws. The share is about recipes of "
            "this search space, not about tuned methods."
        ),
        study_tables.specification_table(study, curves),
        *(Picture(figure) for figure in study_figures.specification_figures(study, curves)),
    ]
