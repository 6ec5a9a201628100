#include "services/client/dns_setup.hpp"

#include <algorithm>

namespace postern::client {

std::vector<IpAddress> DnsSetup::previous_servers(const IpAddress& resolver) const {
  std::vector<IpAddress> servers;
  if (before_) {
    servers = before_->servers;
  } else if (!path_.empty()) {
    const auto now = Journal::save(path_);
    if (now && !is_ours(now->content)) servers = ResolvConf::parse(now->content).servers;
  }
  std::erase(servers, resolver);
  return servers;
}

std::expected<bool, std::string> DnsSetup::ensure(const IpAddress& resolver) {
  if (path_.empty()) return false;
  const auto current = Journal::save(path_);
  if (!current) return std::unexpected(current.error());
  if (installed_ && current->content == *installed_) return false;
  // Ours from before (another resolver address): the original is in the journal and is rendered again.
  ResolvConf before = is_ours(current->content) && before_ ? *before_ : ResolvConf::parse(current->content);
  std::string text = render_resolv_conf(resolver, before);
  auto original = journal_.install(owner_, path_, text);
  if (!original) return std::unexpected(original.error());
  before_ = ResolvConf::parse(original->content);
  installed_ = std::move(text);
  return true;
}

std::expected<PlayBack, std::string> DnsSetup::remove() {
  if (!installed_) return PlayBack::Nothing;
  const auto done = journal_.play_back(owner_);
  if (done) {
    installed_.reset();
    before_.reset();
  }
  return done;
}

}  // namespace postern::client
