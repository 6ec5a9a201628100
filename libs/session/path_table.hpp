// The paths of one session by label: the relay and the direct ways, past and present (DESIGN §5.3).
//
// ngtcp2 knows a path by its label only. Label 0 is the relay from which the session started; each migration takes a
// label never used before, also back to the relay. At the connector a label belongs to the destination connection id
// that its client has taken for it: later packets with that id keep it, whatever their source, so nobody on the way can
// make a session move. A direct label that is dead (the connector's own address changed) leads through the relay until
// it is heard again.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/route_id.hpp"
#include "session/types.hpp"

namespace postern::session {

class PathTable {
 public:
  /// Older labels are forgotten: QUIC writes to the current path, the one it validates and the one it came from.
  static constexpr std::size_t kLabelsMax = 8;
  static constexpr std::size_t kAllowedMax = 16;

  explicit PathTable(const SocketAddress& relay) : relay_(relay) { labels_.push_back({}); }

  [[nodiscard]] const SocketAddress& relay() const { return relay_; }
  void set_relay(const SocketAddress& relay) { relay_ = relay; }

  // --- remotes that checks have proven ---------------------------------------------------------------------------
  /// False at the bound.
  bool allow(const SocketAddress& remote) {
    if (is_allowed(remote)) return true;
    if (allowed_.size() >= kAllowedMax) return false;
    allowed_.push_back(remote);
    return true;
  }
  void disallow(const SocketAddress& remote) { std::erase(allowed_, remote); }
  [[nodiscard]] bool is_allowed(const SocketAddress& remote) const {
    return std::ranges::find(allowed_, remote) != allowed_.end();
  }
  /// Whether a packet that came this way may be looked at.
  [[nodiscard]] bool accepts(const Path& from) const { return !from.is_direct() || is_allowed(from.remote); }

  // --- labels ----------------------------------------------------------------------------------------------------
  /// The label that add() gives next.
  [[nodiscard]] std::uint32_t next_label() const { return next_label_; }
  /// `in_use` is kept when the table is full.
  std::uint32_t add(const Path& path, std::uint32_t in_use) {
    if (labels_.size() >= kLabelsMax) {
      const auto oldest = std::ranges::find_if(labels_, [&](const Label& label) { return label.number != in_use; });
      std::erase_if(bindings_, [&](const Binding& binding) { return binding.label == oldest->number; });
      labels_.erase(oldest);
    }
    labels_.push_back({next_label_, path.is_direct(), path.remote, false});
    return next_label_++;
  }
  /// Where packets of this label go; nothing for one that was forgotten.
  [[nodiscard]] std::optional<Path> resolve(std::uint32_t number) const {
    const auto found = std::ranges::find(labels_, number, &Label::number);
    if (found == labels_.end()) return std::nullopt;
    if (!found->is_direct || found->is_dead) return Path{kRelayLabel, relay_};
    return Path{kDirectLabel, found->remote};
  }
  /// A packet of this label, made by the peer, came from there.
  void handle_heard(std::uint32_t number, const Path& from) {
    if (!from.is_direct()) {
      relay_ = from.remote;
      return;
    }
    const auto found = std::ranges::find(labels_, number, &Label::number);
    if (found == labels_.end() || !found->is_direct) return;
    found->remote = from.remote;
    found->is_dead = false;
  }
  /// Direct labels lead through the relay until they are heard again.
  void distrust_direct() {
    for (Label& label : labels_) label.is_dead = label.is_direct;
  }
  /// They lead where they led.
  void trust_direct() {
    for (Label& label : labels_) label.is_dead = false;
  }

  // --- connection ids, at the connector --------------------------------------------------------------------------
  [[nodiscard]] std::optional<std::uint32_t> label_of(const ConnectionId& id) const {
    const auto found = std::ranges::find(bindings_, id, &Binding::id);
    return found == bindings_.end() ? std::nullopt : std::optional(found->label);
  }
  void bind(const ConnectionId& id, std::uint32_t label) { bindings_.push_back({id, label}); }
  void unbind(const ConnectionId& id) {
    std::erase_if(bindings_, [&](const Binding& binding) { return binding.id == id; });
  }

 private:
  struct Label {
    std::uint32_t number = 0;
    bool is_direct = false;
    SocketAddress remote;  ///< of a direct one
    bool is_dead = false;
  };
  struct Binding {
    ConnectionId id;
    std::uint32_t label = 0;
  };

  SocketAddress relay_;
  std::vector<Label> labels_;
  std::vector<Binding> bindings_;
  std::vector<SocketAddress> allowed_;
  std::uint32_t next_label_ = 1;
};

}  // namespace postern::session
