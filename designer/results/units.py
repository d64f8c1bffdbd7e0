"""Records of the units within blocks: which are dead, and whether fewer would do."""

from __future__ import annotations

from dataclasses import dataclass

from designer.results.contribution import Effect


@dataclass(frozen=True)
class DeadUnits:
    """Units that give nothing but zero, on all samples and at all positions."""

    block: str
    """Name of the block."""
    layer: str
    """Name of the part of the block with the largest share of dead units."""
    dead: int
    """How many of its units are dead."""
    units: int
    """How many units it has."""

    @property
    def share(self) -> float:
        """Share of the units that are dead, 0..1."""
        return self.dead / self.units


@dataclass(frozen=True)
class NarrowerTrial:
    """A layer far wider than others, as it would be with fewer units and without training."""

    block: str
    """Name of the block."""
    layer: str
    """Name of the layer."""
    units: int
    """How many units it has."""
    usual: int
    """Median number of units of all layers."""
    kept: int
    """How many were kept; the others were replaced by what these tell of them linearly."""
    accuracy: Effect
    """Change of held-out accuracy, -1..1."""


@dataclass(frozen=True)
class UnitUse:
    """What was found of the units of a network."""

    dead: tuple[DeadUnits, ...] = ()
    """At most one record per block, in running order; blocks without dead units are left out."""
    narrower: tuple[NarrowerTrial, ...] = ()
    """Trials of the layers that are far wider than others."""
