"""The training loss: a sum of terms, each one file behind one interface, weighted by `LossConfig`.

To add a term, write a file whose function or class is a `Term`, and add a line to `TERMS` and one to `LossConfig`.
"""

from recon.optimize.terms.base import Setup, Step, Studio, Term, View
from recon.optimize.terms.config import LossConfig, TermsConfig
from recon.optimize.terms.objective import TERMS, Objective

__all__ = ["TERMS", "LossConfig", "Objective", "Setup", "Step", "Studio", "Term", "TermsConfig", "View"]
