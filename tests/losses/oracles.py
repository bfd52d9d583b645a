"""Oracles: every loss again, written from its formula in Python loops over floats.

An oracle takes ``z`` as nested lists ``[B][V][D]``, labels and bias values as lists, and the tensor inputs
(as nested lists) and parameters of the loss by keyword. It returns the loss, or None if no anchor counts;
the loss must then be exactly 0 with a zero gradient. A new loss needs one function and one line here.
"""

from __future__ import annotations

import functools

from tests.losses import oracles_bias as with_bias
from tests.losses import oracles_new as new
from tests.losses import oracles_plain as plain

ORACLES = {
    "ce": plain.ce,
    "simclr": plain.simclr,
    "supcon": plain.supcon,
    "contex": plain.contex,
    "contex-clip": plain.contex_clip,
    "eps_supinfonce": plain.eps_supinfonce,
    "eps_supcon": plain.eps_supcon,
    "gce": plain.gce,
    "bias-ce": plain.bias_ce,
    "lff": plain.lff,
    "jtt": plain.jtt,
    "softcon": with_bias.softcon,
    "flac": with_bias.flac,
    "fairkl": with_bias.fairkl,
    "supcon+fairkl": with_bias.supcon_fairkl,
    "supcon+end": with_bias.supcon_end,
    "end": with_bias.end,
    "biascon": with_bias.biascon,
    "biascon+biasbal": with_bias.biascon_biasbal,
    "biasbal": with_bias.biasbal,
    "reweight": with_bias.reweight,
    "resample": plain.ce,
    "groupdro": with_bias.groupdro,
    "dfr": plain.ce,
    "fscl": functools.partial(new.fscl, group_norm=False),
    "fscl+": functools.partial(new.fscl, group_norm=True),
    "cnc": new.cnc,
    "lc": new.lc,
    "lisa": new.lisa,
    "badd": new.badd,
    "afr": new.afr,
    "subg": plain.ce,
}
