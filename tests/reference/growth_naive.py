"""Growth and neighbourhoods written out in plain loops: the truth for recon.optimize.growth and .structure."""

from math import comb, exp, sqrt


def relocated(opacity, scale, shares):
    """(opacity, scale) of each of `shares` Gaussians in one place: 3DGS-MCMC eq. 9 as printed, double sum and all."""
    new = 1 - (1 - opacity) ** (1 / shares)
    total = 0.0
    for i in range(1, shares + 1):
        for k in range(i):
            total += comb(i - 1, k) * (-1) ** k * new ** (k + 1) / sqrt(k + 1)
    return new, scale * opacity / total


def opacity_along_a_line(opacity, scale, shares):
    """Integral over x of what `shares` equal one-dimensional Gaussians in one place hide of what is behind them."""
    step = scale / 50
    return sum(step * (1 - (1 - opacity * exp(-0.5 * (i / 50) ** 2)) ** shares) for i in range(-400, 401))


def neighbours_by_sorting(points, k):
    """Indices of the `k` nearest other points of each point."""
    rows = []
    for i, p in enumerate(points):
        distances = sorted((sum((a - b) ** 2 for a, b in zip(p, q)), j) for j, q in enumerate(points) if j != i)
        rows.append([j for _, j in distances[:k]])
    return rows


def depth_histogram(weights_and_depths, edges):
    """Weight per slice of one ray's [(weight, depth), ...]; depths beyond the outer edges count in the outer slices."""
    counts = [0.0] * (len(edges) - 1)
    for weight, depth in weights_and_depths:
        inner = sum(depth >= edge for edge in edges[1:-1])
        counts[inner] += weight
    return counts


def bilinear(grid, x, y):
    """Value of `grid` (rows of numbers) at column `x`, row `y`, whole numbers being the grid's own places."""
    column, row = int(x), int(y)
    a, b = x - column, y - row
    above = (1 - a) * grid[row][column] + a * grid[row][column + 1]
    below = (1 - a) * grid[row + 1][column] + a * grid[row + 1][column + 1]
    return (1 - b) * above + b * below


def variation(grids):
    """Mean absolute difference of neighbours, side by side and one below the other."""
    differences = []
    for grid in grids:
        for row, line in enumerate(grid):
            for column, value in enumerate(line):
                if column + 1 < len(line):
                    differences.append(abs(value - line[column + 1]))
                if row + 1 < len(grid):
                    differences.append(abs(value - grid[row + 1][column]))
    return sum(differences) / len(differences)
