"""Priors whose weights users download: one file a model family, behind the interface of `recon.priors.diffusion.base`.

`diffusers` and `transformers` are imported when a model is loaded, never before. Ids, licences and sizes are data
beside each adapter; `docs/priors.md` says where they are from and what could be tried.
"""
