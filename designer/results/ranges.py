"""The ranges of the numbers in reports; they stand in the published schema.

A number outside of its range was not measured but damaged or made up, and no view could show it.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

LARGEST = 1e100
"""No measured number is further from 0."""

Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
"""A finite number."""

Positive = Annotated[float, Field(ge=0, le=LARGEST)]
"""A finite number of at least 0."""

Fraction = Annotated[float, Field(ge=0, le=1)]
"""A share, such as an accuracy."""

Cosine = Annotated[float, Field(ge=-1, le=1)]
"""A correlation, or how equal the steps are."""

Score = Annotated[float, Field(ge=-LARGEST, le=1)]
"""A score whose best value is 1, and whose 0 is chance."""

Difference = Annotated[float, Field(ge=-1, le=1)]
"""One share minus another."""

Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""A number of things; there may be none."""

CountFrom1 = Annotated[int, Field(ge=1, le=2**63 - 1)]
"""A number of things of which there is at least one."""

Interval = tuple[Number, Number]
"""Lower and upper bound."""

FractionInterval = tuple[Fraction, Fraction]
"""Lower and upper bound of a share."""

Measured = Number | None
"""A reported number; None where it could not be measured."""
