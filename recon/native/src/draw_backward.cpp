// Step 4: from the gradient of the image to sums over pixels for every Gaussian and tile.
//
// The walk goes front to back again instead of storing what every pixel saw. With the loss gradient g of a pixel's
// colour, all it needs from behind is one scalar: the light still to come, projected on g. That suffix starts as
// (rendered colour . g) - g_alpha T_final and loses T alpha (c . g) with every Gaussian passed.
#include "blend.h"

namespace recon {
namespace {

template <int D>
struct GradientBlock {
    Float8 T, suffix;
    Float8 g[D];
};

template <int D, bool kAbsolute>
class BackwardDrawer {
  public:
    BackwardDrawer(State& state, const Args& args, const Grads& grads, Pass pass)
        : state_(state), args_(args), grads_(grads), pass_(pass), cap_(args.alpha_cap) {}

    void tile(int index) {
        const Tile tile(state_, args_, index);
        start(tile);
        const uint32_t begin = state_.tile_begin[index], end = state_.tile_begin[index + 1];
        const uint32_t done = begin + state_.tile_done[index];
        for (uint32_t entry = begin; entry < done; ++entry) {
            const Record& r = entry_record(state_, entry, done);
            float* sums = &state_.entry_sums[static_cast<size_t>(entry) * kSums];
            if (state_.touched[entry] == 0) {
                std::fill(sums, sums + kSums, 0.0f);
            } else {
                accumulate(r, tile, state_.touched[entry], sums);
            }
        }
        std::fill(&state_.entry_sums[static_cast<size_t>(done) * kSums],
                  &state_.entry_sums[static_cast<size_t>(end) * kSums], 0.0f);
    }

  private:
    void start(const Tile& tile) {
        const int channels = args_.channels();
        const bool expected = args_.depth_mode == kExpectedDepth && pass_.first + pass_.count == channels;
        for (int b = 0; b < kBlocks; ++b) {
            GradientBlock<D>& block = blocks_[b];
            // Zero outside the image, and in channels that only fill up the pass.
            alignas(32) float color[D][kLanes] = {}, g[D][kLanes] = {}, T[kLanes] = {}, alphas[kLanes] = {};
            alignas(32) float v_alphas[kLanes] = {};
            tile.for_pixels(args_, b, [&](int lane, int64_t pixel) {
                const float* from = grads_.colors + pixel * channels + pass_.first;
                const float* v_from = grads_.v_colors + pixel * channels + pass_.first;
                for (int k = 0; k < D; ++k) {
                    if (k >= pass_.count) continue;
                    color[k][lane] = from[k];
                    g[k][lane] = v_from[k];
                }
                alphas[lane] = grads_.alphas[pixel];
                if (pass_.first == 0 && grads_.v_alphas != nullptr) v_alphas[lane] = grads_.v_alphas[pixel];
                T[lane] = 1.0f;
            });
            const Float8 alpha = Float8::load(alphas);
            Float8 v_alpha = Float8::load(v_alphas);
            block.T = Float8::load(T);
            block.suffix = Float8(0.0f);
            for (int k = 0; k < D; ++k) {
                block.g[k] = Float8::load(g[k]);
                block.suffix += block.g[k] * Float8::load(color[k]);
            }
            if (expected) {
                // color = sum / max(alpha, 1e-10): the suffix is the same, the gradient of the sum is g / alpha.
                const int k = std::min(pass_.count, D) - 1;
                block.g[k] = block.g[k] / max(alpha, Float8(1e-10f));
                v_alpha -= keep(alpha >= Float8(1e-10f), block.g[k] * Float8::load(color[k]));
            }
            block.suffix -= v_alpha * (Float8(1.0f) - alpha);
        }
    }

    RECON_INLINE void accumulate(const Record& r, const Tile& tile, uint64_t touched, float* sums) {
        const Shape shape(r, tile);
        Float8 color[D], total[kSums];
        for (int k = 0; k < D; ++k) color[k] = Float8(r.color[k]);
        for (Float8& t : total) t = Float8(0.0f);
        for (; touched != 0; touched &= touched - 1) {
            const int b = __builtin_ctzll(touched);
            GradientBlock<D>& block = blocks_[b];
            const Footprint at(shape, b);
            Float8 T = block.T;
            const Blend blended(at, cap_, T);
            block.T = T;
            Float8 value = color[0] * block.g[0];
            for (int k = 1; k < D; ++k) value += color[k] * block.g[k];
            const Float8 suffix = block.suffix;
            block.suffix = suffix - blended.vis * value;
            // d(loss)/d(alpha) = T (c . g) - (light behind) / (1 - alpha), where behind = suffix - T alpha (c . g): put
            // over one denominator, the sum needs only what is known before this Gaussian.
            const Float8 inverse = Float8(1.0f) / (Float8(1.0f) - blended.alpha);
            const Float8 v_alpha = (blended.T_before * value - suffix) * inverse;
            const Int8 free = blended.hit & (blended.raw_alpha <= cap_);
            const Float8 w = keep(free, blended.alpha * v_alpha);
            const Float8 wu = w * at.u, wy = w * at.dy;
            total[kW] += w;
            total[kWu] += wu;
            total[kWuu] += wu * at.u;
            total[kWy] += wy;
            total[kWyy] += wy * at.dy;
            total[kWuy] += wu * at.dy;
            for (int k = 0; k < D; ++k) total[kColor + k] += blended.vis * block.g[k];
            if (kAbsolute) {  // d(sigma)/d(mx) = -2 hA u, d(sigma)/d(my) = 2 hA slope u - 2 hC dy
                const Float8 x = shape.hA2 * wu, y = shape.hC2 * wy - shape.slope * x;
                total[kAbsX] += abs(x);
                total[kAbsY] += abs(y);
            }
        }
        lane_sums(total).store(sums);
        lane_sums_of_four(total + 8, sums + 8);
    }

    State& state_;
    const Args& args_;
    const Grads& grads_;
    const Pass pass_;
    const Float8 cap_;
    GradientBlock<D> blocks_[kBlocks];
};

template <bool kAbsolute>
void draw_backward_pass(State& state, const Args& args, const Grads& grads, Pass pass) {
    if (pass.count == 1) {
        for_tiles<BackwardDrawer<1, kAbsolute>>(state, args, grads, pass);
    } else if (pass.count <= 3) {
        for_tiles<BackwardDrawer<3, kAbsolute>>(state, args, grads, pass);
    } else {
        for_tiles<BackwardDrawer<4, kAbsolute>>(state, args, grads, pass);
    }
}

// Adds up a Gaussian's entries, in the order of its tiles: the result does not depend on the threads.
void gather_sums(State& state, const Args& args, Pass pass) {
    constexpr int64_t kAhead = 16;  // the entries of a Gaussian lie anywhere: fetch them early
    const int padded = passes(args.channels()) * kPassChannels;
    for_places(state, args.n_threads, [&](int64_t place) {
        const Slots slots = state.slots[place];
        float total[kSums] = {};
        for (uint32_t i = 0; i < slots.count; ++i) {
            const int64_t ahead = std::min<int64_t>(slots.begin + i + kAhead, state.n_entries - 1);
            __builtin_prefetch(&state.entry_sums[static_cast<size_t>(state.entry_of[ahead]) * kSums]);
            const float* entry = &state.entry_sums[static_cast<size_t>(state.entry_of[slots.begin + i]) * kSums];
            for (int k = 0; k < kSums; ++k) total[k] += entry[k];
        }
        float* moments = &state.moments[place * kMoments];
        if (pass.first == 0) std::fill(moments, moments + kMoments, 0.0f);
        for (int k = 0; k < kColor; ++k) moments[k] += total[k];
        for (int k = kAbsX; k < kSums; ++k) moments[k - kPassChannels] += total[k];
        std::memcpy(&state.color_sums[place * padded + pass.first], total + kColor, kPassChannels * sizeof(float));
    });
}

}  // namespace

void draw_backward(State& state, const Args& args, const Grads& grads) {
    const int64_t places = state.n_chunks() * kProjectChunk;
    const int n_passes = passes(args.channels());
    state.entry_sums.resize(state.n_entries * kSums);
    state.moments.resize(places * kMoments);
    state.color_sums.resize(places * n_passes * kPassChannels);
    for (int i = 0; i < n_passes; ++i) {
        const Pass pass(args, i);
        load_pass_colors(state, args, pass);
        if (grads.v_absgrad != nullptr) {
            draw_backward_pass<true>(state, args, grads, pass);
        } else {
            draw_backward_pass<false>(state, args, grads, pass);
        }
        gather_sums(state, args, pass);
    }
}

}  // namespace recon
