#include "base/block.hpp"

namespace postern {
namespace {

TEST(BlockPool, GivesPageAlignedBlocksAndStopsAtItsBound) {
  BlockPool pool(2 * BlockPool::kLargeSize);
  const Buffer first = pool.acquire(BlockClass::Large);
  Buffer second = pool.acquire(BlockClass::Large);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(second.bytes().data()) % 4096, 0U);
  EXPECT_FALSE(pool.acquire(BlockClass::Small));
  second = Buffer();
  EXPECT_TRUE(pool.acquire(BlockClass::Small));
}

TEST(BlockPool, KeepsABlockUntilItsLastSliceIsGone) {
  BlockPool pool(1 << 20);
  Slice copy;
  {
    const Buffer buffer = pool.acquire(BlockClass::Small);
    buffer.bytes()[7] = 42;
    copy = buffer.slice(7, 1);
  }
  EXPECT_EQ(pool.bytes_in_use(), BlockPool::kSmallSize);
  pool.trim();
  EXPECT_EQ(copy.view()[0], 42);
  copy = Slice();
  EXPECT_EQ(pool.bytes_in_use(), 0U);
}

TEST(BlockPool, PacksSmallCopiesIntoOneBlock) {
  BlockPool pool(1 << 20);
  SliceQueue queue;
  for (int i = 0; i < 100; ++i) queue.push(pool.copy(Bytes(10, static_cast<std::uint8_t>(i))));
  EXPECT_EQ(pool.bytes_in_use(), BlockPool::kSmallSize);
  EXPECT_EQ(queue.size(), 1000U);
  EXPECT_EQ(queue.peek(0).size(), 1000U);
  EXPECT_EQ(queue.peek(995, 3)[0], 99);
}

TEST(SliceQueue, PeeksSharesAndPopsAcrossSlices) {
  BlockPool pool(1 << 20);
  SliceQueue queue;
  queue.push(pool.copy(Bytes(3000, 1)));
  queue.push(pool.copy(Bytes(3000, 2)));
  EXPECT_EQ(queue.peek(2999, 10).size(), 1U);
  EXPECT_EQ(queue.share(3000, 10).size(), 10U);
  queue.pop(3001);
  EXPECT_EQ(queue.size(), 2999U);
  EXPECT_EQ(queue.peek(0)[0], 2);
  queue.pop(5000);
  EXPECT_TRUE(queue.empty());
  EXPECT_TRUE(queue.peek(0).empty());
  EXPECT_EQ(pool.bytes_in_use(), 0U);
}

}  // namespace
}  // namespace postern
