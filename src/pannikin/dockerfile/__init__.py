"""Dockerfile front end: text -> syntax -> stages -> graph. `to_graph` is the whole of it; nothing here does I/O."""

from pannikin.dockerfile.graph import Drawn, Resolve, Resolved, Source, Target, to_graph

__all__ = ["Drawn", "Resolve", "Resolved", "Source", "Target", "to_graph"]
