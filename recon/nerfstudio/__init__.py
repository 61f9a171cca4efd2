"""recon inside nerfstudio: a method, a data parser, and run folders as scenes of its viewer.

nerfstudio imports this through the entry points in `pyproject.toml`; nothing of recon does. It pins older releases of
gsplat and viser than recon's, so the two share an environment without recon's own dependencies: see
`docs/decisions/0010-nerfstudio.md`.
"""
