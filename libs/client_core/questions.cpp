#include "client_core/questions.hpp"

#include <algorithm>

namespace postern::client {

namespace {

/// What the connector's name server is asked about: an alias is no name there.
std::string name_there(const model::DnsName& name, const model::Resource* resource) {
  if (resource == nullptr || resource->address.matches(name)) return name.text();
  const auto* real = std::get_if<model::DnsName>(&resource->address.value());
  return real != nullptr ? real->text() : name.text();
}

}  // namespace

Questions::Question* Questions::find(std::uint64_t id) {
  const auto found = questions_.find(id);
  return found == questions_.end() ? nullptr : &found->second;
}

template <typename Predicate>
std::vector<std::uint64_t> Questions::select(Predicate predicate) const {
  std::vector<std::uint64_t> ids;
  for (const auto& [id, question] : questions_) {
    if (predicate(question)) ids.push_back(id);
  }
  std::ranges::sort(ids);  // the same order in every run
  return ids;
}

void Questions::ask(Instant now, WallTime wall, std::uint64_t id, const model::DnsName& name, wire::DnsType type) {
  auto target = find_target(now, wall, parts_.directory, parts_.addresses, {name, {}, model::Protocol::Dns});
  if (!target) {
    answers_.push_back({id, std::unexpected(target.error())});
    return;
  }
  Question& question = questions_[id];
  question.key = id;
  question.target = std::move(*target);
  question.target.question = type;
  question.name = name;
  question.asked = name_there(name, parts_.directory.table().find(question.target.resource));
  question.since = now;
  question.timer = timers_.arm(now + config_.peer_deadline, id);
  place(now, question);
}

void Questions::obey(Instant now, Question& question, Order order) {
  switch (order) {
    case Order::None:
      return;
    case Order::Open:
      return open(now, question);
    case Order::Refuse:
      return fail(question, placement_.what_is_missing());
    case Order::Move:
    case Order::End:  // asking twice does no harm
      placement_.leave(question);
      question.message.clear();
      return place(now, question);
    case Order::Revoke:
      return fail(question, FlowRefusal::NoResource);
  }
}

void Questions::open(Instant now, Question& question) {
  if (!placement_.open(now, question)) return fail(question, FlowRefusal::TooManyFlows);
  (void)parts_.sessions.finish(question.session, question.stream);
  timers_.cancel(question.timer);
  question.timer = timers_.arm(question.since + config_.open_deadline, question.key);
}

void Questions::end(Question& question, Records records) {
  const bool is_whole = question.stage == FlowStage::Open && parts_.sessions.at_end(question.session, question.stream);
  if (question.stage != FlowStage::Waiting && !is_whole) {
    parts_.sessions.reset(question.session, question.stream, kResetByApplication);
  }
  answers_.push_back({question.key, std::move(records)});
  placement_.release(question);
  timers_.cancel(question.timer);
  questions_.erase(question.key);
}

void Questions::end_all() {
  for (const std::uint64_t id : select([](const Question&) { return true; })) fail(*find(id), FlowRefusal::NoRelay);
}

std::optional<Questions::Answer> Questions::poll_answer() {
  if (answers_.empty()) return std::nullopt;
  Answer answer = std::move(answers_.front());
  answers_.pop_front();
  return answer;
}

// --- from the session ------------------------------------------------------------------------------------------------

void Questions::handle_event(Instant now, const session::Event& event) {
  const auto key = placement_.find(event);
  Question* question = key ? find(*key) : nullptr;
  if (question == nullptr) return;
  if (std::holds_alternative<session::StreamReadable>(event)) {
    read(now, *question);
  } else if (std::holds_alternative<session::StreamReset>(event) ||
             std::holds_alternative<session::StreamClosed>(event)) {
    fail(*question, FlowRefusal::RefusedByConnector);
  }
}

void Questions::read(Instant now, Question& question) {
  const auto [session, stream] = std::pair(question.session, question.stream);
  for (Slice slice = parts_.sessions.read(session, stream); !slice.empty();
       slice = parts_.sessions.read(session, stream)) {
    parts_.sessions.consume(session, stream, slice.size());
    ByteView bytes = slice.view();
    if (question.stage == FlowStage::Opening && !read_reply(now, question, bytes)) return;
    if (question.message.size() + bytes.size() > UINT16_MAX) return fail(question, FlowRefusal::RefusedByConnector);
    question.message.insert(question.message.end(), bytes.begin(), bytes.end());
  }
  if (parts_.sessions.at_end(session, stream)) end(question, judge(question));
}

bool Questions::read_reply(Instant now, Question& question, ByteView& bytes) {
  const auto taken = question.reply.feed(bytes);
  bytes = bytes.subspan(taken.value_or(bytes.size()));
  if (taken && !question.reply.has_message()) return true;
  const auto verdict = taken ? parse_flow_reply(question.reply.message()) : std::nullopt;
  if (!verdict) {
    fail(question, FlowRefusal::RefusedByConnector);
    return false;
  }
  if (placement_.is_to_move(now, question, *verdict)) {
    obey(now, question, Order::Move);
    return false;
  }
  if (!verdict->opened) {
    verdict->is_unknown_name ? end(question, {}) : fail(question, verdict->refusal);
    return false;
  }
  question.stage = FlowStage::Open;
  return true;
}

Records Questions::judge(const Question& question) {
  auto records = wire::take_dns_records(question.message, question.asked, question.target.question);
  if (!records) return std::unexpected(FlowRefusal::TargetUnreachable);
  for (wire::DnsPlainRecord& record : *records) {
    if (record.owner == question.asked) record.owner = question.name.text();
  }
  return std::move(*records);
}

// --- peers, revocation, time -----------------------------------------------------------------------------------------

void Questions::handle_event(Instant now, const PeerEvent& event) {
  const auto order_for = [&](const Question& q) { return placement_.order_for(now, q, event); };
  for (const std::uint64_t id : select([&](const Question& q) { return order_for(q) != Order::None; })) {
    Question& question = *find(id);
    obey(now, question, order_for(question));
  }
}

void Questions::handle_changes(const DirectoryChanges& changes) {
  if (!changes.may_end_flows()) return;
  const auto is_ended = [&](const Question& q) { return is_ended_by(changes, parts_.directory, q.target); };
  for (const std::uint64_t id : select(is_ended)) fail(*find(id), FlowRefusal::NoResource);
}

void Questions::set_unsettled(Instant now, bool unsettled) {
  if (placement_.set_unsettled(unsettled)) retry_held(now);
}

void Questions::retry_held(Instant now) {
  for (const std::uint64_t id : placement_.take_held()) place(now, *find(id));
}

void Questions::handle_timeout(Instant now) {
  while (const auto id = timers_.poll(now)) {
    Question* question = find(*id);
    if (question == nullptr) continue;
    fail(*question, placement_.is_held(*question) ? placement_.what_is_missing() : FlowRefusal::TimedOut);
  }
  if (const auto look = placement_.next_look(); look && now >= *look) retry_held(now);
}

std::optional<Instant> Questions::next_timeout() const {
  const auto timer = timers_.next_timeout();
  const auto look = placement_.next_look();
  if (!timer || !look) return timer ? timer : look;
  return std::min(*timer, *look);
}

}  // namespace postern::client
