"""report.html: the run on one page, in one file that needs nothing else."""

from recon.report.contents import HeldOutView, InputView, Report, ReportConfig
from recon.report.page import build_report

__all__ = ["HeldOutView", "InputView", "Report", "ReportConfig", "build_report"]
