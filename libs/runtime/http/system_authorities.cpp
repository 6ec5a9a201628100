// OpenSSL knows one place, the one of the distribution that it was built for. Packages run on others too, so we look
// where they keep theirs. A folder with hashed names comes first: a handshake reads only the one authority it needs
// from there, where a bundle puts all of them into memory.
#include "runtime/http/system_authorities.hpp"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <array>
#include <cstdlib>
#include <filesystem>

namespace postern::runtime {
namespace {

/// Debian, Ubuntu, Arch, Alpine, openSUSE; Fedora 41 and later.
constexpr std::array kFolders{"/etc/ssl/certs", "/etc/pki/ca-trust/extracted/pem/directory-hash"};
/// Debian and its family; Fedora and Red Hat; openSUSE; older Red Hat; Alpine and Arch; OpenWrt and BSD habits.
constexpr std::array kBundles{"/etc/ssl/certs/ca-certificates.crt",
                              "/etc/pki/tls/certs/ca-bundle.crt",
                              "/etc/ssl/ca-bundle.pem",
                              "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
                              "/etc/ssl/cert.pem",
                              "/etc/ssl/certs/ca-bundle.crt"};
/// A folder without a hashed name among so many entries is taken for one that has none.
constexpr int kEntriesMax = 2000;

/// "4a6481c9.0", as c_rehash and update-ca-certificates make them.
bool is_hashed_name(const std::string& name) {
  return name.size() == 10 && name.find_first_not_of("0123456789abcdef") == 8 && name.ends_with(".0");
}

bool has_hashed_names(const std::string& folder) {
  std::error_code error;
  int seen = 0;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (is_hashed_name(at->path().filename().string())) return true;
    if (++seen == kEntriesMax) return false;
  }
  return false;
}

bool named_by_environment() {
  return std::getenv("SSL_CERT_FILE") != nullptr || std::getenv("SSL_CERT_DIR") != nullptr;
}

}  // namespace

std::expected<void, std::string> use_system_authorities(ssl_ctx_st* context, const std::string& root) {
  if (named_by_environment() && root.empty() && SSL_CTX_set_default_verify_paths(context) == 1) return {};
  for (const char* folder : kFolders) {
    if (has_hashed_names(root + folder) && SSL_CTX_load_verify_dir(context, (root + folder).c_str()) == 1) return {};
  }
  for (const char* bundle : kBundles) {
    if (SSL_CTX_load_verify_file(context, (root + bundle).c_str()) == 1) return {};
  }
  ERR_clear_error();
  return std::unexpected(
      "this machine has no list of certificate authorities: install its package ca-certificates, or name a file with "
      "SSL_CERT_FILE");
}

}  // namespace postern::runtime
