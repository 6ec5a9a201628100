#include "controller_core/names.hpp"

#include <algorithm>
#include <charconv>

#include "base/json.hpp"

namespace postern::controller {

namespace {

constexpr std::size_t kNameCharactersMax = 64;
constexpr std::size_t kEmailSizeMax = 254;  // RFC 5321 §4.5.3.1.3

bool is_digits(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

/// Characters of valid UTF-8 without control characters; nothing for anything else.
std::optional<std::size_t> characters(std::string_view text) {
  std::size_t count = 0;
  while (!text.empty()) {
    const std::size_t size = json::utf8_sequence_size(text);
    if (size == 0 || (size == 1 && is_control(text.front()))) return std::nullopt;
    text.remove_prefix(size);
    ++count;
  }
  return count;
}

std::optional<std::uint64_t> decimal_id(std::string_view text) {
  std::uint64_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (!is_digits(text) || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return id;
}

/// For a message: what was asked for, cut where it is absurdly long.
std::string quoted(std::string_view text) {
  return '"' + shown_name(text) + '"';
}

std::unexpected<CommandError> not_found(std::string_view kind, std::string_view text) {
  return refuse(CommandError::Kind::NotFound, "there is no " + std::string(kind) + ' ' + quoted(text) +
                                                  ": give its name or its id as the list shows it");
}

template <typename Table, typename NameOf>
auto find_by_name(const Table& table, std::string_view kind, std::string_view text, NameOf name_of)
    -> std::expected<const typename Table::mapped_type*, CommandError> {
  if (const auto id = decimal_id(text)) {
    const auto found = table.find(typename Table::key_type(*id));
    if (found == table.end()) return not_found(kind, text);
    return &found->second;
  }
  const std::string wanted = folded(text);
  for (const auto& [id, record] : table) {
    if (folded(name_of(record)) == wanted) return &record;
  }
  return not_found(kind, text);
}

}  // namespace

std::unexpected<CommandError> refuse(CommandError::Kind kind, std::string message) {
  return std::unexpected(CommandError{kind, std::move(message)});
}

std::expected<std::string, CommandError> valid_name(std::string_view kind, std::string_view text) {
  const auto bad = [&](const char* why) {
    return refuse(CommandError::Kind::Invalid, "the name of a " + std::string(kind) + ' ' + why);
  };
  const auto count = characters(text);
  if (!count) return bad("must be UTF-8 text without control characters");
  if (*count == 0) return bad("must not be empty");
  if (*count > kNameCharactersMax) return bad("must have at most 64 characters");
  if (text.starts_with(' ') || text.ends_with(' ')) return bad("must not begin or end with a blank");
  if (is_digits(text)) return bad("must not be a number, because a number is taken for an id");
  return std::string(text);
}

std::expected<std::string, CommandError> valid_email(std::string_view text) {
  const std::size_t at = text.find('@');
  const bool shaped = at != std::string_view::npos && at != 0 && at + 1 < text.size() && at == text.rfind('@');
  const bool clean = characters(text).has_value() && text.find_first_of(" ,;<>\"") == std::string_view::npos;
  if (!shaped || !clean || text.size() > kEmailSizeMax) {
    return refuse(CommandError::Kind::Invalid,
                  quoted(text) + " is not an e-mail address: give one like ana@example.org");
  }
  return folded(text);
}

bool is_valid_slug(std::string_view text) {
  if (text.empty() || text.size() > 63 || text.starts_with('-') || text.ends_with('-')) return false;
  return std::ranges::all_of(text, [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
}

std::string shown_name(std::string_view text) {
  std::string result;
  std::size_t count = 0;
  while (!text.empty() && count < kNameCharactersMax) {
    const std::size_t size = json::utf8_sequence_size(text);
    const bool shown = size > 1 || (size == 1 && !is_control(text.front()));
    if (shown) result.append(text.substr(0, size));
    if (shown) ++count;
    text.remove_prefix(std::max<std::size_t>(size, 1));
  }
  return result;
}

std::expected<const UserRecord*, CommandError> find_user(const ModelState& model, std::string_view text) {
  if (const UserRecord* user = model.user_by_email(text)) return user;
  return find_by_name(model.users(), "user", text, [](const UserRecord& user) { return user.email; });
}

std::expected<const GroupRecord*, CommandError> find_group(const ModelState& model, std::string_view text) {
  return find_by_name(model.groups(), "group", text, [](const GroupRecord& group) { return group.name; });
}

std::expected<const RemoteNetworkRecord*, CommandError> find_remote_network(const ModelState& model,
                                                                            std::string_view text) {
  return find_by_name(model.remote_networks(), "remote network", text,
                      [](const RemoteNetworkRecord& network) { return network.name; });
}

std::expected<const ConnectorRecord*, CommandError> find_connector(const ModelState& model, std::string_view text) {
  return find_by_name(model.connectors(), "connector", text,
                      [](const ConnectorRecord& connector) { return connector.name; });
}

std::expected<const RelayRecord*, CommandError> find_relay(const ModelState& model, std::string_view text) {
  return find_by_name(model.relays(), "relay", text, [](const RelayRecord& relay) { return relay.name; });
}

std::expected<const model::Resource*, CommandError> find_resource(const ModelState& model, std::string_view text) {
  const auto found =
      find_by_name(model.resources(), "resource", text, [](const ResourceEntry& entry) { return entry.resource.name; });
  if (!found) return std::unexpected(found.error());
  return &(*found)->resource;
}

std::expected<const DeviceRecord*, CommandError> find_device(const ModelState& model, std::string_view text) {
  const auto found =
      find_by_name(model.devices(), "device", text, [](const DeviceRecord& device) { return device.name; });
  if (!found || decimal_id(text)) return found;
  const std::string wanted = folded(text);
  const auto same =
      std::ranges::count_if(model.devices(), [&](const auto& each) { return folded(each.second.name) == wanted; });
  if (same > 1) {
    return refuse(CommandError::Kind::Conflict,
                  "several devices are called " + quoted(text) + ": give the id as the list shows it");
  }
  return found;
}

}  // namespace postern::controller
