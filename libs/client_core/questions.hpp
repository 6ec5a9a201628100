// Questions about the names of Resources that a connector passes on to its name server (PROTOCOL.md §4.8). Each is a
// flow of its own: placed like every other, one message back, judged here, gone.
//
// The answer is not believed: only records of the type that was asked for, and the aliases that lead to them, are given
// on (wire/dns_records). The owner bounds how many are asked at a time.
#pragma once

#include <deque>
#include <expected>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/timer_wheel.hpp"
#include "client_core/flow_placement.hpp"
#include "client_core/flows.hpp"
#include "wire/dns_records.hpp"

namespace postern::client {

/// No records: there are none. An error: nobody could say.
using Records = std::expected<std::vector<wire::DnsPlainRecord>, FlowRefusal>;

class Questions {
 public:
  struct Answer {
    std::uint64_t id = 0;
    Records records;
  };
  /// All outlive this object.
  struct Parts {
    const Directory& directory;
    resolver::AddressPool& addresses;
    Peers& peers;
    session::Endpoint& sessions;
    BlockPool& pool;
  };

  Questions(FlowsConfig config, Parts parts)
      : config_(config), parts_(parts), placement_(config.held_interval, parts.peers, parts.sessions, parts.pool) {}

  /// `id` is new. Exactly one Answer follows, also when everything ends.
  void ask(Instant now, WallTime wall, std::uint64_t id, const model::DnsName& name, wire::DnsType type);
  [[nodiscard]] std::optional<Answer> poll_answer();

  /// Of any session; what is not ours is left alone.
  void handle_event(Instant now, const session::Event& event);
  void handle_event(Instant now, const PeerEvent& event);
  void handle_changes(const DirectoryChanges& changes);
  void set_unsettled(Instant now, bool unsettled);
  void retry_held(Instant now);
  [[nodiscard]] std::size_t held() const { return placement_.held(); }
  void handle_timeout(Instant now);
  [[nodiscard]] std::optional<Instant> next_timeout() const;
  void end_all();

 private:
  using Order = FlowPlacement::Order;
  struct Question : PlacedFlow {
    model::DnsName name;
    std::string asked;  ///< of the name server: the Resource's own name for an alias
    Instant since;
    TimerId timer;
    Bytes message;
  };

  void place(Instant now, Question& question) { obey(now, question, placement_.place(now, question)); }
  void obey(Instant now, Question& question, Order order);
  void open(Instant now, Question& question);
  void read(Instant now, Question& question);
  /// Takes what belongs to FlowReply off the front of `bytes`. False when the question has gone elsewhere, or is gone.
  [[nodiscard]] bool read_reply(Instant now, Question& question, ByteView& bytes);
  [[nodiscard]] static Records judge(const Question& question);
  /// Gives up the stream where the connector has not ended it.
  void end(Question& question, Records records);
  void fail(Question& question, FlowRefusal reason) { end(question, std::unexpected(reason)); }
  [[nodiscard]] Question* find(std::uint64_t id);
  template <typename Predicate>
  [[nodiscard]] std::vector<std::uint64_t> select(Predicate predicate) const;

  FlowsConfig config_;
  Parts parts_;
  FlowPlacement placement_;
  std::unordered_map<std::uint64_t, Question> questions_;
  TimerWheel timers_;
  std::deque<Answer> answers_;
};

}  // namespace postern::client
