// NAT-PMP's part of PortMapper.
#include <algorithm>

#include "mapping/port_mapper.hpp"

namespace postern::mapping {

namespace {

/// RFC 6886 §3.6: a router's clock that is behind by more has started again.
constexpr std::uint32_t kEpochSlack_s = 2;

std::uint32_t to_seconds(Duration duration) {
  return static_cast<std::uint32_t>(duration / std::chrono::seconds(1));
}

}  // namespace

void PortMapper::start_pmp(Instant now, Step step) {
  enter(now, step, kPmpPause);
  tries_ = 0;
  if (step == Step::PmpMap) {
    asked_ = Mapping{Method::NatPmp, {outside_ip_, wanted_port()}, {}, {}};
  }
  send_pmp();
}

void PortMapper::send_pmp() {
  const SocketAddress router{place_->router, kNatPmpPort};
  if (step_ == Step::PmpAddress) return send(router, pmp_address_request());
  PmpMap wanted{place_->port, 0, 0};
  if (step_ == Step::PmpMap) wanted = {place_->port, wanted_port(), to_seconds(kLease)};
  send(router, pmp_map_request(wanted));
}

void PortMapper::give_up_pmp(Instant now) {
  if (step_ == Step::Deleting) return fail(now, Trouble::NoAnswer);
  start_search(now);
}

void PortMapper::handle_pmp(Instant now, ByteView datagram) {
  const auto answer = parse_pmp_answer(datagram);
  const bool waits_for_map = step_ == Step::PmpMap || (step_ == Step::Deleting && !exchange_);
  const bool is_asked = answer && (answer->is_map ? waits_for_map : step_ == Step::PmpAddress);
  if (!is_asked) return count(MappingDrop::Malformed);
  if (step_ == Step::Deleting) {
    step_ = Step::Off;
    return;
  }
  if (answer->result != 0) return give_up_pmp(now);
  answer->is_map ? handle_pmp_map(now, *answer) : handle_pmp_address(now, *answer);
}

void PortMapper::handle_pmp_address(Instant now, const PmpAnswer& answer) {
  const std::uint32_t elapsed_s = to_seconds(now - epoch_at_);
  const std::uint64_t expected_s = epoch_s_ ? *epoch_s_ + std::uint64_t{elapsed_s} * 7 / 8 : 0;
  const bool has_forgotten = epoch_s_ && answer.epoch_s + kEpochSlack_s < expected_s;
  epoch_s_ = answer.epoch_s;
  epoch_at_ = now;
  outside_ip_ = answer.address;
  if (!is_public(answer.address)) {
    mapping_.reset();
    return fail(now, Trouble::NoPublicAddress);
  }
  const bool is_known = mapping_ && mapping_->method == Method::NatPmp && mapping_->outside.ip == answer.address;
  if (is_known && !has_forgotten && !is_renewal_wanted_ && now < mapping_->renew_at) {
    return enter(now, Step::Mapped, std::min<Duration>(kCheck, mapping_->renew_at - now));
  }
  start_pmp(now, Step::PmpMap);
}

void PortMapper::handle_pmp_map(Instant now, const PmpAnswer& answer) {
  const PmpMap& map = answer.map;
  if (map.internal_port != place_->port || map.external_port == 0 || map.lifetime_s == 0) {
    count(MappingDrop::Malformed);
    return fail(now, Trouble::BadAnswer);
  }
  is_permanent_ = false;
  settle(now, Method::NatPmp, {outside_ip_, map.external_port}, std::chrono::seconds(map.lifetime_s));
}

}  // namespace postern::mapping
