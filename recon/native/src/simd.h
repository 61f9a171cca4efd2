// Eight floats (or eight ints) that move together, on whatever the processor has: one AVX register, two SSE or NEON
// registers, through the vector extensions of GCC and Clang. Intrinsics appear only where those have no operator.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace recon {

constexpr int kLanes = 8;
#if defined(__AVX2__)
constexpr int kNativeLanes = 8;
#else
constexpr int kNativeLanes = 4;
#endif
constexpr int kParts = kLanes / kNativeLanes;

typedef float NativeF __attribute__((vector_size(4 * kNativeLanes)));
typedef int32_t NativeI __attribute__((vector_size(4 * kNativeLanes)));

#define RECON_INLINE inline __attribute__((always_inline))
#define RECON_EACH_PART for (int i = 0; i < kParts; ++i)

struct Int8;

struct Float8 {
    NativeF part[kParts];

    Float8() = default;
    RECON_INLINE Float8(float value) { RECON_EACH_PART part[i] = NativeF{} + value; }
    static RECON_INLINE Float8 load(const float* from) {
        Float8 r;
        std::memcpy(&r, from, sizeof r);
        return r;
    }
    RECON_INLINE void store(float* to) const { std::memcpy(to, this, sizeof *this); }
    RECON_INLINE float operator[](int lane) const { return part[lane / kNativeLanes][lane % kNativeLanes]; }
    RECON_INLINE void set(int lane, float value) { part[lane / kNativeLanes][lane % kNativeLanes] = value; }
};

// Doubles as a mask: a lane is all ones or all zeros.
struct Int8 {
    NativeI part[kParts];

    Int8() = default;
    RECON_INLINE Int8(int32_t value) { RECON_EACH_PART part[i] = NativeI{} + value; }
    RECON_INLINE int32_t operator[](int lane) const { return part[lane / kNativeLanes][lane % kNativeLanes]; }
};

#define RECON_ARITHMETIC(op)                                        \
    RECON_INLINE Float8 operator op(Float8 a, Float8 b) {           \
        RECON_EACH_PART a.part[i] = a.part[i] op b.part[i];         \
        return a;                                                   \
    }
RECON_ARITHMETIC(+)
RECON_ARITHMETIC(-)
RECON_ARITHMETIC(*)
RECON_ARITHMETIC(/)
#undef RECON_ARITHMETIC

#define RECON_COMPARISON(op)                                                 \
    RECON_INLINE Int8 operator op(Float8 a, Float8 b) {                      \
        Int8 r;                                                              \
        RECON_EACH_PART r.part[i] = (NativeI)(a.part[i] op b.part[i]);       \
        return r;                                                            \
    }
RECON_COMPARISON(<)
RECON_COMPARISON(<=)
RECON_COMPARISON(>)
RECON_COMPARISON(>=)
#undef RECON_COMPARISON

#define RECON_INTEGER(op)                                           \
    RECON_INLINE Int8 operator op(Int8 a, Int8 b) {                 \
        RECON_EACH_PART a.part[i] = a.part[i] op b.part[i];         \
        return a;                                                   \
    }
RECON_INTEGER(+)
RECON_INTEGER(-)
RECON_INTEGER(&)
RECON_INTEGER(|)
RECON_INTEGER(<<)
RECON_INTEGER(>>)
#undef RECON_INTEGER

RECON_INLINE Float8 operator-(Float8 a) { return Float8(0.0f) - a; }
RECON_INLINE Float8& operator+=(Float8& a, Float8 b) { return a = a + b; }
RECON_INLINE Float8& operator-=(Float8& a, Float8 b) { return a = a - b; }

RECON_INLINE Int8 bits(Float8 a) {
    Int8 r;
    RECON_EACH_PART r.part[i] = (NativeI)a.part[i];
    return r;
}
RECON_INLINE Float8 from_bits(Int8 a) {
    Float8 r;
    RECON_EACH_PART r.part[i] = (NativeF)a.part[i];
    return r;
}
RECON_INLINE Float8 keep(Int8 mask, Float8 a) { return from_bits(mask & bits(a)); }
RECON_INLINE Int8 truncate(Float8 a) {
    Int8 r;
    RECON_EACH_PART r.part[i] = __builtin_convertvector(a.part[i], NativeI);
    return r;
}
RECON_INLINE Float8 select(Int8 mask, Float8 yes, Float8 no) {
    RECON_EACH_PART yes.part[i] = mask.part[i] ? yes.part[i] : no.part[i];
    return yes;
}

// min and max take the second operand when the first is NaN, as the x86 instructions do.
#if defined(__AVX2__)
RECON_INLINE Float8 min(Float8 a, Float8 b) { a.part[0] = _mm256_min_ps(a.part[0], b.part[0]); return a; }
RECON_INLINE Float8 max(Float8 a, Float8 b) { a.part[0] = _mm256_max_ps(a.part[0], b.part[0]); return a; }
RECON_INLINE Float8 sqrt(Float8 a) { a.part[0] = _mm256_sqrt_ps(a.part[0]); return a; }
// One bit per lane: its sign bit.
RECON_INLINE int sign_bits(Int8 a) { return _mm256_movemask_ps((__m256)a.part[0]); }
#elif defined(__SSE2__)
RECON_INLINE Float8 min(Float8 a, Float8 b) { RECON_EACH_PART a.part[i] = _mm_min_ps(a.part[i], b.part[i]); return a; }
RECON_INLINE Float8 max(Float8 a, Float8 b) { RECON_EACH_PART a.part[i] = _mm_max_ps(a.part[i], b.part[i]); return a; }
RECON_INLINE Float8 sqrt(Float8 a) { RECON_EACH_PART a.part[i] = _mm_sqrt_ps(a.part[i]); return a; }
RECON_INLINE int sign_bits(Int8 a) {
    return _mm_movemask_ps((__m128)a.part[0]) | _mm_movemask_ps((__m128)a.part[1]) << 4;
}
#else
RECON_INLINE Float8 min(Float8 a, Float8 b) { return select(a < b, a, b); }
RECON_INLINE Float8 max(Float8 a, Float8 b) { return select(a > b, a, b); }
RECON_INLINE Float8 sqrt(Float8 a) {
    for (int lane = 0; lane < kLanes; ++lane) a.set(lane, std::sqrt(a[lane]));
    return a;
}
RECON_INLINE int sign_bits(Int8 a) {
    int r = 0;
    for (int lane = 0; lane < kLanes; ++lane) r |= (a[lane] < 0) << lane;
    return r;
}
#endif

RECON_INLINE Float8 abs(Float8 a) { return from_bits(bits(a) & Int8(0x7fffffff)); }

// 2^x for x in about [-126, 126], relative error below 2e-7; garbage outside, never a trap.
// Adding 1.5 * 2^23 leaves round(x) in the low mantissa bits; the rest is a polynomial on [-0.5, 0.5] (minimax, degree
// 5, 9e-8) whose exponent field is then raised by round(x).
RECON_INLINE Float8 exp2(Float8 x) {
    const Float8 magic(12582912.0f);
    const Float8 rounded = x + magic;
    const Float8 f = x - (rounded - magic);
    // In pairs (Estrin) rather than one after the other (Horner): the chain of dependent operations is what costs.
    const Float8 ff = f * f;
    const Float8 high = Float8(1.326473484e-03f) * f + Float8(9.671515331e-03f);
    const Float8 middle = Float8(5.550733750e-02f) * f + Float8(2.402224204e-01f);
    const Float8 low = Float8(6.931469776e-01f) * f + Float8(1.0f);
    const Float8 p = (high * ff + middle) * ff + low;
    return from_bits(bits(p) + (bits(rounded) << Int8(23)));
}

// While it lives, numbers below about 1e-38 count as zero on this thread. Lanes outside a Gaussian hold garbage until they
// are masked out, and arithmetic on such tiny garbage takes an Intel core a hundred times longer.
class FlushDenormals {
  public:
#if defined(__SSE2__)
    FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040); }
    ~FlushDenormals() { _mm_setcsr(saved_); }

  private:
    const unsigned saved_;
#else
    FlushDenormals() {}
#endif
};

// The sums over the lanes of eight vectors, as one vector.
RECON_INLINE Float8 lane_sums(const Float8 v[8]) {
#if defined(__AVX2__)
    const auto h = [](__m256 a, __m256 b) { return _mm256_hadd_ps(a, b); };
    const __m256 low = h(h(v[0].part[0], v[1].part[0]), h(v[2].part[0], v[3].part[0]));
    const __m256 high = h(h(v[4].part[0], v[5].part[0]), h(v[6].part[0], v[7].part[0]));
    Float8 r;
    r.part[0] = _mm256_permute2f128_ps(low, high, 0x20) + _mm256_permute2f128_ps(low, high, 0x31);
    return r;
#else
    Float8 r;
    for (int k = 0; k < 8; ++k) {
        const NativeF s = v[k].part[0] + v[k].part[1];
        r.set(k, (s[0] + s[2]) + (s[1] + s[3]));
    }
    return r;
#endif
}

// The sums over the lanes of four vectors, into out[0..3].
RECON_INLINE void lane_sums_of_four(const Float8 v[4], float* out) {
#if defined(__AVX2__)
    const __m256 s = _mm256_hadd_ps(_mm256_hadd_ps(v[0].part[0], v[1].part[0]), _mm256_hadd_ps(v[2].part[0], v[3].part[0]));
    _mm_storeu_ps(out, _mm256_castps256_ps128(s) + _mm256_extractf128_ps(s, 1));
#else
    for (int k = 0; k < 4; ++k) {
        const NativeF s = v[k].part[0] + v[k].part[1];
        out[k] = (s[0] + s[2]) + (s[1] + s[3]);
    }
#endif
}

}  // namespace recon
