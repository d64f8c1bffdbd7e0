"""The Optuna study: objective, workers, confirmation, recommendations."""

from designer.search.progress import Phase, Progress, ProgressCallback
from designer.search.search import default_folder, search
from designer.search.settings import Objective
from designer.search.space_parameters import parameters_of
from designer.search.storage.opening import serve_proxy
from designer.search.workers.join import work

__all__ = [
    "Objective",
    "Phase",
    "Progress",
    "ProgressCallback",
    "default_folder",
    "parameters_of",
    "search",
    "serve_proxy",
    "work",
]
