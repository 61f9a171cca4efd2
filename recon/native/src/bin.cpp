// Step 2: one depth order, then a list of Gaussians per tile.
//
// The Gaussians are sorted once. Walking them near to far and appending each to the tiles it touches gives every tile
// its list in depth order already: a counting sort by tile, with no key per intersection. Extents are exact: the part
// of the ellipse alpha >= 1/255 that lies in a row of tiles (as in StopThePop and Speedy-Splat, where it is per tile).
#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "raster.h"

namespace recon {
namespace {

constexpr float kSlackPx = 0.01f;  // for rounding; pixels are tested exactly later

// Least significant digit first, three digits of 11 bits, on (depth bits << 32 | place). Depths are positive, so their
// bit patterns sort like the numbers. Stable: equal depths keep the order of the input, as in gsplat.
void sort_by_depth(State& state) {
    constexpr int kBits = 11, kDigits = 3, kBuckets = 1 << kBits;
    const int64_t n = state.n_visible;
    uint64_t* from = state.keys.resize(n);
    uint64_t* to = state.keys_other.resize(n);
    std::vector<uint32_t> counts(kDigits * kBuckets, 0);
    int64_t k = 0;
    for (int64_t chunk = 0; chunk < state.n_chunks(); ++chunk) {
        for (uint32_t i = 0; i < state.chunk_visible[chunk]; ++i) {
            const uint32_t place = static_cast<uint32_t>(chunk * kProjectChunk + i);
            uint32_t depth;
            std::memcpy(&depth, &state.records[place].depth, 4);
            from[k++] = static_cast<uint64_t>(depth) << 32 | place;
            for (int d = 0; d < kDigits; ++d) ++counts[d * kBuckets + (depth >> d * kBits & (kBuckets - 1))];
        }
    }
    for (int d = 0; d < kDigits; ++d) {
        uint32_t* count = &counts[d * kBuckets];
        if (std::find(count, count + kBuckets, static_cast<uint32_t>(n)) != count + kBuckets) continue;  // all the same
        uint32_t begin = 0;
        for (int b = 0; b < kBuckets; ++b) begin += std::exchange(count[b], begin);
        for (int64_t i = 0; i < n; ++i) to[count[from[i] >> (32 + d * kBits) & (kBuckets - 1)]++] = from[i];
        std::swap(from, to);
    }
    state.order.resize(n);
    for (int64_t i = 0; i < n; ++i) state.order[i] = static_cast<uint32_t>(from[i]);
}

// Tiles [first, last) along one axis that meet the pixel centres in [low, high].
struct Range {
    int first, last;
};
Range tile_range(float low, float high, int size, int tiles) {
    const float limit = static_cast<float>(tiles * size);
    // A pixel i is met when low <= i + 0.5 <= high.
    const int begin = static_cast<int>(std::min(std::max(low + 0.5f, 0.0f), limit));
    const int end = static_cast<int>(std::min(std::max(high + 0.5f, 0.0f), limit));
    return {begin / size, (end + size - 1) / size};
}

// Calls visit(tile row, first tile, last tile) for every row of tiles that the Gaussian's ellipse meets.
template <typename Visit>
void for_tile_rows(const Record& r, int tiles_x, int tiles_y, Visit visit) {
    const Range rows = tile_range(r.my - r.y_extent - kSlackPx, r.my + r.y_extent + kSlackPx, kTileHeight, tiles_y);
    // The rightmost point of the ellipse is at dy = dy_right, the leftmost opposite; in a band, the extent to the right
    // is a concave function of dy, so its maximum is at dy_right clamped to the band.
    const float dy_right = r.slope * r.y_extent * r.y_extent / std::max(r.x_extent, 1e-20f);
    for (int row = rows.first; row < rows.last; ++row) {
        const float top = std::max(row * kTileHeight + 0.5f - r.my, -r.y_extent);
        const float bottom = std::min((row + 1) * kTileHeight - 0.5f - r.my, r.y_extent);
        const auto half_width = [&](float dy) { return std::sqrt(std::max(r.reach - r.hC2 * dy * dy, 0.0f) * r.inv_hA2); };
        const float dy1 = std::min(std::max(dy_right, top), bottom), dy0 = std::min(std::max(-dy_right, top), bottom);
        const float right = r.mx + r.slope * dy1 + half_width(dy1) + kSlackPx;
        const float left = r.mx + r.slope * dy0 - half_width(dy0) - kSlackPx;
        const Range columns = tile_range(left, right, kTileWidth, tiles_x);
        if (columns.first < columns.last) visit(row, columns.first, columns.last);
    }
}

// The walk is cut into pieces of consecutive Gaussians so that threads can share it: each piece notes its pairs of a
// Gaussian and a tile and counts them per tile, a prefix sum over (tile, piece) says where each may write, and each fills
// in. The result does not depend on the cut.
class Binner {
  public:
    Binner(State& state, const Args& args)
        : state_(state), n_threads_(args.n_threads), pieces_(args.n_threads == 1 ? 1 : std::min(4 * args.n_threads, 64)) {
        const size_t size = static_cast<size_t>(pieces_) * state.tiles();
        counts_ = state.histogram.resize(size);
        std::fill(counts_, counts_ + size, 0);
        state.pairs.resize(pieces_);
    }

    void run() {
        for_pieces([this](int piece) { collect(piece); });
        prefix_sums();
        for_pieces([this](int piece) { fill(piece); });
    }

  private:
    template <typename Body>
    void for_pieces(Body body) {
        parallel_for(n_threads_, pieces_, 1, [&](int64_t begin, int64_t end, int) {
            for (int64_t piece = begin; piece < end; ++piece) body(static_cast<int>(piece));
        });
    }

    uint32_t* counts(int piece) { return counts_ + static_cast<size_t>(piece) * state_.tiles(); }

    void collect(int piece) {
        uint32_t* count = counts(piece);
        std::vector<TilePair>& pairs = state_.pairs[piece];
        pairs.clear();
        const int64_t begin = state_.n_visible * piece / pieces_, end = state_.n_visible * (piece + 1) / pieces_;
        for (int64_t i = begin; i < end; ++i) {
            if (i + 8 < end) __builtin_prefetch(&state_.records[state_.order[i + 8]]);
            const uint32_t place = state_.order[i];
            const size_t before = pairs.size();
            for_tile_rows(state_.records[place], state_.tiles_x, state_.tiles_y, [&](int row, int first, int last) {
                for (int x = first; x < last; ++x) {
                    const uint32_t tile = row * state_.tiles_x + x;
                    ++count[tile];
                    pairs.push_back({place, tile});
                }
            });
            state_.slots[place].count = static_cast<uint32_t>(pairs.size() - before);
        }
    }

    void prefix_sums() {
        int64_t entries = 0;
        for (int64_t chunk = 0; chunk < state_.n_chunks(); ++chunk) {
            for (uint32_t k = 0; k < state_.chunk_visible[chunk]; ++k) {
                Slots& slots = state_.slots[chunk * kProjectChunk + k];
                slots.begin = static_cast<uint32_t>(entries);
                entries += slots.count;
            }
        }
        if (entries > INT32_MAX) throw std::length_error("more than 2^31 tile entries");
        state_.n_entries = entries;
        uint32_t begin = 0;
        for (int tile = 0; tile < state_.tiles(); ++tile) {
            state_.tile_begin[tile] = begin;
            for (int piece = 0; piece < pieces_; ++piece) begin += std::exchange(counts(piece)[tile], begin);
        }
        state_.tile_begin[state_.tiles()] = begin;
        state_.list.resize(entries);
        state_.entry_of.resize(entries);
    }

    void fill(int piece) {
        uint32_t* next = counts(piece);
        const std::vector<TilePair>& pairs = state_.pairs[piece];
        uint32_t slot = 0;
        for (size_t i = 0; i < pairs.size(); ++i) {
            constexpr size_t kAhead = 12;
            if (i + kAhead < pairs.size()) __builtin_prefetch(&state_.slots[pairs[i + kAhead].place]);
            const TilePair pair = pairs[i];
            if (i == 0 || pairs[i - 1].place != pair.place) slot = state_.slots[pair.place].begin;
            const uint32_t entry = next[pair.tile]++;
            state_.list[entry] = pair.place;
            state_.entry_of[slot++] = entry;
        }
    }

    State& state_;
    const int n_threads_, pieces_;
    uint32_t* counts_;
};

}  // namespace

void bin(State& state, const Args& args) {
    state.tiles_x = (args.width + kTileWidth - 1) / kTileWidth;
    state.tiles_y = (args.height + kTileHeight - 1) / kTileHeight;
    state.tile_begin.resize(state.tiles() + 1);
    state.tile_done.resize(state.tiles());
    state.slots.resize(state.n_chunks() * kProjectChunk);
    sort_by_depth(state);
    Binner(state, args).run();
}

}  // namespace recon
