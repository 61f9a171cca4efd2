"""Projection written out point by point in plain Python floats: the truth for recon.geometry."""


def project_point(point, cam_from_world, K):
    """(u, v), z of one world point in one camera."""
    x, y, z = (sum(cam_from_world[i][j] * point[j] for j in range(3)) + cam_from_world[i][3] for i in range(3))
    u = (K[0][0] * x + K[0][1] * y) / z + K[0][2]
    v = K[1][1] * y / z + K[1][2]
    return (u, v), z


def unproject_pixel(u, v, z, cam_from_world, K):
    """World point at pixel position (u, v) and depth z."""
    y = (v - K[1][2]) / K[1][1] * z
    x = (u - K[0][2]) / K[0][0] * z - K[0][1] * y / K[0][0]
    shifted = [x - cam_from_world[0][3], y - cam_from_world[1][3], z - cam_from_world[2][3]]
    return [sum(cam_from_world[i][j] * shifted[i] for i in range(3)) for j in range(3)]  # R^T


def line_distance(F, a, b):
    """Distance of pixel b from the epipolar line of pixel a."""
    line = [F[i][0] * a[0] + F[i][1] * a[1] + F[i][2] for i in range(3)]
    return abs(line[0] * b[0] + line[1] * b[1] + line[2]) / (line[0] ** 2 + line[1] ** 2) ** 0.5
