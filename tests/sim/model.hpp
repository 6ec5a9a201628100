// The reference model: who may reach what, told as plainly as DESIGN §2 and PROTOCOL.md §4.5 tell it.
//
// Deliberately simple, and without a line of the product's policy code: sets of names, and loops over all of them. It
// knows what the admin did, and nothing of leases, sessions or packets.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "sim/targets.hpp"

namespace postern::sim {

class Model {
 public:
  struct Resource {
    std::uint64_t order = 0;  ///< ties go to the older one
    std::string remote_network;
    std::string address;  ///< "git.home", "*.home", "10.20.0.9" or "10.20.0.0/16"
    std::vector<std::string> aliases;
    std::set<PortClass> ports;
    std::set<std::string> groups;
    std::set<std::string> users;
  };
  struct User {
    bool active = true;
    std::set<std::string> groups;
  };

  std::map<std::string, User> users;
  std::map<std::string, Resource> resources;

  struct Answer {
    std::string resource;
    std::string remote_network;
    auto operator<=>(const Answer&) const = default;
  };
  /// The Resource through which this user reaches host and port class; nothing: denied.
  [[nodiscard]] std::optional<Answer> permitted(const std::string& user, const std::string& host,
                                                PortClass ports) const;

 private:
  [[nodiscard]] bool is_granted(const std::string& user, const Resource& resource) const;
};

/// `*` stands for any characters, `?` for one.
[[nodiscard]] bool glob(std::string_view pattern, std::string_view text);

}  // namespace postern::sim
