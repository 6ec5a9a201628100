// What a program says to a local proxy before its bytes begin: SOCKS5 (RFC 1928, RFC 1929) or HTTP (RFC 9110 CONNECT,
// and requests with an absolute URL, RFC 9112 §3.2.2). The first byte tells which. Pure.
//
// Names are taken as names and never looked up here. A request with an absolute URL is the only one of its connection:
// its head is rewritten for the server, with `Connection: close`, and becomes the first bytes of the stream.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "client_core/application_side.hpp"
#include "client_core/destination.hpp"

namespace postern::client {

/// Who may use the proxy: whoever reaches it, or who knows these.
struct ProxyLogin {
  std::string user;
  std::string password;
};

enum class ProxyCommand : std::uint8_t { Connect, UdpAssociate };

class ProxyHandshake {
 public:
  /// Of everything before the stream; longer is refused.
  static constexpr std::size_t kHeadMax = 32 * 1024;
  enum class Step : std::uint8_t {
    More,    ///< give more bytes
    Ready,   ///< destination() is wanted; answer with opened() or refused()
    Failed,  ///< send what take_output() gives and close
  };

  /// `login` outlives the handshake; null: nobody has to say who he is.
  explicit ProxyHandshake(const ProxyLogin* login) : login_(login) {}

  /// Send take_output() after each.
  [[nodiscard]] Step feed(ByteView bytes);
  [[nodiscard]] std::string take_output() { return std::exchange(output_, {}); }

  [[nodiscard]] const Destination& destination() const { return destination_; }
  [[nodiscard]] ProxyCommand command() const { return command_; }
  /// What belongs to the stream and has come already.
  [[nodiscard]] std::string take_stream() { return std::exchange(pending_, {}); }

  /// What to send when the flow is open; nothing where the target's own answer is the answer. `bound` is what SOCKS5
  /// names as BND.ADDR.
  [[nodiscard]] std::string opened(const SocketAddress& bound) const;
  /// What to send before closing. `text` is one sentence for people.
  [[nodiscard]] std::string refused(const FlowDenial& denial, std::string_view text) const;

 private:
  enum class Stage : std::uint8_t { Protocol, SocksMethods, SocksLogin, SocksRequest, HttpHead };

  [[nodiscard]] Step advance();
  // SOCKS5
  [[nodiscard]] Step read_methods();
  [[nodiscard]] Step read_login();
  [[nodiscard]] Step read_socks_request();
  [[nodiscard]] Step fail_socks(std::uint8_t code);
  // HTTP
  [[nodiscard]] Step read_http_head();
  [[nodiscard]] Step fail_http(std::string_view status, std::string_view text, std::string_view field = {});
  [[nodiscard]] bool is_authorized(std::string_view fields) const;
  [[nodiscard]] Step accept_url(std::string_view method, std::string_view url, std::string_view rest);

  const ProxyLogin* login_;
  Stage stage_ = Stage::Protocol;
  std::string pending_;
  std::string output_;
  Destination destination_;
  ProxyCommand command_ = ProxyCommand::Connect;
  bool is_http_ = false;
  bool is_forwarded_ = false;  ///< HTTP with an absolute URL
};

/// RFC 1928 §6.
[[nodiscard]] std::uint8_t socks_reply(const FlowDenial& denial);
/// "403 Forbidden", "502 Bad Gateway", "503 Service Unavailable" or "504 Gateway Timeout".
[[nodiscard]] std::string_view http_status(const FlowDenial& denial);
/// One sentence about why `destination` was refused, for people.
[[nodiscard]] std::string describe(const FlowDenial& denial, const Destination& destination);
/// Takes a time that does not depend on where the two differ.
[[nodiscard]] bool is_same_secret(std::string_view given, std::string_view expected);
/// RFC 4648 §4 with padding; nothing for anything else.
[[nodiscard]] std::optional<std::string> decode_base64(std::string_view text);

}  // namespace postern::client
