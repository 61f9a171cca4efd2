"""The checker that jaxtyping's import hook applies to every function of ours under pytest."""

from beartype import BeartypeConf, beartype

# The numeric tower of PEP 484: an int is a float, as for mypy.
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
