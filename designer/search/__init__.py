"""The Optuna study: objective, workers, confirmation, recommendations."""

from designer.search.run import default_folder, search
from designer.search.settings import Objective
from designer.search.spaces import parameters_of
from designer.search.workers import Phase, Progress, ProgressCallback

__all__ = [
    "Objective",
    "Phase",
    "Progress",
    "ProgressCallback",
    "default_folder",
    "parameters_of",
    "search",
]
