// Runs a fuzz target on its seeds and on every file of the folders that it is given: how `./dev test` replays what
// fuzzing has found, under ASan and UBSan, without libFuzzer.
//
//     stun_fuzz corpus/stun        a folder without files is an error: a replay of nothing would prove nothing
//     stun_fuzz --seeds FOLDER     writes the seeds instead
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "fuzz.hpp"

namespace {

namespace fs = std::filesystem;
using postern::Bytes;

Bytes read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

int write_seeds(const fs::path& folder) {
  fs::create_directories(folder);
  unsigned number = 0;
  for (const Bytes& seed : postern::fuzz::seeds()) {
    std::ofstream file(folder / ("seed-" + std::to_string(number++)), std::ios::binary);
    file.write(reinterpret_cast<const char*>(seed.data()), static_cast<std::streamsize>(seed.size()));
    if (!file) {
      std::fprintf(stderr, "replay: cannot write to %s\n", folder.c_str());
      return 1;
    }
  }
  return 0;
}

/// The name goes out first, so that a crash has one.
void run(const std::string& name, const Bytes& input) {
  std::fprintf(stderr, "replay: %s\n", name.c_str());
  // A copy of exactly this size on the heap: ASan sees the first byte behind it.
  const Bytes exact(input.begin(), input.end());
  (void)LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

int replay(const fs::path& path) {
  std::vector<fs::path> files;
  if (fs::is_directory(path)) {
    for (const auto& entry : fs::directory_iterator(path)) files.push_back(entry.path());
  } else if (fs::exists(path)) {
    files.push_back(path);
  }
  if (files.empty()) {
    std::fprintf(stderr, "replay: nothing to replay in %s\n", path.c_str());
    return 1;
  }
  std::ranges::sort(files);
  for (const fs::path& file : files) run(file.string(), read(file));
  std::fprintf(stderr, "replay: %zu inputs passed\n", files.size());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "--seeds") return write_seeds(argv[2]);
  unsigned number = 0;
  for (const Bytes& seed : postern::fuzz::seeds()) run("seed " + std::to_string(number++), seed);
  run("nothing", {});
  int failed = argc < 2 ? 1 : 0;
  for (int i = 1; i < argc; ++i) failed |= replay(argv[i]);
  return failed;
}
