"""Structure from motion in a process of its own: SIFT, verification, incremental mapping, triangulation, PnP.

The package imports numpy and pycolmap and nothing of ours, so a child starts in a few tenths of a second. It runs as
`python -m recon.sfm IN.npz OUT.npz`; `recon.poses.process` is the only caller. A process of its own because
pycolmap's native code can abort (seen beside PIL in one process) or run away in time; neither may take the user's
run with it.
"""
