"""Distribution packages: index -> resolve -> fetch -> verify -> unpack. Knows no graph, no store, no runtime."""
