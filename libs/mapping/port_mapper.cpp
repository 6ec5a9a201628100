#include "mapping/port_mapper.hpp"

#include <algorithm>

#include "path/candidate.hpp"

namespace postern::mapping {

namespace {

/// Datagrams that the owner has not sent yet; the next try brings further ones.
constexpr std::size_t kOutgoingMax = 8;

constexpr std::array<std::string_view, static_cast<std::size_t>(Trouble::kCount)> kSentences = {
    "",
    "this host has no router for IPv4",
    "this host has a public address",
    "the router answers neither NAT-PMP nor UPnP; one of them may be switched off in its settings",
    "the router's own address is not public: another router translates in front of it",
    "the router refuses to map a port",
    "the router's answer makes no sense",
};
constexpr std::array<std::string_view, static_cast<std::size_t>(MappingDrop::kCount)> kDrops = {
    "foreign_source", "malformed", "foreign_url", "bad_reply"};

}  // namespace

std::string_view to_string(Method method) {
  if (method == Method::NatPmp) return "NAT-PMP";
  return method == Method::Upnp ? "UPnP" : "";
}

std::string_view sentence(Trouble trouble) {
  return kSentences.at(static_cast<std::size_t>(trouble));
}

std::string_view to_string(MappingDrop drop) {
  return kDrops.at(static_cast<std::size_t>(drop));
}

// --- steps -----------------------------------------------------------------------------------------------------------

void PortMapper::set_place(Instant now, const std::optional<Place>& place) {
  if (place == place_ && step_ != Step::Off) return;
  place_ = place;
  mapping_.reset();
  asked_.reset();
  exchange_.reset();
  services_.clear();
  epoch_s_.reset();
  is_permanent_ = false;
  pause_ = {};
  step_ = Step::Off;
  trouble_ = Trouble::NoRouter;
  if (!place_) return;
  trouble_ = Trouble::NotNeeded;
  if (path::is_private(place_->local)) begin(now);
}

void PortMapper::begin(Instant now) {
  begun_ = now;
  trouble_ = Trouble::None;
  ports_tried_ = 0;
  port_tried_ = 0;
  if (mapping_ && mapping_->method == Method::Upnp && !services_.empty()) return ask_outside(now);
  services_.clear();
  start_pmp(now, Step::PmpAddress);
}

void PortMapper::enter(Instant now, Step step, Duration patience) {
  step_ = step;
  due_ = now + patience;
}

void PortMapper::fail(Instant now, Trouble trouble) {
  exchange_.reset();
  if (step_ == Step::Deleting) {
    step_ = Step::Off;
    return;
  }
  trouble_ = trouble;
  services_.clear();
  pause_ = std::clamp(pause_ * 2, kPauseFirst, kPauseLongest);
  enter(now, Step::Waiting, pause_);
}

void PortMapper::settle(Instant now, Method method, const SocketAddress& outside, Duration lease) {
  const Duration granted = std::clamp(lease, kLeaseMin, kLease);
  mapping_ = Mapping{method, outside, now + granted, now + granted / 2};
  asked_.reset();
  is_renewal_wanted_ = false;
  pause_ = {};
  const Duration next = method == Method::NatPmp ? std::min(kCheck, granted / 2) : granted / 2;
  enter(now, Step::Mapped, next);
}

void PortMapper::refresh(Instant now) {
  if (step_ != Step::Mapped && step_ != Step::Waiting) return;
  is_renewal_wanted_ = true;
  pause_ = {};
  due_ = std::min(due_, std::max(now, begun_ + kRefreshPause));
}

void PortMapper::release(Instant now) {
  const auto known = mapping_ ? mapping_ : asked_;
  const auto services = services_;
  exchange_.reset();
  mapping_.reset();
  asked_.reset();
  outgoing_.clear();
  trouble_ = Trouble::None;
  step_ = Step::Off;
  if (!known) return;
  if (known->method == Method::NatPmp) return start_pmp(now, Step::Deleting);
  if (services.empty()) return;
  ask(now, Step::Deleting, services.front().control, delete_mapping_request(services.front(), known->outside.port));
}

std::uint16_t PortMapper::wanted_port() const {
  return mapping_ ? mapping_->outside.port : place_->port;
}

void PortMapper::send(const SocketAddress& to, ByteView datagram) {
  if (outgoing_.size() < kOutgoingMax) outgoing_.push_back({to, to_bytes(datagram)});
}

bool PortMapper::is_public(const IpAddress& address) {
  return address.is_v4() && !path::is_private(address) && !path::is_forbidden({address, 1});
}

std::optional<SocketAddress> PortMapper::outside() const {
  return mapping_ ? std::optional(mapping_->outside) : std::nullopt;
}

void PortMapper::handle_timeout(Instant now) {
  if (mapping_ && now >= mapping_->expires) mapping_.reset();
  if (step_ == Step::Off || now < due_) return;
  switch (step_) {
    case Step::Off:
      return;
    case Step::PmpAddress:
    case Step::PmpMap:
    case Step::Deleting:
      if (exchange_) return handle_end(now);
      if (++tries_ >= kPmpTries) return give_up_pmp(now);
      due_ = now + kPmpPause * (1U << tries_);
      return send_pmp();
    case Step::Search:
      if (++tries_ >= kSearchTries) return fail(now, Trouble::NoAnswer);
      due_ = now + kSearchPause;
      return send_search();
    case Step::Description:
    case Step::OutsideAddress:
    case Step::Add:
      count(MappingDrop::BadReply);
      return fail_service(now, Trouble::NoAnswer);
    case Step::Mapped:
    case Step::Waiting:
      return begin(now);
  }
}

std::optional<Instant> PortMapper::next_timeout() const {
  std::optional<Instant> next;
  if (step_ != Step::Off) next = due_;
  if (mapping_) next = std::min(next.value_or(mapping_->expires), mapping_->expires);
  return next;
}

void PortMapper::handle_datagram(Instant now, const SocketAddress& from, ByteView datagram) {
  if (!place_ || from.ip != place_->router) return count(MappingDrop::ForeignSource);
  if (from.port == kNatPmpPort) return handle_pmp(now, datagram);
  handle_search_answer(now, datagram);
}

std::optional<PortMapper::Outgoing> PortMapper::poll_datagram() {
  if (outgoing_.empty()) return std::nullopt;
  Outgoing next = std::move(outgoing_.front());
  outgoing_.pop_front();
  return next;
}

}  // namespace postern::mapping
