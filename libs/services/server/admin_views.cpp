#include "services/server/admin_views.hpp"

#include <charconv>
#include <ctime>

#include "schema/session.pb.h"

namespace postern::server {

std::string iso_time(WallTime time) {
  const std::time_t seconds = to_unix_seconds(time);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  std::array<char, 32> text{};
  const std::size_t size = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return {text.data(), size};
}

Names::Names(const controller::Controller& controller) {
  for (const auto& user : controller.users()) names_[user.id.value] = user.email;
  for (const auto& group : controller.groups()) names_[group.id.value] = group.name;
  for (const auto& network : controller.remote_networks()) names_[network.id.value] = network.name;
  for (const auto& resource : controller.resources()) names_[resource.id.value] = resource.name;
  for (const auto& device : controller.devices()) names_[device.id.value] = device.name;
  for (const auto& relay : controller.relays()) names_[relay.id.value] = relay.name;
  for (const auto& connector : controller.connectors()) {
    names_[connector.id.value] = connector.name;
    for (const auto& instance : controller.instances(connector.id)) names_[instance.id.value] = connector.name;
  }
}

std::uint64_t number_option(const AdminRequest& request, std::string_view name, std::uint64_t otherwise) {
  const std::string text = request.option(name);
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? value : otherwise;
}

std::string refusal_name(std::uint32_t refusal) {
  const std::string& name = wire::RefusalReason_Name(static_cast<wire::RefusalReason>(refusal));
  constexpr std::string_view kPrefix = "REFUSAL_";
  std::string text = name.starts_with(kPrefix) ? name.substr(kPrefix.size()) : "refusal " + std::to_string(refusal);
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

}  // namespace postern::server
