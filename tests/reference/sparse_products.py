"""Matrix products in plain loops."""

from collections.abc import Sequence

Matrix = Sequence[Sequence[float]]


def product(a: Matrix, b: Matrix) -> list[list[float]]:
    """Row times column."""
    return [[sum(a[i][k] * b[k][j] for k in range(len(b))) for j in range(len(b[0]))] for i in range(len(a))]


def to_csr(a: Matrix) -> tuple[list[int], list[int], list[float]]:
    """(starts, columns, values) of the numbers that are not zero."""
    starts, columns, values = [0], [], []
    for row in a:
        for column, value in enumerate(row):
            if value != 0:
                columns.append(column)
                values.append(value)
        starts.append(len(values))
    return starts, columns, values
