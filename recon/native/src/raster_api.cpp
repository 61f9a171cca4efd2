// The C interface of the rasterizer.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <mutex>
#include <string>
#include <utility>

#include "raster.h"

namespace recon {
namespace {

thread_local std::string last_error;

// States that were given back, kept for their memory: a training step then allocates nothing.
class StatePool {
  public:
    std::unique_ptr<State> take() {
        std::lock_guard<std::mutex> lock(mutex_);
        if (spare_.empty()) return std::make_unique<State>();
        std::unique_ptr<State> state = std::move(spare_.back());
        spare_.pop_back();
        return state;
    }
    void give_back(std::unique_ptr<State> state) {
        std::lock_guard<std::mutex> lock(mutex_);
        if (spare_.size() < kSpares) spare_.push_back(std::move(state));
    }
    void clear() {
        std::lock_guard<std::mutex> lock(mutex_);
        spare_.clear();
    }

  private:
    static constexpr size_t kSpares = 2;
    std::mutex mutex_;
    std::vector<std::unique_ptr<State>> spare_;
};

StatePool& pool() {
    static StatePool* instance = new StatePool;  // never destroyed: Python may free states while it exits
    return *instance;
}

}  // namespace
}  // namespace recon

using recon::Args;
using recon::Grads;
using recon::State;

// Renders one camera. Returns what the backward pass needs, to be freed by recon_raster_free; null on failure, with the
// reason in recon_raster_error().
RECON_API State* recon_raster_forward(const Args* args) {
    try {
        std::unique_ptr<State> state = recon::pool().take();
        recon::project(*state, *args);
        recon::bin(*state, *args);
        recon::draw(*state, *args);
        return state.release();
    } catch (const std::exception& error) {
        recon::last_error = error.what();
        return nullptr;
    }
}

// Gradients of one camera. Returns 0, or 1 on failure.
RECON_API int recon_raster_backward(State* state, const Args* args, const Grads* grads) {
    try {
        recon::draw_backward(*state, *args, *grads);
        recon::project_backward(*state, *args, *grads);
        return 0;
    } catch (const std::exception& error) {
        recon::last_error = error.what();
        return 1;
    }
}

RECON_API void recon_raster_free(State* state) {
    if (state != nullptr) recon::pool().give_back(std::unique_ptr<State>(state));
}

// Gives the memory of freed states back to the system.
RECON_API void recon_raster_trim() { recon::pool().clear(); }

RECON_API const char* recon_raster_error() { return recon::last_error.c_str(); }

RECON_API int64_t recon_raster_visible(const State* state) { return state->n_visible; }

RECON_API int64_t recon_raster_entries(const State* state) { return state->n_entries; }

// Pixels blended, over all Gaussians; counted only when weights were asked for.
RECON_API int64_t recon_raster_blends(const State* state) { return state->n_blends; }

// Arrays of recon_raster_visible() rows that recon_raster_export fills; mirrored by recon/native/raster.py.
struct Exported {
    int64_t* ids;
    float* means2d;
    int32_t* radii;  // half size of the bounding box, rounded up
    float *depths, *conics;
    float* opacities;  // after antialiasing
    int32_t* tiles;
};

// The visible Gaussians in ascending order of their index.
RECON_API void recon_raster_export(const State* state, const Exported* out, int n_threads) {
    const std::vector<int64_t> rows = state->rows();
    recon::parallel_for(n_threads, state->n_chunks(), 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t chunk = begin; chunk < end; ++chunk) {
            for (int64_t row = rows[chunk]; row < rows[chunk + 1]; ++row) {
                const int64_t place = chunk * recon::kProjectChunk + row - rows[chunk];
                const recon::Record& r = state->records[place];
                out->ids[row] = r.id;
                out->means2d[2 * row] = r.mx, out->means2d[2 * row + 1] = r.my;
                out->radii[2 * row] = static_cast<int32_t>(std::min(std::ceil(r.x_extent), 1e9f));
                out->radii[2 * row + 1] = static_cast<int32_t>(std::min(std::ceil(r.y_extent), 1e9f));
                out->depths[row] = r.depth;
                const float A = 2.0f / recon::kLog2E * r.hA2, C = 2.0f / recon::kLog2E * r.hC2;
                float* conic = out->conics + 3 * row;
                conic[0] = A, conic[1] = -A * r.slope, conic[2] = C + A * r.slope * r.slope;
                out->opacities[row] = std::exp2(r.L2);
                out->tiles[row] = static_cast<int32_t>(state->slots[place].count);
            }
        }
    });
}
