"""`recon bench views`: pictures of views that no stage has seen, ours against plain splatting, and each part by itself.

The jobs, the withholding and the scores are those of `recon.benchmark.runs`; here are the choice of scenes, views and
arms, and how the figures are put together.
"""

from recon.benchmark.views.bench import FULL, QUICK, ViewsOptions, run, run_views

__all__ = ["FULL", "QUICK", "ViewsOptions", "run", "run_views"]
