#include "base/block.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <new>

namespace postern {

namespace {

constexpr std::size_t kBlocksPerSlab = 16;

}  // namespace

Slice Slice::sub(std::size_t offset, std::size_t size) const {
  offset = std::min(offset, view_.size());
  return {header_, view_.subspan(offset, std::min(size, view_.size() - offset))};
}

bool Slice::try_join(const Slice& next) {
  if (header_ == nullptr || header_ != next.header_ || view_.data() + view_.size() != next.view_.data()) return false;
  view_ = ByteView(view_.data(), view_.size() + next.view_.size());
  return true;
}

void Slice::release() {
  if (header_ != nullptr && --header_->references == 0) header_->pool->give_back(header_);
  header_ = nullptr;
}

Buffer::~Buffer() {
  if (header_ != nullptr && --header_->references == 0) header_->pool->give_back(header_);
}

BlockPool::BlockPool(std::size_t bytes_max) : max_(bytes_max) {}

BlockPool::~BlockPool() {
  packing_ = Buffer();
  for (const auto& [address, size] : slabs_) munmap(address, size);
}

void BlockPool::grow(Class& of) {
  const std::size_t size = of.block_size * kBlocksPerSlab;
  void* address = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) throw std::bad_alloc();
  slabs_.emplace_back(address, size);
  for (std::size_t i = 0; i < kBlocksPerSlab; ++i) {
    auto* data = static_cast<std::uint8_t*>(address) + i * of.block_size;
    of.headers.push_back({this, data, static_cast<std::uint32_t>(of.block_size), 0});
    of.free.push_back(&of.headers.back());
  }
}

Buffer BlockPool::acquire(BlockClass block_class) {
  Class& from = block_class == BlockClass::Large ? large_ : small_;
  if (in_use_ + from.block_size > max_) return {};
  if (from.free.empty()) grow(from);
  detail::BlockHeader* header = from.free.back();
  from.free.pop_back();
  from.clean = std::min(from.clean, from.free.size());
  in_use_ += from.block_size;
  return Buffer(header);
}

void BlockPool::give_back(detail::BlockHeader* header) {
  Class& to = header->capacity == kLargeSize ? large_ : small_;
  in_use_ -= to.block_size;
  to.free.push_back(header);
}

Slice BlockPool::copy(ByteView bytes) {
  if (bytes.empty() || bytes.size() > kLargeSize) return {};
  if (bytes.size() > kSmallSize / 2) {
    const Buffer own = acquire(bytes.size() > kSmallSize ? BlockClass::Large : BlockClass::Small);
    if (!own) return {};
    std::memcpy(own.bytes().data(), bytes.data(), bytes.size());
    return own.slice(0, bytes.size());
  }
  if (packing_ && packing_.is_unshared()) packed_ = 0;
  if (!packing_ || packed_ + bytes.size() > kSmallSize) {
    packing_ = Buffer();
    packing_ = acquire(BlockClass::Small);
    packed_ = 0;
    if (!packing_) return {};
  }
  std::memcpy(packing_.bytes().data() + packed_, bytes.data(), bytes.size());
  Slice slice = packing_.slice(packed_, bytes.size());
  packed_ += bytes.size();
  return slice;
}

void BlockPool::trim() {
  if (packing_ && packing_.is_unshared()) packing_ = Buffer();
  for (Class* of : {&small_, &large_}) {
    for (std::size_t i = of->clean; i < of->free.size(); ++i) {
      madvise(of->free[i]->data, of->block_size, MADV_DONTNEED);
    }
    of->clean = of->free.size();
  }
}

void SliceQueue::push(Slice slice) {
  if (slice.empty()) return;
  size_ += slice.size();
  if (!slices_.empty() && slices_.back().try_join(slice)) return;
  slices_.push_back(std::move(slice));
}

std::pair<std::size_t, std::size_t> SliceQueue::locate(std::size_t offset) const {
  std::size_t index = 0;
  while (index < slices_.size() && offset >= slices_[index].size()) offset -= slices_[index++].size();
  return {index, offset};
}

ByteView SliceQueue::peek(std::size_t offset, std::size_t size) const {
  const auto [index, at] = locate(offset);
  if (index == slices_.size()) return {};
  const ByteView rest = slices_[index].view().subspan(at);
  return rest.first(std::min(size, rest.size()));
}

Slice SliceQueue::share(std::size_t offset, std::size_t size) const {
  const auto [index, at] = locate(offset);
  if (index == slices_.size()) return {};
  return slices_[index].sub(at, size);
}

void SliceQueue::pop(std::size_t size) {
  size = std::min(size, size_);
  size_ -= size;
  while (size > 0) {
    Slice& front = slices_.front();
    if (size < front.size()) {
      front.remove_prefix(size);
      return;
    }
    size -= front.size();
    slices_.pop_front();
  }
}

void SliceQueue::clear() {
  slices_.clear();
  size_ = 0;
}

}  // namespace postern
