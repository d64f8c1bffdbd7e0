"""Designs neural architectures with the law of equi-separation as its criterion."""

from designer.analysis.analyze import analyze
from designer.analysis.monitor import LawMonitor
from designer.analysis.profile import profile
from designer.data.dataset import Dataset
from designer.data.loading import load_dataset
from designer.errors import DesignerError, InvalidInputError, TrialFailed
from designer.measures.law import fit_law
from designer.measures.score import design_score
from designer.measures.separation import separation_fuzziness
from designer.models.loaded import LoadedModel
from designer.models.loading import load, load_best
from designer.models.pruned import write_pruned
from designer.pruning.prune import PruningResult, prune
from designer.results.analysis import AnalysisResult
from designer.results.layers import LawRow
from designer.results.measured import DesignScore, LawFit, Separation, SeparationProfile
from designer.results.provenance import VERSION
from designer.results.pruning import PruningReport
from designer.results.search import SearchResult
from designer.search.search import search

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
