// TLS streams over TCP: what a server listens with, and how an agent connects and checks who answered (PROTOCOL.md
// §5.4).
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"
#include "base/ip.hpp"
#include "base/time.hpp"
#include "runtime/http/byte_stream.hpp"
#include "runtime/http/io_loop.hpp"
#include "runtime/http/proxy.hpp"

namespace postern::runtime {

/// How the server proves itself: the digest of its own root's key, or a chain to a public CA and the host's name. A
/// relay of its own has no certificate of either: the controller says the digest of its key.
struct ServerTrust {
  std::optional<Digest> root_pin{};
  std::optional<Digest> key_pin{};  ///< wins over the others
};

struct ServerAddress {
  std::string host{};  ///< name or address, without brackets
  std::uint16_t port = 443;
  /// Addresses found before our own resolver was installed; empty: resolve `host` at each attempt.
  std::vector<std::string> fixed_addresses{};
  Proxies proxies{};  ///< how to get there; a proxy finds the host's address itself
};

struct ConnectError {
  enum class Kind : std::uint8_t {
    Unreachable,  ///< DNS, TCP or the TLS transport failed
    NotTrusted,   ///< somebody answered, but not the server that was promised
  };
  Kind kind = Kind::Unreachable;
  std::string message{};  ///< one sentence for people
};

using Connected = std::function<void(std::expected<std::shared_ptr<ByteStream>, ConnectError>)>;

/// A running attempt; destroying it ends the attempt, and `done` is not called any more.
class TlsConnect {
 public:
  /// Tries the addresses one after the other, 5 s each, `deadline` in all.
  TlsConnect(IoLoop& loop, const ServerAddress& server, const ServerTrust& trust, Duration deadline, Connected done);
  ~TlsConnect();

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

struct ListenError {
  enum class Kind : std::uint8_t { AddressInUse, NotPermitted, BadCertificate, Other };
  Kind kind = Kind::Other;
  std::string message{};  ///< one sentence for people
};

struct TlsListenerConfig {
  SocketAddress listen{};         ///< an IPv6 wildcard takes IPv4 too; port 0 picks a free one
  std::string certificate_pem{};  ///< leaf first, then what leads to its root
  std::string private_key_pem{};
  Duration handshake_max = std::chrono::seconds(10);
  std::size_t handshakes_max = 512;  ///< at once; at the bound the oldest is closed
};

struct TlsListenerCounters {
  std::uint64_t accepted = 0;
  std::uint64_t handshake_failed = 0;
  std::uint64_t handshake_timed_out = 0;
  std::uint64_t handshake_displaced = 0;
};

class TlsListener {
 public:
  using Accepted = std::function<void(std::shared_ptr<ByteStream>)>;

  TlsListener(IoLoop& loop, TlsListenerConfig config, Accepted accepted);
  ~TlsListener();
  [[nodiscard]] std::expected<void, ListenError> start();
  /// New connections get this certificate; a bad one changes nothing.
  [[nodiscard]] std::expected<void, std::string> replace_certificate(const std::string& certificate_pem,
                                                                     const std::string& private_key_pem);
  [[nodiscard]] std::uint16_t port() const;
  [[nodiscard]] const TlsListenerCounters& counters() const;
  void stop();

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace postern::runtime
