"""Find the torch device that a name stands for."""

from __future__ import annotations

import torch

from designer.errors import InvalidInputError


def usable_device(name: str) -> torch.device:
    """Return the torch device of that name.

    Args:
        name: as torch has it, for example ``cpu`` or ``cuda:0``.

    Raises:
        InvalidInputError: if there is no such device, or torch cannot use it here.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InvalidInputError(
            f"Expected a device that torch can use here, got '{name}': "
            f"{str(error).splitlines()[0]}."
        ) from error
    return device
