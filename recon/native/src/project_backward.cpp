// Step 5: from the sums over pixels to the gradients of what went in. Eight Gaussians at a time.
#include <algorithm>
#include <cstring>

#include "sh.h"

namespace recon {
namespace {

// Gradients of the camera: sums over all Gaussians, hence in double.
struct CameraGradient {
    double viewmat[3][4] = {};
    double center[3] = {};
};

RECON_INLINE double sum(Float8 v) {
    double s = 0.0;
    for (int lane = 0; lane < kLanes; ++lane) s += v[lane];
    return s;
}

// The gradients that a batch of eight hands from one step to the next.
struct Batch {
    Lanes source;  // indices among the inputs
    Lanes place;   // places among the records
    Int8 used;     // lanes in use
    Projection p;
    Float8 g_mx, g_my, g_a, g_b, g_c, g_opacity, g_depth;
    Vec3x8 g_mean, g_scale;
    Float8 g_qw, g_qx, g_qy, g_qz;
};

class BackProjector {
  public:
    BackProjector(const State& state, const Args& args, const Grads& grads, CameraGradient& total)
        : state_(state), args_(args), grads_(grads), camera_(args), total_(total),
          padded_(passes(args.channels()) * kPassChannels) {}

    // `row`: how many Gaussians are visible in the chunks before.
    void chunk(int64_t chunk_index, int64_t row) {
        const int64_t first = chunk_index * kProjectChunk, size = std::min(kProjectChunk, args_.n - first);
        if (!grads_.accumulate) zero_rows(first, size);
        const int64_t end = first + state_.chunk_visible[chunk_index];
        for (int64_t place = first; place < end; place += kLanes) {
            Batch batch;
            fill_lanes(batch, place, end);
            batch.p = project_lanes(camera_, args_, batch.source);
            from_moments(batch);
            if (args_.antialiased) through_compensation(batch);
            write_means2d(batch, row + place - first);
            through_projection(batch);
            through_colors(batch);
            write(batch);
        }
    }

  private:
    void zero_rows(int64_t first, int64_t size) const {
        const auto zero = [&](float* array, int64_t stride) {
            if (array != nullptr) std::memset(array + first * stride, 0, size * stride * sizeof(float));
        };
        zero(grads_.v_means, 3), zero(grads_.v_quats, 4), zero(grads_.v_scales, 3), zero(grads_.v_opacities, 1);
        zero(grads_.v_colors_in, color_stride());
    }

    int64_t color_stride() const { return args_.sh_degree >= 0 ? 3 * args_.sh_stride : args_.color_channels; }

    void fill_lanes(Batch& batch, int64_t place, int64_t end) const {
        batch.place.count = batch.source.count = static_cast<int>(std::min<int64_t>(kLanes, end - place));
        float used[kLanes];
        for (int lane = 0; lane < kLanes; ++lane) {
            batch.place.index[lane] = place + std::min(lane, batch.place.count - 1);
            batch.source.index[lane] = state_.records[batch.place.index[lane]].id;
            used[lane] = lane < batch.place.count ? 1.0f : 0.0f;
        }
        batch.used = Float8::load(used) > Float8(0.0f);
    }

    // Of a lane that is not in use every gradient is zero: the sums it starts from are.
    RECON_INLINE Float8 moment(const Batch& batch, int k) const {
        return keep(batch.used, batch.place.gather(state_.moments.data(), kMoments, k));
    }
    RECON_INLINE Float8 color_gradient(const Batch& batch, int channel) const {
        return keep(batch.used, batch.place.gather(state_.color_sums.data(), padded_, channel));
    }

    // Sums of w u^i dy^j -> gradients of centre, blurred covariance (a, b, c) and opacity, by
    // hA = c / 2 det, hC = 1 / 2c, slope = b / c (see raster.h) and d(loss)/d(sigma) = -w.
    RECON_INLINE void from_moments(Batch& batch) const {
        const Projection& p = batch.p;
        const Float8 half(0.5f), two(2.0f);
        const Float8 inv_c = Float8(1.0f) / p.c, hA = half * p.c / p.det, hC = half * inv_c, slope = p.b * inv_c;
        const Float8 wu = moment(batch, kWu), wy = moment(batch, kWy);
        const Float8 wuu = moment(batch, kWuu), wuy = moment(batch, kWuy), wyy = moment(batch, kWyy);
        batch.g_mx = two * hA * wu;
        batch.g_my = two * hC * wy - slope * batch.g_mx;
        const Float8 g_hA = two * hA * hA * wuu, g_slope = two * hA * wuy;
        batch.g_a = g_hA;
        batch.g_b = two * hC * g_slope - two * slope * g_hA;
        batch.g_c = slope * slope * g_hA - two * hC * slope * g_slope + two * hC * hC * wyy;
        const Float8 opacity = keep(batch.used, batch.source.gather(args_.opacities, 1, 0));
        batch.g_opacity = moment(batch, kW) / max(opacity, Float8(1e-20f));
        batch.g_depth = args_.depth_mode == kNoDepth ? Float8(0.0f) : color_gradient(batch, args_.color_channels);
    }

    // Antialiased: alpha's opacity was opacity * sqrt(det0 / det). In terms of log(compensation^2) its gradient is
    // w / 2, so neither factor is divided by.
    RECON_INLINE void through_compensation(Batch& batch) const {
        const Projection& p = batch.p;
        const Float8 g = Float8(0.5f) * moment(batch, kW);
        const Float8 a0 = p.a - Float8(args_.eps2d), c0 = p.c - Float8(args_.eps2d);
        const Float8 g0 = g / p.det0, g1 = g / p.det;
        batch.g_a += g0 * c0 - g1 * p.c;
        batch.g_b -= Float8(2.0f) * p.b * (g0 - g1);
        batch.g_c += g0 * a0 - g1 * p.a;
    }

    RECON_INLINE void through_projection(Batch& batch) {
        const Projection& p = batch.p;
        const Float8 two(2.0f);
        const Vec3x8 g_t0 = p.t0 * (two * batch.g_a) + p.t1 * batch.g_b;
        const Vec3x8 g_t1 = p.t1 * (two * batch.g_c) + p.t0 * batch.g_b;
        const Float8 fx_z = Float8(camera_.fx) * p.inv_z, fy_z = Float8(camera_.fy) * p.inv_z;
        batch.g_scale = multiply(g_t0, p.q0) * fx_z + multiply(g_t1, p.q1) * fy_z;
        const Vec3x8 g_q0 = multiply(g_t0, p.scale) * fx_z, g_q1 = multiply(g_t1, p.scale) * fy_z;
        const Vec3x8 g_P2 = g_q0 * (-p.rx) - g_q1 * p.ry;
        const Float8 g_rx = -dot(g_q0, p.P2), g_ry = -dot(g_q1, p.P2);

        const Float8 x_z = p.cam.x * p.inv_z, y_z = p.cam.y * p.inv_z;
        const Int8 free_x = (x_z >= Float8(camera_.min_rx)) & (x_z <= Float8(camera_.max_rx));
        const Int8 free_y = (y_z >= Float8(camera_.min_ry)) & (y_z <= Float8(camera_.max_ry));
        const Float8 g_x_z = Float8(camera_.fx) * batch.g_mx + keep(free_x, g_rx);
        const Float8 g_y_z = Float8(camera_.fy) * batch.g_my + keep(free_y, g_ry);
        const Float8 g_log_z = -(dot(g_t0, p.t0) + dot(g_t1, p.t1) + g_x_z * x_z + g_y_z * y_z);
        const Vec3x8 g_cam = {g_x_z * p.inv_z, g_y_z * p.inv_z, g_log_z * p.inv_z + batch.g_depth};

        batch.g_mean = camera_column_product(g_cam.x, g_cam.y, g_cam.z);
        add_viewmat(batch, g_cam, g_q0, g_q1, g_P2);
        // rows of d(loss)/dR = W^T d(loss)/dP
        const auto row = [&](int j) {
            return g_q0 * Float8(camera_.W[0][j]) + g_q1 * Float8(camera_.W[1][j]) + g_P2 * Float8(camera_.W[2][j]);
        };
        through_rotation(batch, row(0), row(1), row(2));
    }

    // W^T (x, y, z)
    RECON_INLINE Vec3x8 camera_column_product(Float8 x, Float8 y, Float8 z) const {
        return camera_.row(0) * x + camera_.row(1) * y + camera_.row(2) * z;
    }

    // P = W R and cam = W mean + t.
    RECON_INLINE void add_viewmat(const Batch& batch, Vec3x8 g_cam, Vec3x8 g_P0, Vec3x8 g_P1, Vec3x8 g_P2) {
        const Projection& p = batch.p;
        const auto add_row = [&](double* row, Float8 g, Vec3x8 g_P) {
            row[0] += sum(keep(batch.used, g * p.mean.x + dot(g_P, p.R0)));
            row[1] += sum(keep(batch.used, g * p.mean.y + dot(g_P, p.R1)));
            row[2] += sum(keep(batch.used, g * p.mean.z + dot(g_P, p.R2)));
            row[3] += sum(keep(batch.used, g));
        };
        add_row(total_.viewmat[0], g_cam.x, g_P0);
        add_row(total_.viewmat[1], g_cam.y, g_P1);
        add_row(total_.viewmat[2], g_cam.z, g_P2);
    }

    RECON_INLINE void through_rotation(Batch& batch, Vec3x8 R0, Vec3x8 R1, Vec3x8 R2) const {
        const Projection& p = batch.p;
        const Float8 w = p.qw, x = p.qx, y = p.qy, z = p.qz, two(2.0f);
        const Float8 gw = two * (x * (R2.y - R1.z) + y * (R0.z - R2.x) + z * (R1.x - R0.y));
        const Float8 gx = two * (y * (R0.y + R1.x) + z * (R0.z + R2.x) + w * (R2.y - R1.z) - two * x * (R1.y + R2.z));
        const Float8 gy = two * (x * (R0.y + R1.x) + z * (R1.z + R2.y) + w * (R0.z - R2.x) - two * y * (R0.x + R2.z));
        const Float8 gz = two * (x * (R0.z + R2.x) + y * (R1.z + R2.y) + w * (R1.x - R0.y) - two * z * (R0.x + R1.y));
        const Float8 along = w * gw + x * gx + y * gy + z * gz;  // the quaternion is normalised first
        batch.g_qw = (gw - w * along) * p.inv_q_norm;
        batch.g_qx = (gx - x * along) * p.inv_q_norm;
        batch.g_qy = (gy - y * along) * p.inv_q_norm;
        batch.g_qz = (gz - z * along) * p.inv_q_norm;
    }

    void through_colors(Batch& batch) {
        if (args_.sh_degree >= 0) {
            through_sh(batch);
        } else if (grads_.v_colors_in != nullptr) {
            for (int lane = 0; lane < batch.source.count; ++lane) {
                float* to = grads_.v_colors_in + batch.source.index[lane] * args_.color_channels;
                const float* from = &state_.color_sums[batch.place.index[lane] * padded_];
                for (int k = 0; k < args_.color_channels; ++k) to[k] += from[k];
            }
        }
    }

    void through_sh(Batch& batch) {
        const int degree = args_.sh_degree, bases = sh_bases(degree);
        Float8 g[3], basis[kMaxBases];
        for (int channel = 0; channel < 3; ++channel) {
            g[channel] = color_gradient(batch, channel);
            for (int lane = 0; lane < kLanes; ++lane) {
                if (state_.clamped[batch.place.index[lane]] >> channel & 1) g[channel].set(lane, 0.0f);
            }
        }
        Vec3x8 unit = {Float8(0.0f), Float8(0.0f), Float8(0.0f)};
        Float8 inv_length(0.0f);
        if (degree > 0) {
            const float* center = args_.camera_center;
            const Vec3x8 d = batch.p.mean - Vec3x8{Float8(center[0]), Float8(center[1]), Float8(center[2])};
            inv_length = Float8(1.0f) / max(sqrt(dot(d, d)), Float8(1e-12f));
            unit = d * inv_length;
        }
        sh_basis(degree, unit, basis);
        if (grads_.v_colors_in != nullptr) write_sh(batch, basis, bases, g);
        if (degree == 0) return;

        Float8 weight[kMaxBases];
        for (int k = 1; k < bases; ++k) {
            const Vec3x8 coefficient = gather3(batch.source, args_.colors, 3 * args_.sh_stride, 3 * k);
            weight[k] = coefficient.x * g[0] + coefficient.y * g[1] + coefficient.z * g[2];
        }
        const Vec3x8 g_unit = sh_direction_gradient(degree, unit, weight);
        const Vec3x8 g_direction = (g_unit - unit * dot(unit, g_unit)) * inv_length;
        batch.g_mean = batch.g_mean + g_direction;
        total_.center[0] -= sum(keep(batch.used, g_direction.x));
        total_.center[1] -= sum(keep(batch.used, g_direction.y));
        total_.center[2] -= sum(keep(batch.used, g_direction.z));
    }

    void write_sh(const Batch& batch, const Float8* basis, int bases, const Float8* g) const {
        for (int lane = 0; lane < batch.source.count; ++lane) {
            float* to = grads_.v_colors_in + batch.source.index[lane] * 3 * args_.sh_stride;
            const float r = g[0][lane], green = g[1][lane], blue = g[2][lane];
            for (int k = 0; k < bases; ++k) {
                const float b = basis[k][lane];
                to[3 * k] += b * r, to[3 * k + 1] += b * green, to[3 * k + 2] += b * blue;
            }
        }
    }

    void write_means2d(const Batch& batch, int64_t row) const {
        for (int lane = 0; lane < batch.place.count; ++lane) {
            if (grads_.v_means2d != nullptr) {
                grads_.v_means2d[2 * (row + lane)] = batch.g_mx[lane];
                grads_.v_means2d[2 * (row + lane) + 1] = batch.g_my[lane];
            }
            if (grads_.v_absgrad != nullptr) {
                // The tiles summed |hA2 w u| and so on: times 2 and back from base 2.
                const float* moments = &state_.moments[batch.place.index[lane] * kMoments];
                const float factor = 2.0f / kLog2E;
                grads_.v_absgrad[2 * (row + lane)] = factor * moments[kAbsX - kPassChannels];
                grads_.v_absgrad[2 * (row + lane) + 1] = factor * moments[kAbsY - kPassChannels];
            }
        }
    }

    void write(const Batch& batch) const {
        for (int lane = 0; lane < batch.source.count; ++lane) {
            const int64_t i = batch.source.index[lane];
            const auto add3 = [&](float* array, Vec3x8 v) {
                if (array == nullptr) return;
                array[3 * i] += v.x[lane], array[3 * i + 1] += v.y[lane], array[3 * i + 2] += v.z[lane];
            };
            add3(grads_.v_means, batch.g_mean);
            add3(grads_.v_scales, batch.g_scale);
            if (grads_.v_quats != nullptr) {
                float* q = grads_.v_quats + 4 * i;
                q[0] += batch.g_qw[lane], q[1] += batch.g_qx[lane], q[2] += batch.g_qy[lane], q[3] += batch.g_qz[lane];
            }
            if (grads_.v_opacities != nullptr) grads_.v_opacities[i] += batch.g_opacity[lane];
        }
    }

    const State& state_;
    const Args& args_;
    const Grads& grads_;
    const CameraModel camera_;
    CameraGradient& total_;
    const int padded_;
};

void write_camera_gradient(const std::vector<CameraGradient>& parts, const Grads& grads) {
    CameraGradient total;
    for (const CameraGradient& part : parts) {  // in the order of the chunks, whatever thread did them
        for (int i = 0; i < 3; ++i) {
            for (int j = 0; j < 4; ++j) total.viewmat[i][j] += part.viewmat[i][j];
            total.center[i] += part.center[i];
        }
    }
    std::fill(grads.v_viewmat, grads.v_viewmat + 16, 0.0f);
    for (int i = 0; i < 3; ++i) {
        for (int j = 0; j < 4; ++j) grads.v_viewmat[4 * i + j] = static_cast<float>(total.viewmat[i][j]);
        grads.v_camera_center[i] = static_cast<float>(total.center[i]);
    }
}

}  // namespace

void project_backward(State& state, const Args& args, const Grads& grads) {
    std::vector<CameraGradient> parts(state.n_chunks());
    const std::vector<int64_t> rows = state.rows();
    parallel_for(args.n_threads, state.n_chunks(), 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t c = begin; c < end; ++c) BackProjector(state, args, grads, parts[c]).chunk(c, rows[c]);
    });
    write_camera_gradient(parts, grads);
}

}  // namespace recon
