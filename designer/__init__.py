"""Design neural architectures with the law of equi-separation as the criterion.

Importing the package loads no large library: every name is loaded when it is first used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from designer.results.provenance import VERSION

if TYPE_CHECKING:
    from designer.analysis.analyze import analyze
    from designer.analysis.contribution import contributions
    from designer.analysis.monitor import LawMonitor
    from designer.analysis.profile import profile
    from designer.data.dataset import Dataset
    from designer.data.loading import load_dataset
    from designer.errors import DesignerError, InvalidInputError, TrialFailed
    from designer.integrations.lightning import LightningLawMonitor as LightningLawMonitor
    from designer.integrations.transformers import TrainerLawMonitor as TrainerLawMonitor
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
    "contributions",
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

_HOMES = {
    "AnalysisResult": "designer.results.analysis",
    "Dataset": "designer.data.dataset",
    "DesignScore": "designer.results.measured",
    "DesignerError": "designer.errors",
    "InvalidInputError": "designer.errors",
    "LawFit": "designer.results.measured",
    "LawMonitor": "designer.analysis.monitor",
    "LawRow": "designer.results.layers",
    "LoadedModel": "designer.models.loaded",
    "PruningReport": "designer.results.pruning",
    "PruningResult": "designer.pruning.prune",
    "SearchResult": "designer.results.search",
    "Separation": "designer.results.measured",
    "SeparationProfile": "designer.results.measured",
    "TrialFailed": "designer.errors",
    "analyze": "designer.analysis.analyze",
    "contributions": "designer.analysis.contribution",
    "design_score": "designer.measures.score",
    "fit_law": "designer.measures.law",
    "load": "designer.models.loading",
    "load_best": "designer.models.loading",
    "load_dataset": "designer.data.loading",
    "profile": "designer.analysis.profile",
    "prune": "designer.pruning.prune",
    "search": "designer.search.search",
    "separation_fuzziness": "designer.measures.separation",
    "write_pruned": "designer.models.pruned",
}
"""The module that each public name is loaded from."""

_OPTIONAL = {
    "LightningLawMonitor": "designer.integrations.lightning",
    "TrainerLawMonitor": "designer.integrations.transformers",
}
"""The same for names that need a library which only some users have. `__all__` leaves them out, so
that `from designer import *` works without these."""


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name) or _OPTIONAL.get(name)
    if home is None:
        raise AttributeError(f"module 'designer' has no attribute '{name}'")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """The package, whose functions are not hidden by rooms of the same name.

    Importing ``designer.search.anything`` sets the attribute ``search`` of the package to that
    room, where users expect the function ``designer.search``.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _HOMES and isinstance(value, ModuleType):
            return
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
