"""Base images from distribution packages: a recipe -> a build graph."""

from pannikin.bases.presets import PRESETS, Preset, preset
from pannikin.bases.recipe import Pins, Recipe, Request, Resolve, to_graph

__all__ = ["PRESETS", "Pins", "Preset", "Recipe", "Request", "Resolve", "preset", "to_graph"]
