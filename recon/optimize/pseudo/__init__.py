"""A prior for pictures at work in the optimisation: views from where no photo was taken, as it would have them.

Start at `rounds.py`; `gate.py` decides how much the prior counts.
"""
