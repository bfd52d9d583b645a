"""The settings with which ``train`` and ``evaluate`` repeat a trial of a study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from biascon.config.factory import make_config
from biascon.studies.records import StudyRun
from biascon.tuning.space import to_settings


def trial_settings(description: Mapping[str, Any], run: StudyRun) -> tuple[str, ...]:
    """Return the settings of a trial as ``section.key=value``, relative to the preset of the study.

    Args:
        description: The description of the study, as in its table.
        run: A run of the study.

    Raises:
        UsageError: This version of biascon does not have the preset, the loss or a setting.
    """
    method = description["methods"][run.method]
    fixed = (*description["settings"], *method["settings"])
    preset = make_config(method["loss"], preset=description["preset"], settings=fixed)
    return (*fixed, *to_settings(run.settings, preset.without_method_settings()))
