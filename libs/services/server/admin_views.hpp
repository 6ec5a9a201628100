// How records look in the answers of the admin socket.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/time.hpp"
#include "services/server/admin_context.hpp"
#include "services/server/admin_exchange.hpp"

namespace postern::server {

/// "2026-01-31T12:00:00Z"
[[nodiscard]] std::string iso_time(WallTime time);

/// Names by id, as they are now; "#12" for things that are gone.
class Names {
 public:
  explicit Names(const controller::Controller& controller);
  template <typename Tag>
  [[nodiscard]] std::string of(StrongId<Tag> id) const {
    const auto found = names_.find(id.value);
    return found == names_.end() ? '#' + std::to_string(id.value) : found->second;
  }

 private:
  std::map<std::uint64_t, std::string> names_;  // ids are never used for two kinds of things
};

/// Of an option that the command line has checked already.
[[nodiscard]] std::uint64_t number_option(const AdminRequest& request, std::string_view name, std::uint64_t otherwise);
[[nodiscard]] std::string refusal_name(std::uint32_t refusal);

}  // namespace postern::server
