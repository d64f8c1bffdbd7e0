"""Count the classes of a source, without loading more of it than that needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from designer.data.batches import batches_of
from designer.data.dataset import BatchedData
from designer.data.image_folders import folder_classes
from designer.data.sources import is_callable, is_npz, read_npz_labels, read_source
from designer.importing import typed


def count_classes(source: str) -> int:
    """Return the number of classes K of the training data in a source.

    Args:
        source: one of the forms in ``designer.data.sources.SOURCES``; a callable is imported and
            called.

    Raises:
        DataError: if the source has none of the forms, or cannot be read.
    """
    if is_npz(source):
        return len(np.unique(read_npz_labels(Path(source))))
    if Path(source).is_dir() and not is_callable(source):
        return len(folder_classes(Path(source)))
    raw = read_source(source, None, typed(source))
    if isinstance(raw, BatchedData):
        return batches_of(raw.train).num_classes
    return len(np.unique(raw.y))
