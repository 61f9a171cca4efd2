// Multi-view stereo: what a hypothesis about the surface at a pixel costs, shared by the sweep and by PatchMatch.
//
// A hypothesis is a plane, kept as the inverse depth w at the pixel centre and its slope (a, b) per pixel: along a plane
// inverse depth is linear in the image. With pixels of another view x' ~ M (x, y, 1) + m w, where M = K' R K^-1 and
// m = K' t, the plane-induced homography is M + m (a, b, c): one rank-one update, no matrix products.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#ifdef __AVX2__
#include <immintrin.h>
#endif

// Mirrored by recon/stereo/native.py; change both. Pointers first, then floats, then ints: no padding between.
extern "C" {
struct ReconStereoView {
    const uint32_t* quads;  // [height, width] from recon_stereo_quads
    const float* planes;    // [height, width, 3] (w, a, b) of this view, or null: no geometric term
    float M[9], m[3];       // pixels of this view from pixels of the reference
    float back_M[9], back_m[3];
    float weight;  // how much this view is worth to begin with
    int32_t width, height;
};

struct ReconStereoJob {
    const uint32_t* quads;
    const ReconStereoView* views;
    const float* prior;  // [height, width] inverse depth believed where the photo is flat; 0 where unknown; or null
    float* planes;       // [height, width, 3], in and out
    float* cost;         // [height, width], out
    float* texture;      // [height, width], out: weighted variance of the window, grey levels squared
    float w_min, w_max, focal;
    float noise;             // variance below which the window counts as flat, grey levels squared
    float geometric_weight;  // cost of disagreeing with the other view's own depth by geometric_px or more
    float geometric_px;
    float prior_weight;
    int32_t width, height, n_views, iterations, seed, random_start, n_threads;
};
}

namespace recon::stereo {

typedef float v8f __attribute__((vector_size(32)));
typedef int32_t v8i __attribute__((vector_size(32)));

constexpr int kMaxViews = 8;
constexpr float kWorst = 2.0f;  // 1 - NCC of opposites; also given where a view cannot see the point
constexpr float kRim = 1.0f;    // pixels: nearer to the other photo's border, too much of the window is guessed
constexpr int kGroups = 4;      // window samples come in groups of eight

// Window: 29 samples of a checkerboard inside a disc of radius sqrt(18), then three of zero weight.
constexpr int kSamples = 29;
struct Pattern {
    v8f dx[kGroups], dy[kGroups], spatial[kGroups];
};

inline Pattern make_pattern() {
    Pattern p{};
    int k = 0;
    for (int dy = -4; dy <= 4; ++dy)
        for (int dx = -4; dx <= 4; ++dx)
            if (((dx + dy) & 1) == 0 && dx * dx + dy * dy <= 18) {
                p.dx[k / 8][k % 8] = static_cast<float>(dx);
                p.dy[k / 8][k % 8] = static_cast<float>(dy);
                p.spatial[k / 8][k % 8] = std::exp(-static_cast<float>(dx * dx + dy * dy) / 32.0f);
                ++k;
            }
    return p;
}

struct Plane {
    float w, a, b;
};

// The window around one pixel of the reference: weights that sum to 1, and weight times centred grey level.
struct Patch {
    v8f weight[kGroups], weighted[kGroups];
    float variance, centre;
};

inline float sum8(v8f v) { return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7])); }

inline v8f min8(v8f a, v8f b) { return a < b ? a : b; }
// NaN goes to `low`: comparisons with it are false.
inline v8f clamp8(v8f x, float low, float high) {
    const v8f lo = low - v8f{}, hi = high - v8f{};
    return min8(x > lo ? x : lo, hi);
}

inline v8i gather(const uint32_t* base, v8i index) {
#ifdef __AVX2__
    return (v8i)_mm256_i32gather_epi32(reinterpret_cast<const int*>(base), (__m256i)index, 4);
#else
    v8i out;
    for (int k = 0; k < 8; ++k) out[k] = static_cast<int32_t>(base[index[k]]);
    return out;
#endif
}

inline v8f to_float(v8i v) { return __builtin_convertvector(v, v8f); }
inline v8i to_int(v8f v) { return __builtin_convertvector(v, v8i); }

// Bilateral weights (closeness in space and in grey level, as in Schönberger et al., ECCV 2016, eq. 9), with a rational
// range kernel instead of an exponential: 1/4 at a difference of `kRange` grey levels.
constexpr float kRange = 25.0f;

inline Patch make_patch(const Pattern& pattern, const uint32_t* quads, int width, int height, int x, int y) {
    Patch patch;
    patch.centre = static_cast<float>(quads[static_cast<int64_t>(y) * width + x] & 255u);
    v8f grey[kGroups], total{}, mean{};
    for (int g = 0; g < kGroups; ++g) {
        const v8f px = pattern.dx[g] + static_cast<float>(x), py = pattern.dy[g] + static_cast<float>(y);
        const v8f cx = clamp8(px, 0, width - 1.0f), cy = clamp8(py, 0, height - 1.0f);
        const v8i inside = (cx == px) & (cy == py);
        grey[g] = to_float(gather(quads, to_int(cy) * width + to_int(cx)) & 255) - patch.centre;
        const v8f near = 1.0f / (1.0f + grey[g] * grey[g] * (1.0f / (kRange * kRange)));
        const v8f weight = pattern.spatial[g] * near * near;
        patch.weight[g] = inside ? weight : v8f{};
        total += patch.weight[g];
        mean += patch.weight[g] * grey[g];
    }
    const float scale = 1.0f / sum8(total), centre = sum8(mean) * scale;
    v8f variance{};
    for (int g = 0; g < kGroups; ++g) {
        patch.weight[g] *= scale;
        const v8f centred = grey[g] - centre;
        patch.weighted[g] = patch.weight[g] * centred;
        variance += patch.weighted[g] * centred;
    }
    patch.variance = sum8(variance);
    return patch;
}

// Position of the plane's point at (px, py) in the view: homogeneous, third coordinate = depth ratio.
inline void transfer(const float* M, const float* m, float px, float py, float w, float* out) {
    for (int r = 0; r < 3; ++r) out[r] = M[3 * r] * px + M[3 * r + 1] * py + M[3 * r + 2] + m[r] * w;
}

// 1 - NCC between the window and its image in `view` under the plane, in [0, 2]. `noise` is added to the covariance and
// to both variances, so that two flat windows match well, and a flat one does not match an edge.
inline float photometric_cost(const Pattern& pattern, const Patch& patch, const ReconStereoView& view, float px,
                              float py, Plane plane, float noise) {
    float at[3];
    transfer(view.M, view.m, px, py, plane.w, at);
    if (!(at[2] > 1e-6f)) return kWorst;
    const float cx = at[0] / at[2], cy = at[1] / at[2];
    if (!(cx >= kRim && cy >= kRim && cx <= view.width - kRim && cy <= view.height - kRim)) return kWorst;
    float ux[3], uy[3];  // how the homogeneous position moves per pixel of the window
    for (int r = 0; r < 3; ++r) {
        ux[r] = view.M[3 * r] + view.m[r] * plane.a;
        uy[r] = view.M[3 * r + 1] + view.m[r] * plane.b;
    }
    v8f mean{}, square{}, cross{};
    for (int g = 0; g < kGroups; ++g) {
        const v8f dx = pattern.dx[g], dy = pattern.dy[g];
        const v8f inverse = 1.0f / (at[2] + dx * ux[2] + dy * uy[2]);
        const v8f x = clamp8((at[0] + dx * ux[0] + dy * uy[0]) * inverse - 0.5f, 0, view.width - 1.0f);
        const v8f y = clamp8((at[1] + dx * ux[1] + dy * uy[1]) * inverse - 0.5f, 0, view.height - 1.0f);
        const v8i ix = to_int(x), iy = to_int(y);
        const v8f fx = x - to_float(ix), fy = y - to_float(iy);
        const v8i quad = gather(view.quads, iy * view.width + ix);
        const v8f v00 = to_float(quad & 255), v01 = to_float((quad >> 8) & 255);
        const v8f v10 = to_float((quad >> 16) & 255), v11 = to_float((quad >> 24) & 255);
        const v8f top = v00 + fx * (v01 - v00), bottom = v10 + fx * (v11 - v10);
        const v8f grey = top + fy * (bottom - top) - patch.centre;
        const v8f weighted = patch.weight[g] * grey;
        mean += weighted;
        square += weighted * grey;
        cross += patch.weighted[g] * grey;
    }
    const float mu = sum8(mean), variance = std::max(0.0f, sum8(square) - mu * mu);
    const float ncc = (sum8(cross) + noise) / std::sqrt((patch.variance + noise) * (variance + noise));
    return std::clamp(1.0f - ncc, 0.0f, kWorst);
}

}  // namespace recon::stereo
