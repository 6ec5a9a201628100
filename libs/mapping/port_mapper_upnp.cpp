// UPnP's part of PortMapper.
#include <utility>

#include "mapping/port_mapper.hpp"

namespace postern::mapping {

namespace {

/// Ports that a NAT may give to anybody (RFC 6056).
constexpr std::uint16_t kPortFirst = 20'000;
constexpr std::uint16_t kPortCount = 40'000;

}  // namespace

void PortMapper::start_search(Instant now) {
  asked_.reset();
  enter(now, Step::Search, kSearchPause);
  tries_ = 0;
  send_search();
}

void PortMapper::send_search() {
  for (const std::string& search : ssdp_searches()) send(ssdp_group(), as_bytes(search));
}

void PortMapper::handle_search_answer(Instant now, ByteView datagram) {
  const auto location = parse_ssdp_answer(datagram);
  if (!location) return count(MappingDrop::Malformed);
  if (step_ != Step::Search) return;  // one device answers each search
  const auto target = parse_target(*location);
  if (!target || target->host.ip != place_->router) return count(MappingDrop::ForeignUrl);
  description_ = *target;
  ask(now, Step::Description, description_, get_request(description_));
}

void PortMapper::ask(Instant now, Step step, const HttpTarget& target, std::string request) {
  enter(now, step, kExchangeMax);
  exchange_ = Exchange{++exchanges_, target.host, std::move(request)};
  reply_ = {};
}

void PortMapper::handle_bytes(Instant now, ByteView bytes) {
  if (!exchange_) return;
  switch (reply_.add(bytes)) {
    case HttpReply::State::Incomplete:
      return;
    case HttpReply::State::Complete:
      return handle_reply(now, std::exchange(reply_, {}));
    case HttpReply::State::Bad:
      count(MappingDrop::BadReply);
      return fail_service(now, Trouble::BadAnswer);
  }
}

void PortMapper::handle_end(Instant now) {
  if (!exchange_) return;
  if (reply_.end() == HttpReply::State::Complete) return handle_reply(now, std::exchange(reply_, {}));
  count(MappingDrop::BadReply);
  fail_service(now, Trouble::NoAnswer);
}

void PortMapper::handle_reply(Instant now, const HttpReply& reply) {
  exchange_.reset();
  if (step_ == Step::Description) return handle_description(now, reply);
  if (step_ == Step::OutsideAddress) return handle_outside_address(now, reply);
  if (step_ == Step::Add) return handle_added(now, reply);
  step_ = Step::Off;  // deleted, or not: there is nothing more that could be done
}

void PortMapper::handle_description(Instant now, const HttpReply& reply) {
  std::uint64_t foreign = 0;
  services_.clear();
  if (reply.status() == 200) services_ = find_services(reply.body(), description_, foreign);
  drops_[static_cast<std::size_t>(MappingDrop::ForeignUrl)] += foreign;
  if (services_.empty()) return fail(now, Trouble::BadAnswer);
  ask_outside(now);
}

void PortMapper::ask_outside(Instant now) {
  ask(now, Step::OutsideAddress, services_.front().control, external_address_request(services_.front()));
}

/// The next service of the device, where it has another one.
void PortMapper::fail_service(Instant now, Trouble trouble) {
  exchange_.reset();
  if (!services_.empty()) services_.erase(services_.begin());
  if (services_.empty() || step_ == Step::Deleting) return fail(now, trouble);
  ask_outside(now);
}

void PortMapper::handle_outside_address(Instant now, const HttpReply& reply) {
  const auto answer = read_answer(reply);
  const auto address = answer ? parse_external_address(*answer) : std::nullopt;
  if (!address) return fail_service(now, Trouble::BadAnswer);
  if (!is_public(*address)) {
    mapping_.reset();
    return fail_service(now, Trouble::NoPublicAddress);
  }
  outside_ip_ = *address;
  port_tried_ = wanted_port();
  ports_tried_ = 1;
  uses_add_any_ = has_add_any(services_.front());
  ask_to_add(now);
}

void PortMapper::ask_to_add(Instant now) {
  const auto lease_s = static_cast<std::uint32_t>(kLease / std::chrono::seconds(1));
  const IgdMap map{port_tried_, place_->port, place_->local, is_permanent_ ? 0 : lease_s};
  const IgdService& service = services_.front();
  asked_ = Mapping{Method::Upnp, {outside_ip_, port_tried_}, {}, {}};
  ask(now, Step::Add, service.control,
      uses_add_any_ ? add_any_mapping_request(service, map) : add_mapping_request(service, map));
}

void PortMapper::handle_added(Instant now, const HttpReply& reply) {
  const auto answer = read_answer(reply);
  if (!answer) return handle_add_error(now, answer.error());
  std::uint16_t port = port_tried_;
  if (uses_add_any_) {
    const auto reserved = parse_reserved_port(*answer);
    if (!reserved) return fail_service(now, Trouble::BadAnswer);
    port = *reserved;
  }
  settle(now, Method::Upnp, {outside_ip_, port}, kLease);
}

void PortMapper::handle_add_error(Instant now, IgdError error) {
  if (error == IgdError::OnlyPermanentLeases && !std::exchange(is_permanent_, true)) return ask_to_add(now);
  if (std::exchange(uses_add_any_, false)) return ask_to_add(now);  // the older action may be allowed
  const bool is_taken = error == IgdError::Conflict;
  if (error == IgdError::SamePortsRequired && port_tried_ != place_->port) {
    port_tried_ = place_->port;
    return ask_to_add(now);
  }
  if (is_taken && ports_tried_++ < kPortsTried) {
    port_tried_ = static_cast<std::uint16_t>(kPortFirst + random_.u64() % kPortCount);
    return ask_to_add(now);
  }
  asked_.reset();
  fail_service(now, error == IgdError::Nonsense ? Trouble::BadAnswer : Trouble::Refused);
}

}  // namespace postern::mapping
