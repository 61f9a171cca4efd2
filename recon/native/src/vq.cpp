// The nearest of many centres, for vector quantisation: a matrix product whose result is compared as it is made and
// never stored.
//
// |x - c|^2 = |x|^2 + 2 (|c|^2 / 2 - x.c), so the centre with the least |c|^2 / 2 - x.c is the nearest. Centres are packed
// into panels of 16 with dimensions outermost; a few points at a time meet a panel in registers.
#include "simd.h"
#include "threads.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

namespace {

using recon::Float8;
using recon::Int8;

constexpr int kPanel = 2 * recon::kLanes;
#if defined(__AVX2__)
constexpr int kRows = 6;  // 12 sums, 2 loads and a broadcast fill the 16 registers
#else
constexpr int kRows = 2;
#endif
constexpr int64_t kBlock = 64 * kRows;  // points that share a panel while it is in the first cache
constexpr float kFar = std::numeric_limits<float>::infinity();

// `count` rows of `centers` named by `ids` (all in order if null), packed; what fills the last panel is infinitely far.
struct Panels {
    int64_t dims = 0, count = 0;
    std::vector<float> values, half_norms;

    int64_t size() const { return (count + kPanel - 1) / kPanel; }
    const float* panel(int64_t p) const { return values.data() + p * dims * kPanel; }

    void pack(const float* centers, int64_t d, const int32_t* ids, int64_t n) {
        dims = d;
        count = n;
        values.assign(static_cast<size_t>(size() * dims * kPanel), 0.0f);
        half_norms.assign(static_cast<size_t>(size() * kPanel), kFar);
        for (int64_t i = 0; i < n; ++i) {
            const float* row = centers + (ids ? ids[i] : i) * dims;
            float* out = values.data() + i / kPanel * dims * kPanel + i % kPanel;
            double norm = 0;
            for (int64_t k = 0; k < dims; ++k) {
                out[k * kPanel] = row[k];
                norm += static_cast<double>(row[k]) * row[k];
            }
            half_norms[i] = static_cast<float>(norm / 2);
        }
    }
};

// The best so far of kRows points, per lane.
struct Best {
    Float8 score[kRows][2];
    Int8 panel[kRows][2];
    void reset() {
        for (int r = 0; r < kRows; ++r)
            for (int v = 0; v < 2; ++v) {
                score[r][v] = Float8(kFar);
                panel[r][v] = Int8(0);
            }
    }
};

inline Int8 choose(Int8 mask, Int8 yes, Int8 no) {
    return recon::bits(recon::select(mask, recon::from_bits(yes), recon::from_bits(no)));
}

// Scores of kRows points against one panel.
RECON_INLINE void score(const float* const rows[kRows], const float* panel, const float* half_norms, int64_t dims,
                        Float8 out[kRows][2]) {
    for (int r = 0; r < kRows; ++r) {
        out[r][0] = Float8::load(half_norms);
        out[r][1] = Float8::load(half_norms + recon::kLanes);
    }
    for (int64_t k = 0; k < dims; ++k) {
        const Float8 a = Float8::load(panel + k * kPanel), b = Float8::load(panel + k * kPanel + recon::kLanes);
        for (int r = 0; r < kRows; ++r) {
            const Float8 x(rows[r][k]);
            out[r][0] -= x * a;
            out[r][1] -= x * b;
        }
    }
}

// Rows of `points`, all in order or those that `ids` names.
struct Rows {
    const float* points;
    const int64_t* ids;
    int64_t first, last, dims;
    int64_t id(int64_t i) const { return ids ? ids[i] : i; }
    const float* row(int64_t i) const { return points + id(std::min(i, last - 1)) * dims; }
};

// Calls visit(first, panel, scores) for every kRows of the points and every panel, panel by panel.
template <class Visit>
void for_each_score(const Rows& points, const Panels& centers, const Visit& visit) {
    for (int64_t p = 0; p < centers.size(); ++p)
        for (int64_t i = points.first; i < points.last; i += kRows) {
            const float* rows[kRows];
            for (int r = 0; r < kRows; ++r) rows[r] = points.row(i + r);
            Float8 scores[kRows][2];
            score(rows, centers.panel(p), centers.half_norms.data() + p * kPanel, centers.dims, scores);
            visit(i, p, scores);
        }
}

// The best centre of one point, the first of equals.
int64_t settle(const Best& b, int64_t r) {
    float least = kFar;
    int64_t label = 0;
    for (int lane = 0; lane < kPanel; ++lane) {
        const int v = lane / recon::kLanes, l = lane % recon::kLanes;
        const float s = b.score[r][v][l];
        const int64_t index = static_cast<int64_t>(b.panel[r][v][l]) * kPanel + lane;
        if (s < least || (s == least && index < label)) {
            least = s;
            label = index;
        }
    }
    return label;
}

// done(i, index): the index, within `centers`, of the one nearest to each of the points.
template <class Done>
void nearest(const Rows& points, const Panels& centers, std::vector<Best>& best, const Done& done) {
    best.resize(static_cast<size_t>((points.last - points.first + kRows - 1) / kRows));
    for (Best& b : best) b.reset();
    for_each_score(points, centers, [&](int64_t i, int64_t p, const Float8 scores[kRows][2]) {
        Best& b = best[static_cast<size_t>((i - points.first) / kRows)];
        const Int8 here(static_cast<int32_t>(p));
        for (int r = 0; r < kRows; ++r)
            for (int v = 0; v < 2; ++v) {
                const Int8 better = scores[r][v] < b.score[r][v];
                b.score[r][v] = recon::select(better, scores[r][v], b.score[r][v]);
                b.panel[r][v] = choose(better, here, b.panel[r][v]);
            }
    });
    for (int64_t i = points.first; i < points.last; ++i) {
        const int64_t k = i - points.first;
        done(i, settle(best[static_cast<size_t>(k / kRows)], k % kRows));
    }
}

}  // namespace

// Points in groups, and which centres each group's points may choose from.
struct Groups {
    const int64_t* order;   // the points, group after group
    const int64_t* starts;  // [count + 1] into `order`
    const int32_t* candidates;
    const int64_t* candidate_starts;  // [count + 1] into `candidates`
    int64_t count;
};

// labels[i]: the row of `centers` [k,dims] nearest to row i of `points` [n,dims], the first of equals. k >= 1.
// Returns 0, or 1 when memory ran out.
RECON_API int recon_nearest(const float* points, int64_t n, int64_t dims, const float* centers, int64_t k,
                            int64_t* labels, int n_threads) {
    try {
        Panels panels;
        panels.pack(centers, dims, nullptr, k);
        recon::parallel_for(n_threads, n, kBlock, [&](int64_t begin, int64_t end, int) {
            std::vector<Best> best;
            nearest({points, nullptr, begin, end, dims}, panels, best,
                    [&](int64_t i, int64_t index) { labels[i] = index; });
        });
        return 0;
    } catch (...) {
        return 1;
    }
}

// The same, among the candidates of each point's group only; a group with points has candidates.
RECON_API int recon_nearest_among(const float* points, int64_t dims, const float* centers, const Groups* groups,
                                  int64_t* labels, int n_threads) {
    try {
        recon::parallel_for(n_threads, groups->count, 8, [&](int64_t begin, int64_t end, int) {
            Panels panels;
            std::vector<Best> best;
            for (int64_t g = begin; g < end; ++g) {
                const int64_t first = groups->starts[g], last = groups->starts[g + 1];
                if (first == last) continue;
                const int32_t* ids = groups->candidates + groups->candidate_starts[g];
                panels.pack(centers, dims, ids, groups->candidate_starts[g + 1] - groups->candidate_starts[g]);
                for (int64_t i = first; i < last; i += kBlock)
                    nearest({points, groups->order, i, std::min(i + kBlock, last), dims}, panels, best,
                            [&](int64_t at, int64_t index) { labels[groups->order[at]] = ids[index]; });
            }
        });
        return 0;
    } catch (...) {
        return 1;
    }
}

// neighbours [n,m]: the m centres nearest to each point among its group's candidates, in no order; a group with points
// has at least m candidates.
RECON_API int recon_neighbours_among(const float* points, int64_t dims, const float* centers, const Groups* groups,
                                     int64_t m, int32_t* neighbours, int n_threads) {
    try {
        recon::parallel_for(n_threads, groups->count, 1, [&](int64_t begin, int64_t end, int) {
            Panels panels;
            std::vector<float> scores;
            std::vector<std::pair<float, int32_t>> ranked;
            for (int64_t g = begin; g < end; ++g) {
                const int32_t* ids = groups->candidates + groups->candidate_starts[g];
                const int64_t n_ids = groups->candidate_starts[g + 1] - groups->candidate_starts[g];
                panels.pack(centers, dims, ids, n_ids);
                const int64_t width = panels.size() * kPanel;
                ranked.resize(static_cast<size_t>(n_ids));
                for (int64_t first = groups->starts[g]; first < groups->starts[g + 1]; first += kBlock) {
                    const int64_t last = std::min(first + kBlock, groups->starts[g + 1]);
                    scores.resize(static_cast<size_t>((last - first + kRows) * width));
                    for_each_score({points, groups->order, first, last, dims}, panels,
                                   [&](int64_t i, int64_t p, const Float8 values[kRows][2]) {
                                       for (int r = 0; r < kRows; ++r) {
                                           float* out = scores.data() + (i - first + r) * width + p * kPanel;
                                           values[r][0].store(out);
                                           values[r][1].store(out + recon::kLanes);
                                       }
                                   });
                    for (int64_t i = first; i < last; ++i) {
                        for (int64_t c = 0; c < n_ids; ++c) ranked[c] = {scores[(i - first) * width + c], ids[c]};
                        std::nth_element(ranked.begin(), ranked.begin() + (m - 1), ranked.end());
                        for (int64_t c = 0; c < m; ++c) neighbours[groups->order[i] * m + c] = ranked[c].second;
                    }
                }
            }
        });
        return 0;
    } catch (...) {
        return 1;
    }
}
