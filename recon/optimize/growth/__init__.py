"""Where Gaussians are added, removed and moved while training: one strategy a file, chosen in `select.py`."""
