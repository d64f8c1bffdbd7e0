"""The Optuna study: objective, workers, confirmation, recommendations."""

from designer.search.join import work
from designer.search.phases import Phase, Progress, ProgressCallback
from designer.search.run import default_folder, search
from designer.search.settings import Objective
from designer.search.spaces import parameters_of
from designer.search.storage import serve_proxy

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
