// Sparse times dense: out [rows,n] = a [rows,k] b [k,n], for a in CSR, in N of every M, and in blocks; and the gradient
// of the CSR product by the values of a.
//
// Columns of b are taken a strip at a time that fits the second cache, and within it a tile at a time whose sums stay in
// registers while the nonzeros of a row pass. When rows of b are used often, the tiles are first copied next to each
// other: rows of a wide b lie a power of two apart and would drive each other out of the first cache. When they are used
// seldom, copying costs more than it saves, and a few of them at a time are added to a row of the result in long runs.
#include "simd.h"
#include "threads.h"

#include <algorithm>
#include <memory>

namespace {

using recon::Float8;
using recon::kLanes;

constexpr int64_t kTileVectors = 8;
constexpr int64_t kTile = kTileVectors * kLanes;
constexpr int64_t kStrip = 8 * kTile;
constexpr int64_t kRun = 4096;        // columns of the result that stay in the first cache while rows are added to them
constexpr int64_t kOften = 16;        // measured: from about as many uses of a row of b, copying pays
constexpr int64_t kSeldom = 6;        // below, neither strips nor tiles do
constexpr int64_t kBlockRows = 4;     // rows of a block that share what is loaded of b
constexpr int64_t kBlockVectors = 3;  // with 4 rows: 12 sums hide the latency of their additions, 4 registers are left
constexpr int64_t kOftenBlocks = 3;   // blocks go through b in narrower tiles, so that copying pays earlier

struct Csr {
    const int64_t* starts;
    const int32_t* columns;
    const float* values;
    template <class Use>
    RECON_INLINE void each(int64_t row, const Use& use) const {
        for (int64_t i = starts[row]; i < starts[row + 1]; ++i) use(values[i], columns[i]);
    }
};

// n values of every m columns; `offsets` say which.
struct Pattern {
    const float* values;
    const uint8_t* offsets;
    int64_t groups, n, m;
    template <class Use>
    RECON_INLINE void each(int64_t row, const Use& use) const {
        int64_t i = row * groups * n;
        for (int64_t g = 0; g < groups; ++g)
            for (int64_t j = 0; j < n; ++j, ++i) use(values[i], g * m + offsets[i]);
    }
};

struct Dense {
    const float* values;
    int64_t rows, columns;
};

// A strip of b as tiles of `width` columns (the last may be narrower): row k of tile t lies at at(t) + k * stride.
class Strip {
  public:
    Strip(const Dense& b, int64_t first, int64_t count, int64_t width, bool copy)
        : rows_(b.rows), width_(width), from_(b.values + first), stride_(b.columns) {
        if (!copy) return;
        const int64_t tiles = (count + width - 1) / width;
        copy_.reset(new float[static_cast<size_t>(tiles * rows_ * width)]);
        for (int64_t k = 0; k < rows_; ++k)
            for (int64_t t = 0; t < tiles; ++t) {
                float* to = copy_.get() + (t * rows_ + k) * width;
                const int64_t part = std::min(width, count - t * width);
                std::memcpy(to, from_ + k * b.columns + t * width, static_cast<size_t>(part) * sizeof(float));
                std::fill(to + part, to + width, 0.0f);
            }
        stride_ = width;
    }
    const float* at(int64_t tile) const { return copy_ ? copy_.get() + tile * rows_ * width_ : from_ + tile * width_; }
    int64_t stride() const { return stride_; }

  private:
    int64_t rows_, width_;
    const float* from_;
    int64_t stride_;
    std::unique_ptr<float[]> copy_;
};

inline void store_part(float* to, const Float8& v, int64_t count) {
    if (count >= kLanes) return v.store(to);
    std::memcpy(to, &v, static_cast<size_t>(count) * sizeof(float));
}

// `count` columns of rows first to last; row k of b's tile lies at tile + k * stride.
template <int V, class Matrix>
void rows_of_tile(const Matrix& a, int64_t first, int64_t last, const float* tile, int64_t stride, int64_t count,
                  float* out, int64_t out_stride) {
    for (int64_t row = first; row < last; ++row) {
        Float8 sums[V];
        for (int v = 0; v < V; ++v) sums[v] = Float8(0.0f);
        a.each(row, [&](float value, int64_t column) {
            const float* from = tile + column * stride;
            const Float8 x(value);
            for (int v = 0; v < V; ++v) sums[v] += x * Float8::load(from + v * kLanes);
        });
        float* to = out + row * out_stride;
        for (int v = 0; v < V; ++v) store_part(to + v * kLanes, sums[v], count - v * kLanes);
    }
}

template <class Matrix>
void tile_rows(const Matrix& a, int64_t first, int64_t last, const float* tile, int64_t stride, int64_t count,
               float* out, int64_t out_stride) {
    static_assert(kTileVectors == 8, "one case for every number of vectors");
    switch ((count + kLanes - 1) / kLanes) {
        case 1: return rows_of_tile<1>(a, first, last, tile, stride, count, out, out_stride);
        case 2: return rows_of_tile<2>(a, first, last, tile, stride, count, out, out_stride);
        case 3: return rows_of_tile<3>(a, first, last, tile, stride, count, out, out_stride);
        case 4: return rows_of_tile<4>(a, first, last, tile, stride, count, out, out_stride);
        case 5: return rows_of_tile<5>(a, first, last, tile, stride, count, out, out_stride);
        case 6: return rows_of_tile<6>(a, first, last, tile, stride, count, out, out_stride);
        case 7: return rows_of_tile<7>(a, first, last, tile, stride, count, out, out_stride);
        default: return rows_of_tile<8>(a, first, last, tile, stride, count, out, out_stride);
    }
}

// Adds `Count` rows of b, scaled, to a row of the result of `n` columns, a multiple of the lanes; or sets it to that.
template <int Count, bool kSet>
void add_run(const float* scales, const float* const* rows, float* out, int64_t n) {
    Float8 x[Count];
    for (int i = 0; i < Count; ++i) x[i] = Float8(scales[i]);
    for (int64_t c = 0; c < n; c += kLanes) {
        Float8 sum = kSet ? Float8(0.0f) : Float8::load(out + c);
        for (int i = 0; i < Count; ++i) sum += x[i] * Float8::load(rows[i] + c);
        sum.store(out + c);
    }
}

template <bool kSet>
void add_runs(int count, const float* scales, const float* const* rows, float* out, int64_t n) {
    switch (count) {
        case 1: return add_run<1, kSet>(scales, rows, out, n);
        case 2: return add_run<2, kSet>(scales, rows, out, n);
        case 3: return add_run<3, kSet>(scales, rows, out, n);
        default: return add_run<4, kSet>(scales, rows, out, n);
    }
}

// A row of the result in long runs over rows of b, `stride` apart.
template <class Matrix>
void row_in_runs(const Matrix& a, int64_t row, const float* b, int64_t stride, float* out, int64_t n) {
    float scales[4];
    const float* rows[4];
    int held = 0;
    bool empty = true;
    const auto add = [&] {
        if (empty) add_runs<true>(held, scales, rows, out, n);
        else add_runs<false>(held, scales, rows, out, n);
        empty = false;
        held = 0;
    };
    a.each(row, [&](float value, int64_t column) {
        scales[held] = value;
        rows[held] = b + column * stride;
        if (++held == 4) add();
    });
    if (held > 0) add();
    if (empty) std::memset(out, 0, static_cast<size_t>(n) * sizeof(float));
}

// Calls task(first column, columns, first row, last row, copy) for strips of b; rows are split when strips are too few.
// Only copies may be of a part that is not a multiple of `unit`: the rest would
// be read beyond the end of b.
template <class Task>
void for_each_strip(int64_t rows, int64_t columns, int64_t width, int64_t unit, bool copy, int n_threads,
                    const Task& task) {
    const int64_t strips = (columns + width - 1) / width;
    const int64_t parts = strips >= 2 * n_threads ? 1 : std::max<int64_t>(1, std::min<int64_t>(n_threads, rows));
    recon::parallel_for(n_threads, strips * parts, 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
            const int64_t part = i % parts, first = i / parts * width, count = std::min(width, columns - first);
            const int64_t row0 = part * rows / parts, row1 = (part + 1) * rows / parts;
            const int64_t whole = copy ? 0 : count / unit * unit;
            if (whole > 0) task(first, whole, row0, row1, false);
            if (whole < count) task(first + whole, count - whole, row0, row1, true);
        }
    });
}

template <class Matrix>
void multiply(const Matrix& a, int64_t rows, int64_t nonzeros, const Dense& b, float* out, int n_threads) {
    const int64_t uses = nonzeros / std::max<int64_t>(1, b.rows);
    const bool runs = uses < kSeldom;
    for_each_strip(rows, b.columns, runs ? kRun : kStrip, kLanes, uses >= kOften, n_threads,
                   [&](int64_t first, int64_t count, int64_t row0, int64_t row1, bool copy) {
        if (!copy && runs) {
            for (int64_t row = row0; row < row1; ++row)
                row_in_runs(a, row, b.values + first, b.columns, out + row * b.columns + first, count);
            return;
        }
        const Strip strip(b, first, count, kTile, copy);
        const int64_t tiles = (count + kTile - 1) / kTile, together = copy ? row1 - row0 : 1;
        for (int64_t row = row0; row < row1; row += together)
            for (int64_t t = 0; t < tiles; ++t)
                tile_rows(a, row, row + together, strip.at(t), strip.stride(), std::min(kTile, count - t * kTile),
                          out + first + t * kTile, b.columns);
    });
}

// Four rows of a block times `width` rows of a tile of b, `stride` apart.
RECON_INLINE void add_block(const float* block, int64_t width, const float* tile, int64_t stride,
                            Float8 sums[kBlockRows][kBlockVectors]) {
    for (int64_t c = 0; c < width; ++c, tile += stride) {
        Float8 from[kBlockVectors];
        for (int64_t v = 0; v < kBlockVectors; ++v) from[v] = Float8::load(tile + v * kLanes);
        for (int64_t q = 0; q < kBlockRows; ++q) {
            const Float8 x(block[q * width + c]);
            for (int64_t v = 0; v < kBlockVectors; ++v) sums[q][v] += x * from[v];
        }
    }
}

float dot(const float* a, const float* b, int64_t n) {
    Float8 sums[4] = {Float8(0.0f), Float8(0.0f), Float8(0.0f), Float8(0.0f)};
    int64_t i = 0;
    for (; i + 4 * kLanes <= n; i += 4 * kLanes)
        for (int v = 0; v < 4; ++v) sums[v] += Float8::load(a + i + v * kLanes) * Float8::load(b + i + v * kLanes);
    float parts[4], total = 0;
    recon::lane_sums_of_four(sums, parts);
    for (; i < n; ++i) total += a[i] * b[i];
    return total + ((parts[0] + parts[1]) + (parts[2] + parts[3]));
}

}  // namespace

// out [rows,n] = a [rows,k] b [k,n], a in CSR. Returns 0, or 1 when memory ran out; so do all below.
RECON_API int recon_spmm(const int64_t* starts, const int32_t* columns, const float* values, int64_t rows,
                         const float* b, int64_t k, int64_t n, float* out, int n_threads) {
    try {
        multiply(Csr{starts, columns, values}, rows, starts[rows], {b, k, n}, out, n_threads);
        return 0;
    } catch (...) {
        return 1;
    }
}

// The gradient by the values of a: grads[i] = <row of v_out, row of b> for each nonzero i.
RECON_API int recon_spmm_backward_values(const int64_t* starts, const int32_t* columns, int64_t rows, const float* b,
                                         int64_t n, const float* v_out, float* grads, int n_threads) {
    try {
        recon::parallel_for(n_threads, rows, std::max<int64_t>(1, rows / (4 * n_threads)),
                            [&](int64_t begin, int64_t end, int) {
            std::fill(grads + starts[begin], grads + starts[end], 0.0f);
            for (int64_t first = 0; first < n; first += kStrip) {
                const int64_t count = std::min(kStrip, n - first);
                for (int64_t row = begin; row < end; ++row)
                    for (int64_t i = starts[row]; i < starts[row + 1]; ++i)
                        grads[i] += dot(v_out + row * n + first, b + columns[i] * n + first, count);
            }
        });
        return 0;
    } catch (...) {
        return 1;
    }
}

// out [rows,n] = a b for a with n_kept of every m columns: values and offsets [rows, groups * n_kept].
RECON_API int recon_pattern_mm(const float* values, const uint8_t* offsets, int64_t rows, int64_t groups,
                               int64_t n_kept, int64_t m, const float* b, int64_t n, float* out, int n_threads) {
    try {
        const Pattern a = {values, offsets, groups, n_kept, m};
        multiply(a, rows, rows * groups * n_kept, {b, groups * m, n}, out, n_threads);
        return 0;
    } catch (...) {
        return 1;
    }
}

// out [block_rows * height, n] = a b for a in blocks of height x width (height a multiple of 4): `columns` are those of
// the blocks, in units of blocks, `blocks` [count, height, width]; k counts b's rows.
RECON_API int recon_block_mm(const int64_t* starts, const int32_t* columns, const float* blocks, int64_t block_rows,
                             int64_t height, int64_t width, const float* b, int64_t k, int64_t n, float* out,
                             int n_threads) {
    constexpr int64_t kWide = kBlockVectors * kLanes;
    try {
        const int64_t uses = starts[block_rows] * (height / kBlockRows) / std::max<int64_t>(1, k / width);
        for_each_strip(block_rows, n, kStrip / kWide * kWide, kWide, uses >= kOftenBlocks, n_threads,
                       [&](int64_t first, int64_t count, int64_t row0, int64_t row1, bool copy) {
            const Strip strip({b, k, n}, first, count, kWide, copy);
            for (int64_t t = 0; t * kWide < count; ++t)
                for (int64_t row = row0; row < row1; ++row)
                    for (int64_t r = 0; r < height; r += kBlockRows) {
                        Float8 sums[kBlockRows][kBlockVectors];
                        for (auto& line : sums)
                            for (Float8& sum : line) sum = Float8(0.0f);
                        for (int64_t i = starts[row]; i < starts[row + 1]; ++i)
                            add_block(blocks + (i * height + r) * width, width,
                                      strip.at(t) + columns[i] * width * strip.stride(), strip.stride(), sums);
                        float* to = out + (row * height + r) * n + first + t * kWide;
                        for (int64_t q = 0; q < kBlockRows; ++q)
                            for (int64_t v = 0; v < kBlockVectors && v * kLanes < count - t * kWide; ++v)
                                store_part(to + q * n + v * kLanes, sums[q][v], count - t * kWide - v * kLanes);
                    }
        });
        return 0;
    } catch (...) {
        return 1;
    }
}
