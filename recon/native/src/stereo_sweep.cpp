// Start of the stereo: fronto-parallel plane sweep and semi-global matching at a coarse size.
//
// The sweep costs are those of PatchMatch; the eight-path aggregation is Hirschmüller's (PAMI 2008, eq. 13), with the
// large jump made cheaper across edges of the photo.
#include <utility>
#include <vector>

#include "stereo_cost.h"
#include "threads.h"

namespace recon::stereo {
namespace {

// With few views a point is often hidden in some: believe the better ones, but let all speak.
float pool_views(float* costs, int n) {
    for (int i = 1; i < n; ++i)
        for (int k = i; k > 0 && costs[k] < costs[k - 1]; --k) std::swap(costs[k], costs[k - 1]);
    const int kept = (n + 1) / 2;
    float best = 0, all = 0;
    for (int j = 0; j < n; ++j) {
        if (j < kept) best += costs[j];
        all += costs[j];
    }
    return 0.75f * best / kept + 0.25f * all / n;
}

void fill_volume(const ReconStereoJob& job, const float* inverse_depths, int n_planes, float* volume) {
    const Pattern pattern = make_pattern();
    parallel_for(job.n_threads, job.height, 4, [&](int64_t begin, int64_t end, int) {
        for (int64_t y = begin; y < end; ++y)
            for (int x = 0; x < job.width; ++x) {
                const Patch patch = make_patch(pattern, job.quads, job.width, job.height, x, static_cast<int>(y));
                job.texture[y * job.width + x] = patch.variance;
                float* out = volume + (y * job.width + x) * n_planes;
                for (int d = 0; d < n_planes; ++d) {
                    float costs[kMaxViews];
                    for (int j = 0; j < job.n_views; ++j)
                        costs[j] = photometric_cost(pattern, patch, job.views[j], x + 0.5f, y + 0.5f,
                                                    {inverse_depths[d], 0, 0}, job.noise);
                    out[d] = std::min(pool_views(costs, job.n_views), 1.0f);
                }
            }
    });
}

// One path step: L(p, d) = C(p, d) + min(L(q, d), L(q, d +- 1) + P1, min L(q) + P2) - min L(q).
void path_step(const float* cost, const float* previous, float* current, float* total, int n, float p1, float p2) {
    float lowest = previous[0];
    for (int d = 1; d < n; ++d) lowest = std::min(lowest, previous[d]);
    for (int d = 0; d < n; ++d) {
        // previous has a large value before its first and after its last entry
        const float step = std::min(previous[d - 1], previous[d + 1]) + p1;
        const float best = std::min(std::min(previous[d], step), lowest + p2);
        current[d] = cost[d] + best - lowest;
        total[d] += current[d];
    }
}

struct Penalties {
    float small, large;
};

void aggregate_path(const ReconStereoJob& job, const float* volume, int n, int step_x, int step_y, Penalties penalty,
                    float* total) {
    const int width = job.width, height = job.height, stride = n + 2;
    const float outside = 1e6f;
    std::vector<float> rows(2 * static_cast<size_t>(width) * stride, outside);
    float* last = rows.data() + 1;
    float* row = last + static_cast<int64_t>(width) * stride;
    const bool down = step_y > 0 || (step_y == 0 && step_x > 0);
    for (int i = 0; i < height; ++i, std::swap(last, row)) {
        const int y = down ? i : height - 1 - i;
        for (int k = 0; k < width; ++k) {
            const int x = (step_x > 0 || (step_x == 0 && down)) ? k : width - 1 - k;
            const int qx = x - step_x, qy = y - step_y;
            const int64_t p = static_cast<int64_t>(y) * width + x;
            float* current = row + static_cast<int64_t>(x) * stride;
            if (qx < 0 || qy < 0 || qx >= width || qy >= height) {
                for (int d = 0; d < n; ++d) total[p * n + d] += current[d] = volume[p * n + d];
                continue;
            }
            const float* previous = (step_y == 0 ? row : last) + static_cast<int64_t>(qx) * stride;
            const int64_t q = static_cast<int64_t>(qy) * width + qx;
            const float edge = std::abs(static_cast<float>(job.quads[p] & 255u) - (job.quads[q] & 255u));
            const float large = std::max(penalty.large / (1.0f + edge / 10.0f), 1.5f * penalty.small);
            path_step(volume + p * n, previous, current, total + p * n, n, penalty.small, large);
        }
    }
}

// Lowest plane with a parabola through its neighbours.
float refined_minimum(const float* total, const float* inverse_depths, int n) {
    const int d = static_cast<int>(std::min_element(total, total + n) - total);
    if (d == 0 || d == n - 1) return inverse_depths[d];
    const float curvature = total[d - 1] - 2 * total[d] + total[d + 1];
    const float shift = curvature > 1e-9f ? 0.5f * (total[d - 1] - total[d + 1]) / curvature : 0.0f;
    const float to = shift > 0 ? inverse_depths[d + 1] : inverse_depths[d - 1];
    return inverse_depths[d] + std::abs(shift) * (to - inverse_depths[d]);
}

}  // namespace
}  // namespace recon::stereo

using namespace recon;
using namespace recon::stereo;

// Packs each pixel with its right, lower and lower-right neighbour (edges repeated) into one word, so that a bilinear
// sample is a single load.
RECON_API void recon_stereo_quads(const uint8_t* grey, int32_t width, int32_t height, uint32_t* quads) {
    for (int y = 0; y < height; ++y) {
        const uint8_t* row = grey + static_cast<int64_t>(y) * width;
        const uint8_t* below = y + 1 < height ? row + width : row;
        for (int x = 0; x < width; ++x) {
            const int right = x + 1 < width ? x + 1 : x;
            quads[static_cast<int64_t>(y) * width + x] = static_cast<uint32_t>(row[x]) | row[right] << 8 |
                                                         below[x] << 16 | static_cast<uint32_t>(below[right]) << 24;
        }
    }
}

// Fills job->planes (zero slope), job->cost (the winner's own matching cost) and job->texture. Returns 0, or 1 when
// memory ran out.
RECON_API int recon_stereo_sweep(const ReconStereoJob* job, const float* inverse_depths, int32_t n_planes,
                                 float small_jump, float large_jump) {
    try {
        const int64_t pixels = static_cast<int64_t>(job->width) * job->height;
        std::vector<float> volume(pixels * n_planes);
        fill_volume(*job, inverse_depths, n_planes, volume.data());
        // Two halves of the eight paths in parallel, each into its own sum.
        std::vector<float> totals[2];
        parallel_for(std::min(job->n_threads, 2), 2, 1, [&](int64_t begin, int64_t end, int) {
            static const int steps[8][2] = {{1, 0}, {0, 1}, {1, 1}, {-1, 1}, {-1, 0}, {0, -1}, {-1, -1}, {1, -1}};
            for (int64_t half = begin; half < end; ++half) {
                totals[half].assign(volume.size(), 0.0f);
                for (int s = 0; s < 4; ++s)
                    aggregate_path(*job, volume.data(), n_planes, steps[4 * half + s][0], steps[4 * half + s][1],
                                   {small_jump, large_jump}, totals[half].data());
            }
        });
        for (int64_t p = 0; p < pixels; ++p) {
            float* total = totals[0].data() + p * n_planes;
            for (int d = 0; d < n_planes; ++d) total[d] += totals[1][p * n_planes + d];
            const int64_t best = std::min_element(total, total + n_planes) - total;
            job->planes[3 * p] = refined_minimum(total, inverse_depths, n_planes);
            job->planes[3 * p + 1] = job->planes[3 * p + 2] = 0;
            job->cost[p] = volume[p * n_planes + best];
        }
        return 0;
    } catch (...) {
        return 1;
    }
}
