// The projection of eight Gaussians at a time, shared by the forward and the backward pass.
//
// EWA splatting (Zwicker et al. 2001): cov2d = J W Sigma W^T J^T + eps2d I. With Sigma = (R S)(R S)^T this is
// T T^T + eps2d I for the 2x3 matrix T = J W R S, whose rows t0, t1 are kept: the determinant of T T^T is then
// |t0 x t1|^2, which does not cancel for needles as a c - b^2 does.
#pragma once

#include "raster.h"

namespace recon {

// Eight lanes of an array of small structs: value k of the struct at each of eight indices.
struct Lanes {
    int64_t index[kLanes];
    int count;  // lanes in use; the others repeat a valid index

    RECON_INLINE Float8 gather(const float* base, int64_t stride, int k) const {
        float v[kLanes];
        for (int lane = 0; lane < kLanes; ++lane) v[lane] = base[index[lane] * stride + k];
        return Float8::load(v);
    }
};

struct Vec3x8 {
    Float8 x, y, z;
};
RECON_INLINE Vec3x8 operator*(Vec3x8 a, Float8 s) { return {a.x * s, a.y * s, a.z * s}; }
RECON_INLINE Vec3x8 operator+(Vec3x8 a, Vec3x8 b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
RECON_INLINE Vec3x8 operator-(Vec3x8 a, Vec3x8 b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
RECON_INLINE Float8 dot(Vec3x8 a, Vec3x8 b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
RECON_INLINE Vec3x8 cross(Vec3x8 a, Vec3x8 b) {
    return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}
RECON_INLINE Vec3x8 multiply(Vec3x8 a, Vec3x8 b) { return {a.x * b.x, a.y * b.y, a.z * b.z}; }
RECON_INLINE Vec3x8 gather3(const Lanes& lanes, const float* base, int64_t stride, int k) {
    return {lanes.gather(base, stride, k), lanes.gather(base, stride, k + 1), lanes.gather(base, stride, k + 2)};
}

struct CameraModel {
    float W[3][3], t[3];
    float fx, fy, cx, cy;
    // Slopes x/z and y/z are clamped this far outside the image before linearising, as gsplat does: the affine
    // approximation would explode there.
    float min_rx, max_rx, min_ry, max_ry;

    explicit CameraModel(const Args& args) {
        for (int i = 0; i < 3; ++i) {
            for (int j = 0; j < 3; ++j) W[i][j] = args.viewmat[4 * i + j];
            t[i] = args.viewmat[4 * i + 3];
        }
        fx = args.K[0], fy = args.K[4], cx = args.K[2], cy = args.K[5];
        const float margin_x = 0.15f * args.width / fx, margin_y = 0.15f * args.height / fy;
        min_rx = -(cx / fx + margin_x), max_rx = (args.width - cx) / fx + margin_x;
        min_ry = -(cy / fy + margin_y), max_ry = (args.height - cy) / fy + margin_y;
    }
    RECON_INLINE Vec3x8 row(int i) const { return {Float8(W[i][0]), Float8(W[i][1]), Float8(W[i][2])}; }
};

struct Projection {
    Vec3x8 mean;             // in the world
    Vec3x8 scale;
    Float8 qw, qx, qy, qz;   // normalised
    Float8 inv_q_norm;
    Vec3x8 cam;              // mean in the camera
    Float8 inv_z, rx, ry;    // rx, ry clamped
    Vec3x8 R0, R1, R2;       // rows of the Gaussian's rotation
    Vec3x8 P0, P1, P2;       // rows of W R
    Vec3x8 q0, q1;           // rows of J W R up to focal / z
    Vec3x8 t0, t1;           // rows of J W R S
    Float8 a, b, c;          // cov2d with the blur
    Float8 det0, det;        // determinants without and with the blur
    Float8 mx, my;           // centre in pixels
};

RECON_INLINE Projection project_lanes(const CameraModel& camera, const Args& args, const Lanes& lanes) {
    Projection p;
    p.mean = gather3(lanes, args.means, 3, 0);
    p.scale = gather3(lanes, args.scales, 3, 0);
    p.cam = {dot(camera.row(0), p.mean) + Float8(camera.t[0]), dot(camera.row(1), p.mean) + Float8(camera.t[1]),
             dot(camera.row(2), p.mean) + Float8(camera.t[2])};

    const Float8 w = lanes.gather(args.quats, 4, 0), x = lanes.gather(args.quats, 4, 1);
    const Float8 y = lanes.gather(args.quats, 4, 2), z = lanes.gather(args.quats, 4, 3);
    // The floor is that of torch's normalize: a zero quaternion stays zero instead of turning into NaN.
    p.inv_q_norm = Float8(1.0f) / max(sqrt(w * w + x * x + y * y + z * z), Float8(1e-12f));
    p.qw = w * p.inv_q_norm, p.qx = x * p.inv_q_norm, p.qy = y * p.inv_q_norm, p.qz = z * p.inv_q_norm;
    const Float8 one(1.0f), two(2.0f);
    p.R0 = {one - two * (p.qy * p.qy + p.qz * p.qz), two * (p.qx * p.qy - p.qw * p.qz),
            two * (p.qx * p.qz + p.qw * p.qy)};
    p.R1 = {two * (p.qx * p.qy + p.qw * p.qz), one - two * (p.qx * p.qx + p.qz * p.qz),
            two * (p.qy * p.qz - p.qw * p.qx)};
    p.R2 = {two * (p.qx * p.qz - p.qw * p.qy), two * (p.qy * p.qz + p.qw * p.qx),
            one - two * (p.qx * p.qx + p.qy * p.qy)};
    const auto row_of_WR = [&](int i) {
        return p.R0 * Float8(camera.W[i][0]) + p.R1 * Float8(camera.W[i][1]) + p.R2 * Float8(camera.W[i][2]);
    };
    p.P0 = row_of_WR(0), p.P1 = row_of_WR(1), p.P2 = row_of_WR(2);

    p.inv_z = one / p.cam.z;
    p.rx = min(max(p.cam.x * p.inv_z, Float8(camera.min_rx)), Float8(camera.max_rx));
    p.ry = min(max(p.cam.y * p.inv_z, Float8(camera.min_ry)), Float8(camera.max_ry));
    p.q0 = p.P0 - p.P2 * p.rx;
    p.q1 = p.P1 - p.P2 * p.ry;
    p.t0 = multiply(p.q0, p.scale) * (Float8(camera.fx) * p.inv_z);
    p.t1 = multiply(p.q1, p.scale) * (Float8(camera.fy) * p.inv_z);

    const Float8 eps(args.eps2d);
    const Float8 a0 = dot(p.t0, p.t0), c0 = dot(p.t1, p.t1);
    const Vec3x8 normal = cross(p.t0, p.t1);
    p.b = dot(p.t0, p.t1);
    p.a = a0 + eps, p.c = c0 + eps;
    p.det0 = dot(normal, normal);
    p.det = p.det0 + eps * (a0 + c0 + eps);
    p.mx = Float8(camera.fx) * p.cam.x * p.inv_z + Float8(camera.cx);
    p.my = Float8(camera.fy) * p.cam.y * p.inv_z + Float8(camera.cy);
    return p;
}

}  // namespace recon
