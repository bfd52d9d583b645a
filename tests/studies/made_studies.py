"""Made studies with a known truth: two methods whose accuracy is a known function of six parameters.

The accuracy of a run is the value of the method at its setting, plus the noise of the training seed, plus, on
confirmation runs, the noise of the coloring, which both methods share. Validation and test add the noise of
their images. The noise of the training seed is about that of five seeds of SupCon and ConTeX on BiasedMNIST
at rho 0.997, the noise of the images that of 6,000 and 10,000 binomial draws. That of the coloring is
assumed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biascon.studies.records import Stage, StudyRun
from biascon.studies.table import StudyTable
from biascon.tuning.draws import draw_numbers

PARAMETERS = 6
TRIALS, PAIRS = 24, 10
SEED_SD, DATASET_SD, VAL_SD, TEST_SD = 0.008, 0.005, 0.005, 0.004
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Surface:
    """The true accuracy: peak - sum_j curvature_j (u_j - optimum_j)^2 for u in [0, 1]^6."""

    peak: float = 0.83
    curvature: tuple[float, ...] = (0.20, 0.01, 0.03, 0.08, 0.06, 0.04)
    optimum: tuple[float, ...] = (0.6, 0.5, 0.5, 0.7, 0.4, 0.5)

    def __call__(self, u: Array) -> Array:
        """Return ``(N,)`` for u ``(N, 6)``."""
        value: Array = self.peak - (
            np.array(self.curvature) * (u - np.array(self.optimum)) ** 2
        ).sum(axis=1)
        return value


def draw(seed: int, trials: int = TRIALS) -> Array:
    """Return the quasi-random numbers ``(trials, 6)`` of a study."""
    return np.stack(
        [draw_numbers(trials, seed, f"parameter {j}", j) for j in range(PARAMETERS)], axis=1
    )


def make_study(a: Surface, b: Surface, seed: int) -> StudyTable:
    """Return a study of the methods ``a`` and ``b``, b being the reference, with its confirmation."""
    rng = np.random.default_rng(seed)
    u = draw(seed)
    coloring = rng.normal(0, DATASET_SD, PAIRS)
    runs = []
    for name, surface in (("a", a), ("b", b)):
        truth = surface(u)
        trained = truth + rng.normal(0, SEED_SD, TRIALS)
        val = trained + rng.normal(0, VAL_SD, TRIALS)
        test = trained + rng.normal(0, TEST_SD, TRIALS)
        runs += [
            _run(Stage.TRIAL, name, k, k, float(val[k]), float(test[k])) for k in range(TRIALS)
        ]
        chosen = int(val.argmax())
        noise = rng.normal(0, np.hypot(SEED_SD, TEST_SD), PAIRS)
        runs += [
            _run(Stage.CONFIRMATION, name, chosen, k, None, float(value))
            for k, value in enumerate(truth[chosen] + coloring + noise)
        ]
    return StudyTable(describe(["a", "b"], "b"), runs)


def describe(methods: list[str], reference: str) -> dict[str, object]:
    """Return the description of a made study."""
    return {
        "name": "made",
        "methods": {name: {"loss": name, "settings": [], "space": {}} for name in methods},
        "trials": TRIALS,
        "studies": 1,
        "confirm": {
            "seeds": PAIRS,
            "rules": ["unbiased"],
            "reference": reference,
            "margin": 0.01,
            "rho": [],
            "variance": 0,
        },
    }


def _run(
    stage: Stage, method: str, trial: int, pair: int, val: float | None, test: float
) -> StudyRun:
    return StudyRun(
        stage, method, 0, trial, pair, pair, "made", None, None, "0", f"{method}{trial}{pair}", {},
        val={"unbiased": val}, test={"unbiased": test},
    )  # fmt: skip
