// Names to addresses with the host's own resolver settings (/etc/resolv.conf, /etc/hosts) or a list of servers, on the
// event loop (c-ares). Names are asked for A and AAAA; the order of the answer is the order in which to try (RFC 6724).
//
// Answers are kept for their TTL, at most 30 s and 1024 names; the same name asked twice at once is one question. A
// changed /etc/resolv.conf is taken over as soon as no question is under way.
//
// Records of other types are asked for by their name as it stands, and the server's message is given as it came (over
// TCP where it is too large for UDP); nothing of it is kept.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "base/ip.hpp"
#include "runtime/loop/event_loop.hpp"

namespace postern::runtime {

enum class DnsFailure : std::uint8_t {
  NameNotFound,  ///< NXDOMAIN, or no address
  Failed,        ///< no server answered in time, or too many questions are under way
};

struct ResolverConfig {
  /// "192.0.2.53", "192.0.2.53:5353", "[2001:db8::53]:53"; empty: the host's.
  std::vector<std::string> servers{};
};

class Resolver {
 public:
  static constexpr std::size_t kQuestionsMax = 1024;  ///< under way; at the bound a question fails at once

  using Handler = std::function<void(std::expected<std::vector<IpAddress>, DnsFailure>)>;

  /// `loop` outlives it. Handlers are called on the loop's thread, never after the resolver is gone.
  Resolver(EventLoop& loop, ResolverConfig config);
  ~Resolver();

  /// Text of an address gives that address. `handler` may be called before this returns.
  void resolve(const std::string& name, Handler handler);

  using RecordHandler = std::function<void(std::expected<Bytes, DnsFailure>)>;
  /// The answer of the first server that has one, also when it says that there is no such name or record. `type`: RFC
  /// 1035 §3.2.2.
  void query(const std::string& name, std::uint16_t type, RecordHandler handler);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace postern::runtime
