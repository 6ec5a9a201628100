// postern-manual FOLDER DATE: writes the manual pages of all programs into FOLDER. Part of the build, not of a package.
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "config/exit_code.hpp"
#include "pages.hpp"

int main(int argc, char** argv) {
  using postern::config::ExitCode;
  if (argc != 3) {
    std::fputs("postern-manual: use it as postern-manual FOLDER \"November 22, 2026\"\n", stderr);
    return to_status(ExitCode::Usage);
  }
  const std::filesystem::path folder = argv[1];
  for (const postern::manual::Page& page : postern::manual::pages(argv[2])) {
    std::ofstream file(folder / page.file, std::ios::binary);
    if (file << page.text && file.flush()) continue;
    std::fprintf(stderr, "postern-manual: cannot write %s\n", (folder / page.file).c_str());
    return to_status(ExitCode::Failure);
  }
  return to_status(ExitCode::Ok);
}
