// A parallel loop over a small persistent pool of std::threads.
//
// Work is handed out in chunks from one atomic counter, so uneven items (a dense tile, an empty one) balance
// themselves. The pool serves one loop at a time: a second caller (the viewer's thread while training renders) gets
// temporary threads instead of waiting. After fork() the child starts a pool of its own, because threads do not survive
// a fork. An exception in a body is rethrown in the caller, after every thread has stopped.
#pragma once

#include <cstdint>
#include <functional>

namespace recon {

// body(begin, end, thread): do the items [begin, end); `thread` is in [0, n_threads) and unique among those running.
using LoopBody = std::function<void(int64_t begin, int64_t end, int thread)>;

// How many threads a loop of `count` items in chunks of `chunk` will really use: never more than there are chunks.
int threads_for(int n_threads, int64_t count, int64_t chunk);

// Calls `body` for all of [0, count) in chunks of at most `chunk` items on up to `n_threads` threads, the caller's own
// included. With one thread (or one chunk) it runs in place. Do not nest.
void parallel_for(int n_threads, int64_t count, int64_t chunk, const LoopBody& body);

}  // namespace recon

// Every function that Python calls: C linkage, and the only symbols that the library exports.
#define RECON_API extern "C" __attribute__((visibility("default")))
