// Which Resource does a destination belong to? The client asks it for names and routes, the connector for the second,
// independent check of every flow. Most specific wins (PROTOCOL.md §4.5, facts of the published product §1.7).
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "model/resource.hpp"

namespace postern::policy {

/// Why a destination is not inside the entry that was asked for; PROTOCOL.md §4.5, the same order.
enum class TableRefusal : std::uint8_t { UnknownResource, AddressNotInResource, PortNotAllowed, Shadowed };

class ResourceTable {
 public:
  void upsert(model::Resource resource);
  void remove(model::ResourceId id);
  void clear();
  [[nodiscard]] const model::Resource* find(model::ResourceId id) const;
  [[nodiscard]] const std::map<model::ResourceId, model::Resource>& all() const { return resources_; }

  /// The winner for a name: alias or literal > pattern with more literal characters > fewer; among equals the higher
  /// priority, then the lower id (PROTOCOL.md §4.7).
  [[nodiscard]] const model::Resource* match(const model::DnsName& name) const;
  /// The winner for an address: longest prefix; among equals likewise.
  [[nodiscard]] const model::Resource* match(const IpAddress& address) const;
  /// Everything that match() chooses from, the winner first.
  [[nodiscard]] std::vector<const model::Resource*> matches(const model::DnsName& name) const;
  [[nodiscard]] std::vector<const model::Resource*> matches(const IpAddress& address) const;

  /// PROTOCOL.md §4.5 steps 4 and 5. An alias counts as a name of its resource.
  [[nodiscard]] std::expected<const model::Resource*, TableRefusal> check(model::ResourceId id,
                                                                          const model::DnsName& host,
                                                                          model::Protocol protocol,
                                                                          std::uint16_t port) const;
  [[nodiscard]] std::expected<const model::Resource*, TableRefusal> check(model::ResourceId id,
                                                                          const IpAddress& address,
                                                                          model::Protocol protocol,
                                                                          std::uint16_t port) const;
  [[nodiscard]] std::expected<const model::Resource*, TableRefusal> check_tcp(model::ResourceId id, const auto& host,
                                                                              std::uint16_t port) const {
    return check(id, host, model::Protocol::Tcp, port);
  }
  /// True when some resource names this very address as a single IP.
  [[nodiscard]] bool names_literally(const IpAddress& address) const;

 private:
  /// Better ones first.
  struct Rank {
    explicit Rank(const model::Resource& resource) : priority(resource.priority), id(resource.id) {}
    std::uint32_t priority;
    model::ResourceId id;
    bool operator<(const Rank& other) const {
      return priority != other.priority ? priority > other.priority : id < other.id;
    }
  };
  struct PatternRank {
    std::size_t literal_characters;
    Rank rank;
    bool operator<(const PatternRank& other) const {
      return literal_characters != other.literal_characters ? literal_characters > other.literal_characters
                                                            : rank < other.rank;
    }
  };
  using Ranks = std::set<Rank>;
  /// Calls `visit` with each match, best first, until it returns false.
  template <typename Visitor>
  void visit_matches(const model::DnsName& name, Visitor visit) const;
  template <typename Visitor>
  void visit_matches(const IpAddress& address, Visitor visit) const;
  void index(const model::Resource& resource);
  void unindex(const model::Resource& resource);
  [[nodiscard]] std::map<unsigned, std::size_t, std::greater<>>& lengths(IpFamily family);
  [[nodiscard]] const std::map<unsigned, std::size_t, std::greater<>>& lengths(IpFamily family) const;

  std::map<model::ResourceId, model::Resource> resources_;
  std::unordered_map<std::string, Ranks> by_name_;  ///< literal names and aliases
  std::set<PatternRank> patterns_;
  std::map<IpPrefix, Ranks> by_prefix_;
  /// How many resources have a prefix of this length: a lookup asks by_prefix_ once for each length in use.
  std::map<unsigned, std::size_t, std::greater<>> lengths_v4_;
  std::map<unsigned, std::size_t, std::greater<>> lengths_v6_;
};

/// PROTOCOL.md §4.5 step 6: v4-mapped, NAT64 and 6to4 are judged by the IPv4 address inside.
enum class ForbiddenKind : std::uint8_t { Unspecified, Loopback, LinkLocal, Multicast, Broadcast, Metadata };
[[nodiscard]] std::optional<ForbiddenKind> forbidden_kind(const IpAddress& address);
[[nodiscard]] std::string_view to_string(ForbiddenKind kind);

}  // namespace postern::policy
