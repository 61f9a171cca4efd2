"""A limit on how many Gaussians training ends with: which of them are left out, and how the others recover.

Start at `within_budget` in `prune.py`.
"""
