"""Designs neural architectures with the law of equi-separation as its criterion."""

from designer.analysis import analyze
from designer.criterion import design_score
from designer.datasets import Dataset, load_dataset
from designer.errors import DesignerError, InvalidInputError, TrialFailed
from designer.law import fit_law
from designer.models import LoadedModel, load, load_best, write_pruned
from designer.monitor import LawMonitor
from designer.profile import profile
from designer.pruning import PruningResult, prune
from designer.results import (
    AnalysisResult,
    DesignScore,
    LawFit,
    LawRow,
    PruningReport,
    SearchResult,
    Separation,
    SeparationProfile,
)
from designer.search import search
from designer.separation import separation_fuzziness
from designer.version import VERSION

__version__ = VERSION

__all__ = [
    "AnalysisResult",
    "Dataset",
    "DesignScore",
    "DesignerError",
    "InvalidInputError",
    "LawFit",
    "LawMonitor",
    "LawRow",
    "LoadedModel",
    "PruningReport",
    "PruningResult",
    "SearchResult",
    "Separation",
    "SeparationProfile",
    "TrialFailed",
    "analyze",
    "design_score",
    "fit_law",
    "load",
    "load_best",
    "load_dataset",
    "profile",
    "prune",
    "search",
    "separation_fuzziness",
    "write_pruned",
]
