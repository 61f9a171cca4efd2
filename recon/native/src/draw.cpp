// Step 3: blend the Gaussians of every tile into its pixels.
#include <utility>

#include "blend.h"

namespace recon {
namespace {

// The blocks of a tile that hold a pixel of the ellipse, exact per row of pixels: bit 8 * block row + block column.
// One lane per block row; its two pixel rows are two vectors.
RECON_INLINE uint64_t touched_blocks(const Record& r, const Tile& tile) {
    constexpr float kSlackPx = 0.01f;
    constexpr float kFar = 1e30f;
    const float my = r.my - tile.y, mx = r.mx - tile.x;
    alignas(32) static const float kRows[kLanes] = {0.5f, 2.5f, 4.5f, 6.5f, 8.5f, 10.5f, 12.5f, 14.5f};
    const Float8 upper = Float8::load(kRows) - Float8(my), lower = upper + Float8(1.0f);
    const Float8 reach(r.reach), hC2(r.hC2), inv_hA2(r.inv_hA2), slope(r.slope), x0(mx);
    const Float8 room_upper = (reach - hC2 * (upper * upper)) * inv_hA2;
    const Float8 room_lower = (reach - hC2 * (lower * lower)) * inv_hA2;
    const Float8 zero(0.0f);
    const Float8 half_upper = select(room_upper >= zero, sqrt(room_upper), Float8(-kFar));
    const Float8 half_lower = select(room_lower >= zero, sqrt(room_lower), Float8(-kFar));
    const Float8 x_upper = x0 + slope * upper, x_lower = x0 + slope * lower;
    const Float8 left = min(x_upper - half_upper, x_lower - half_lower);
    const Float8 right = max(max(x_upper + half_upper, x_lower + half_lower), left);
    // Pixel i is inside when left <= i + 0.5 <= right.
    const Float8 limit(static_cast<float>(kTileWidth));
    const Int8 begin = truncate(min(max(left + Float8(0.5f - kSlackPx), zero), limit)) >> Int8(2);
    const Int8 end = (truncate(min(max(right + Float8(0.5f + kSlackPx), zero), limit)) + Int8(3)) >> Int8(2);
    // 2^k through the float format: SSE has no shift by a variable amount.
    const auto power = [](Int8 k) { return truncate(from_bits((k + Int8(127)) << Int8(23))); };
    const Int8 row_bits = power(end) - power(begin);
#if defined(__AVX2__)
    const __m256i v = (__m256i)row_bits.part[0];
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    return static_cast<uint64_t>(_mm_cvtsi128_si64(_mm_packus_epi16(words, words)));
#elif defined(__SSE2__)
    const __m128i words = _mm_packs_epi32((__m128i)row_bits.part[0], (__m128i)row_bits.part[1]);
    return static_cast<uint64_t>(_mm_cvtsi128_si64(_mm_packus_epi16(words, words)));
#else
    uint64_t all = 0;
    for (int row = 0; row < kBlockRows; ++row) all |= static_cast<uint64_t>(row_bits[row]) << (8 * row);
    return all;
#endif
}

template <int D>
struct PixelBlock {
    Float8 T;
    Float8 coverage;  // sum of T alpha: what 1 - T means, without its rounding where little is covered
    Float8 color[D];
};

template <int D>
struct Total {
    Float8 color[D];
};

template <int D, bool kWeights>
class Drawer {
  public:
    Drawer(State& state, const Args& args, Pass pass) : state_(state), args_(args), pass_(pass), cap_(args.alpha_cap) {}

    void tile(int index) {
        const Tile tile(state_, args_, index);
        start(tile);
        const uint32_t begin = state_.tile_begin[index], end = state_.tile_begin[index + 1];
        uint32_t entry = begin, known = begin;
        for (; entry < end && alive_ != 0; ++entry) {
            if (entry == known) {
                flush();
                known = std::min(entry + kBatch, end);
                for (uint32_t i = entry; i < known; ++i) {
                    state_.touched[i] = touched_blocks(entry_record(state_, i, end), tile);
                }
            }
            const Record& r = state_.records[state_.list[entry]];
            const uint64_t touched = state_.touched[entry] &= alive_;
            if (touched != 0) {
                blend(r, tile, touched, entry);
            } else if (kWeights) {
                state_.entry_sums[entry] = 0.0f;
            }
        }
        flush();
        state_.tile_done[index] = entry - begin;
        if (kWeights) {
            std::fill(&state_.entry_sums[entry], &state_.entry_sums[end], 0.0f);
            state_.n_blends += std::exchange(n_blends_, 0);
        }
        finish(tile);
    }

  private:
    // The block sets are made some entries ahead of the blending. The blending loop's end depends on them and is
    // mispredicted often; with the set in memory that is noticed at once, not after the set's long computation.
    static constexpr uint32_t kBatch = 64;

    // Colours are summed per batch first: many small terms added to one large sum round badly, and the backward pass
    // feels it, because it starts from the finished colour.
    void flush() {
        for (; dirty_ != 0; dirty_ &= dirty_ - 1) {
            const int b = __builtin_ctzll(dirty_);
            for (int k = 0; k < D; ++k) {
                total_[b].color[k] += blocks_[b].color[k];
                blocks_[b].color[k] = Float8(0.0f);
            }
        }
    }

    void start(const Tile& tile) {
        alive_ = 0;
        for (int b = 0; b < kBlocks; ++b) {
            blocks_[b].coverage = Float8(0.0f);
            for (int k = 0; k < D; ++k) blocks_[b].color[k] = total_[b].color[k] = Float8(0.0f);
        }
        for (int b = 0; b < kBlocks; ++b) {
            alignas(32) float T[kLanes];  // pixels outside the image never start
            std::fill(T, T + kLanes, -1.0f);
            tile.for_pixels(args_, b, [&](int lane, int64_t) {
                T[lane] = 1.0f;
                alive_ |= uint64_t{1} << b;
            });
            blocks_[b].T = Float8::load(T);
        }
    }

    RECON_INLINE void blend(const Record& r, const Tile& tile, uint64_t touched, uint32_t entry) {
        const Shape shape(r, tile);
        Float8 color[D], weights(0.0f);
        for (int k = 0; k < D; ++k) color[k] = Float8(r.color[k]);
        dirty_ |= touched;
        for (; touched != 0; touched &= touched - 1) {
            const int b = __builtin_ctzll(touched);
            PixelBlock<D>& block = blocks_[b];
            Float8 T = block.T;
            const Blend blended(Footprint(shape, b), cap_, T);
            for (int k = 0; k < D; ++k) block.color[k] += blended.vis * color[k];
            block.coverage += blended.vis;
            block.T = T;
            if (kWeights) {
                weights += blended.vis;
                n_blends_ += __builtin_popcount(sign_bits(blended.hit));
            }
            if (sign_bits(bits(T)) == 0xff) alive_ &= ~(uint64_t{1} << b);
        }
        if (kWeights) {
            float sum = 0.0f;
            for (int lane = 0; lane < kLanes; ++lane) sum += weights[lane];
            state_.entry_sums[entry] = sum;
        }
    }

    void finish(const Tile& tile) const {
        const int channels = args_.channels();
        const bool expected = args_.depth_mode == kExpectedDepth && pass_.first + pass_.count == channels;
        for (int b = 0; b < kBlocks; ++b) {
            const Float8 T = abs(blocks_[b].T);
            const Float8 alpha = select(T < Float8(0.5f), Float8(1.0f) - T, blocks_[b].coverage);
            Float8 color[D];
            alignas(32) float planar[D][kLanes], alphas[kLanes];
            for (int k = 0; k < D; ++k) {
                color[k] = total_[b].color[k];
                if (args_.background != nullptr && k < pass_.count) {
                    color[k] += T * Float8(args_.background[pass_.first + k]);
                }
            }
            if (expected) {
                Float8& depth = color[std::min(pass_.count, D) - 1];
                depth = depth / max(alpha, Float8(1e-10f));
            }
            for (int k = 0; k < D; ++k) color[k].store(planar[k]);
            alpha.store(alphas);
            tile.for_pixels(args_, b, [&](int lane, int64_t pixel) {
                float* out = args_.out_colors + pixel * channels + pass_.first;
                for (int k = 0; k < D; ++k) {
                    if (k < pass_.count) out[k] = planar[k][lane];
                }
                if (pass_.first == 0) args_.out_alphas[pixel] = alphas[lane];
            });
        }
    }

    State& state_;
    const Args& args_;
    const Pass pass_;
    const Float8 cap_;
    int64_t n_blends_ = 0;
    uint64_t alive_ = 0;  // blocks with a pixel that has not stopped
    uint64_t dirty_ = 0;  // blocks with colour that is not in `total_` yet
    PixelBlock<D> blocks_[kBlocks];
    Total<D> total_[kBlocks];
};

template <bool kWeights>
void draw_pass(State& state, const Args& args, Pass pass) {
    if (pass.count == 1) {
        for_tiles<Drawer<1, kWeights>>(state, args, pass);
    } else if (pass.count <= 3) {
        for_tiles<Drawer<3, kWeights>>(state, args, pass);
    } else {
        for_tiles<Drawer<4, kWeights>>(state, args, pass);
    }
}

void gather_weights(State& state, const Args& args) {
    std::fill(args.out_weights, args.out_weights + args.n, 0.0f);
    for_places(state, args.n_threads, [&](int64_t place) {
        const Slots slots = state.slots[place];
        float sum = 0.0f;
        for (uint32_t i = 0; i < slots.count; ++i) sum += state.entry_sums[state.entry_of[slots.begin + i]];
        args.out_weights[state.records[place].id] = sum;
    });
}

}  // namespace

void draw(State& state, const Args& args) {
    state.touched.resize(state.n_entries);
    state.n_blends = 0;
    if (args.out_weights != nullptr) state.entry_sums.resize(state.n_entries);
    for (int i = 0; i < passes(args.channels()); ++i) {
        const Pass pass(args, i);
        load_pass_colors(state, args, pass);
        if (args.out_weights != nullptr && i == 0) {
            draw_pass<true>(state, args, pass);
            gather_weights(state, args);
        } else {
            draw_pass<false>(state, args, pass);
        }
    }
}

}  // namespace recon
