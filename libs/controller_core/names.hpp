// What things may be called, and how people refer to them: by name, by e-mail address, or by decimal id.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <string_view>

#include "controller_core/controller.hpp"
#include "controller_core/model_state.hpp"

namespace postern::controller {

/// 1 to 64 characters of UTF-8 without control characters and blanks at the ends, and not a number (which would be an
/// id). `kind` is for the message: "group".
[[nodiscard]] std::expected<std::string, CommandError> valid_name(std::string_view kind, std::string_view text);
/// Folded to lower case.
[[nodiscard]] std::expected<std::string, CommandError> valid_email(std::string_view text);
/// [a-z0-9-]{1,63}, not beginning or ending with '-'.
[[nodiscard]] bool is_valid_slug(std::string_view text);
/// Device and host names come from machines: what cannot be shown is dropped, long ones are cut.
[[nodiscard]] std::string shown_name(std::string_view text);

[[nodiscard]] std::expected<const UserRecord*, CommandError> find_user(const ModelState& model, std::string_view text);
[[nodiscard]] std::expected<const GroupRecord*, CommandError> find_group(const ModelState& model,
                                                                         std::string_view text);
[[nodiscard]] std::expected<const RemoteNetworkRecord*, CommandError> find_remote_network(const ModelState& model,
                                                                                          std::string_view text);
[[nodiscard]] std::expected<const ConnectorRecord*, CommandError> find_connector(const ModelState& model,
                                                                                 std::string_view text);
[[nodiscard]] std::expected<const model::Resource*, CommandError> find_resource(const ModelState& model,
                                                                                std::string_view text);
/// Devices may share a name; then only the id will do.
[[nodiscard]] std::expected<const DeviceRecord*, CommandError> find_device(const ModelState& model,
                                                                           std::string_view text);

[[nodiscard]] std::expected<const RelayRecord*, CommandError> find_relay(const ModelState& model,
                                                                         std::string_view text);

[[nodiscard]] std::unexpected<CommandError> refuse(CommandError::Kind kind, std::string message);

}  // namespace postern::controller
