// Which leases are void (PROTOCOL.md §5.3): a record voids every lease of its subject whose policy version is lower.
//
// Bounded, and closed at the bound: the record with the lowest version becomes a floor for everybody, so that a flood
// of records can cut people off until their lease is renewed, but never let anybody in.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>

#include "base/time.hpp"
#include "identity/tokens.hpp"
#include "model/ids.hpp"
#include "schema/control.pb.h"

namespace postern::connector {

class Revocations {
 public:
  static constexpr std::size_t kRecordsMax = 100'000;

  explicit Revocations(std::size_t records_max = kRecordsMax) : records_max_(records_max) {}

  void add(const wire::Revocation& record);
  /// Forgets records whose last possible lease has ended.
  void prune(WallTime now);
  void clear();

  /// The whole lease, for every resource.
  [[nodiscard]] bool voids(const identity::Lease& lease) const;
  /// The lease, as far as this resource goes.
  [[nodiscard]] bool voids(const identity::Lease& lease, model::ResourceId resource) const;
  [[nodiscard]] std::size_t size() const { return records_.size(); }

 private:
  enum class Kind : std::uint8_t { User, Device, Key };
  struct Subject {
    Kind kind = Kind::User;
    std::uint64_t id = 0;
    Digest key{};
    std::uint64_t resource = 0;  ///< 0: all of them
    auto operator<=>(const Subject&) const = default;
  };
  struct Record {
    std::uint64_t min_pv = 0;
    std::int64_t expires_at_ms = 0;
  };

  [[nodiscard]] bool covers(const Subject& subject, std::uint64_t policy_version) const;
  void make_room();

  std::size_t records_max_;
  std::map<Subject, Record> records_;
  std::uint64_t floor_ = 0;
};

}  // namespace postern::connector
