"""Robust models of matched pixels: found where there is one, and no exception where there is none. Made-up pixels."""

import numpy as np
import pytest

from recon.poses.usac import fundamental, homography


def test_hopeless_sets_have_no_model_and_end_nothing() -> None:
    """OpenCV 5.0 ends some of these with an assertion, 4 of these 100."""
    rng = np.random.default_rng(0)
    for trial in range(100):
        n = int(rng.integers(8, 14))
        a, b = (rng.normal(size=(n, 2)) * rng.choice([1e-3, 1, 100]) for _ in range(2))
        if trial % 3 == 0:
            a[:] = a[0]
        if trial % 3 == 1:
            b = np.repeat(b[:2], (n + 1) // 2, 0)[:n]
        for model, inliers in (fundamental(a, b, 2.0, 0.999, 2000), homography(a, b, 3.0, 0.999, 5000)):
            assert (model is None and inliers == 0) or model.shape == (3, 3)


@pytest.mark.parametrize("outliers", [0, 30])
def test_a_model_with_outliers_is_found(outliers: int) -> None:
    rng = np.random.default_rng(1)
    H = np.array([[1.1, 0.05, 12.0], [-0.04, 0.95, -7.0], [1e-4, -5e-5, 1.0]])
    a = rng.random((100, 2)) * 400
    b = np.c_[a, np.ones(100)] @ H.T
    b = b[:, :2] / b[:, 2:]
    b[:outliers] = rng.random((outliers, 2)) * 400
    found, inliers = homography(a, b, 1.0, 0.999, 5000)
    assert found is not None
    assert inliers >= 100 - outliers
    assert np.allclose(found / found[2, 2], H, rtol=1e-2, atol=1e-2)
    assert fundamental(a, b, 1.0, 0.999, 2000)[1] >= 100 - outliers
