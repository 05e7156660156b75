"""Solving a build graph: what must run, in which order, what is known already."""

from pannikin.build.results import ImageResult, Layers
from pannikin.build.solver import Cache, Op, Solver

__all__ = ["Cache", "ImageResult", "Layers", "Op", "Solver"]
