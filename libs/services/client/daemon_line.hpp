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

  /// What the connection has become after `open` and its good answers.
  struct Stream {
    runtime::Descriptor fd;
    runtime::Descriptor verdict;  ///< gets one line if the stream is broken off
    std::string early;            ///< what came behind the last answer
  };
  [[nodiscard]] Stream take_stream();

 private:
  /// recv() that keeps a descriptor which comes along.
  [[nodiscard]] ssize_t receive(char* data, std::size_t size);

  runtime::Descriptor fd_;
  runtime::Descriptor given_;
  std::string buffer_;
};

}  // namespace postern::client
