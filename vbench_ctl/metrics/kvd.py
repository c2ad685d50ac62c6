"""Kernel video distance (Unterthiner et al., 2018): unbiased squared MMD of the features of FVD.

Unlike FVD it has no bias in the number of clips, which makes it the companion for small sets; it can fall below 0.
"""

from vbench_ctl.metrics.fvd import features as features_of_fvd
from vbench_ctl.metrics.kid import DIRECTION, NEEDS, UNIT, VARIANTS, estimate
from vbench_ctl.networks import Features

__all__ = ["DIRECTION", "NEEDS", "TITLE", "UNIT", "VARIANTS", "VERSION", "estimate", "features", "signature"]

TITLE = "KVD"
VERSION = 1


def features() -> Features:
    """Return the features of FVD."""
    return features_of_fvd()


def signature() -> str:
    """Name what the number depends on besides network and clips."""
    return "tf,cubic,unbiased"
