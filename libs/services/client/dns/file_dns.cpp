#include "services/client/dns/file_dns.hpp"

namespace postern::client {

std::expected<DnsChange, std::string> FileDns::apply(const DnsPlan& plan) {
  const auto current = Journal::save(path_);
  if (!current) return std::unexpected(current.error());
  // Ours from before (another resolver address): the original is in the journal and is rendered again.
  const ResolvConf before =
      ResolvConf::parse(is_ours(current->content) && original_ ? original_->content : current->content);
  const std::string text = render_resolv_conf(plan.resolver, before);
  if (original_ && current->content == text) return DnsChange::None;
  auto original = journal_.install(owner_, path_, text);
  if (!original) return std::unexpected(original.error());
  original_ = std::move(*original);
  return DnsChange::Made;
}

std::expected<void, std::string> FileDns::remove() {
  const auto done = journal_.play_back(owner_);
  if (!done) return std::unexpected(done.error());
  original_.reset();
  return {};
}

std::vector<IpAddress> FileDns::upstream(const DnsPlan& plan) {
  std::vector<IpAddress> servers = ResolvConf::parse(original_ ? original_->content : "").servers;
  std::erase(servers, plan.resolver);
  return servers;
}

}  // namespace postern::client
