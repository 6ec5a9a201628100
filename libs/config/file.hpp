// The configuration file: the part of TOML that options need, and lines of an environment file (NAME=value).
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace postern::config {

struct FileEntry {
  unsigned line = 0;
  std::string table{};  ///< name of the [table] it stands in, or empty
  std::string key{};
  std::vector<std::string> values{};  ///< one element unless it was an array
};

/// `key = "text" | 'text' | 12 | true | ["a", "b"]`, `[table]`, `# comment`, and `NAME=bare text` where NAME is in
/// capitals. The error is one sentence that names the line. At most 1 MiB and 10 000 lines.
[[nodiscard]] std::expected<std::vector<FileEntry>, std::string> parse_file(std::string_view text);

}  // namespace postern::config
