// What SOCKS5 and HTTP share, and SOCKS5.
#include "client_core/proxy_handshake.hpp"

namespace postern::client {

namespace {

constexpr std::uint8_t kSocks = 5;
constexpr std::uint8_t kLoginVersion = 1;  // RFC 1929
constexpr std::uint8_t kNoLogin = 0;
constexpr std::uint8_t kPassword = 2;
constexpr std::uint8_t kNoMethod = 0xFF;
constexpr std::uint8_t kConnect = 1;
constexpr std::uint8_t kUdpAssociate = 3;
constexpr std::uint8_t kIpV4 = 1;
constexpr std::uint8_t kName = 3;
constexpr std::uint8_t kIpV6 = 4;

/// RFC 1928 §6.
enum SocksCode : std::uint8_t {
  kSucceeded = 0,
  kGeneralFailure = 1,
  kNotAllowed = 2,
  kNetworkUnreachable = 3,
  kHostUnreachable = 4,
  kConnectionRefused = 5,
  kTtlExpired = 6,
  kCommandNotSupported = 7,
  kAddressNotSupported = 8,
};

std::uint8_t byte(std::string_view text, std::size_t at) {
  return static_cast<std::uint8_t>(text[at]);
}

std::string socks_answer(std::uint8_t code, const SocketAddress& bound) {
  std::string answer{static_cast<char>(kSocks), static_cast<char>(code), '\0',
                     static_cast<char>(bound.ip.is_v4() ? kIpV4 : kIpV6)};
  answer += as_text(bound.ip.bytes());
  answer += static_cast<char>(bound.port >> 8);
  answer += static_cast<char>(bound.port & 0xFF);
  return answer;
}

}  // namespace

bool is_same_secret(std::string_view a, std::string_view b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < a.size() && !b.empty(); ++i) {
    difference |= static_cast<unsigned>(static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i % b.size()]));
  }
  return difference == 0;
}

ProxyHandshake::Step ProxyHandshake::feed(ByteView bytes) {
  pending_ += as_text(bytes);
  const Step step = advance();
  if (step != Step::More || pending_.size() <= kHeadMax) return step;
  return is_http_ ? fail_http("431 Request Header Fields Too Large", "the request's head is longer than 32 KiB")
                  : fail_socks(kGeneralFailure);
}

ProxyHandshake::Step ProxyHandshake::advance() {
  Stage before = stage_;
  do {
    before = stage_;
    Step step = Step::More;
    switch (stage_) {
      case Stage::Protocol:
        if (pending_.empty()) return Step::More;
        is_http_ = byte(pending_, 0) != kSocks;
        if (is_http_ && (pending_[0] < 'A' || pending_[0] > 'Z')) return Step::Failed;
        stage_ = is_http_ ? Stage::HttpHead : Stage::SocksMethods;
        break;
      case Stage::SocksMethods:
        step = read_methods();
        break;
      case Stage::SocksLogin:
        step = read_login();
        break;
      case Stage::SocksRequest:
        step = read_socks_request();
        break;
      case Stage::HttpHead:
        step = read_http_head();
        break;
    }
    if (step != Step::More) return step;
  } while (stage_ != before);
  return Step::More;
}

/// RFC 1928 §3.
ProxyHandshake::Step ProxyHandshake::read_methods() {
  if (pending_.size() < 2 || pending_.size() < 2U + byte(pending_, 1)) return Step::More;
  const std::string methods = pending_.substr(2, byte(pending_, 1));
  pending_.erase(0, 2 + methods.size());
  const std::uint8_t wanted = login_ != nullptr ? kPassword : kNoLogin;
  const bool is_offered = methods.find(static_cast<char>(wanted)) != std::string::npos;
  output_ += static_cast<char>(kSocks);
  output_ += static_cast<char>(is_offered ? wanted : kNoMethod);
  if (!is_offered) return Step::Failed;
  stage_ = login_ != nullptr ? Stage::SocksLogin : Stage::SocksRequest;
  return Step::More;
}

/// RFC 1929 §2.
ProxyHandshake::Step ProxyHandshake::read_login() {
  if (pending_.size() < 2) return Step::More;
  const std::size_t user_size = byte(pending_, 1);
  if (pending_.size() < 3 + user_size) return Step::More;
  const std::size_t password_size = byte(pending_, 2 + user_size);
  if (pending_.size() < 3 + user_size + password_size) return Step::More;
  const bool is_version_known = byte(pending_, 0) == kLoginVersion;
  const bool is_user = is_same_secret(std::string_view(pending_).substr(2, user_size), login_->user);
  const bool is_password =
      is_same_secret(std::string_view(pending_).substr(3 + user_size, password_size), login_->password);
  const bool is_right = is_version_known && is_user && is_password;
  pending_.erase(0, 3 + user_size + password_size);
  output_ += static_cast<char>(kLoginVersion);
  output_ += static_cast<char>(is_right ? 0 : 1);
  if (!is_right) return Step::Failed;
  stage_ = Stage::SocksRequest;
  return Step::More;
}

/// RFC 1928 §4.
ProxyHandshake::Step ProxyHandshake::read_socks_request() {
  if (pending_.size() < 5) return Step::More;
  const std::uint8_t type = byte(pending_, 3);
  if (byte(pending_, 0) != kSocks) return fail_socks(kGeneralFailure);
  std::size_t at = 4;
  std::size_t size = type == kIpV4 ? 4 : 16;
  if (type == kName) size = byte(pending_, at++);
  if (type != kIpV4 && type != kIpV6 && type != kName) return fail_socks(kAddressNotSupported);
  if (pending_.size() < at + size + 2) return Step::More;
  const std::string_view host = std::string_view(pending_).substr(at, size);
  const auto port = static_cast<std::uint16_t>(byte(pending_, at + size) << 8 | byte(pending_, at + size + 1));
  const std::uint8_t command = byte(pending_, 1);
  auto parsed = type == kName ? parse_host(host) : std::nullopt;
  if (type != kName) parsed = *IpAddress::from_bytes(as_bytes(host));
  pending_.erase(0, at + size + 2);
  if (command != kConnect && command != kUdpAssociate) return fail_socks(kCommandNotSupported);
  command_ = command == kConnect ? ProxyCommand::Connect : ProxyCommand::UdpAssociate;
  if (!parsed || (port == 0 && command == kConnect)) return fail_socks(kHostUnreachable);
  destination_ = {std::move(*parsed), port};
  return Step::Ready;
}

ProxyHandshake::Step ProxyHandshake::fail_socks(std::uint8_t code) {
  output_ += socks_answer(code, {IpAddress::v4(0, 0, 0, 0), 0});
  return Step::Failed;
}

std::string ProxyHandshake::opened(const SocketAddress& bound) const {
  if (!is_http_) return socks_answer(kSucceeded, bound);
  return is_forwarded_ ? "" : "HTTP/1.1 200 Connection established\r\n\r\n";
}

std::string ProxyHandshake::refused(const FlowDenial& denial, std::string_view text) const {
  if (!is_http_) return socks_answer(socks_reply(denial), {IpAddress::v4(0, 0, 0, 0), 0});
  ProxyHandshake answer(nullptr);
  (void)answer.fail_http(http_status(denial), text);
  return answer.take_output();
}

std::uint8_t socks_reply(const FlowDenial& denial) {
  switch (denial.reason) {
    case FlowRefusal::UnknownName:
    case FlowRefusal::NoResource:
    case FlowRefusal::PortNotAllowed:
    case FlowRefusal::NoLease:
    case FlowRefusal::RefusedByConnector:
      return kNotAllowed;
    case FlowRefusal::TimedOut:
    case FlowRefusal::TargetSilent:
      return kTtlExpired;
    case FlowRefusal::RefusedByTarget:
      return kConnectionRefused;
    case FlowRefusal::TooManyFlows:
      return kGeneralFailure;
    case FlowRefusal::NoRelay:
      return kNetworkUnreachable;
    default:
      return denial.answer == tcp::Refusal::NetworkUnreachable ? kNetworkUnreachable : kHostUnreachable;
  }
}

std::string_view http_status(const FlowDenial& denial) {
  switch (socks_reply(denial)) {
    case kNotAllowed:
      return "403 Forbidden";
    case kTtlExpired:
      return "504 Gateway Timeout";
    case kGeneralFailure:
      return "503 Service Unavailable";
    default:
      return "502 Bad Gateway";
  }
}

std::string describe(const FlowDenial& denial, const Destination& destination) {
  const std::string what = destination.text();
  switch (denial.reason) {
    case FlowRefusal::UnknownName:
    case FlowRefusal::NoResource:
      return what + " belongs to no resource that you may reach: see `postern resources`";
    case FlowRefusal::PortNotAllowed:
      return "the resource of " + what + " does not allow this port: see `postern resources`";
    case FlowRefusal::NoLease:
      return "there is no valid lease for the network of " + what + ": see `postern status`";
    case FlowRefusal::NoRelay:
      return "Postern is not connected, so " + what + " cannot be reached: see `postern status`";
    case FlowRefusal::NoInstance:
      return "no connector that leads to " + what + " is there: see `postern explain " + what + "`";
    case FlowRefusal::TooManyFlows:
      return "too many connections are open to reach " + what + ": close some and try again";
    case FlowRefusal::TimedOut:
      return "no connector has answered about " + what + " in time: see `postern explain " + what + "`";
    case FlowRefusal::RefusedByTarget:
      return what + " refused the connection: nothing listens there";
    case FlowRefusal::TargetUnreachable:
      return what + " is unreachable from its connector: check that it is up and that its name is right there";
    case FlowRefusal::TargetSilent:
      return what + " does not answer its connector: check that it is up and that no firewall drops the connection";
    default:
      return "the connector does not allow " + what + ": see `postern explain " + what + "`";
  }
}

}  // namespace postern::client
