#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "services/client/cli.hpp"
#include "services/client/daemon_options.hpp"

namespace postern::client {
namespace {

/// Compares with a file of the repository; POSTERN_WRITE_DOCS=1 writes it instead.
void expect_documented(const std::string& name, const std::string& page) {
  const auto file = std::filesystem::path(__FILE__).parent_path() / "../../../docs/reference" / name;
  if (std::getenv("POSTERN_WRITE_DOCS") != nullptr) std::ofstream(file) << page;
  std::stringstream written;
  written << std::ifstream(file).rdbuf();
  EXPECT_EQ(written.str(), page) << file << " is made from the option tables: POSTERN_WRITE_DOCS=1 writes it";
}

TEST(Reference, IsWrittenDownAsItIs) {
  expect_documented("posternd.md", config::reference_page(daemon_program("0")));
  expect_documented("postern.md", config::reference_page(cli_program("0")));
}

}  // namespace
}  // namespace postern::client
