// Real spherical harmonics up to degree 3 as polynomials of a unit direction, eight directions at a time, in the order
// and with the signs of 3D Gaussian splatting (Y_1 = -sqrt(3 / 4 pi) y, ...).
#pragma once

#include "projection.h"

namespace recon {

constexpr int kMaxBases = 16;

RECON_INLINE int sh_bases(int degree) { return (degree + 1) * (degree + 1); }

struct ShConstants {
    static constexpr float c0 = 0.28209479177387814f;  // 1 / (2 sqrt(pi))
    static constexpr float c1 = 0.4886025119029199f;   // sqrt(3 / (4 pi))
    static constexpr float c2 = 1.0925484305920792f;   // sqrt(15 / (4 pi))
    static constexpr float c20 = 0.31539156525252005f;  // sqrt(5 / (16 pi))
    static constexpr float c22 = 0.5462742152960396f;  // sqrt(15 / (16 pi))
    static constexpr float c30 = 0.3731763325901154f;  // sqrt(7 / (16 pi))
    static constexpr float c31 = 0.4570457994644658f;  // sqrt(21 / (32 pi))
    static constexpr float c32 = 1.445305721320277f;   // sqrt(105 / (16 pi))
    static constexpr float c33 = 0.5900435899266435f;  // sqrt(35 / (32 pi))
};

// basis[k] for k < sh_bases(degree).
RECON_INLINE void sh_basis(int degree, Vec3x8 d, Float8* basis) {
    using S = ShConstants;
    const Float8 x = d.x, y = d.y, z = d.z;
    basis[0] = Float8(S::c0);
    if (degree < 1) return;
    basis[1] = Float8(-S::c1) * y;
    basis[2] = Float8(S::c1) * z;
    basis[3] = Float8(-S::c1) * x;
    if (degree < 2) return;
    const Float8 xx = x * x, yy = y * y, zz = z * z;
    basis[4] = Float8(S::c2) * x * y;
    basis[5] = Float8(-S::c2) * y * z;
    basis[6] = Float8(S::c20) * (Float8(3.0f) * zz - Float8(1.0f));
    basis[7] = Float8(-S::c2) * x * z;
    basis[8] = Float8(S::c22) * (xx - yy);
    if (degree < 3) return;
    const Float8 five_zz = Float8(5.0f) * zz;
    basis[9] = Float8(-S::c33) * y * (Float8(3.0f) * xx - yy);
    basis[10] = Float8(2.0f * S::c32) * x * y * z;
    basis[11] = Float8(-S::c31) * y * (five_zz - Float8(1.0f));
    basis[12] = Float8(S::c30) * z * (five_zz - Float8(3.0f));
    basis[13] = Float8(-S::c31) * x * (five_zz - Float8(1.0f));
    basis[14] = Float8(S::c32) * z * (xx - yy);
    basis[15] = Float8(-S::c33) * x * (xx - Float8(3.0f) * yy);
}

// The gradient of sum_k weight[k] basis[k] with respect to the direction, as if its components were independent.
RECON_INLINE Vec3x8 sh_direction_gradient(int degree, Vec3x8 d, const Float8* weight) {
    using S = ShConstants;
    const Float8 x = d.x, y = d.y, z = d.z;
    Vec3x8 g = {Float8(0.0f), Float8(0.0f), Float8(0.0f)};
    if (degree < 1) return g;
    g.x -= Float8(S::c1) * weight[3];
    g.y -= Float8(S::c1) * weight[1];
    g.z += Float8(S::c1) * weight[2];
    if (degree < 2) return g;
    const Float8 w4 = Float8(S::c2) * weight[4], w5 = Float8(-S::c2) * weight[5];
    const Float8 w7 = Float8(-S::c2) * weight[7], w8 = Float8(2.0f * S::c22) * weight[8];
    g.x += w4 * y + w7 * z + w8 * x;
    g.y += w4 * x + w5 * z - w8 * y;
    g.z += w5 * y + w7 * x + Float8(6.0f * S::c20) * weight[6] * z;
    if (degree < 3) return g;
    const Float8 xx = x * x, yy = y * y, zz = z * z, six(6.0f), three(3.0f);
    const Float8 five_zz_1 = Float8(5.0f) * zz - Float8(1.0f), ten_z = Float8(10.0f) * z;
    const Float8 w9 = Float8(-S::c33) * weight[9], w10 = Float8(2.0f * S::c32) * weight[10];
    const Float8 w11 = Float8(-S::c31) * weight[11], w12 = Float8(S::c30) * weight[12];
    const Float8 w13 = Float8(-S::c31) * weight[13], w14 = Float8(S::c32) * weight[14];
    const Float8 w15 = Float8(-S::c33) * weight[15];
    g.x += w9 * six * x * y + w10 * y * z + w13 * five_zz_1 + w14 * Float8(2.0f) * x * z + w15 * three * (xx - yy);
    g.y += w9 * three * (xx - yy) + w10 * x * z + w11 * five_zz_1 - w14 * Float8(2.0f) * y * z - w15 * six * x * y;
    g.z += w10 * x * y + w11 * ten_z * y + w12 * three * five_zz_1 + w13 * ten_z * x + w14 * (xx - yy);
    return g;
}

}  // namespace recon
