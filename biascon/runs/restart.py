"""Start of the rest of a run: what an interrupted run has is resumed, computed again, or deleted."""

from __future__ import annotations

from pathlib import Path

from biascon.runs import journal
from biascon.runs.folder import (
    CLASSIFIER,
    DONE,
    ENCODER,
    ENVIRONMENT,
    EVALUATION,
    FINETUNE_LOG,
    FINETUNED,
    METRICS_LOG,
    OPTIONAL,
    PREDICTIONS,
    SELECTED,
    STEP_LOSSES,
    UNFINISHED,
)
from biascon.utils.files import os_error

# A file of these is written again only by a training, which resumes from its last checkpoint.
_OF_TRAINING = {
    "config.toml",
    ENVIRONMENT,
    METRICS_LOG,
    ENCODER,
    CLASSIFIER,
    SELECTED,
    STEP_LOSSES,
}


def delete_partial(folder: Path) -> None:
    """Delete the results of an unfinished run; the files of a finished run stay.

    The journal goes last: a process that is killed in between leaves a file with its line.

    Raises:
        BiasconError: A file cannot be deleted.
    """
    if (folder / DONE).exists():
        return
    results = (*OPTIONAL, ENCODER, METRICS_LOG, PREDICTIONS, EVALUATION)
    for name in (*UNFINISHED[:-1], *results, journal.JOURNAL):
        try:
            (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise os_error(error, "delete", folder / name) from error


def start_again(folder: Path, *, resume: bool, recompute: bool) -> None:
    """Prepare a locked run folder for the rest of its computation.

    Args:
        folder: The run folder.
        resume: Whether an interrupted run resumes. Otherwise what it has is deleted.
        recompute: Whether files that were found damaged are computed again. Otherwise they are an error.

    Raises:
        RunError: A file of an unfinished run is damaged, and the user asked for none of the two.
    """
    if (folder / DONE).exists():
        return
    if not resume:
        journal.keep_damaged_journal(folder)
        delete_partial(folder)
    elif not recompute:
        journal.check_not_damaged(folder)
    elif damaged := set(journal.read_journal(folder).damaged):
        for name in sorted(damaged):
            journal.finish_setting_aside(folder, name)
        # The training goes on from its checkpoint, and writes all files of the training again.
        if damaged & _OF_TRAINING:
            for name in (ENCODER, CLASSIFIER):
                (folder / name).unlink(missing_ok=True)
        if damaged & {FINETUNED, FINETUNE_LOG}:
            (folder / FINETUNED).unlink(missing_ok=True)
        journal.record_computed_again(folder)
