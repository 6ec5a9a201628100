// The client's journal of changes, as it may stand on a disk after a crash, a full disk or a curious person.
//
// Holds: a journal that is read gives an entry with a path and a known kind of file; one that is not gives one line
// that names the file; reading never changes it, and what it says to put back has the mode bits of a file only.
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "fuzz.hpp"
#include "services/client/dns/network_manager_dns.hpp"
#include "services/client/dns/resolvconf_dns.hpp"
#include "services/client/journal.hpp"

// Reading never undoes anything: these are not linked here, and calling them is a bug.
namespace postern::client {

bool undo_network_manager(const JournalEntry&) {
  fuzz::fail("reading undoes nothing", __FILE__, __LINE__);
}
std::expected<bool, std::string> undo_resolvconf(const JournalEntry&, int) {
  fuzz::fail("reading undoes nothing", __FILE__, __LINE__);
}

}  // namespace postern::client

namespace {

using namespace postern;
using namespace postern::client;

/// One folder for the process, in memory where the system has that.
const std::string& folder() {
  static const std::string made = [] {
    const char* base = std::filesystem::exists("/dev/shm") ? "/dev/shm" : "/tmp";
    std::string pattern = std::string(base) + "/postern-fuzz-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    static std::string to_remove = pattern;
    (void)std::atexit([] {
      std::error_code ignored;
      std::filesystem::remove_all(to_remove, ignored);
    });
    return pattern;
  }();
  return made;
}

}  // namespace

std::vector<Bytes> postern::fuzz::seeds() {
  return {text_seed(R"({"version": 1, "owner": "abc", "path": "/etc/resolv.conf", "kind": "regular", "mode": 420,)"
                    R"( "uid": 0, "gid": 0, "content": "bmFtZXNlcnZlcg", "link_target": ""})"),
          text_seed(R"({"version": 1, "owner": "abc", "path": "/etc/resolv.conf", "kind": "symlink",)"
                    R"( "link_target": "../run/resolv.conf", "content": ""})"),
          text_seed(R"({"version": 2, "owner": "a", "path": "/etc/resolv.conf", "kind": "bind mount", "content": "",)"
                    R"( "method": "resolvconf", "record": "tun.postern", "program": "/sbin/resolvconf",)"
                    R"( "resolver": "100.96.0.2", "in_place": true})"),
          text_seed(R"({"version": 3})"), text_seed(R"({"version": 1, "path": "", "kind": "missing"})")};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string path = folder() + "/journal.json";
  {
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file.write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  }
  const auto entry = Journal(folder()).read();
  if (!entry) {
    FUZZ_CHECK(entry.error().find(path) != std::string::npos && entry.error().find('\n') == std::string::npos);
  } else if (*entry) {
    FUZZ_CHECK(!(*entry)->file.path.empty() && ((*entry)->file.mode & ~mode_t{07777}) == 0);
    FUZZ_CHECK(!to_string((*entry)->file.kind).empty() && !to_string((*entry)->method).empty());
  }
  FUZZ_CHECK(std::filesystem::file_size(path) == size);
  return 0;
}
