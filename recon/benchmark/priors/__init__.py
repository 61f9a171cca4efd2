"""How the embedded prior for pictures is made and judged: pairs, training, held-out scores. See `__main__`."""
