#include "services/client/resolv_conf.hpp"

#include <algorithm>

namespace postern::client {

namespace {

constexpr std::size_t kServersMax = 8;

std::vector<std::string> words_of(std::string_view line) {
  std::vector<std::string> words;
  std::size_t at = 0;
  while (at < line.size()) {
    const std::size_t begin = line.find_first_not_of(" \t\r", at);
    if (begin == std::string_view::npos) break;
    const std::size_t end = std::min(line.find_first_of(" \t\r", begin), line.size());
    words.emplace_back(line.substr(begin, end - begin));
    at = end;
  }
  return words;
}

}  // namespace

ResolvConf ResolvConf::parse(std::string_view text) {
  ResolvConf conf;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    const auto words = words_of(line);
    if (words.size() < 2 || words[0].starts_with('#') || words[0].starts_with(';')) continue;
    if (words[0] == "nameserver") {
      const auto server = IpAddress::parse(words[1]);
      if (server && conf.servers.size() < kServersMax) conf.servers.push_back(*server);
    } else if (words[0] == "search" || words[0] == "domain") {
      conf.search.assign(words.begin() + 1, words.end());
    } else if (words[0] == "options" || words[0] == "sortlist") {
      conf.options.emplace_back(line);
    }
  }
  return conf;
}

std::string render_resolv_conf(const IpAddress& resolver, const ResolvConf& before) {
  std::string text(kResolvConfMark);
  text += "\nnameserver " + resolver.to_string() + "\n";
  if (!before.search.empty()) {
    text += "search";
    for (const std::string& domain : before.search) text += " " + domain;
    text += "\n";
  }
  for (const std::string& line : before.options) text += line + "\n";
  return text;
}

bool is_ours(std::string_view text) {
  return text.starts_with(kResolvConfMark);
}

bool names_server(std::string_view text, std::string_view server) {
  const auto address = IpAddress::parse(server);
  const ResolvConf conf = ResolvConf::parse(text);
  return address && std::ranges::find(conf.servers, *address) != conf.servers.end();
}

}  // namespace postern::client
