#include "base/slab.hpp"

#include <gtest/gtest.h>

#include <memory>

namespace postern {
namespace {

struct Thing {
  Thing(SlabHandle own, std::shared_ptr<int> shared) : handle(own), counter(std::move(shared)) {}
  SlabHandle handle;
  std::shared_ptr<int> counter;
};

TEST(Slab, FindsAnObjectByTheHandleItWasBuiltWith) {
  Slab<Thing> slab;
  Thing& thing = slab.emplace(nullptr);
  EXPECT_EQ(slab.find(thing.handle), &thing);
  EXPECT_NE(thing.handle, SlabHandle{});
  EXPECT_EQ(slab.find(SlabHandle{}), nullptr);
  EXPECT_EQ(slab.find(SlabHandle::make(1000, 1)), nullptr);
}

TEST(Slab, AStaleHandleFindsNothingThoughThePlaceIsUsedAgain) {
  Slab<Thing> slab;
  const SlabHandle first = slab.emplace(nullptr).handle;
  slab.erase(first);
  const SlabHandle second = slab.emplace(nullptr).handle;
  EXPECT_EQ(first.index(), second.index());
  EXPECT_EQ(slab.find(first), nullptr);
  slab.erase(first);
  EXPECT_EQ(slab.size(), 1U);
}

TEST(Slab, AddressesStayWhileItGrowsAndEverythingIsDestroyedAtTheEnd) {
  const auto counter = std::make_shared<int>(0);
  {
    Slab<Thing> slab;
    const Thing* first = &slab.emplace(counter);
    for (int i = 0; i < 1000; ++i) slab.emplace(counter);
    EXPECT_EQ(slab.find(first->handle), first);
    EXPECT_EQ(counter.use_count(), 1002);
    slab.erase(first->handle);
    EXPECT_EQ(counter.use_count(), 1001);
  }
  EXPECT_EQ(counter.use_count(), 1);
}

}  // namespace
}  // namespace postern
