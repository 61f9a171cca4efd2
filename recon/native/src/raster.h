// The Gaussian rasterizer: what flows between its five steps. Each step is one file.
//
//   project.cpp            Gaussians -> Records (visible ones, packed)
//   bin.cpp                Records -> one depth order -> a list per tile
//   draw.cpp               lists -> image
//   draw_backward.cpp      gradient of the image -> ten sums per list entry and per Gaussian
//   project_backward.cpp   sums -> gradients of the inputs
//   raster_api.cpp         the C interface
//
// A 2D Gaussian is kept in the form  sigma = hA u^2 + hC dy^2  with  u = dx - slope dy  instead of a conic: both terms
// are positive, so nothing cancels in float32, and a pixel row meets exactly |u| <= sqrt((reach - hC dy^2) / hA).
// Exponents are base 2 throughout (hA2, hC2, L2 carry the factor log2(e)): alpha = 2^(L2 - hA2 u^2 - hC2 dy^2).
//
// The image model is that of gsplat 1.5.3 (and of 3D Gaussian splatting, Kerbl et al. 2023, section 4): alphas below
// 1/255 are skipped, a pixel stops before its transmittance would reach 1e-4.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "simd.h"
#include "threads.h"

namespace recon {

constexpr int kTileWidth = 32, kTileHeight = 16;
// A tile is made of blocks of 4x2 pixels, one Float8 each: squarish blocks waste fewer lanes on small ellipses than
// rows of eight, and the 64 blocks of a tile fit one machine word as a set.
constexpr int kBlockWidth = 4, kBlockHeight = 2;
constexpr int kBlockColumns = kTileWidth / kBlockWidth, kBlockRows = kTileHeight / kBlockHeight;
constexpr int kBlocks = kBlockColumns * kBlockRows;
static_assert(kBlocks == 64 && kBlockRows == kLanes && kBlockWidth * kBlockHeight == kLanes, "masks assume this");

constexpr int kPassChannels = 4;       // colour channels blended in one walk over the tiles; more take more walks
constexpr int64_t kProjectChunk = 2048;  // Gaussians handled (and packed) together
constexpr float kAlphaThreshold = 1.0f / 255.0f;
constexpr float kLog2Inverse255 = -7.994353436858858f;  // log2(1 / 255)
constexpr float kMinTransmittance = 1e-4f;
constexpr float kLog2E = 1.4426950408889634f;

enum DepthMode : int32_t { kNoDepth = 0, kAccumulatedDepth = 1, kExpectedDepth = 2 };

// ---- what crosses the C interface (mirrored by recon/render/cpu.py; keep the order) ------------------------------

struct Args {
    const float *means, *quats, *scales, *opacities;  // [n,3] [n,4] [n,3] [n]
    const float* colors;      // [n, color_channels], or SH [n, sh_stride, 3]; null when only depth is rendered
    const float* viewmat;     // [4,4] row-major, world to camera
    const float* K;           // [3,3]
    const float* camera_center;  // [3] in the world; used by SH of degree 1 and up
    const float* background;  // [channels()] or null
    float *out_colors, *out_alphas;  // [height, width, channels()], [height, width]
    float* out_weights;              // [n] or null: sum of T * alpha over all pixels
    int64_t n;
    int32_t width, height;
    int32_t color_channels, sh_degree, sh_stride;  // sh_degree is -1 for plain colours
    int32_t depth_mode, antialiased, n_threads;
    float near_plane, far_plane, radius_clip, eps2d, alpha_cap;

    int channels() const { return color_channels + (depth_mode == kNoDepth ? 0 : 1); }
};

struct Grads {
    const float *colors, *alphas;      // what the forward pass returned
    const float *v_colors, *v_alphas;  // gradients of those; v_alphas may be null
    // Gradients of the inputs, any of them null when not wanted. All n rows are written, or added to.
    float *v_means, *v_quats, *v_scales, *v_opacities, *v_colors_in;
    float *v_viewmat, *v_camera_center;  // [4,4] and [3], always written
    float *v_means2d, *v_absgrad;        // [visible, 2], packed; null when not wanted
    int32_t accumulate;                  // add to the per-Gaussian gradients (further cameras) instead of overwriting
};

// ---- inside --------------------------------------------------------------------------------------------------------

// One visible Gaussian as the tiles see it: a cache line.
struct alignas(64) Record {
    float mx, my;                     // centre in pixels
    float slope, hA2, hC2, L2;        // see the top of this file; L2 = log2(opacity)
    float reach;                      // the largest hA2 u^2 + hC2 dy^2 at which alpha still reaches 1/255
    float inv_hA2;
    float x_extent, y_extent;         // half size of the ellipse's bounding box
    float depth;
    uint32_t id;                      // index of the Gaussian among the inputs
    float color[kPassChannels];
};
static_assert(sizeof(Record) == 64, "a record is one cache line");

// Memory that only grows and is not initialised: a training loop renders the same sizes again and again.
template <typename T>
class Buffer {
  public:
    T* resize(size_t size) {
        if (size > capacity_) {
            data_.reset();
            capacity_ = size + size / 8;
            void* raw = std::aligned_alloc(64, (capacity_ * sizeof(T) + 63) / 64 * 64);
            if (raw == nullptr) {
                capacity_ = 0;
                throw std::bad_alloc();
            }
            data_.reset(static_cast<T*>(raw));
        }
        return data_.get();
    }
    T* data() const { return data_.get(); }
    T& operator[](size_t i) const { return data_.get()[i]; }

  private:
    struct Free {
        void operator()(T* p) const { std::free(p); }
    };
    std::unique_ptr<T, Free> data_;
    size_t capacity_ = 0;
};

// A Gaussian, by its place, and a tile that it meets.
struct TilePair {
    uint32_t place, tile;
};

struct Slots {
    uint32_t begin, count;
};

// What one forward pass leaves for its backward pass.
//
// A visible Gaussian's place is `p = chunk * kProjectChunk + k`: every chunk packs its own visible ones to its front, so
// that chunks need not wait for each other. Places ascend with the Gaussian's index.
struct State {
    int tiles_x = 0, tiles_y = 0;
    Buffer<Record> records;           // [places]
    Buffer<uint8_t> clamped;          // [places] SH colour channels that were clamped at 0, a bit each
    Buffer<float> colors;             // [places, padded channels], only when one pass does not hold all channels
    std::vector<uint32_t> chunk_visible;

    int64_t n_visible = 0;
    Buffer<uint32_t> order;           // [visible] places, near to far
    Buffer<uint32_t> tile_begin;      // [tiles + 1] into the list
    Buffer<uint32_t> tile_done;       // [tiles] entries of the tile that the forward pass looked at
    Buffer<uint32_t> list;            // [entries] places, tile by tile, near to far
    Buffer<uint64_t> touched;         // [entries] the blocks that the entry was blended into
    int64_t n_entries = 0;
    std::atomic<int64_t> n_blends{0};  // pixels blended over all Gaussians; counted only along with the weights
    Buffer<Slots> slots;              // [places] where in `entry_of` the Gaussian's entries are
    Buffer<uint32_t> entry_of;        // [entries] grouped by Gaussian, in the order of places
    Buffer<float> entry_sums;         // [entries, kSums] written by the backward pass
    Buffer<float> moments;            // [places, kMoments]
    Buffer<float> color_sums;         // [places, padded channels]

    // Scratch of the forward pass.
    Buffer<uint64_t> keys, keys_other;
    Buffer<uint32_t> histogram;
    std::vector<std::vector<TilePair>> pairs;

    int64_t n_chunks() const { return static_cast<int64_t>(chunk_visible.size()); }
    // How many Gaussians are visible in the chunks before each, and in all.
    std::vector<int64_t> rows() const {
        std::vector<int64_t> rows(n_chunks() + 1, 0);
        for (int64_t c = 0; c < n_chunks(); ++c) rows[c + 1] = rows[c] + chunk_visible[c];
        return rows;
    }
    int tiles() const { return tiles_x * tiles_y; }
};

// Sums over the pixels of a Gaussian, with w = alpha dL/dalpha where alpha was not capped. The backward pass writes them
// per tile entry: six moments, up to four colour gradients, and the two sums of absolute values for absgrad.
enum Sum { kW, kWu, kWuu, kWy, kWyy, kWuy, kColor, kAbsX = kColor + kPassChannels, kAbsY, kSums };
static_assert(kSums == 12, "the reduction in draw_backward.cpp assumes eight and four");
// Per Gaussian the colours live apart, because there may be more than a pass holds: six moments and the absolute sums.
constexpr int kMoments = 8;

inline int passes(int channels) { return (channels + kPassChannels - 1) / kPassChannels; }

void project(State& state, const Args& args);
void bin(State& state, const Args& args);
void draw(State& state, const Args& args);
void draw_backward(State& state, const Args& args, const Grads& grads);
void project_backward(State& state, const Args& args, const Grads& grads);

}  // namespace recon
