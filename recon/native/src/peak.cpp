// Two loops of known length, for the benchmark to time: how fast this processor can be, in the terms of this build.
#include "threads.h"

namespace {

#ifdef __AVX__
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;  // wider ones would pass through memory
#endif
typedef float Vec __attribute__((vector_size(kLanes * sizeof(float))));
constexpr int kChains = 10;  // more than latency times throughput (4 x 2), and still all in registers

}  // namespace

// Multiplies and adds vectors without waiting for any result. Returns how many floating-point operations were done (a
// fused multiply-add is two); `sink` receives what they came to, so that the compiler cannot leave them out.
RECON_API double recon_peak_loop(int64_t iterations, float* sink) {
    Vec sums[kChains];
    for (int j = 0; j < kChains; ++j) sums[j] = Vec{} + 0.001f * static_cast<float>(j);
    const Vec factor = Vec{} + 0.999f + 0.0f * sink[0], term = Vec{} + 0.001f;
    for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 16
        for (int j = 0; j < kChains; ++j) sums[j] = sums[j] * factor + term;
    }
    Vec total = {};
    for (const Vec& sum : sums) total += sum;
    *sink = total[0];
    return static_cast<double>(iterations) * kChains * kLanes * 2;
}

// A chain of dependent 64-bit multiplications: three cycles each on x86 processors since 2008. Returns the product.
RECON_API uint64_t recon_multiply_chain(int64_t iterations, uint64_t start) {
    uint64_t x = start | 1;
    for (int64_t i = 0; i < iterations; ++i) x *= 0x9E3779B97F4A7C15u + static_cast<uint64_t>(iterations);
    return x;
}
