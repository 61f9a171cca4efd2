"""Vector quantisation in plain loops."""

from collections.abc import Sequence

Point = Sequence[float]


def squared_distance(a: Point, b: Point) -> float:
    return sum((x - y) ** 2 for x, y in zip(a, b))


def nearest(points: Sequence[Point], centers: Sequence[Point]) -> list[int]:
    """The first of the nearest centres of each point."""
    return [min(range(len(centers)), key=lambda k: squared_distance(p, centers[k])) for p in points]


def lloyd_round(
    points: Sequence[Point], weights: Sequence[float], labels: Sequence[int], count: int
) -> list[list[float]]:
    """Weighted mean of each cluster; every cluster has points."""
    centers = []
    for k in range(count):
        members = [i for i, label in enumerate(labels) if label == k]
        mass = sum(weights[i] for i in members)
        centers.append([sum(weights[i] * points[i][d] for i in members) / mass for d in range(len(points[0]))])
    return centers


def decode_residual(books: Sequence[Sequence[Point]], labels: Sequence[Sequence[int]]) -> list[list[float]]:
    """Entries of all codebooks added up."""
    return [[sum(book[label][d] for book, label in zip(books, row)) for d in range(len(books[0][0]))] for row in labels]
