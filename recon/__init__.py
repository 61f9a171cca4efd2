"""recon: 3D from a handful of photos.

Start at `recon.types` for the vocabulary and `recon.pipeline` for how the stages follow one another.
"""

import os

# Two thread pools share the cores, torch's and ours. torch's workers by default spin for a while after each call, which
# doubled the CPU time of ours; told to sleep instead, neither waits for the other. To be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
