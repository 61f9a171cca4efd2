// PatchMatch multi-view stereo for one reference view.
//
// Red-black propagation with adaptive sampling and per-pixel view weights follows ACMH (Xu and Tao, CVPR 2019), the
// geometric term ACMM (same paper, eq. 9). Ours: planes as inverse depth with slopes, steps measured in pixels of the
// other views, weights from the two best costs instead of counts, and a prior that speaks where the photo is flat.
// Every pixel reads only pixels of the other colour, so the result does not depend on the number of threads.
#include "stereo_cost.h"
#include "threads.h"

namespace recon::stereo {
namespace {

constexpr float kSteepest = 5.0f;      // largest slope: tangent of the angle between surface normal and optical axis
constexpr float kViewSigma = 0.35f;    // cost at which a view has lost most of its say
constexpr float kLeastWeight = 1e-3f;  // no view is ever silenced: all may be bad
constexpr int kAskedViews = 3;
constexpr float kSeenWell = 0.25f, kNotSeen = 0.8f;
constexpr float kSamePixels = 0.1f;   // hypotheses closer than this in every view are one
constexpr float kSameSlope = 0.1f;
constexpr int kMaxCandidates = 11;

// Counter-based random numbers (PCG output hash): the same for any order of visits.
struct Random {
    uint32_t state;
    float uniform() {  // [-1, 1)
        state = state * 747796405u + 2891336453u;
        uint32_t word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
        word = (word >> 22u) ^ word;
        return static_cast<float>(word >> 8) * (2.0f / 16777216.0f) - 1.0f;
    }
};

// The strips of ACMH's adaptive checkerboard: four V-shaped near ones and four long far ones. All offsets are odd in
// Manhattan distance, that is of the other colour.
struct Offset {
    int8_t x, y;
};
constexpr Offset kNear[7] = {{0, -1}, {-1, -2}, {1, -2}, {-2, -3}, {2, -3}, {-3, -4}, {3, -4}};
constexpr Offset kFar[8] = {{0, -3}, {0, -5}, {0, -7}, {0, -9}, {0, -13}, {0, -17}, {0, -21}, {0, -25}};

Offset turned(Offset o, int quarter) {
    switch (quarter) {
        case 0: return o;
        case 1: return {static_cast<int8_t>(-o.y), o.x};
        case 2: return {static_cast<int8_t>(-o.x), static_cast<int8_t>(-o.y)};
        default: return {o.y, static_cast<int8_t>(-o.x)};
    }
}

class Matcher {
  public:
    explicit Matcher(const ReconStereoJob& job) : job_(job), pattern_(make_pattern()) {}

    // One half-iteration over rows [begin, end): pixels of one colour.
    void sweep(int64_t begin, int64_t end, int iteration, int colour, bool first_costs) const {
        for (int y = static_cast<int>(begin); y < end; ++y)
            for (int x = (y + colour) & 1; x < job_.width; x += 2) {
                if (first_costs)
                    start(x, y);
                else
                    visit(x, y, iteration);
            }
    }

  private:
    struct Site {  // what stays the same for all hypotheses of a pixel
        Patch patch;
        float px, py, pixels_per_w, prior, prior_weight, view_weight[kMaxViews];
    };

    const ReconStereoJob& job_;
    const Pattern pattern_;

    int64_t index(int x, int y) const { return static_cast<int64_t>(y) * job_.width + x; }
    Plane load(int64_t p) const { return {job_.planes[3 * p], job_.planes[3 * p + 1], job_.planes[3 * p + 2]}; }
    void store(int64_t p, Plane plane, float cost) const {
        job_.planes[3 * p] = plane.w;
        job_.planes[3 * p + 1] = plane.a;
        job_.planes[3 * p + 2] = plane.b;
        job_.cost[p] = cost;
    }

    bool allowed(Plane plane) const {
        const float steepest = kSteepest * plane.w / job_.focal;
        return plane.w >= job_.w_min && plane.w <= job_.w_max &&
               plane.a * plane.a + plane.b * plane.b <= steepest * steepest;
    }

    // Fastest motion of the point in any view, pixels per unit of inverse depth.
    float speed(float px, float py, float w) const {
        float fastest = 1e-6f;
        for (int j = 0; j < job_.n_views; ++j) {
            const ReconStereoView& view = job_.views[j];
            float at[3];
            transfer(view.M, view.m, px, py, w, at);
            if (!(at[2] > 1e-6f)) continue;
            const float vx = (view.m[0] - at[0] / at[2] * view.m[2]) / at[2];
            const float vy = (view.m[1] - at[1] / at[2] * view.m[2]) / at[2];
            fastest = std::max(fastest, std::sqrt(vx * vx + vy * vy));
        }
        return fastest;
    }

    Site make_site(int x, int y, float w) const {
        Site site;
        site.patch = make_patch(pattern_, job_.quads, job_.width, job_.height, x, y);
        site.px = x + 0.5f;
        site.py = y + 0.5f;
        site.pixels_per_w = speed(site.px, site.py, w);
        site.prior = job_.prior ? job_.prior[index(x, y)] : 0.0f;
        const float flat = 4 * job_.noise;
        site.prior_weight = site.prior > 0 ? job_.prior_weight * (0.1f + flat / (site.patch.variance + flat)) : 0.0f;
        job_.texture[index(x, y)] = site.patch.variance;
        return site;
    }

    // Forward-backward reprojection error against the other view's own planes, as a cost.
    float geometric_cost(const ReconStereoView& view, float px, float py, float w) const {
        float at[3], back[3];
        transfer(view.M, view.m, px, py, w, at);
        if (!(at[2] > 1e-6f)) return job_.geometric_weight;
        const float qx = at[0] / at[2], qy = at[1] / at[2];
        if (!(qx >= 0 && qy >= 0 && qx < view.width && qy < view.height)) return job_.geometric_weight;
        const int ix = static_cast<int>(qx), iy = static_cast<int>(qy);
        const float* plane = view.planes + 3 * (static_cast<int64_t>(iy) * view.width + ix);
        const float other = plane[0] + plane[1] * (qx - ix - 0.5f) + plane[2] * (qy - iy - 0.5f);
        transfer(view.back_M, view.back_m, qx, qy, other, back);
        if (!(back[2] > 1e-6f)) return job_.geometric_weight;
        const float dx = back[0] / back[2] - px, dy = back[1] / back[2] - py;
        return job_.geometric_weight * std::min(std::sqrt(dx * dx + dy * dy) / job_.geometric_px, 1.0f);
    }

    void view_costs(const Site& site, Plane plane, float* costs, unsigned skip = 0) const {
        for (int j = 0; j < job_.n_views; ++j)
            costs[j] = skip >> j & 1 ? 1.0f : photometric_cost(pattern_, site.patch, job_.views[j], site.px, site.py, plane, job_.noise);
    }

    float pooled(const Site& site, Plane plane, const float* costs) const {
        float total = 0;
        for (int j = 0; j < job_.n_views; ++j) {
            float cost = costs[j];
            if (job_.views[j].planes) cost += geometric_cost(job_.views[j], site.px, site.py, plane.w);
            total += site.view_weight[j] * cost;
        }
        if (site.prior_weight > 0)
            total += site.prior_weight * std::min(std::abs(plane.w - site.prior) * site.pixels_per_w * 0.5f, 1.0f);
        return total;
    }

    float evaluate(const Site& site, Plane plane) const {
        float costs[kMaxViews];
        for (int j = 0; j < job_.n_views; ++j)
            costs[j] = site.view_weight[j] > 0.02f ? photometric_cost(pattern_, site.patch, job_.views[j], site.px,
                                                                      site.py, plane, job_.noise)
                                                   : 1.0f;
        return pooled(site, plane, costs);
    }

    // Views not worth asking about other planes: all but the best few under the present plane, and those that do not
    // see the point at all although another sees it well.
    unsigned hopeless(const float* costs) const {
        float ranked[kMaxViews];
        std::copy(costs, costs + job_.n_views, ranked);
        std::sort(ranked, ranked + job_.n_views);
        float limit = ranked[0] < kSeenWell ? kNotSeen : kWorst;
        if (job_.n_views > kAskedViews) limit = std::min(limit, ranked[kAskedViews - 1]);
        unsigned skip = 0;
        for (int j = 0; j < job_.n_views; ++j) skip |= static_cast<unsigned>(costs[j] > limit) << j;
        return skip;
    }

    // A view is worth what its two best hypotheses cost there: one may be luck.
    void weigh_views(Site& site, const float (*costs)[kMaxViews], int n) const {
        float sum = 0;
        for (int j = 0; j < job_.n_views; ++j) {
            float first = kWorst, second = kWorst;
            for (int h = 0; h < n; ++h) {
                second = std::min(second, std::max(first, costs[h][j]));
                first = std::min(first, costs[h][j]);
            }
            const float score = (n > 1 ? 0.5f * (first + second) : first) / kViewSigma;
            site.view_weight[j] = job_.views[j].weight * (std::exp(-0.5f * score * score) + kLeastWeight);
            sum += site.view_weight[j];
        }
        for (int j = 0; j < job_.n_views; ++j) site.view_weight[j] /= sum;
    }

    bool is_new(const Site& site, Plane plane, const Plane* known, int n) const {
        for (int h = 0; h < n; ++h) {
            const float slope = kSameSlope * known[h].w / job_.focal;
            if (std::abs(plane.w - known[h].w) * site.pixels_per_w < kSamePixels &&
                std::abs(plane.a - known[h].a) < slope && std::abs(plane.b - known[h].b) < slope)
                return false;
        }
        return true;
    }

    // The cheapest plane of a strip, extended to this pixel.
    template <int N>
    bool best_of_strip(const Offset (&strip)[N], int quarter, int x, int y, Plane& plane) const {
        float lowest = 1e9f;
        int found_x = 0, found_y = 0;
        for (const Offset& offset : strip) {
            const Offset o = turned(offset, quarter);
            const int qx = x + o.x, qy = y + o.y;
            if (qx < 0 || qy < 0 || qx >= job_.width || qy >= job_.height) continue;
            const float cost = job_.cost[index(qx, qy)];
            if (cost < lowest) lowest = cost, found_x = qx, found_y = qy;
        }
        if (lowest > 1e8f) return false;
        plane = load(index(found_x, found_y));
        plane.w += plane.a * (x - found_x) + plane.b * (y - found_y);
        return allowed(plane);
    }

    int gather_candidates(const Site& site, int x, int y, Plane* planes) const {
        int n = 0;
        planes[n++] = load(index(x, y));
        const auto add = [&](Plane plane) {
            if (allowed(plane) && is_new(site, plane, planes, n)) planes[n++] = plane;
        };
        Plane plane;
        for (int quarter = 0; quarter < 4; ++quarter) {
            if (best_of_strip(kNear, quarter, x, y, plane)) add(plane);
            if (best_of_strip(kFar, quarter, x, y, plane)) add(plane);
        }
        if (site.prior > 0) add({site.prior, planes[0].a, planes[0].b});
        return n;
    }

    // Slope of the inverse depths around the pixel (neighbours of the other colour), around depth `w`.
    Plane with_slope_of_neighbours(int x, int y, Plane plane) const {
        if (x < 1 || y < 1 || x + 1 >= job_.width || y + 1 >= job_.height) return plane;
        const float *w = job_.planes, left = w[3 * index(x - 1, y)], right = w[3 * index(x + 1, y)];
        const float up = w[3 * index(x, y - 1)], down = w[3 * index(x, y + 1)];
        return {plane.w, 0.5f * (right - left), 0.5f * (down - up)};
    }

    void start(int x, int y) const {
        const int64_t p = index(x, y);
        Plane plane = load(p);
        plane.w = std::clamp(plane.w, job_.w_min, job_.w_max);
        if (!allowed(plane)) plane.a = plane.b = 0;
        Site site = make_site(x, y, plane.w);
        float costs[1][kMaxViews];
        view_costs(site, plane, costs[0]);
        weigh_views(site, costs, 1);
        store(p, plane, pooled(site, plane, costs[0]));
    }

    void visit(int x, int y, int iteration) const {
        const int64_t p = index(x, y);
        Site site = make_site(x, y, load(p).w);
        Plane planes[kMaxCandidates];
        float costs[kMaxCandidates][kMaxViews];
        const int n = gather_candidates(site, x, y, planes);
        view_costs(site, planes[0], costs[0]);
        const unsigned skip = hopeless(costs[0]);
        for (int h = 1; h < n; ++h) view_costs(site, planes[h], costs[h], skip);
        weigh_views(site, costs, n);
        Plane best = planes[0];
        float lowest = pooled(site, best, costs[0]);
        for (int h = 1; h < n; ++h) {
            const float cost = pooled(site, planes[h], costs[h]);
            if (cost < lowest) lowest = cost, best = planes[h];
        }
        refine(site, x, y, iteration, best, lowest);
        store(p, best, lowest);
    }

    // Tries around the best plane: depth, slope, both; steps shrink with the iterations.
    void refine(const Site& site, int x, int y, int iteration, Plane& best, float& lowest) const {
        Random random{static_cast<uint32_t>(index(x, y)) * 2654435761u ^
                      static_cast<uint32_t>(job_.seed + 7919 * iteration + 1) * 2246822519u};
        random.uniform();
        const auto attempt = [&](Plane plane) {
            if (!allowed(plane)) return;
            const float cost = evaluate(site, plane);
            if (cost < lowest) lowest = cost, best = plane;
        };
        const float shrink = 1.0f / (1 << std::min(iteration, 4));
        const float step = 2.0f * shrink / site.pixels_per_w;
        const auto tilt = [&](float size) {
            const float unit = size * best.w / job_.focal;
            return Plane{best.w, best.a + unit * random.uniform(), best.b + unit * random.uniform()};
        };
        if (iteration < job_.random_start) {
            const float w = job_.w_min + (job_.w_max - job_.w_min) * 0.5f * (1.0f + random.uniform());
            attempt({w, w / job_.focal * random.uniform(), w / job_.focal * random.uniform()});
        }
        attempt(with_slope_of_neighbours(x, y, best));
        attempt({best.w + step * random.uniform(), best.a, best.b});
        attempt(tilt(1.5f * shrink));
        Plane both = tilt(0.7f * shrink);
        both.w += 0.4f * step * random.uniform();
        attempt(both);
        attempt({best.w + 0.2f * step * random.uniform(), best.a, best.b});
    }
};

}  // namespace
}  // namespace recon::stereo

using namespace recon;
using namespace recon::stereo;

// Improves job->planes by `iterations` red-black rounds and fills job->cost and job->texture. Returns 0; 1 when a limit
// was exceeded; 2 when a thread could not be had.
RECON_API int recon_stereo_patchmatch(const ReconStereoJob* job) {
    if (job->n_views < 1 || job->n_views > kMaxViews || job->width < 1 || job->height < 1) return 1;
    try {
        const Matcher matcher(*job);
        for (int iteration = -1; iteration < job->iterations; ++iteration)
            for (int colour = 0; colour < 2; ++colour)
                parallel_for(job->n_threads, job->height, 4, [&](int64_t begin, int64_t end, int) {
                    matcher.sweep(begin, end, std::max(iteration, 0), colour, iteration < 0);
                });
        return 0;
    } catch (...) {
        return 2;
    }
}

// The cost of given planes in each view, [height, width, n_views]: for tests and for judging a depth map from outside.
RECON_API int recon_stereo_costs(const ReconStereoJob* job, float* costs) {
    if (job->n_views < 1 || job->n_views > kMaxViews) return 1;
    const Pattern pattern = make_pattern();
    for (int y = 0; y < job->height; ++y)
        for (int x = 0; x < job->width; ++x) {
            const int64_t p = static_cast<int64_t>(y) * job->width + x;
            const Patch patch = make_patch(pattern, job->quads, job->width, job->height, x, y);
            const Plane plane{job->planes[3 * p], job->planes[3 * p + 1], job->planes[3 * p + 2]};
            for (int j = 0; j < job->n_views; ++j)
                costs[p * job->n_views + j] =
                    photometric_cost(pattern, patch, job->views[j], x + 0.5f, y + 0.5f, plane, job->noise);
        }
    return 0;
}
