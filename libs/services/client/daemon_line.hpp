// The daemon's socket as `postern` uses it: requests as lines, answers as lines.
#pragma once

#include <expected>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "runtime/loop/descriptor.hpp"
#include "services/client/ipc_protocol.hpp"
#include "services/client/problem.hpp"

namespace postern::client {

class DaemonLine {
 public:
  [[nodiscard]] static std::expected<DaemonLine, Problem> open(const std::string& path);

  void send(const Request& request);
  /// The next answer; a refusal of the daemon is a Problem. Blocks.
  [[nodiscard]] std::expected<nlohmann::json, Problem> next();
  /// open(), send() and next() in one: for requests with one answer.
  [[nodiscard]] static std::expected<nlohmann::json, Problem> ask(const std::string& path, const Request& request);

 private:
  runtime::Descriptor fd_;
  std::string buffer_;
};

}  // namespace postern::client
