"""What the documents of each format say about where a point appears, worked out number by number.

Each function takes what stands in the file and a point in the world, and returns its pixel, (0, 0) being the corner of
the first pixel. Plain floats and loops; nothing of recon.
"""

import math
from collections.abc import Sequence

Row = Sequence[float]


def matmul(M: Sequence[Row], v: Row) -> list[float]:
    return [sum(a * b for a, b in zip(row, v)) for row in M]


def by_projection(P: Sequence[Row], X: Row) -> tuple[float, float]:
    """`pos_XXX.txt`, `.P`: homogeneous pixels are P (X, 1)."""
    x, y, w = matmul(P, [*X, 1.0])
    return x / w, y / w


def by_poses_bounds(row: Row, X: Row) -> tuple[float, float]:
    """LLFF: a 3 x 5 matrix by rows, its columns the camera's down, right and backward directions and its place, and
    (height, width, focal); the picture's middle is the principal point."""
    columns = [[row[5 * i + j] for i in range(3)] for j in range(5)]
    down, right, backward, center, (height, width, focal) = columns
    offset = [x - c for x, c in zip(X, center)]
    depth = -sum(a * b for a, b in zip(backward, offset))
    x = sum(a * b for a, b in zip(right, offset)) / depth
    y = sum(a * b for a, b in zip(down, offset)) / depth
    return width / 2 + focal * x, height / 2 + focal * y


def by_opengl(transform: Sequence[Row], focal: Row, center: Row, X: Row) -> tuple[float, float]:
    """transforms.json: columns are the camera's right, up and backward directions and its place."""
    right, up, backward, place = ([transform[i][j] for i in range(3)] for j in range(4))
    offset = [x - c for x, c in zip(X, place)]
    depth = -sum(a * b for a, b in zip(backward, offset))
    x = sum(a * b for a, b in zip(right, offset)) / depth
    y = sum(a * b for a, b in zip(up, offset)) / depth
    return center[0] + focal[0] * x, center[1] - focal[1] * y


def by_field_of_view(transform: Sequence[Row], angle_rad: float, size: Row, X: Row) -> tuple[float, float]:
    """Blender: the width subtends `camera_angle_x`, pixels are square, the axis hits the picture's middle."""
    focal = 0.5 * size[0] / math.tan(0.5 * angle_rad)
    return by_opengl(transform, (focal, focal), (size[0] / 2, size[1] / 2), X)


def by_quaternion(quat: Row, t: Row, focal: Row, center: Row, X: Row) -> tuple[float, float]:
    """COLMAP: x_cam = R(q) X + t with q = (w, x, y, z), turning X by the quaternion product q X q*."""
    w, x, y, z = quat
    ux, uy, uz = X
    # q * (0, u)
    a = [-x * ux - y * uy - z * uz, w * ux + y * uz - z * uy, w * uy + z * ux - x * uz, w * uz + x * uy - y * ux]
    # ... * conj(q)
    turned = [
        -a[0] * x + a[1] * w - a[2] * z + a[3] * y,
        -a[0] * y + a[2] * w - a[3] * x + a[1] * z,
        -a[0] * z + a[3] * w - a[1] * y + a[2] * x,
    ]
    cam = [value + shift for value, shift in zip(turned, t)]
    return center[0] + focal[0] * cam[0] / cam[2], center[1] + focal[1] * cam[1] / cam[2]


def by_middlebury(numbers: Row, X: Row) -> tuple[float, float]:
    """A line of `_par.txt`: K and R by rows, then t; P = K [R | t]."""
    K = [numbers[0:3], numbers[3:6], numbers[6:9]]
    R = [numbers[9:12], numbers[12:15], numbers[15:18]]
    cam = [value + shift for value, shift in zip(matmul(R, X), numbers[18:21])]
    x, y, w = matmul(K, cam)
    return x / w, y / w


def by_strecha(numbers: Row, X: Row) -> tuple[float, float]:
    """A `.camera` file: K, three zeros, R, C, size; P = K [R^T | -R^T C]."""
    K = [numbers[0:3], numbers[3:6], numbers[6:9]]
    R = [numbers[12:15], numbers[15:18], numbers[18:21]]
    offset = [x - c for x, c in zip(X, numbers[21:24])]
    cam = [sum(R[i][j] * offset[i] for i in range(3)) for j in range(3)]
    x, y, w = matmul(K, cam)
    return x / w, y / w
