"""The leaderboard: one HTML file of tables, plots and pictures that opens from disk."""

from recon.benchmark.runs.leaderboard.page import PageConfig, write_page

__all__ = ["PageConfig", "write_page"]
