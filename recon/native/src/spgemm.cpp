// CSR times CSR, row by row: row i of the product is the sum of rows of b, scaled by the nonzeros of row i of a
// (Gustavson 1978, "Two fast algorithms for sparse matrices").
//
// Sums are kept in a hash table as large as the row can need, merged as they come (Shivdikar 2021, "SMASH: sparse matrix
// atomic scratchpad hashing"; here each row has one owner, so nothing needs to be atomic), and sorted by column at the
// end. Where a row is not that empty, a plain array as wide as the row is faster: with a bit for each column that was
// touched, read in order, or for full rows with no bits at all. Sums of exactly zero are not kept.
#include "threads.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

namespace {

struct Csr {
    const int64_t* starts;
    const int32_t* columns;
    const float* values;
};

using Entry = std::pair<int32_t, float>;

// Products that a row of a b sums up; the row has at most so many entries.
int64_t products(const Csr& a, const Csr& b, int64_t row) {
    int64_t count = 0;
    for (int64_t j = a.starts[row]; j < a.starts[row + 1]; ++j)
        count += b.starts[a.columns[j] + 1] - b.starts[a.columns[j]];
    return count;
}

// Where the entries of rows are written, one after the other.
struct Piece {
    std::unique_ptr<int32_t[]> columns;
    std::unique_ptr<float[]> values;
    size_t size = 0;

    // For so many entries; new memory is not touched before it is needed.
    void make_room(int64_t entries) {
        columns.reset(new int32_t[static_cast<size_t>(entries) + 1]);
        values.reset(new float[static_cast<size_t>(entries) + 1]);
    }
    void put(int32_t column, float value) {  // without a branch: whether sums are zero cannot be foreseen
        columns[size] = column;
        values[size] = value;
        size += value != 0.0f;
    }
};

class Row {
  public:
    explicit Row(int64_t width)
        : width_(width), mask_words_((width + 63) / 64), summary_words_((mask_words_ + 63) / 64) {}

    // Row i of a b, ascending by column.
    void append(const Csr& a, const Csr& b, int64_t i, Piece& out) {
        const int64_t most = products(a, b, i);
        if (most == 0) return;
        if (most >= width_) {
            add_to_array<false>(a, b, i);
            scan_array(out);
        } else if (most * kSparse >= width_) {
            add_to_array<true>(a, b, i);
            take_array(out);
        } else {
            add_to_table(a, b, i, most);
            take_table(out);
        }
    }

  private:
    static constexpr int64_t kSparse = 2048;  // measured: in emptier rows the table's sort costs less than the array
    static constexpr int32_t kFree = -1;

    template <bool kMark>
    void add_to_array(const Csr& a, const Csr& b, int64_t i) {
        sums_.resize(static_cast<size_t>(width_), 0.0f);
        mask_.resize(static_cast<size_t>(mask_words_), 0);
        summary_.resize(static_cast<size_t>(summary_words_), 0);
        for (int64_t j = a.starts[i]; j < a.starts[i + 1]; ++j) {
            const float scale = a.values[j];
            for (int64_t k = b.starts[a.columns[j]]; k < b.starts[a.columns[j] + 1]; ++k) {
                const int32_t column = b.columns[k];
                sums_[column] += scale * b.values[k];
                if (kMark) {
                    mask_[column >> 6] |= uint64_t{1} << (column & 63);
                    summary_[column >> 12] |= uint64_t{1} << (column >> 6 & 63);
                }
            }
        }
    }

    void take_array(Piece& out) {
        for (int64_t s = 0; s < summary_words_; ++s) {
            for (uint64_t words = summary_[s]; words != 0; words &= words - 1) {
                const int64_t word = s * 64 + __builtin_ctzll(words);
                for (uint64_t left = mask_[word]; left != 0; left &= left - 1) {
                    const int32_t column = static_cast<int32_t>(word * 64) + __builtin_ctzll(left);
                    out.put(column, sums_[column]);
                    sums_[column] = 0;
                }
                mask_[word] = 0;
            }
            summary_[s] = 0;
        }
    }

    void scan_array(Piece& out) {
        for (int64_t column = 0; column < width_; ++column) out.put(static_cast<int32_t>(column), sums_[column]);
        std::fill(sums_.begin(), sums_.end(), 0.0f);
    }

    void add_to_table(const Csr& a, const Csr& b, int64_t i, int64_t most) {
        size_t size = 16;
        while (size < 2 * static_cast<size_t>(most)) size *= 2;
        if (table_.size() < size) table_.resize(size, {kFree, 0.0f});
        const uint32_t mask = static_cast<uint32_t>(size - 1);
        for (int64_t j = a.starts[i]; j < a.starts[i + 1]; ++j) {
            const float scale = a.values[j];
            for (int64_t k = b.starts[a.columns[j]]; k < b.starts[a.columns[j] + 1]; ++k) {
                const int32_t column = b.columns[k];
                uint32_t slot = static_cast<uint32_t>(column) * 2654435761u >> 7 & mask;
                while (table_[slot].first != column && table_[slot].first != kFree) slot = (slot + 1) & mask;
                if (table_[slot].first == kFree) {
                    table_[slot] = {column, 0.0f};
                    taken_.push_back(slot);
                }
                table_[slot].second += scale * b.values[k];
            }
        }
    }

    void take_table(Piece& out) {
        entries_.clear();
        for (uint32_t slot : taken_) {
            entries_.push_back(table_[slot]);
            table_[slot].first = kFree;
        }
        taken_.clear();
        std::sort(entries_.begin(), entries_.end(), [](const Entry& x, const Entry& y) { return x.first < y.first; });
        for (const Entry& entry : entries_) out.put(entry.first, entry.second);
    }

    int64_t width_, mask_words_, summary_words_;
    std::vector<float> sums_;
    std::vector<uint64_t> mask_, summary_;  // a bit for each column, and for each word of those
    std::vector<Entry> table_, entries_;
    std::vector<uint32_t> taken_;
};

struct Product {
    std::vector<Piece> pieces;
};

}  // namespace

// The product of a [rows,k] and b [k,width], kept in the library: the end of each row goes to `starts` [rows + 1], and
// recon_spgemm_take fetches the rest. Null when memory ran out.
RECON_API void* recon_spgemm(const int64_t* a_starts, const int32_t* a_columns, const float* a_values, int64_t rows,
                             const int64_t* b_starts, const int32_t* b_columns, const float* b_values, int64_t width,
                             int64_t* starts, int n_threads) {
    try {
        auto product = std::make_unique<Product>();
        const int64_t chunk = std::max<int64_t>(1, rows / (8 * n_threads));
        product->pieces.resize(static_cast<size_t>((rows + chunk - 1) / chunk));
        recon::parallel_for(n_threads, rows, chunk, [&](int64_t begin, int64_t end, int) {
            const Csr a = {a_starts, a_columns, a_values}, b = {b_starts, b_columns, b_values};
            Row row(width);
            Piece& piece = product->pieces[static_cast<size_t>(begin / chunk)];
            int64_t room = 0;
            for (int64_t i = begin; i < end; ++i) room += std::min(products(a, b, i), width);
            piece.make_room(room);
            for (int64_t i = begin; i < end; ++i) {
                const size_t before = piece.size;
                row.append(a, b, i, piece);
                starts[i + 1] = static_cast<int64_t>(piece.size - before);
            }
        });
        starts[0] = 0;
        for (int64_t i = 0; i < rows; ++i) starts[i + 1] += starts[i];
        return product.release();
    } catch (...) {
        return nullptr;
    }
}

// Copies the product's columns and values, and frees it.
RECON_API void recon_spgemm_take(void* address, int32_t* columns, float* values) {
    const std::unique_ptr<Product> product(static_cast<Product*>(address));
    for (const Piece& piece : product->pieces) {
        columns = std::copy_n(piece.columns.get(), piece.size, columns);
        values = std::copy_n(piece.values.get(), piece.size, values);
    }
}
