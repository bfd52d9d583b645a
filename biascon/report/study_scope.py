"""What the statements of a study are about: its scope, its intervals, and the runs that are not used."""

from __future__ import annotations

from collections.abc import Sequence

from biascon.report.study_data import Study
from biascon.report.verdicts import CONTEX_FORMS
from biascon.studies.confirmation import ALPHA
from biascon.studies.records import Stage, StudyRun
from biascon.studies.resplits import reused_images, split_ratio
from biascon.studies.selection import RULES
from biascon.utils.files import digest_of


def describe_scope(study: Study) -> str:
    """Return what every statement of the study is about."""
    description = study.table.description
    rho = "" if study.trial_rho is None else f" (trials at rho {study.trial_rho:g})"
    splits = f" (trials) and its splits {dataset_names(study)} (confirmation)" * bool(
        study.resplits
    )
    return (
        f"Each statement is about the dataset {description['dataset']['name']}{rho}{splits}, the preset "
        f"{description['preset']}, a budget of {_budget(study)}, the search spaces below and the named "
        "selection rule. It does not extend to other datasets, presets, budgets, search spaces or rules."
    )


def dataset_names(study: Study) -> str:
    """Return the names of the datasets of ``confirm.data``; empty without them."""
    return ", ".join(dataset.name for dataset in study.resplits)


def describe_confirmation(study: Study) -> list[str]:
    """State on which splits the confirmation is, which runs do not count, and what the intervals hold for.

    Nothing is said of a study without ``confirm.data`` whose runs all count.
    """
    notes = []
    if study.resplits:
        notes.append(
            f"The confirmation has fresh training seeds and splits: pairs 0-{len(study.resplits) - 1} are on "
            f"{dataset_names(study)}. {describe_split_variance(study)}"
        )
    return [*notes, *describe_other_data(study)]


def describe_other_data(study: Study) -> list[str]:
    """State how many confirmation runs do not count because of their dataset; empty if all count."""
    if not study.other_data:
        return []
    return [
        f"{study.other_data} confirmation runs are left out: they are on other datasets than the study "
        "states for their pair, or two runs have the same pair. No number uses them."
    ]


def describe_split_variance(study: Study) -> str:
    """State what the intervals of a study with ``confirm.data`` are about."""
    ratio = split_ratio(study.table.description)
    shared = "The pairs are random splits of the same images, so that they are not independent."
    if ratio is None:
        return (
            f"{shared} The table does not state the numbers of training images, so that the variance is "
            "not corrected: intervals, p-values and verdicts hold for other splits of these images, not for "
            "other images. The command biascon tune with the same study adds the numbers without training."
        )
    return (
        f"{shared} The variance of the mean difference is s^2 (1/n + n_test/n_train) with n_test/n_train = "
        f"{ratio:.2f} (Nadeau and Bengio 2003), in both intervals, in the p-values and in the verdicts."
    )


def describe_reuse(study: Study) -> str:
    """Return which test images of the confirmation the trials had, in words; empty if unknown."""
    shares = reused_images(study.table.description)
    if shares is None:
        return ""
    train, val, test = (f"{100 * shares[name]:.0f} %" for name in ("train", "val", "test"))
    return (
        f"of the test images of the confirmation, {train} were training images of the trials, {val} "
        f"validation images and {test} test images"
    )


def _budget(study: Study) -> str:
    """Return the compared budget of each method in words."""
    if study.has_seconds_budget:
        searches = f" in each of {study.searches} searches" * (study.searches > 1)
        seconds = study.table.description["budget_seconds"]
        return f"at most {seconds:,.0f} seconds of training of each method{searches}"
    return describe_trials(trial_counts(study))


def trial_counts(study: Study) -> list[int]:
    """Return the number of compared trials of a method in each search, for methods with equal numbers."""
    if not study.methods:
        return []
    return [len(study.table.trials(study.methods[0], k)) for k in range(study.searches)]


def describe_trials(counts: Sequence[int]) -> str:
    """Return numbers of trials of a method in words, one for each search."""
    if not any(counts):
        return "no trial yet"
    if len(counts) == 1:
        return f"{counts[0]} trials of each method in one search"
    if len(set(counts)) == 1:
        return f"{counts[0]} trials of each method in each of {len(counts)} searches"
    return f"{', '.join(map(str, counts))} trials of each method in {len(counts)} searches"


def unshared_parameters(study: Study) -> dict[str, list[str]]:
    """Return the parameters whose distribution differs between methods, with the methods that differ.

    The distribution that most methods have counts as the shared one; of equal numbers, that of the first
    method.
    """
    users: dict[str, dict[str, list[str]]] = {}
    for method, entry in study.table.description["methods"].items():
        for key, data in entry["space"].items():
            users.setdefault(key, {}).setdefault(digest_of(data), []).append(method)
    result = {}
    for key, groups in users.items():
        shared = max(groups.values(), key=len)
        others = [method for names in groups.values() if names is not shared for method in names]
        if others:
            result[key] = others
    return result


def describe_unshared(study: Study) -> str:
    """Return the parameters whose distribution differs between methods: ``optimizer.lr of contex``."""
    parts = [f"{key} of {', '.join(names)}" for key, names in unshared_parameters(study).items()]
    return "; ".join(parts)


def describe_intervals(study: Study) -> str:
    """Return what the two intervals of a comparison cover, and why one is narrower."""
    splits = (
        ", and its interval holds for other splits of these images, not for other images"
        * bool(study.resplits)
    )
    return (
        "The interval of a difference covers two kinds of randomness: that of training, from the pairs of "
        "the confirmation, and that of the choice, because another search with the same budget would choose "
        "other settings. The variance of the choice is measured by choosing again among random halves of the "
        "trials. The interval of the two chosen settings alone leaves the choice out. It is usually "
        "narrower, and it does not hold for another search. P(better) is the share of pairs in which the "
        f"method is better, with a Wilson interval; it is about the chosen settings too{splits}. "
        "The p-values are "
        "adjusted by Holm over the methods of one table, not over rules, metrics or rhos. "
        f"Better, worse and level are stated at {100 * ALPHA:.0f} % of that family; level means that the "
        f"difference is shown to be smaller than {100 * study.margin:.1f} points."
        + f" {_other_rho_note()}"
        * any(not group.has_verdict for group in study.groups)
    )


def _other_rho_note() -> str:
    return (
        "At a rho other than that of the trials only the interval and the p-value of the two chosen settings "
        "are known."
    )


def loss_of(study: Study, method: str) -> str:
    """Return the loss of a method."""
    return str(study.table.description["methods"][method].get("loss", method))


def describe_missing_forms(study: Study) -> str:
    """State which of the two forms of the authors' code is missing in a study of ConTeX."""
    present = set()
    for method, data in study.table.description["methods"].items():
        loss = loss_of(study, method)
        if loss in ("contex", "contex-clip"):
            stated = [
                setting.partition("=")[2].strip(" \"'")
                for setting in (*study.table.description["settings"], *data.get("settings", ()))
                if setting.partition("=")[0].strip() == "loss.form"
            ]
            present |= set(stated[-1:] or ["clip" if loss == "contex-clip" else "plain"])
    missing = [names for form, names in CONTEX_FORMS.items() if form not in present]
    if not present or not missing:
        return ""
    forms = " and ".join(f"the {adjective} form ({name})" for adjective, name in missing)
    return (
        f"The authors' code has two forms of ConTeX; {forms} is not part of this study, and a conclusion "
        "about ConTeX needs both."
    )


def describe_incomplete_search(study: Study) -> list[str]:
    """State which part of the search is compared if it is not complete."""
    absent = [method for method in study.table.methods if method not in study.methods]
    notes = []
    if absent:
        notes.append(f"Without a finished trial that can be compared: {', '.join(absent)}.")
    if study.left_out:
        notes.append(
            f"{study.left_out} runs are beyond the trials and confirmation pairs that the study states; no "
            "number uses them."
        )
    notes += describe_other_data(study)
    if not study.methods or study.has_seconds_budget:
        return notes
    counts = trial_counts(study)
    finished = len(study.full.select(Stage.TRIAL))
    left_out = finished - sum(len(study.trials(method)) for method in study.methods)
    if any(n < study.table.description["trials"] for n in counts):
        stated = f"{study.table.description['trials']} trials"
        compared = (
            f"{counts[0]} of {stated} are finished for every method that has any. Only these {counts[0]} "
            "trials are compared"
            if len(counts) == 1
            else f"{', '.join(map(str, counts))} of {stated} in the {len(counts)} searches are finished for "
            "every method that has any. Only these trials are compared"
        )
        notes.append(
            f"The search is not complete: {compared}, and only they can be chosen."
            + f" {left_out} more finished trials are left out." * bool(left_out)
        )
    choices = {
        run.key
        for rule in RULES.values()
        for method in study.methods
        for _, run in study.choices(method, rule)
        if run is not None
    }
    chosen = {_trial_of(run) for run in study.full.select(Stage.TRIAL) if run.key in choices}
    others = sum(_trial_of(run) not in chosen for run in study.full.select(Stage.CONFIRMATION))
    if others:
        notes.append(
            f"{others} confirmation runs are of settings that no rule chooses among the compared trials; "
            "they are not used."
        )
    return notes


def _trial_of(run: StudyRun) -> tuple[str, int, int]:
    """Return what identifies the trial whose setting a run has."""
    return run.method, run.study, run.trial
