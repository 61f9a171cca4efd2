// Step 1: project the Gaussians and pack those that can be seen.
#include <algorithm>
#include <cmath>

#include "sh.h"

namespace recon {
namespace {

// The lanes whose Gaussian reaches the image, by gsplat's rules; comparisons are written so that NaN fails them.
RECON_INLINE Int8 visible_lanes(const Args& args, const Projection& p, Float8 opacity, Float8 reach, Float8 x_extent,
                                Float8 y_extent) {
    const Float8 rx = from_bits(bits(x_extent)), ry = y_extent;
    const Float8 limit(3.0e38f), near(std::max(args.near_plane, 1e-12f));
    Int8 ok = (p.cam.z >= near) & (p.cam.z <= Float8(args.far_plane));
    ok = ok & (p.det > Float8(0.0f)) & (p.det < limit) & (abs(p.mx) < limit) & (abs(p.my) < limit);
    ok = ok & (opacity <= limit) & (reach >= Float8(0.0f)) & (rx < limit) & (ry < limit);
    ok = ok & (p.mx + rx > Float8(0.0f)) & (p.mx - rx < Float8(float(args.width)));
    return ok & (p.my + ry > Float8(0.0f)) & (p.my - ry < Float8(float(args.height)));
}

class Projector {
  public:
    Projector(State& state, const Args& args)
        : state_(state), args_(args), camera_(args), padded_(passes(args.channels()) * kPassChannels) {}

    // Projects the Gaussians of one chunk; returns how many are visible.
    uint32_t chunk(int64_t chunk_index) {
        const int64_t first = chunk_index * kProjectChunk, end = std::min(first + kProjectChunk, args_.n);
        place_ = first;
        for (int64_t i = first; i < end; i += kLanes) {
            Lanes lanes;
            lanes.count = static_cast<int>(std::min<int64_t>(kLanes, end - i));
            for (int lane = 0; lane < kLanes; ++lane) lanes.index[lane] = i + std::min(lane, lanes.count - 1);
            project_batch(lanes);
        }
        return static_cast<uint32_t>(place_ - first);
    }

  private:
    // The centres again, in double: a float has only 16 bits left for the fraction of a pixel, and small Gaussians are
    // steep enough to show it.
    void sharpen_centers(const Lanes& lanes, Projection& p) const {
        double x[kLanes], y[kLanes], z[kLanes];
        for (int lane = 0; lane < kLanes; ++lane) {
            const float* mean = args_.means + 3 * lanes.index[lane];
            const auto row = [&](int i) {
                return double{camera_.W[i][0]} * mean[0] + double{camera_.W[i][1]} * mean[1] +
                       double{camera_.W[i][2]} * mean[2] + double{camera_.t[i]};
            };
            x[lane] = row(0), y[lane] = row(1), z[lane] = row(2);
        }
        for (int lane = 0; lane < kLanes; ++lane) {
            p.mx.set(lane, static_cast<float>(camera_.fx * x[lane] / z[lane] + camera_.cx));
            p.my.set(lane, static_cast<float>(camera_.fy * y[lane] / z[lane] + camera_.cy));
        }
    }

    void project_batch(const Lanes& lanes) {
        Projection p = project_lanes(camera_, args_, lanes);
        sharpen_centers(lanes, p);
        Float8 opacity = lanes.gather(args_.opacities, 1, 0);
        if (args_.antialiased) opacity = opacity * sqrt(max(p.det0 / p.det, Float8(0.0f)));

        float log_opacity[kLanes];
        for (int lane = 0; lane < kLanes; ++lane) log_opacity[lane] = std::log2(opacity[lane]);
        const Float8 L2 = Float8::load(log_opacity), reach = L2 - Float8(kLog2Inverse255);
        // sigma <= reach / log2(e) is the ellipse d^T cov2d^-1 d <= 2 sigma; its half extents are sqrt(2 sigma a).
        const Float8 t = max(reach, Float8(0.0f)) * Float8(2.0f / kLog2E);
        const Float8 x_extent = sqrt(t * p.a), y_extent = sqrt(t * p.c);
        int visible = sign_bits(visible_lanes(args_, p, opacity, reach, x_extent, y_extent));
        visible &= (1 << lanes.count) - 1;
        if (visible == 0) return;

        evaluate_colors(lanes, p);
        for (; visible != 0; visible &= visible - 1) {
            const int lane = __builtin_ctz(visible);
            if (too_small(x_extent[lane], y_extent[lane]) || !colors_finite(lane)) continue;
            Record& r = state_.records[place_];
            r.mx = p.mx[lane], r.my = p.my[lane];
            const float inv_c = 1.0f / p.c[lane];
            r.slope = p.b[lane] * inv_c;
            r.hA2 = 0.5f * kLog2E * p.c[lane] / p.det[lane];
            r.hC2 = 0.5f * kLog2E * inv_c;
            r.L2 = L2[lane];
            r.reach = reach[lane];
            r.inv_hA2 = 1.0f / r.hA2;
            r.x_extent = x_extent[lane], r.y_extent = y_extent[lane];
            r.depth = p.cam.z[lane];
            r.id = static_cast<uint32_t>(lanes.index[lane]);
            store_colors(r, lane, p.cam.z[lane]);
            ++place_;
        }
    }

    bool too_small(float x_extent, float y_extent) const {
        return std::ceil(x_extent) <= args_.radius_clip && std::ceil(y_extent) <= args_.radius_clip;
    }

    // Fills rgb_ (SH) or points at plain colours.
    void evaluate_colors(const Lanes& lanes, const Projection& p) {
        lanes_ = &lanes;
        if (args_.sh_degree < 0) return;
        Float8 basis[kMaxBases];
        Vec3x8 direction = {Float8(0.0f), Float8(0.0f), Float8(0.0f)};
        if (args_.sh_degree > 0) {
            const float* center = args_.camera_center;
            direction = p.mean - Vec3x8{Float8(center[0]), Float8(center[1]), Float8(center[2])};
            direction = direction * (Float8(1.0f) / max(sqrt(dot(direction, direction)), Float8(1e-12f)));
        }
        sh_basis(args_.sh_degree, direction, basis);
        for (int channel = 0; channel < 3; ++channel) {
            Float8 sum(0.5f);
            for (int k = 0; k < sh_bases(args_.sh_degree); ++k) {
                sum += basis[k] * lanes.gather(args_.colors, 3 * args_.sh_stride, 3 * k + channel);
            }
            rgb_[channel] = sum;
        }
    }

    float color(int lane, int channel) const {
        if (args_.sh_degree >= 0) return rgb_[channel][lane];
        return args_.colors[lanes_->index[lane] * args_.color_channels + channel];
    }

    bool colors_finite(int lane) const {
        for (int channel = 0; channel < args_.color_channels; ++channel) {
            if (!std::isfinite(color(lane, channel))) return false;
        }
        return true;
    }

    void store_colors(Record& r, int lane, float depth) {
        float* to = padded_ > kPassChannels ? &state_.colors[place_ * padded_] : r.color;
        std::fill(to, to + padded_, 0.0f);
        uint8_t clamped = 0;
        for (int channel = 0; channel < args_.color_channels; ++channel) {
            to[channel] = color(lane, channel);
            if (args_.sh_degree >= 0 && to[channel] < 0.0f) {
                to[channel] = 0.0f;
                clamped |= 1 << channel;
            }
        }
        if (args_.depth_mode != kNoDepth) to[args_.color_channels] = depth;
        state_.clamped[place_] = clamped;
    }

    State& state_;
    const Args& args_;
    const CameraModel camera_;
    const int padded_;
    int64_t place_ = 0;
    const Lanes* lanes_ = nullptr;
    Float8 rgb_[3];
};

}  // namespace

void project(State& state, const Args& args) {
    const int64_t chunks = (args.n + kProjectChunk - 1) / kProjectChunk, places = chunks * kProjectChunk;
    state.records.resize(places);
    state.clamped.resize(places);
    const int padded = passes(args.channels()) * kPassChannels;
    if (padded > kPassChannels) state.colors.resize(places * padded);
    state.chunk_visible.assign(chunks, 0);
    parallel_for(args.n_threads, chunks, 1, [&](int64_t begin, int64_t end, int) {
        Projector projector(state, args);
        for (int64_t c = begin; c < end; ++c) state.chunk_visible[c] = projector.chunk(c);
    });
    state.n_visible = 0;
    for (uint32_t count : state.chunk_visible) state.n_visible += count;
}

}  // namespace recon
