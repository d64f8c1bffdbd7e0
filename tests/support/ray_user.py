"""A process whose user works with Ray besides searching."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from unittest import mock

from tests.support.searches import run


def search_between_visits(address: str, environment: Mapping[str, str], folder: Path) -> None:
    """Search with a cluster of its own, after a visit to another cluster and before another one.

    Args:
        address: of the cluster to visit.
        environment: what it takes to get in.
        folder: run folder, and home.
    """
    os.environ.update(environment, HOME=str(folder))
    import ray

    def visit() -> None:
        with mock.patch.dict(os.environ):  # Ray changes it
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            ray.shutdown()

    visit()
    before = dict(os.environ)
    run(folder, engine="ray", trials=2, epochs=1, confirm=1, confirm_seeds=1)
    assert not ray.is_initialized()
    assert dict(os.environ) == before
    visit()
