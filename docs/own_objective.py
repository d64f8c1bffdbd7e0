"""The design score as the objective of your own Optuna study, with your own model and training.

Run it with ``python docs/own_objective.py``.
"""

from itertools import pairwise

import optuna
import torch
from torch import nn

import designer

DATA = designer.load_dataset("digits", train_size=400)


def build(trial: optuna.Trial) -> nn.Module:
    """Any model will do; its blocks are found."""
    depth = trial.suggest_int("depth", 3, 6)
    width = trial.suggest_int("width", 16, 64, step=16)
    widths = [64] + [width] * depth
    blocks = [
        nn.Sequential(nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU()) for a, b in pairwise(widths)
    ]
    return nn.Sequential(nn.Flatten(), *blocks, nn.Linear(width, 10))


def train_briefly(model: nn.Module, epochs: int = 5) -> None:
    """Your training loop."""
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(DATA.train)).split(64):
            loss = nn.functional.cross_entropy(
                model(DATA.train.inputs[rows]), DATA.train.labels[rows]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def objective(trial: optuna.Trial) -> float:
    """What a short run promises: held-out separation inside, and equal steps."""
    torch.manual_seed(trial.number)
    model = build(trial)
    train_briefly(model)
    profile = designer.profile(model, DATA.train, DATA.validation, resamples=0)
    score = designer.design_score(profile)
    trial.set_user_attr("adherence", score.adherence)
    return score.value


def main(trials: int = 8) -> optuna.Study:
    """The study."""
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=0, multivariate=True)
    )
    study.optimize(objective, n_trials=trials)
    print(f"best {study.best_value:.3f} with {study.best_params}")
    return study


if __name__ == "__main__":
    main()
