// What drawing and its backward pass share: a tile's pixels in blocks, and one Gaussian blended into one block. Both must
// compute the same transmittances, so there is one code for it.
#pragma once

#include <algorithm>
#include <cstring>

#include "raster.h"

namespace recon {

// Pixel centres of every block, relative to the tile's corner.
struct BlockCentres {
    Float8 x[kBlocks], y[kBlocks];
    BlockCentres() {
        for (int b = 0; b < kBlocks; ++b) {
            for (int lane = 0; lane < kLanes; ++lane) {
                x[b].set(lane, (b % kBlockColumns) * kBlockWidth + lane % kBlockWidth + 0.5f);
                y[b].set(lane, (b / kBlockColumns) * kBlockHeight + lane / kBlockWidth + 0.5f);
            }
        }
    }
};
inline const BlockCentres kCentres;

struct Tile {
    int index, x, y;      // x, y: first pixel
    int width, height;    // less than a whole tile at the right and lower edge

    Tile(const State& state, const Args& args, int tile)
        : index(tile), x(tile % state.tiles_x * kTileWidth), y(tile / state.tiles_x * kTileHeight),
          width(std::min(kTileWidth, args.width - x)), height(std::min(kTileHeight, args.height - y)) {}

    // Calls visit(lane, pixel) for the pixels of a block that lie in the image; `pixel` counts row by row.
    template <typename Visit>
    RECON_INLINE void for_pixels(const Args& args, int block, Visit visit) const {
        const int left = block % kBlockColumns * kBlockWidth, top = block / kBlockColumns * kBlockHeight;
        const int columns = std::min(width - left, kBlockWidth), rows = std::min(height - top, kBlockHeight);
        const int64_t first = static_cast<int64_t>(y + top) * args.width + x + left;
        if (columns == kBlockWidth && rows == kBlockHeight) {  // the usual case, with loops of known length
            for (int lane = 0; lane < kLanes; ++lane) {
                visit(lane, first + lane / kBlockWidth * args.width + lane % kBlockWidth);
            }
            return;
        }
        for (int row = 0; row < rows; ++row) {
            for (int column = 0; column < columns; ++column) {
                visit(row * kBlockWidth + column, first + static_cast<int64_t>(row) * args.width + column);
            }
        }
    }
};

// A Gaussian in tile coordinates, spread over the lanes.
struct Shape {
    Float8 slope, hA2, hC2, L2, u0, my;

    RECON_INLINE Shape(const Record& r, const Tile& tile)
        : slope(r.slope), hA2(r.hA2), hC2(r.hC2), L2(r.L2), u0((r.mx - tile.x) - r.slope * (r.my - tile.y)),
          my(r.my - tile.y) {}
};

// log2 of the alpha before capping, at the pixels of a block.
struct Footprint {
    Float8 u, dy, log_alpha;

    RECON_INLINE Footprint(const Shape& s, int block)
        : u((kCentres.x[block] - s.slope * kCentres.y[block]) - s.u0), dy(kCentres.y[block] - s.my),
          log_alpha((s.L2 - s.hC2 * (dy * dy)) - s.hA2 * (u * u)) {}
};

// One Gaussian meets the transmittance T of a block. T of a pixel that has stopped is kept with its sign flipped.
struct Blend {
    Float8 raw_alpha, alpha, T_before, vis;
    Int8 hit;

    RECON_INLINE Blend(const Footprint& at, Float8 cap, Float8& T)
        : raw_alpha(exp2(at.log_alpha)), alpha(min(raw_alpha, cap)), T_before(T) {
        const Int8 visible = at.log_alpha >= Float8(kLog2Inverse255);
        const Float8 weight = keep(visible, T) * alpha;
        const Float8 next = T - weight;
        const Int8 going = next > Float8(kMinTransmittance);
        vis = keep(going, weight);
        hit = visible & going;
        T = select(going, next, from_bits(bits(T) | Int8(INT32_MIN)));
    }
};

// The records of a tile, near to far, fetched from memory a little ahead.
RECON_INLINE const Record& entry_record(const State& state, uint32_t entry, uint32_t end) {
    constexpr uint32_t kAhead = 6;
    if (entry + kAhead < end) __builtin_prefetch(&state.records[state.list[entry + kAhead]]);
    return state.records[state.list[entry]];
}

// The channels that one pass draws: `count` of them from `first` on, blended as D.
struct Pass {
    int first, count;
    Pass(const Args& args, int pass)
        : first(pass * kPassChannels), count(std::min(kPassChannels, args.channels() - first)) {}
};

// Hands every tile to a Drawer(state, args, rest...), which holds a tile's pixels; one is made per chunk of tiles.
template <typename Drawer, typename... Rest>
void for_tiles(State& state, const Args& args, const Rest&... rest) {
    parallel_for(args.n_threads, state.tiles(), 2, [&](int64_t begin, int64_t end, int) {
        const FlushDenormals guard;
        Drawer drawer(state, args, rest...);
        for (int64_t tile = begin; tile < end; ++tile) drawer.tile(static_cast<int>(tile));
    });
}

// Calls body(place) for every visible Gaussian.
template <typename Body>
void for_places(const State& state, int n_threads, Body body) {
    parallel_for(n_threads, state.n_chunks(), 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t chunk = begin; chunk < end; ++chunk) {
            const int64_t first = chunk * kProjectChunk;
            for (int64_t place = first; place < first + state.chunk_visible[chunk]; ++place) body(place);
        }
    });
}

// Colours of one pass into the records; a single pass has them there from the start.
inline void load_pass_colors(State& state, const Args& args, Pass pass) {
    const int padded = passes(args.channels()) * kPassChannels;
    if (padded == kPassChannels) return;
    for_places(state, args.n_threads, [&](int64_t place) {
        std::memcpy(state.records[place].color, &state.colors[place * padded + pass.first], sizeof(Record::color));
    });
}

}  // namespace recon
