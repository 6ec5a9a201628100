// Page-aligned I/O blocks and counted slices of them: bytes are read from the kernel into a block once and stay there
// until the last holder lets go (a sent QUIC stream keeps them until acknowledged, a TCP flow until the kernel acked).
//
// Why page-aligned: on Zen 3 a kernel copy to an address 1..63 bytes past a page boundary is up to eight times slower.
//
// One thread owns a pool and every slice of it; counts are plain integers. A pool outlives its slices.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/bytes.hpp"

namespace postern {

class BlockPool;

namespace detail {
struct BlockHeader {
  BlockPool* pool = nullptr;
  std::uint8_t* data = nullptr;
  std::uint32_t capacity = 0;
  std::uint32_t references = 0;
};
}  // namespace detail

/// A counted, read-only view into a block. Copying shares the block; it is given back with the last copy.
class Slice {
 public:
  Slice() = default;
  Slice(const Slice& other) : header_(other.header_), view_(other.view_) { retain(); }
  Slice(Slice&& other) noexcept
      : header_(std::exchange(other.header_, nullptr)), view_(std::exchange(other.view_, {})) {}
  Slice& operator=(Slice other) noexcept {
    std::swap(header_, other.header_);
    std::swap(view_, other.view_);
    return *this;
  }
  ~Slice() { release(); }

  [[nodiscard]] ByteView view() const { return view_; }
  [[nodiscard]] const std::uint8_t* data() const { return view_.data(); }
  [[nodiscard]] std::size_t size() const { return view_.size(); }
  [[nodiscard]] bool empty() const { return view_.empty(); }
  /// Shares the block. The range is clamped to this slice.
  [[nodiscard]] Slice sub(std::size_t offset, std::size_t size = SIZE_MAX) const;
  void remove_prefix(std::size_t size) { view_ = view_.subspan(std::min(size, view_.size())); }
  /// Joins `next` to this slice when it continues it in the same block; false when it does not.
  bool try_join(const Slice& next);

 private:
  friend class Buffer;
  Slice(detail::BlockHeader* header, ByteView view) : header_(header), view_(view) { retain(); }
  void retain() {
    if (header_ != nullptr) ++header_->references;
  }
  void release();

  detail::BlockHeader* header_ = nullptr;
  ByteView view_;
};

/// The one writable handle of a block. Empty when the pool was at its bound.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept : header_(std::exchange(other.header_, nullptr)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(header_, other.header_);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer();

  [[nodiscard]] explicit operator bool() const { return header_ != nullptr; }
  [[nodiscard]] MutableBytes bytes() const { return {header_->data, header_->capacity}; }
  /// True when no slice shares the block, so that it may be written from its start again.
  [[nodiscard]] bool is_unshared() const { return header_->references == 1; }
  /// Bytes already handed out as slices must not be written again; the caller appends only.
  [[nodiscard]] Slice slice(std::size_t offset, std::size_t size) const {
    return {header_, ByteView(header_->data + offset, size)};
  }

 private:
  friend class BlockPool;
  explicit Buffer(detail::BlockHeader* header) : header_(header) { ++header_->references; }

  detail::BlockHeader* header_ = nullptr;
};

enum class BlockClass : std::uint8_t { Small, Large };

/// Blocks in two sizes, mapped in page-aligned slabs, bounded in total; at the bound `acquire` gives an empty Buffer.
class BlockPool {
 public:
  /// A whole 64 KiB IP packet with its virtio header fits, so does a GRO train.
  static constexpr std::size_t kLargeSize = 72 * 1024;
  static constexpr std::size_t kSmallSize = 4 * 1024;

  explicit BlockPool(std::size_t bytes_max);
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;
  ~BlockPool();

  [[nodiscard]] Buffer acquire(BlockClass block_class);
  /// A slice with a copy of `bytes`, packed together with other small copies. Empty for empty input or at the bound.
  [[nodiscard]] Slice copy(ByteView bytes);
  /// Gives the memory of free blocks back to the kernel (MADV_DONTNEED); call after some seconds without traffic.
  void trim();

  [[nodiscard]] std::size_t bytes_in_use() const { return in_use_; }
  [[nodiscard]] std::size_t bytes_max() const { return max_; }

 private:
  friend class Slice;
  friend class Buffer;
  struct Class {
    std::size_t block_size = 0;
    std::deque<detail::BlockHeader> headers;
    std::vector<detail::BlockHeader*> free;
    std::size_t clean = 0;  ///< how many at the front of `free` have been given back by trim()
  };
  void give_back(detail::BlockHeader* header);
  void grow(Class& of);

  std::size_t max_;
  std::size_t in_use_ = 0;
  Class small_{kSmallSize, {}, {}, 0};
  Class large_{kLargeSize, {}, {}, 0};
  std::vector<std::pair<void*, std::size_t>> slabs_;
  Buffer packing_;
  std::size_t packed_ = 0;
};

/// A byte sequence held as slices: what a stream or a TCP flow has queued.
class SliceQueue {
 public:
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  /// Joins with the last slice where the bytes continue in the same block.
  void push(Slice slice);
  /// The longest run of bytes at `offset` that lies in one slice, at most `size`; empty past the end.
  [[nodiscard]] ByteView peek(std::size_t offset, std::size_t size = SIZE_MAX) const;
  /// The same as a counted slice.
  [[nodiscard]] Slice share(std::size_t offset, std::size_t size = SIZE_MAX) const;
  /// Drops up to `size` bytes from the front.
  void pop(std::size_t size);
  void clear();

 private:
  /// Index of the slice that holds `offset` and the offset inside it.
  [[nodiscard]] std::pair<std::size_t, std::size_t> locate(std::size_t offset) const;

  std::deque<Slice> slices_;
  std::size_t size_ = 0;
};

}  // namespace postern
