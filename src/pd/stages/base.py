"""What a stage gives back."""

from collections.abc import Mapping
from typing import Any

Facts = Mapping[str, Any]
"""Figures that a stage reports: JSON values, shown by `pd status` and kept in its record."""
