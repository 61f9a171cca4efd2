// Structural similarity (Wang et al. 2004) of images with interleaved channels, and its gradient.
//
// A separable, symmetric window w with zero padding. With m = w*x the windowed means,
//   C1 = 2 m_a m_b + c1           C2 = 2 (m_ab - m_a m_b) + c2
//   D1 = m_a^2 + m_b^2 + c1       D2 = m_(aa+bb) - m_a^2 - m_b^2 + c2       SSIM = C1 C2 / (D1 D2)
// so four filtered maps are enough: a, b, ab and aa + bb. The gradient filters the derivatives of SSIM by them once more
// (a symmetric window is its own adjoint): dL/da = w*(dS/dm_a) + 2 a w*(dS/dm_(aa+bb)) + b w*(dS/dm_ab).
//
// A row of an interleaved image is one line of width * channels floats, and neighbours along x lie `channels` apart.
// Lines are filtered along x into a ring as tall as the window, then along y out of the ring, at unit stride both times.
// The derivatives of a row go straight into a second ring, out of which comes the gradient, half a window behind: no map
// of the image's size is ever stored. Threads take strips of rows and filter the overlap twice; sums are kept by row, so
// that results do not depend on the number of threads.
#include "threads.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace {

constexpr int kMaxRadius = 15;
constexpr int64_t kMinStripRows = 32;  // below, filtering the window's overlap twice costs more than it gains
constexpr int kLanes = 8;
constexpr int kBlock = 4;  // vectors computed together: what is looked up per line is then looked up once for all
constexpr int64_t kFloats = kBlock * kLanes;

typedef float Vec __attribute__((vector_size(kLanes * sizeof(float))));

inline Vec load(const float* p) {
    Vec v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
inline void store(float* p, Vec v) { std::memcpy(p, &v, sizeof v); }

struct Window {
    int radius;
    float taps[kMaxRadius + 1];  // centre outwards
};

struct Shape {
    int64_t height, width, channels;
    int64_t line() const { return width * channels; }
    int64_t padded() const { return (line() + kFloats - 1) / kFloats * kFloats; }
};

// A line with margins of zeros wide enough to read past both of its ends.
struct PaddedLine {
    PaddedLine(const Shape& s, int radius)
        : margin(radius * s.channels), values(static_cast<size_t>(s.padded() + 2 * margin), 0.0f) {}
    float* data() { return values.data() + margin; }
    int64_t margin;
    std::vector<float> values;
};

// The last 2 radius + 1 lines of kMaps maps, filtered along x. R = 0 means a radius known only at run time.
template <int kMaps, int R>
class Ring {
  public:
    Ring(const Shape& shape, const Window& window)
        : shape_(shape),
          window_(window),
          radius_(R > 0 ? R : window.radius),
          lines_(kMaps * static_cast<size_t>(2 * radius_ + 1) * shape.padded()),
          zeros_(shape.padded(), 0.0f) {
        for (int m = 0; m < kMaps; ++m) inputs_.emplace_back(shape, radius_);
    }

    float* input(int map) { return inputs_[map].data(); }

    // Filter the inputs, which hold row `y`, along x.
    void push(int64_t y) {
        const int64_t n = shape_.line(), step = shape_.channels;
        const Window w = window_;  // a copy: what is stored below cannot change it, so it may stay in registers
        const int radius = R > 0 ? R : radius_;
        for (int m = 0; m < kMaps; ++m) {
            const float* in = inputs_[m].data();
            float* out = slot(m, y);
            for (int64_t i = 0; i < n; i += kFloats) {
                Vec sums[kBlock];
                for (int v = 0; v < kBlock; ++v) sums[v] = w.taps[0] * load(in + i + v * kLanes);
                for (int k = 1; k <= radius; ++k) {
                    const float *left = in + i - k * step, *right = in + i + k * step;
                    for (int v = 0; v < kBlock; ++v)
                        sums[v] += w.taps[k] * (load(left + v * kLanes) + load(right + v * kLanes));
                }
                for (int v = 0; v < kBlock; ++v) store(out + i + v * kLanes, sums[v]);
            }
        }
    }

    // Point at the lines around row `y`; rows outside the image are zero.
    void centre_on(int64_t y) {
        for (int m = 0; m < kMaps; ++m)
            for (int k = -radius_; k <= radius_; ++k) {
                const bool inside = y + k >= 0 && y + k < shape_.height;
                around_[m][radius_ + k] = inside ? slot(m, y + k) : zeros_.data();
            }
    }

    // Map `m` filtered along y too, at the block of floats from i on, in the row centred on.
    void at(int m, int64_t i, Vec sums[kBlock]) const {
        const int r = R > 0 ? R : radius_;
        for (int v = 0; v < kBlock; ++v) sums[v] = window_.taps[0] * load(around_[m][r] + i + v * kLanes);
        for (int k = 1; k <= r; ++k) {
            const float *above = around_[m][r - k] + i, *below = around_[m][r + k] + i;
            for (int v = 0; v < kBlock; ++v)
                sums[v] += window_.taps[k] * (load(above + v * kLanes) + load(below + v * kLanes));
        }
    }

  private:
    float* slot(int m, int64_t y) {
        const int64_t n = 2 * radius_ + 1;
        return lines_.data() + (m * n + y % n) * shape_.padded();
    }

    Shape shape_;
    Window window_;
    int radius_;
    std::vector<PaddedLine> inputs_;
    std::vector<float> lines_, zeros_;
    const float* around_[kMaps][2 * kMaxRadius + 1];
};

struct Task {
    Shape shape;
    Window window;
    int64_t margin;  // rows and columns at each border that do not count
    float c1, c2;

    bool counts_row(int64_t y) const { return y >= margin && y < shape.height - margin; }
};

// SSIM from the filtered maps a, b, ab, aa + bb, and its derivatives by the maps a, aa + bb and ab.
template <bool kGradient>
inline Vec ssim_of(Vec ma, Vec mb, Vec ab, Vec squares, const Task& t, Vec d[3]) {
    const Vec mab = ma * mb, mm = ma * ma + mb * mb;
    const Vec C1 = 2.0f * mab + t.c1, C2 = 2.0f * (ab - mab) + t.c2;
    const Vec D1 = mm + t.c1, D2 = squares - mm + t.c2;
    const Vec inverse = 1.0f / (D1 * D2);
    const Vec s = C1 * C2 * inverse;
    if (kGradient) {
        d[0] = 2.0f * inverse * ((C2 - C1) * mb + s * (D1 - D2) * ma);
        d[1] = -s * (inverse * D1);
        d[2] = 2.0f * C1 * inverse;
    }
    return s;
}

// Copies the first `count` lanes, or all of them if it is more.
inline void store_part(float* p, const Vec& v, int64_t count) {
    std::memcpy(p, &v, static_cast<size_t>(std::min<int64_t>(count, kLanes)) * sizeof(float));
}

// Row `y` of both images and their products, filtered along x.
template <int R>
void push_row(Ring<4, R>& ring, const float* a, const float* b, int64_t y, int64_t n) {
    const float *pa = a + y * n, *pb = b + y * n;
    float *la = ring.input(0), *lb = ring.input(1), *lab = ring.input(2), *squares = ring.input(3);
    for (int64_t i = 0; i < n; ++i) {
        la[i] = pa[i];
        lb[i] = pb[i];
        lab[i] = pa[i] * pb[i];
        squares[i] = pa[i] * pa[i] + pb[i] * pb[i];
    }
    ring.push(y);
}

// Sum of SSIM over the row that `ring` is centred on; with a gradient, the row's derivatives into the lines of `out`.
template <int R, bool kGradient>
double ssim_row(const Ring<4, R>& ring, const Task& t, float* const out[3]) {
    const int64_t n = t.shape.line(), first = t.margin * t.shape.channels, last = n - first;
    Vec row = {};
    double edge = 0;
    for (int64_t start = 0; start < n; start += kFloats) {
        Vec maps[4][kBlock];
        for (int m = 0; m < 4; ++m) ring.at(m, start, maps[m]);
        for (int v = 0; v < kBlock; ++v) {
            const int64_t i = start + v * kLanes;
            if (i >= n) break;
            Vec d[3] = {};
            Vec value = ssim_of<kGradient>(maps[0][v], maps[1][v], maps[2][v], maps[3][v], t, d);
            if (i >= first && i + kLanes <= last) {
                row += value;
            } else {  // lanes in the margin or beyond the line do not count
                for (int64_t j = 0; j < kLanes; ++j) {
                    if (i + j < first || i + j >= last) value[j] = d[0][j] = d[1][j] = d[2][j] = 0;
                    edge += value[j];
                }
            }
            if (kGradient)
                for (int m = 0; m < 3; ++m) store_part(out[m] + i, d[m], n - i);
        }
    }
    for (int j = 0; j < kLanes; ++j) edge += row[j];
    return edge;
}

// d(sum of SSIM)/da in the row that `ring` is centred on: w*d[0] + 2 a w*d[1] + b w*d[2].
template <int R>
void gradient_row(const Ring<3, R>& ring, const float* a, const float* b, float* grad, int64_t n) {
    for (int64_t start = 0; start < n; start += kFloats) {
        Vec maps[3][kBlock];
        for (int m = 0; m < 3; ++m) ring.at(m, start, maps[m]);
        for (int v = 0; v < kBlock; ++v) {
            const int64_t i = start + v * kLanes;
            if (i + kLanes <= n) {
                store(grad + i, maps[0][v] + 2.0f * load(a + i) * maps[1][v] + load(b + i) * maps[2][v]);
            } else {
                for (int64_t j = 0; i + j < n; ++j)
                    grad[i + j] = maps[0][v][j] + 2.0f * a[i + j] * maps[1][v][j] + b[i + j] * maps[2][v][j];
            }
        }
    }
}

// Rows y0 to y1 of one image: their sums into `sums`, and with kGradient their gradient into `grad`.
template <int R, bool kGradient>
void strip(const Task& t, const float* a, const float* b, int64_t y0, int64_t y1, double* sums, float* grad) {
    const int64_t n = t.shape.line(), height = t.shape.height, radius = t.window.radius;
    const int64_t reach = kGradient ? radius : 0;  // derivatives are needed this far beyond the strip
    const int64_t begin = std::max<int64_t>(0, y0 - reach), end = std::min(height, y1 + reach);
    Ring<4, R> inputs(t.shape, t.window);
    Ring<3, R> derivatives(t.shape, t.window);
    float* const lines[3] = {derivatives.input(0), derivatives.input(1), derivatives.input(2)};
    int64_t pushed = std::max<int64_t>(0, begin - radius), done = y0;
    for (int64_t y = begin; y < end; ++y) {
        for (; pushed < std::min(height, y + radius + 1); ++pushed) push_row(inputs, a, b, pushed, n);
        if (t.counts_row(y)) {
            inputs.centre_on(y);
            const double sum = ssim_row<R, kGradient>(inputs, t, lines);
            if (y >= y0 && y < y1) sums[y] = sum;
        } else if (kGradient) {
            for (float* line : lines) std::fill(line, line + n, 0.0f);
        }
        if (!kGradient) continue;
        derivatives.push(y);
        for (; done < y1 && (done + radius <= y || y + 1 == end); ++done) {
            derivatives.centre_on(done);
            gradient_row(derivatives, a + done * n, b + done * n, grad + done * n, n);
        }
    }
}

}  // namespace

// Sum of SSIM over the pixels at least `margin` from every border, of `batch` image pairs [batch,height,width,channels].
// `taps` are the 2 radius + 1 symmetric weights. `grad` [same shape], if not null, receives the sum's derivative by `a`.
// Returns NaN for a radius over 15.
RECON_API double recon_ssim(const float* a, const float* b, int64_t batch, int64_t height, int64_t width,
                            int64_t channels, const float* taps, int64_t radius, int64_t margin, float c1, float c2,
                            float* grad, int64_t n_threads) {
    if (radius > kMaxRadius) return __builtin_nan("");
    Task task = {{height, width, channels}, {static_cast<int>(radius), {}}, margin, c1, c2};
    std::copy(taps + radius, taps + 2 * radius + 1, task.window.taps);
    const auto run = radius == 5 ? (grad ? strip<5, true> : strip<5, false>) : (grad ? strip<0, true> : strip<0, false>);

    const int64_t image = height * task.shape.line();
    const int64_t wanted = n_threads > 1 ? 2 * n_threads : 1;  // two each, to even out
    const int64_t strips = std::max<int64_t>(1, std::min(wanted, height / kMinStripRows));
    std::vector<double> sums(static_cast<size_t>(batch * height), 0.0);
    recon::parallel_for(static_cast<int>(n_threads), batch * strips, 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
            const int64_t k = i / strips, part = i % strips, offset = k * image;
            run(task, a + offset, b + offset, part * height / strips, (part + 1) * height / strips,
                sums.data() + k * height, grad ? grad + offset : nullptr);
        }
    });
    double total = 0;
    for (double sum : sums) total += sum;
    return total;
}
