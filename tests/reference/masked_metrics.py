"""SpaRe's masked figures pixel by pixel, in float64: the truth for recon.metrics.scores."""

import math

from reference.lpips_numpy import lpips_numpy


def psnr_masked(a, b, mask):
    """Over the mask's pixels only; lists or arrays [H][W][3] in [0, 1]."""
    total, count = 0.0, 0
    for y in range(len(mask)):
        for x in range(len(mask[0])):
            if mask[y][x] > 0.5:
                total += sum((float(a[y][x][c]) - float(b[y][x][c])) ** 2 for c in range(3))
                count += 3
    return -10 * math.log10(total / count)


def box(mask):
    """(first row, end row, first column, end column) of the mask's tight bounding box."""
    on = [(y, x) for y in range(len(mask)) for x in range(len(mask[0])) if mask[y][x] > 0.5]
    ys, xs = [y for y, _ in on], [x for _, x in on]
    return min(ys), max(ys) + 1, min(xs), max(xs) + 1


def ssim_masked(a, b, mask, size=11, sigma=1.5):
    """Mean SSIM in the bounding box, with zeros beyond it."""
    top, bottom, left, right = box(mask)
    half = size // 2
    taps = [math.exp(-0.5 * ((i - half) / sigma) ** 2) for i in range(size)]
    taps = [tap / sum(taps) for tap in taps]
    total, count = 0.0, 0
    for y in range(top, bottom):
        for x in range(left, right):
            for c in range(3):
                sums = [0.0] * 5
                for dy in range(-half, half + 1):
                    for dx in range(-half, half + 1):
                        inside = top <= y + dy < bottom and left <= x + dx < right
                        p, q = (float(i[y + dy][x + dx][c]) if inside else 0.0 for i in (a, b))
                        weight = taps[dy + half] * taps[dx + half]
                        for k, value in enumerate((p, q, p * p, q * q, p * q)):
                            sums[k] += weight * value
                mp, mq, pp, qq, pq = sums
                vp, vq, cov = pp - mp * mp, qq - mq * mq, pq - mp * mq
                total += ((2 * mp * mq + 1e-4) * (2 * cov + 9e-4)) / ((mp * mp + mq * mq + 1e-4) * (vp + vq + 9e-4))
                count += 1
    return total / count


def lpips_masked(a, b, mask, weights):
    """LPIPS of the bounding box."""
    top, bottom, left, right = box(mask)
    return lpips_numpy(a[top:bottom, left:right], b[top:bottom, left:right], weights)
