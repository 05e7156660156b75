"""The build graph: frozen nodes, their definitions and source spans. No I/O, no containers, no solver."""

from pannikin.graph.nodes import (
    Config,
    Context,
    Copy,
    Image,
    Made,
    Make,
    Node,
    Package,
    Packages,
    Run,
    Scratch,
    definition,
)

__all__ = [
    "Config", "Context", "Copy", "Image", "Made", "Make", "Node", "Package", "Packages", "Run", "Scratch",
    "definition",
]  # fmt: skip
