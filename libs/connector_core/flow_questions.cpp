// Questions about names of Resources (PROTOCOL.md §4.8): asked of the host's own name servers, answered once.
//
// What comes back is not looked into here beyond its size: the client judges, because neither this connector nor its
// name server decides what a client's host believes.
#include "connector_core/flows.hpp"

namespace postern::connector {

void Flows::ask(Instant now, Flow& flow, const model::Resource& resource) {
  drop_pending(flow);  // what followed the head means nothing here
  auto name = question_of(flow.target, resource);
  if (!name) return refuse(now, flow, std::move(name.error()));
  if (questions_[flow.session] >= limits_.questions_per_session_max) {
    return refuse(now, flow, {wire::REFUSAL_RESOURCES, "too many questions of this client have no answer yet"});
  }
  ++questions_[flow.session];
  flow.is_question = true;
  flow.stage = FlowStage::Resolving;
  arm(now, flow, limits_.resolve_timeout);
  requests_.push_back(AskNameServer{flow.id, std::move(*name), flow.target.question});
}

void Flows::handle_answer(Instant now, FlowId id, std::expected<Bytes, ResolveFailure> message) {
  Flow* flow = find(id);
  if (flow == nullptr || flow->stage != FlowStage::Resolving || !flow->is_question) return;
  if (!message || message->size() > UINT16_MAX) {
    return refuse(now, *flow, {wire::REFUSAL_NAME_LOOKUP_FAILED, "the connector's name server did not answer"});
  }
  wire::FlowReply opened;
  opened.mutable_opened();
  Slice bytes = pool_.copy(*message);
  const bool is_written = !bytes.empty() && reply(*flow, opened) &&
                          port_.write(flow->session, flow->stream, std::move(bytes)) &&
                          port_.finish(flow->session, flow->stream);
  if (!is_written) return abort(now, *flow, FlowEnding::ResetByPeer);
  ++counters_.questions_answered;
  end_question(*flow);
  flow->stage = FlowStage::Answered;
  arm(now, *flow, limits_.refused_timeout);
  discard(*flow);
}

/// It does not count any more.
void Flows::end_question(Flow& flow) {
  if (!std::exchange(flow.is_question, false)) return;
  const auto counted = questions_.find(flow.session);
  if (--counted->second == 0) questions_.erase(counted);
}

}  // namespace postern::connector
