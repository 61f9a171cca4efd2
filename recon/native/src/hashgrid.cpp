// The multi-resolution hash encoding of positions (Mueller et al. 2022, "Instant neural graphics primitives with a
// multiresolution hash encoding"): the features at the corners of the cell around a point, interpolated, on every level.
//
// Eight points go through a level together. Points are taken in blocks small enough for what belongs to them to stay in
// the first cache. In a small table one level after another looks up its own part of it; a large one is taken level by
// level for many blocks, so that only one level at a time needs to be near. The table's gradient is shared between
// threads by level, not by point, so that no two write to the same place and sums do not depend on their number.
#include "simd.h"
#include "threads.h"

#include <algorithm>
#include <type_traits>
#include <vector>

namespace {

using recon::Float8;
using recon::Int8;
using recon::kLanes;
using recon::kParts;
using recon::NativeF;
using recon::NativeI;

constexpr int64_t kBlock = 2048;
constexpr int64_t kBatch = 32 * kBlock;   // of a large table: what is stored for them still fits the third cache
constexpr int64_t kLargeTable = 1 << 22;  // in bytes: does not fit the second cache together with the points
constexpr int64_t kAhead = 8;             // so many groups of eight points ahead, features are asked for
constexpr int kCorners = 8;  // bit 0 of a corner's number is its step in x, bit 1 in y, bit 2 in z

}  // namespace

// One level: `resolution` cells along each axis. Its entries follow those of the levels before it.
struct Level {
    int64_t offset;
    int32_t resolution;
    uint32_t mask;  // number of entries - 1 where corners are hashed, 0 where each has its own entry
};

struct HashGrid {
    const Level* levels;
    const float* table;    // [rows, features]
    const int32_t* slots;  // the row of each entry, negative where it was pruned; null: each has its own
    int64_t n_levels, n_features;
};

namespace {

typedef uint32_t NativeU __attribute__((vector_size(4 * recon::kNativeLanes)));

RECON_INLINE Int8 times(Int8 a, uint32_t b) {
    RECON_EACH_PART a.part[i] = (NativeI)((NativeU)a.part[i] * b);
    return a;
}
RECON_INLINE Int8 exclusive_or(Int8 a, Int8 b) {
    RECON_EACH_PART a.part[i] = a.part[i] ^ b.part[i];
    return a;
}
RECON_INLINE Float8 to_float(Int8 a) {
    Float8 r;
    RECON_EACH_PART r.part[i] = __builtin_convertvector(a.part[i], NativeF);
    return r;
}

// Positions of a block of points, one axis after the other, clamped to [0, 1]; the last is repeated to fill up.
struct Positions {
    float axis[3][kBlock];
    int64_t count;

    Positions(const float* xyz, int64_t n) : count(n) {
        for (int64_t i = 0; i < (n + kLanes - 1) / kLanes * kLanes; ++i)
            for (int k = 0; k < 3; ++k) {
                const float x = xyz[std::min(i, n - 1) * 3 + k];
                axis[k][i] = x > 0 ? std::min(x, 1.0f) : 0.0f;  // not a number becomes 0
            }
    }
};

// Where eight points lie in a level. Filled in place: copies of it cost as much as the interpolation.
struct Cell {
    Int8 entry[kCorners];       // counted from the first of all levels
    Float8 near[3], far[3];     // weights of the two ends of each axis
    Float8 weight[kCorners];
    int pruned[kCorners];       // a bit for each point

    RECON_INLINE void place(const Level& level, const Positions& p, int64_t first) {
        Int8 low[3];
        for (int k = 0; k < 3; ++k) {
            const Float8 x = Float8::load(p.axis[k] + first) * Float8(static_cast<float>(level.resolution));
            low[k] = recon::truncate(recon::min(x, Float8(static_cast<float>(level.resolution) - 0.5f)));
            far[k] = x - to_float(low[k]);
            near[k] = Float8(1.0f) - far[k];
        }
        const Int8 offset(static_cast<int32_t>(level.offset));
        if (level.mask != 0) {
            constexpr uint32_t kPrimes[3] = {1u, 2654435761u, 805459861u};  // the paper's, eq. 4
            Int8 part[3][2];
            for (int k = 0; k < 3; ++k) {
                part[k][0] = times(low[k], kPrimes[k]);
                part[k][1] = part[k][0] + Int8(static_cast<int32_t>(kPrimes[k]));
            }
            const Int8 mask(static_cast<int32_t>(level.mask));
            for (int c = 0; c < kCorners; ++c) {
                const Int8 hash = exclusive_or(exclusive_or(part[0][c & 1], part[1][c >> 1 & 1]), part[2][c >> 2]);
                entry[c] = (hash & mask) + offset;
            }
        } else {
            const int32_t side = level.resolution + 1;
            const Int8 corner = low[0] + times(low[1], side) + times(low[2], side * side) + offset;
            for (int c = 0; c < kCorners; ++c)
                entry[c] = corner + Int8((c & 1) + (c >> 1 & 1) * side + (c >> 2) * side * side);
        }
        for (int c = 0; c < kCorners; ++c)
            weight[c] = (c & 1 ? far[0] : near[0]) * (c >> 1 & 1 ? far[1] : near[1]) * (c >> 2 ? far[2] : near[2]);
        std::fill_n(pruned, kCorners, 0);
    }

    // Ask for the entries' features before they are needed: large tables lie far from the processor.
    RECON_INLINE void prefetch(const float* table, int64_t n_features) const {
        for (int c = 0; c < kCorners; ++c)
            for (int l = 0; l < kLanes; ++l) __builtin_prefetch(table + entry[c][l] * n_features);
    }

    // Entries become rows of the table; pruned ones weigh nothing.
    void look_up(const int32_t* slots) {
        for (int c = 0; c < kCorners; ++c) {
            int32_t rows[kLanes];
            float weights[kLanes];
            std::memcpy(rows, &entry[c], sizeof rows);
            weight[c].store(weights);
            for (int l = 0; l < kLanes; ++l) {
                rows[l] = slots[rows[l]];
                if (rows[l] >= 0) continue;
                rows[l] = 0;
                weights[l] = 0.0f;
                pruned[c] |= 1 << l;
            }
            std::memcpy(&entry[c], rows, sizeof rows);
            weight[c] = Float8::load(weights);
        }
    }
};

// How large a level's part of the table is.
int64_t size_bytes(const HashGrid& grid, int64_t level) {
    const Level& place = grid.levels[level];
    const int64_t side = place.resolution + 1, entries = place.mask != 0 ? int64_t{place.mask} + 1 : side * side * side;
    return entries * grid.n_features * static_cast<int64_t>(sizeof(float));
}

// Calls use(cell, first point) for every eight points of a level. In a level that is too large for the second cache, the
// features of the next 64 points have been asked for by then: one eight ahead still waits for most of the way to memory,
// four wait for nothing (in a small level, asking costs more than waiting).
template <class Use>
RECON_INLINE void for_each_cell(const HashGrid& grid, int64_t level, const Positions& positions, const float* table,
                                const Use& use) {
    constexpr int64_t kLarge = 1 << 19;
    const Level& here = grid.levels[level];
    const auto place = [&](Cell& cell, int64_t i) {
        cell.place(here, positions, i);
        if (grid.slots) cell.look_up(grid.slots);
    };
    if (size_bytes(grid, level) <= kLarge) {
        for (int64_t i = 0; i < positions.count; i += kLanes) {
            Cell cell;
            place(cell, i);
            use(cell, i);
        }
        return;
    }
    Cell ahead[kAhead];
    const auto ask = [&](int64_t i) {
        Cell& cell = ahead[i / kLanes % kAhead];
        place(cell, i);
        cell.prefetch(table, grid.n_features);
    };
    for (int64_t i = 0; i < std::min(kAhead * kLanes, positions.count); i += kLanes) ask(i);
    for (int64_t i = 0; i < positions.count; i += kLanes) {
        use(ahead[i / kLanes % kAhead], i);
        if (i + kAhead * kLanes < positions.count) ask(i + kAhead * kLanes);
    }
}

template <int F>
struct Entry {
    typedef float Features __attribute__((vector_size(F * sizeof(float))));
    static Features load(const float* from) {
        Features r;
        std::memcpy(&r, from, sizeof r);
        return r;
    }
    static void store(float* to, Features v) { std::memcpy(to, &v, sizeof v); }
};

// Interpolated features of eight points into `out` [8, F].
template <int F>
RECON_INLINE void interpolate(const Cell& cell, const float* table, float* out) {
    int32_t rows[kCorners][kLanes];
    float weights[kCorners][kLanes];
    std::memcpy(rows, cell.entry, sizeof rows);
    std::memcpy(weights, cell.weight, sizeof weights);
    for (int l = 0; l < kLanes; ++l) {
        typename Entry<F>::Features sum = {};
        for (int c = 0; c < kCorners; ++c)
            sum += weights[c][l] * Entry<F>::load(table + static_cast<int64_t>(rows[c][l]) * F);
        Entry<F>::store(out + l * F, sum);
    }
}

// The derivatives of the features of eight points by x, y and z, in cells, into `out` [3, 8, F].
template <int F>
RECON_INLINE void differentiate(const Cell& cell, const float* table, float* out) {
    float ends[3][2][kLanes];  // weights of the two ends of each axis
    for (int k = 0; k < 3; ++k) {
        cell.near[k].store(ends[k][0]);
        cell.far[k].store(ends[k][1]);
    }
    for (int l = 0; l < kLanes; ++l) {
        typename Entry<F>::Features sums[3] = {};
        for (int c = 0; c < kCorners; ++c) {
            if (cell.pruned[c] >> l & 1) continue;
            const auto features = Entry<F>::load(table + static_cast<int64_t>(cell.entry[c][l]) * F);
            const float x = ends[0][c & 1][l], y = ends[1][c >> 1 & 1][l], z = ends[2][c >> 2][l];
            const float slopes[3] = {y * z, x * z, x * y};
            for (int k = 0; k < 3; ++k) sums[k] += (c >> k & 1 ? slopes[k] : -slopes[k]) * features;
        }
        for (int k = 0; k < 3; ++k) Entry<F>::store(out + (k * kLanes + l) * F, sums[k]);
    }
}

#if defined(__AVX2__)
// Two features of eight points: those of four in a register, fetched as numbers of 64 bits.
struct Pairs {
    __m256 part[2];

    static RECON_INLINE Pairs zero() { return {{_mm256_setzero_ps(), _mm256_setzero_ps()}}; }
    static RECON_INLINE Pairs fetch(const float* table, Int8 rows) {
        int32_t at[kLanes];
        std::memcpy(at, &rows, sizeof at);
        const auto entry = [&](int l) { return table + 2 * static_cast<int64_t>(at[l]); };
        const auto two = [&](int l) {  // measured: faster than the instructions that gather
            const __m128i low = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(entry(l)));
            return _mm_loadh_pi(_mm_castsi128_ps(low), reinterpret_cast<const __m64*>(entry(l + 1)));
        };
        return {{_mm256_set_m128(two(2), two(0)), _mm256_set_m128(two(6), two(4))}};
    }
    static RECON_INLINE Pairs twice(Float8 a) {  // each point's number for both of its features
        return {{_mm256_permutevar8x32_ps(a.part[0], _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3)),
                 _mm256_permutevar8x32_ps(a.part[0], _mm256_setr_epi32(4, 4, 5, 5, 6, 6, 7, 7))}};
    }
    RECON_INLINE void add(Pairs a, Pairs b) {
        for (int i = 0; i < 2; ++i) part[i] += a.part[i] * b.part[i];
    }
    RECON_INLINE void store(float* to) const { std::memcpy(to, part, sizeof part); }
};

template <>
RECON_INLINE void interpolate<2>(const Cell& cell, const float* table, float* out) {
    Pairs sum = Pairs::zero();
    for (int c = 0; c < kCorners; ++c) sum.add(Pairs::twice(cell.weight[c]), Pairs::fetch(table, cell.entry[c]));
    sum.store(out);
}

// Only for tables that are not pruned.
RECON_INLINE void differentiate_pairs(const Cell& cell, const float* table, float* out) {
    Pairs sums[3] = {Pairs::zero(), Pairs::zero(), Pairs::zero()};
    const Pairs near = Pairs::twice(cell.near[0]), far = Pairs::twice(cell.far[0]);
    for (int c = 0; c < kCorners; c += 2) {  // the two corners along x together
        const Pairs first = Pairs::fetch(table, cell.entry[c]), second = Pairs::fetch(table, cell.entry[c + 1]);
        const Float8 y = c >> 1 & 1 ? cell.far[1] : cell.near[1], z = c >> 2 ? cell.far[2] : cell.near[2];
        Pairs change, middle = Pairs::zero();
        for (int i = 0; i < 2; ++i) change.part[i] = second.part[i] - first.part[i];
        middle.add(near, first);
        middle.add(far, second);
        sums[0].add(Pairs::twice(y * z), change);
        sums[1].add(Pairs::twice(c >> 1 & 1 ? z : -z), middle);
        sums[2].add(Pairs::twice(c >> 2 ? y : -y), middle);
    }
    for (int k = 0; k < 3; ++k) sums[k].store(out + k * 2 * kLanes);
}
#endif

template <int F>
RECON_INLINE void differentiate(const HashGrid& grid, const Cell& cell, float* out) {
#if defined(__AVX2__)
    if (F == 2 && grid.slots == nullptr) return differentiate_pairs(cell, grid.table, out);
#endif
    differentiate<F>(cell, grid.table, out);
}

// Blocks of points.
struct Batch {
    std::vector<Positions> blocks;

    Batch(const float* xyz, int64_t n) {
        blocks.reserve(static_cast<size_t>((n + kBlock - 1) / kBlock));
        for (int64_t i = 0; i < n; i += kBlock) blocks.emplace_back(xyz + i * 3, std::min(kBlock, n - i));
    }
    // Calls use(block, first point of it) for all blocks.
    template <class Use>
    void each(const Use& use) const {
        for (size_t b = 0; b < blocks.size(); ++b) use(blocks[b], static_cast<int64_t>(b) * kBlock);
    }
};

// How many points of n go through the levels together.
int64_t batch_size(const HashGrid& grid, int64_t n, int n_threads) {
    int64_t bytes = 0;
    for (int64_t level = 0; level < grid.n_levels; ++level) bytes += size_bytes(grid, level);
    if (bytes <= kLargeTable) return kBlock;
    const int64_t share = (n / n_threads + kBlock - 1) / kBlock * kBlock;
    return std::max(kBlock, std::min(kBatch, share));
}

template <int F>
void forward(const HashGrid& grid, const Positions& positions, int64_t level, float* out) {
    const int64_t width = grid.n_levels * F;
    for_each_cell(grid, level, positions, grid.table, [&](const Cell& cell, int64_t i) {
        float features[kLanes * F];
        interpolate<F>(cell, grid.table, features);
        for (int64_t l = 0; l < std::min<int64_t>(kLanes, positions.count - i); ++l)
            std::memcpy(out + (i + l) * width + level * F, features + l * F, F * sizeof(float));
    });
}

// Adds the gradient by the table's rows that come from one level and one block of points.
template <int F>
void backward_table(const HashGrid& grid, const Positions& positions, int64_t level, const float* v_out,
                    float* v_table) {
    const int64_t width = grid.n_levels * F;
    for_each_cell(grid, level, positions, v_table, [&](const Cell& cell, int64_t i) {
        int32_t rows[kCorners][kLanes];
        float weights[kCorners][kLanes];
        std::memcpy(rows, cell.entry, sizeof rows);
        std::memcpy(weights, cell.weight, sizeof weights);
        for (int64_t l = 0; l < std::min<int64_t>(kLanes, positions.count - i); ++l) {
            const auto v = Entry<F>::load(v_out + (i + l) * width + level * F);
            for (int c = 0; c < kCorners; ++c) {
                if (cell.pruned[c] >> l & 1) continue;  // its row belongs to another level, thus to another thread
                float* to = v_table + static_cast<int64_t>(rows[c][l]) * F;
                Entry<F>::store(to, Entry<F>::load(to) + weights[c][l] * v);
            }
        }
    });
}

// Adds the gradient by the positions of one block of points that comes from one level.
template <int F>
void backward_positions(const HashGrid& grid, const Positions& positions, int64_t level, const float* v_out,
                        float* v_xyz) {
    const int64_t width = grid.n_levels * F;
    const float scale = static_cast<float>(grid.levels[level].resolution);
    for_each_cell(grid, level, positions, grid.table, [&](const Cell& cell, int64_t i) {
        float slopes[3][kLanes][F];
        differentiate<F>(grid, cell, slopes[0][0]);
        for (int64_t l = 0; l < std::min<int64_t>(kLanes, positions.count - i); ++l) {
            const float* v = v_out + (i + l) * width + level * F;
            for (int k = 0; k < 3; ++k)
                for (int f = 0; f < F; ++f) v_xyz[(i + l) * 3 + k] += scale * slopes[k][l][f] * v[f];
        }
    });
}

// Calls with the number of features as a compile-time constant. Returns 0, 1 when there is no code for it, or 2 when
// memory ran out.
template <class Call>
int with_features(int64_t n, const Call& call) {
    try {
        switch (n) {
            case 1: call(std::integral_constant<int, 1>()); return 0;
            case 2: call(std::integral_constant<int, 2>()); return 0;
            case 4: call(std::integral_constant<int, 4>()); return 0;
            case 8: call(std::integral_constant<int, 8>()); return 0;
            default: return 1;
        }
    } catch (...) {
        return 2;
    }
}

}  // namespace

// out [n, levels * features] at positions [n,3] in [0, 1]; those outside are moved to the border. 1, 2, 4 or 8 features.
// Returns 0, 1 when there is no code for so many features, or 2 when memory ran out; so do all below.
RECON_API int recon_hashgrid_forward(const HashGrid* grid, const float* xyz, int64_t n, float* out, int n_threads) {
    return with_features(grid->n_features, [&](auto features) {
        constexpr int F = decltype(features)::value;
        const int64_t width = grid->n_levels * F;
        recon::parallel_for(n_threads, n, batch_size(*grid, n, n_threads), [&](int64_t begin, int64_t end, int) {
            const Batch batch(xyz + begin * 3, end - begin);
            for (int64_t level = 0; level < grid->n_levels; ++level)
                batch.each([&](const Positions& positions, int64_t first) {
                    forward<F>(*grid, positions, level, out + (begin + first) * width);
                });
        });
    });
}

// Adds the gradient by the table to `v_table` (same shape).
RECON_API int recon_hashgrid_backward_table(const HashGrid* grid, const float* xyz, int64_t n, const float* v_out,
                                            float* v_table, int n_threads) {
    const int64_t groups = std::max<int64_t>(1, std::min<int64_t>(n_threads, grid->n_levels));
    return with_features(grid->n_features, [&](auto features) {
        constexpr int F = decltype(features)::value;
        const int64_t width = grid->n_levels * F, step = batch_size(*grid, n, 1);
        recon::parallel_for(n_threads, groups, 1, [&](int64_t group, int64_t, int) {
            for (int64_t begin = 0; begin < n; begin += step) {
                const Batch batch(xyz + begin * 3, std::min(step, n - begin));
                for (int64_t level = group; level < grid->n_levels; level += groups)
                    batch.each([&](const Positions& positions, int64_t first) {
                        backward_table<F>(*grid, positions, level, v_out + (begin + first) * width, v_table);
                    });
            }
        });
    });
}

// The gradient by the positions [n,3]; zero for those outside.
RECON_API int recon_hashgrid_backward_positions(const HashGrid* grid, const float* xyz, int64_t n, const float* v_out,
                                                float* v_xyz, int n_threads) {
    return with_features(grid->n_features, [&](auto features) {
        constexpr int F = decltype(features)::value;
        const int64_t width = grid->n_levels * F;
        recon::parallel_for(n_threads, n, batch_size(*grid, n, n_threads), [&](int64_t begin, int64_t end, int) {
            std::fill(v_xyz + begin * 3, v_xyz + end * 3, 0.0f);
            const Batch batch(xyz + begin * 3, end - begin);
            for (int64_t level = 0; level < grid->n_levels; ++level)
                batch.each([&](const Positions& positions, int64_t first) {
                    const int64_t at = begin + first;
                    backward_positions<F>(*grid, positions, level, v_out + at * width, v_xyz + at * 3);
                });
            for (int64_t i = begin * 3; i < end * 3; ++i)
                if (!(xyz[i] >= 0 && xyz[i] <= 1)) v_xyz[i] = 0.0f;
        });
    });
}
