// What a relay wants sent, and the names of everything it counts.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"
#include "base/ip.hpp"

namespace postern::relay_core {

/// `bytes` are datagrams of `stride` bytes each, the last one maybe shorter: one GSO send.
struct OutgoingTrain {
  SocketAddress to;
  ByteView bytes;
  std::size_t stride = 0;
};

/// Filled by any number of Relay::handle_train() calls, then sent, then cleared. Forwarded trains are views into the
/// caller's receive buffers, the relay's own answers lie in here; both must live until the trains are sent.
class RelayOutput {
 public:
  static constexpr std::size_t kAnswerSizeMax = 128;
  /// Enough for 64 answers between two calls of clear(); more are dropped and counted.
  static constexpr std::size_t kScratchSize = 64 * kAnswerSizeMax;

  RelayOutput() : scratch_(kScratchSize) {}

  [[nodiscard]] const std::vector<OutgoingTrain>& trains() const { return trains_; }
  void clear() {
    trains_.clear();
    scratch_used_ = 0;
  }

  void forward(const SocketAddress& to, ByteView bytes, std::size_t stride) { trains_.push_back({to, bytes, stride}); }
  /// Where the next answer may be written; empty at the bound.
  [[nodiscard]] MutableBytes answer_space() {
    if (scratch_.size() - scratch_used_ < kAnswerSizeMax) return {};
    return MutableBytes(scratch_).subspan(scratch_used_, kAnswerSizeMax);
  }
  /// `answer` lies at the start of answer_space().
  void answer(const SocketAddress& to, ByteView answer) {
    trains_.push_back({to, answer, answer.size()});
    scratch_used_ += answer.size();
  }

 private:
  std::vector<OutgoingTrain> trains_;
  Bytes scratch_;
  std::size_t scratch_used_ = 0;
};

/// Why a datagram was not forwarded or not answered.
enum class RelayDrop : std::uint8_t {
  UnknownFirstByte,
  StunMalformed,
  StunUnwanted,    ///< well-formed, but no request that a relay answers
  BindTooSmall,    ///< under 128 bytes: answering could amplify
  BindIncomplete,  ///< authenticated form without BIND-SEQ
  BindBadMac,
  BindingRateLimited,  ///< plain Binding, more than 20/s for a /24 or /56
  AnswerSpaceFull,
  QuicTooShort,
  QuicWrongVersion,
  QuicWrongIdLength,
  SourceNotBound,
  LongHeaderLimited,
  RouteNotBound,
  OtherNetwork,
  SameRole,
  ByteRateLimited,
};
inline constexpr std::size_t kRelayDropCount = static_cast<std::size_t>(RelayDrop::ByteRateLimited) + 1;
[[nodiscard]] std::string_view to_string(RelayDrop reason);

/// What became of the Bind requests that were answered.
enum class BindOutcome : std::uint8_t {
  Accepted,
  Repeated,        ///< the success was sent again
  NonceWanted,     ///< 401
  NonceStale,      ///< 438
  BadToken,        ///< 403 without MAC
  TicketOutdated,  ///< 403, as are the next two
  Replayed,
  Revoked,
  Full,  ///< 486
};
inline constexpr std::size_t kBindOutcomeCount = static_cast<std::size_t>(BindOutcome::Full) + 1;
[[nodiscard]] std::string_view to_string(BindOutcome outcome);

struct RelayStats {
  std::uint64_t forwarded_packets = 0;
  std::uint64_t forwarded_bytes = 0;
  std::uint64_t forwarded_trains = 0;
  std::uint64_t plain_bindings = 0;                      ///< answered
  std::uint64_t unbound_hints = 0;                       ///< sent
  std::array<std::uint64_t, kRelayDropCount> drops{};    ///< packets, by RelayDrop
  std::array<std::uint64_t, kBindOutcomeCount> binds{};  ///< by BindOutcome

  [[nodiscard]] std::uint64_t dropped(RelayDrop reason) const { return drops[static_cast<std::size_t>(reason)]; }
  [[nodiscard]] std::uint64_t bind(BindOutcome outcome) const { return binds[static_cast<std::size_t>(outcome)]; }
  void count(RelayDrop reason, std::uint64_t packets = 1) { drops[static_cast<std::size_t>(reason)] += packets; }
  void count(BindOutcome outcome) { ++binds[static_cast<std::size_t>(outcome)]; }
};

}  // namespace postern::relay_core
