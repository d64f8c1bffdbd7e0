"""Pruning decisions that hold: which blocks a trained model can lose, and a smaller model."""

from designer.pruning.options import Criterion
from designer.pruning.prune import PruningResult, prune

__all__ = ["Criterion", "PruningResult", "prune"]
