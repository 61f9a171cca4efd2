#include "threads.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

namespace recon {
namespace {

// One loop in progress: what is left to hand out, and the first exception.
struct Loop {
    const LoopBody& body;
    const int64_t count, chunk;
    std::atomic<int64_t> next{0};
    std::atomic<bool> failed{false};
    std::exception_ptr error;

    Loop(const LoopBody& body_, int64_t count_, int64_t chunk_) : body(body_), count(count_), chunk(chunk_) {}

    void work(int thread) {
        try {
            for (;;) {
                const int64_t begin = next.fetch_add(chunk, std::memory_order_relaxed);
                if (begin >= count) return;
                body(begin, std::min(begin + chunk, count), thread);
            }
        } catch (...) {
            next.store(count, std::memory_order_relaxed);
            if (!failed.exchange(true)) error = std::current_exception();
        }
    }
};

class Pool {
  public:
    const pid_t owner = getpid();
    std::mutex busy;  // held by the caller whose loop the pool runs

    // Runs `loop` on n_threads - 1 workers and the caller. The caller holds `busy`.
    void run(Loop& loop, int n_threads) {
        while (static_cast<int>(workers_.size()) < n_threads - 1) {
            const int index = static_cast<int>(workers_.size());
            workers_.emplace_back([this, index] { serve(index); });
        }
        {
            std::lock_guard<std::mutex> lock(mutex_);
            loop_ = &loop;
            helpers_ = running_ = n_threads - 1;
            ++generation_;
        }
        start_.notify_all();
        loop.work(0);
        std::unique_lock<std::mutex> lock(mutex_);
        done_.wait(lock, [this] { return running_ == 0; });
        loop_ = nullptr;
    }

  private:
    void serve(int index) {
        uint64_t seen = 0;
        for (;;) {
            Loop* loop = nullptr;
            {
                std::unique_lock<std::mutex> lock(mutex_);
                start_.wait(lock, [&] { return generation_ != seen; });
                seen = generation_;
                if (index < helpers_) loop = loop_;
            }
            if (loop == nullptr) continue;
            loop->work(index + 1);
            std::lock_guard<std::mutex> lock(mutex_);
            if (--running_ == 0) done_.notify_one();
        }
    }

    std::vector<std::thread> workers_;
    std::mutex mutex_;
    std::condition_variable start_, done_;
    Loop* loop_ = nullptr;
    int helpers_ = 0, running_ = 0;
    uint64_t generation_ = 0;
};

// The pool of this process. Never destroyed: at exit its threads may still be waiting, and a destructor would hang. A
// forked child sees the parent's pid in it and replaces it (leaking a few bytes).
Pool& process_pool() {
    static std::atomic<Pool*> current{nullptr};
    Pool* pool = current.load();
    while (pool == nullptr || pool->owner != getpid()) {
        Pool* fresh = new Pool;
        if (current.compare_exchange_strong(pool, fresh)) return *fresh;
        delete fresh;
    }
    return *pool;
}

void run_on_temporary_threads(Loop& loop, int n_threads) {
    std::vector<std::thread> helpers;
    for (int i = 1; i < n_threads; ++i) helpers.emplace_back([&loop, i] { loop.work(i); });
    loop.work(0);
    for (std::thread& helper : helpers) helper.join();
}

}  // namespace

int threads_for(int n_threads, int64_t count, int64_t chunk) {
    const int64_t chunks = (count + chunk - 1) / chunk;
    return static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(n_threads, chunks)));
}

void parallel_for(int n_threads, int64_t count, int64_t chunk, const LoopBody& body) {
    if (count <= 0) return;
    const int threads = threads_for(n_threads, count, chunk);
    Loop loop(body, count, chunk);
    if (threads == 1) {
        loop.work(0);
    } else {
        Pool& pool = process_pool();
        std::unique_lock<std::mutex> lock(pool.busy, std::try_to_lock);
        if (lock.owns_lock()) {
            pool.run(loop, threads);
        } else {
            run_on_temporary_threads(loop, threads);
        }
    }
    if (loop.failed) std::rethrow_exception(loop.error);
}

}  // namespace recon

// A self-test from Python: the sum of 0 .. count - 1 by a parallel loop. Fails at `fail_at` when that is in range, to
// show that an exception in a worker comes back as a code and not as a crash.
RECON_API int recon_threads_selftest(int64_t count, int64_t chunk, int n_threads, int64_t fail_at, int64_t* sum) {
    try {
        std::atomic<int64_t> total{0};
        recon::parallel_for(n_threads, count, chunk, [&](int64_t begin, int64_t end, int) {
            int64_t part = 0;
            for (int64_t i = begin; i < end; ++i) {
                if (i == fail_at) throw std::runtime_error("asked to fail");
                part += i;
            }
            total += part;
        });
        *sum = total;
        return 0;
    } catch (...) {
        return 1;
    }
}
