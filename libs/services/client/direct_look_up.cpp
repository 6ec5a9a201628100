#include "services/client/direct_look_up.hpp"

#include <arpa/nameser.h>
#include <netinet/in.h>
#include <resolv.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <sstream>

#include "runtime/os/files.hpp"

namespace postern::client {

namespace {

constexpr std::size_t kHostsMax = 4U << 20;

/// RFC 1035 §4.1: header, questions, answers. Ends at the first thing that does not fit.
void read_answers(ByteView message, ns_type type, std::vector<std::string>& found) {
  if (message.size() < NS_HFIXEDSZ) return;
  const unsigned char* const end = message.data() + message.size();
  const unsigned char* at = message.data() + NS_HFIXEDSZ;
  const unsigned questions = load_u16(message.data() + 4);
  const unsigned records = questions + load_u16(message.data() + 6);
  for (unsigned i = 0; i < records; ++i) {
    const int name = ::dn_skipname(at, end);
    const bool is_question = i < questions;
    const std::ptrdiff_t fixed = is_question ? NS_QFIXEDSZ : NS_RRFIXEDSZ;
    if (name < 0 || end - at < name + fixed) return;
    at += name;
    const unsigned record_type = load_u16(at);
    const std::size_t size = is_question ? 0 : load_u16(at + 8);
    at += fixed;
    if (static_cast<std::size_t>(end - at) < size) return;
    const auto address = is_question ? std::nullopt : IpAddress::from_bytes(ByteView(at, size));
    if (address && record_type == static_cast<unsigned>(type)) found.push_back(address->to_string());
    at += size;
  }
}

/// As res_ninit(3) does it: an IPv4 address stands in the list itself, in place of any other family it leaves a gap
/// there and allocates the address beside it, for res_nclose(3) to free.
void add_name_server(struct __res_state& state, const IpAddress& server) {
  if (state.nscount >= MAXNS) return;
  sockaddr_in& v4 = state.nsaddr_list[state.nscount];
  v4 = {};
  if (server.is_v4()) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(NS_DEFAULTPORT);
    v4.sin_addr.s_addr = htonl(server.to_v4_host_order());
  } else {
    sockaddr_in6*& v6 = state._u._ext.nsaddrs[state.nscount];
    if (v6 == nullptr) v6 = static_cast<sockaddr_in6*>(std::malloc(sizeof(sockaddr_in6)));
    if (v6 == nullptr) return;
    *v6 = {};
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(NS_DEFAULTPORT);
    std::ranges::copy(server.bytes(), v6->sin6_addr.s6_addr);
  }
  ++state.nscount;
}

void collect(res_state state, const std::string& host, ns_type type, std::vector<std::string>& found) {
  std::array<unsigned char, 4096> answer{};
  const int size = ::res_nquery(state, host.c_str(), ns_c_in, type, answer.data(), static_cast<int>(answer.size()));
  if (size > 0 && size <= static_cast<int>(answer.size())) {
    read_answers(ByteView(answer).first(static_cast<std::size_t>(size)), type, found);
  }
}

}  // namespace

std::vector<std::string> addresses_in_hosts(std::string_view text, std::string_view host) {
  std::vector<std::string> found;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line.substr(0, line.find('#')));
    std::string address;
    words >> address;
    for (std::string name; words >> name;) {
      const bool is_same = std::ranges::equal(
          name, host, [](unsigned char a, unsigned char b) { return std::tolower(a) == std::tolower(b); });
      if (is_same && IpAddress::parse(address)) found.push_back(address);
    }
  }
  return found;
}

std::vector<std::string> look_up_at(const std::vector<IpAddress>& servers, const std::string& host) {
  const auto hosts = runtime::read_text_file("/etc/hosts", kHostsMax);
  std::vector<std::string> found = hosts ? addresses_in_hosts(*hosts, host) : std::vector<std::string>{};
  if (!found.empty()) return found;
  struct __res_state state {};
  if (::res_ninit(&state) != 0) return found;
  state.nscount = 0;
  state._u._ext.nscount = 0;  // what stands in resolv.conf counts no more
  for (const IpAddress& server : servers) add_name_server(state, server);
  if (state.nscount > 0) {
    collect(&state, host, ns_t_a, found);
    collect(&state, host, ns_t_aaaa, found);
  }
  ::res_nclose(&state);
  return found;
}

}  // namespace postern::client
