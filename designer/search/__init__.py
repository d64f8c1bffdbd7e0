"""The Optuna study: proposals, objective, workers, confirmation and recommendations."""
