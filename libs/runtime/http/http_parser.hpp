// HTTP/1.1 messages from bytes and to bytes (Beast's parser without its IO).
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>

#include "base/bytes.hpp"
#include "runtime/http/http_message.hpp"

namespace postern::runtime {

inline constexpr std::uint32_t kHttpHeaderMax = 16 * 1024;
inline constexpr std::uint64_t kHttpBodyMax = 1024 * 1024;

/// What was wrong, as the status of the answer: 400, 413 or 431.
struct HttpParseError {
  int status = 400;
};

/// Reads one message after the other from a stream.
class HttpParser {
 public:
  enum class Role : std::uint8_t { Server, Client };  ///< Server reads requests, Client reads responses
  explicit HttpParser(Role role);
  ~HttpParser();

  /// Takes bytes in; what belongs to the next message is kept.
  [[nodiscard]] std::expected<void, HttpParseError> feed(ByteView bytes);
  /// The stream has ended; a response without a length is complete then.
  void end();
  [[nodiscard]] bool complete() const;
  /// Nothing of the next message has arrived.
  [[nodiscard]] bool idle() const;
  /// The peer wants the connection kept open behind this message.
  [[nodiscard]] bool keep_alive() const;
  [[nodiscard]] bool wants_upgrade() const;
  /// Only when complete(); then makes ready for the next message, whose first bytes may be there: call feed({}).
  [[nodiscard]] HttpRequest take_request();
  [[nodiscard]] HttpResponse take_response();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Adds Content-Length, Connection, and the headers that every answer of ours carries.
[[nodiscard]] std::string serialize_response(const HttpResponse& response, bool keep_alive, bool head_only);

}  // namespace postern::runtime
