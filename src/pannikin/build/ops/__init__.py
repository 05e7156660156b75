"""How each type of node is solved: one file a type. `toolchain` wires them into a solver."""
