"""The law while a network learns: ``LawMonitor`` in a plain training loop.

Run it with ``python docs/training_loop.py``; every row is added to law.jsonl.
"""

from itertools import pairwise
from pathlib import Path

import torch
from torch import nn

import designer


def main(file: Path = Path("law.jsonl"), epochs: int = 6) -> list[designer.LawRow]:
    """Train, and look inside after every epoch."""
    data = designer.load_dataset("digits", train_size=400)
    torch.manual_seed(0)
    widths = [64, 32, 32, 32]
    blocks = [
        nn.Sequential(nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU()) for a, b in pairwise(widths)
    ]
    model = nn.Sequential(nn.Flatten(), *blocks, nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    # TensorBoard, too: LawMonitor(..., tensorboard="runs/law")
    with designer.LawMonitor(model, data.train, data.validation, file=file) as monitor:
        for epoch in range(1, epochs + 1):
            for rows in torch.randperm(len(data.train)).split(64):
                loss = nn.functional.cross_entropy(
                    model(data.train.inputs[rows]), data.train.labels[rows]
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            row = monitor(epoch)
            print(f"epoch {epoch}: uniformity {row.law.uniformity:.2f}, {row.law.status}")
    return monitor.rows


if __name__ == "__main__":
    main()
