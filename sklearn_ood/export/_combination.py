"""A combination's calibration as a torch module: from scores to p-value and confidence."""

import math

import torch
from torch import nn
from torch.nn.functional import pad

from sklearn_ood.combined._confidence import SHAPE
from sklearn_ood.combined._conformal import SMALL_LOG_P
from sklearn_ood.nets._heads import log1p

# How far below a calibration score another may be rounded, of scores up to 1 or as a share.
ROUNDING = 1e-6


class Combination(nn.Module):
    """What a fitted :class:`CombinedClassifier` makes of its members' scores."""

    def __init__(self, combined):
        super().__init__()
        self.scales, self.scale = Scales(combined.member_scales_), Scales([combined.scale_])
        self.combine, share = COMBINATIONS[combined.method], combined.outlier_share
        self.register_buffer("weights", torch.as_tensor(combined.weights_))
        self.log_odds = math.log(share / (1 - share) * SHAPE) if share else None

    def forward(self, log_proba, scores):
        """P-value, its logarithm and the confidence, each (n,)."""
        typicality = -self.combine(self.weights * self.scales.log_p(scores))[:, None]
        log_p, largest = self.scale.log_p(typicality)[:, 0], log_proba.amax(dim=1)
        # NaN where Python would refuse the row, in the classifier or in a member.
        lost = torch.where(scores.isnan().any(dim=1), torch.nan, 0.0)
        invalid = (log_proba.exp() * 0).sum(dim=1) + lost
        p_value = self.scale.p_values(typicality)[:, 0] + invalid
        if self.log_odds is None:
            return p_value, log_p + invalid, largest + invalid
        log_odds = self.log_odds + (SHAPE - 1) * log_p
        odds = log_odds.clamp(min=0) + log1p((-log_odds.abs()).exp())
        return p_value, log_p + invalid, largest - odds + invalid


class Scales(nn.Module):
    """One :class:`ConformalScale` for each column of scores (n, n_scales)."""

    def __init__(self, scales):
        super().__init__()
        sizes, kept = torch.tensor([len(each.values) for each in scales]), {}
        most = int(sizes.max())

        def filled(name, value):
            rows = (torch.as_tensor(getattr(each, name)) for each in scales)
            rows = [pad(row, (0, most - len(row)), value=value) for row in rows]
            return torch.stack(rows)

        kept["values"], kept["levels"] = filled("values", torch.inf), filled("levels", 1.0)
        least = _numbers(1 / (each.n_samples + 1) for each in scales)
        kept["steps"] = torch.cat([least[:, None], kept["levels"]], dim=1)
        kept["first"] = torch.minimum(kept["levels"][:, 0], 2 * least).log()
        for name in ("tail_start", "tail_scale", "tail_shape"):
            kept[name] = _numbers(getattr(each, name) for each in scales)
        kept["last"], kept["columns"] = sizes - 1, torch.arange(len(scales))
        for name, each in kept.items():
            self.register_buffer(name, each)

    def p_values(self, scores):
        """The staircase; a calibration row, rounded otherwise, is still level with itself."""
        margin = ROUNDING * self.values.abs().clamp(min=1)
        return self.steps[self.columns, self._n_below(scores, margin)]

    def log_p(self, scores):
        """Its logarithm, interpolated and extrapolated."""
        below = self._n_below(scores)
        left, right = (below - 1).clamp(min=0), torch.minimum(below, self.last)
        low, level = self.values[self.columns, left], self.levels[self.columns, left]
        width = self.values[self.columns, right] - low
        share = (scores - low) / torch.where(width > 0, width, 1.0)
        rise = self.levels[self.columns, right] - level
        inside = (level + share.clamp(0, 1) * rise).log()
        lowest = self.values[:, 0]
        beyond = self._log_survival(torch.minimum(scores, lowest)) - self._log_survival(lowest)
        return torch.where(scores < lowest, self.first + beyond.clamp(max=0), inside)

    def _n_below(self, scores, margin=0.0):
        return (self.values - margin <= scores[:, :, None]).sum(dim=2)

    def _log_survival(self, scores):
        excess = ((self.tail_start - scores) / self.tail_scale).clamp(min=0)
        shape = torch.where(self.tail_shape > 0, self.tail_shape, 1.0)
        return torch.where(self.tail_shape > 0, -log1p(shape * excess) / shape, -excess)


def _numbers(values):
    return torch.tensor(list(values), dtype=torch.float64)


def fisher(log_p):
    """As in ``combined._conformal``."""
    return -2 * log_p.sum(dim=1)


def cauchy(log_p):
    """As in ``combined._conformal``."""
    angle, is_small = log_p.exp() * (math.pi / 2), log_p < SMALL_LOG_P
    most = torch.tensor(math.pi / 2 - 1e-12, dtype=torch.float64)  # clamp takes it in float32
    safe = torch.where(is_small, math.pi / 4, torch.minimum(angle, most))
    far = -log_p - math.log(math.pi / 2)
    quantile = torch.where(is_small, far, safe.cos().log() - safe.sin().log())
    return quantile.logsumexp(dim=1) - math.log(log_p.shape[1])


def smallest(log_p):
    """As in ``combined._conformal``."""
    return -log_p.amin(dim=1)


COMBINATIONS = {"fisher": fisher, "cauchy": cauchy, "min": smallest}
