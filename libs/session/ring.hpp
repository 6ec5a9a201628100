// A FIFO in one power-of-two array. It allocates nothing while it has never held anything, and keeps at most a small
// array while it is empty, so that an idle stream costs next to nothing (std::deque takes 576 bytes when empty).
#pragma once

#include <bit>
#include <cstddef>
#include <memory>
#include <utility>

namespace postern::session {

template <typename T>
class Ring {
 public:
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] T& operator[](std::size_t index) { return items_[(first_ + index) & (capacity_ - 1)]; }
  [[nodiscard]] const T& operator[](std::size_t index) const { return items_[(first_ + index) & (capacity_ - 1)]; }
  [[nodiscard]] T& front() { return (*this)[0]; }
  [[nodiscard]] const T& front() const { return (*this)[0]; }
  [[nodiscard]] T& back() { return (*this)[size_ - 1]; }

  void push_back(T item) {
    if (size_ == capacity_) grow();
    ++size_;
    back() = std::move(item);
  }
  T pop_front() {
    T item = std::exchange(front(), T{});
    first_ = (first_ + 1) & (capacity_ - 1);
    --size_;
    if (size_ == 0 && capacity_ > kKept) release();
    return item;
  }
  void pop_back() {
    back() = T{};
    --size_;
  }
  void clear() {
    size_ = 0;
    release();
  }

 private:
  static constexpr std::size_t kFirst = 4;
  /// A burst's array is given back when it has drained; a small one stays for the next burst.
  static constexpr std::size_t kKept = 1024;

  void release() {
    items_.reset();
    capacity_ = 0;
    first_ = 0;
  }
  void grow() {
    const std::size_t capacity = capacity_ == 0 ? kFirst : capacity_ * 2;
    auto items = std::make_unique<T[]>(capacity);
    for (std::size_t i = 0; i < size_; ++i) items[i] = std::move((*this)[i]);
    items_ = std::move(items);
    capacity_ = capacity;
    first_ = 0;
  }

  std::unique_ptr<T[]> items_;
  std::size_t capacity_ = 0;
  std::size_t first_ = 0;
  std::size_t size_ = 0;
};

}  // namespace postern::session
