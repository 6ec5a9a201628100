// As much of HTTP/1.1 as a home router speaks for UPnP: one request, one answer, one connection (RFC 9112).
//
// Everything here comes from the local network and is taken as hostile: targets are literal IPv4 addresses, answers
// have a bound, redirects are answers like any other.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/ip.hpp"

namespace postern::mapping {

struct HttpTarget {
  SocketAddress host;
  std::string path;
  bool operator==(const HttpTarget&) const = default;
};

inline constexpr std::size_t kUrlMax = 512;

/// `http://A.B.C.D[:PORT][/PATH]` and nothing else: a name would let whoever answers choose where we go.
[[nodiscard]] std::optional<HttpTarget> parse_target(std::string_view url);
/// Where a reference in a document from `base` leads: an absolute URL, or a path on the same host.
[[nodiscard]] std::optional<HttpTarget> resolve(const HttpTarget& base, std::string_view reference);

[[nodiscard]] std::string get_request(const HttpTarget& target);
/// `action` is the value of SOAPAction, without its quotes.
[[nodiscard]] std::string post_request(const HttpTarget& target, std::string_view action, std::string_view body);

/// Gathers one answer.
class HttpReply {
 public:
  enum class State : std::uint8_t { Incomplete, Complete, Bad };
  static constexpr std::size_t kHeadMax = 8 << 10;
  static constexpr std::size_t kBodyMax = 128 << 10;

  State add(ByteView bytes);
  /// The connection has ended: for an answer that has no length this is its end.
  State end();

  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] unsigned status() const { return status_; }
  [[nodiscard]] const std::string& body() const { return body_; }

 private:
  enum class Framing : std::uint8_t { UntilEnd, Length, Chunked };
  State read_head(std::size_t end);
  State read_body();
  State read_chunks();
  State fail() { return state_ = State::Bad; }

  State state_ = State::Incomplete;
  bool has_head_ = false;
  std::string bytes_;  ///< not yet taken apart
  std::string body_;
  unsigned status_ = 0;
  Framing framing_ = Framing::UntilEnd;
  std::size_t length_ = 0;
};

}  // namespace postern::mapping
