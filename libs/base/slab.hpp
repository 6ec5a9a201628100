// Objects with stable addresses in chunks, addressed by an index that carries a generation: a stale handle finds
// nothing, so ids need no table of their own and are never reused (2^32 uses of one place apart).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>
#include <vector>

namespace postern {

/// Names one object of a Slab; 0 names none.
struct SlabHandle {
  std::uint64_t value = 0;

  [[nodiscard]] constexpr std::uint32_t index() const { return static_cast<std::uint32_t>(value); }
  [[nodiscard]] constexpr std::uint32_t generation() const { return static_cast<std::uint32_t>(value >> 32); }
  [[nodiscard]] static constexpr SlabHandle make(std::uint32_t index, std::uint32_t generation) {
    return {(std::uint64_t{generation} << 32) | index};
  }
  constexpr auto operator<=>(const SlabHandle&) const = default;
};

/// Not bounded by itself: the owner looks at size() before emplace(). Memory is kept for reuse.
template <typename T>
class Slab {
 public:
  Slab() = default;
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;
  ~Slab() {
    for (std::uint32_t index = 0; index < capacity(); ++index) {
      if (place(index).used) place(index).object()->~T();
    }
  }

  /// The object is built from its own handle and `args`.
  template <typename... Args>
  T& emplace(Args&&... args) {
    if (free_ == kNone) grow();
    const std::uint32_t index = free_;
    Place& at = place(index);
    T* object = new (&at.storage) T(SlabHandle::make(index, at.generation), std::forward<Args>(args)...);
    free_ = at.next_free;
    at.used = true;
    ++size_;
    return *object;
  }
  /// Nothing happens for a stale handle.
  void erase(SlabHandle handle) {
    if (find(handle) == nullptr) return;
    Place& at = place(handle.index());
    at.object()->~T();
    at.used = false;
    if (++at.generation == 0) at.generation = 1;
    at.next_free = free_;
    free_ = handle.index();
    --size_;
  }
  [[nodiscard]] T* find(SlabHandle handle) {
    if (handle.index() >= capacity()) return nullptr;
    Place& at = place(handle.index());
    return at.used && at.generation == handle.generation() ? at.object() : nullptr;
  }
  [[nodiscard]] const T* find(SlabHandle handle) const { return const_cast<Slab*>(this)->find(handle); }
  /// For indices that the caller knows to be in use.
  [[nodiscard]] T& at(std::uint32_t index) { return *place(index).object(); }
  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  static constexpr std::uint32_t kNone = UINT32_MAX;
  static constexpr std::uint32_t kPerChunk = 64;
  struct Place {
    alignas(T) std::array<unsigned char, sizeof(T)> storage;
    std::uint32_t generation = 1;
    std::uint32_t next_free = kNone;
    bool used = false;
    [[nodiscard]] T* object() { return std::launder(reinterpret_cast<T*>(storage.data())); }
  };

  [[nodiscard]] std::uint32_t capacity() const { return static_cast<std::uint32_t>(chunks_.size()) * kPerChunk; }
  [[nodiscard]] Place& place(std::uint32_t index) { return chunks_[index / kPerChunk][index % kPerChunk]; }
  void grow() {
    const std::uint32_t first = capacity();
    chunks_.push_back(std::make_unique<Place[]>(kPerChunk));
    for (std::uint32_t i = kPerChunk; i-- > 0;) {
      place(first + i).next_free = free_;
      free_ = first + i;
    }
  }

  std::vector<std::unique_ptr<Place[]>> chunks_;
  std::uint32_t free_ = kNone;
  std::size_t size_ = 0;
};

}  // namespace postern
