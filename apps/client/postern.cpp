// postern: the person's command line. Everything is in services/client/cli.hpp.
#include <iostream>
#include <string>
#include <vector>

#include "config/version.hpp"
#include "services/client/cli.hpp"
#include "services/client/environment.hpp"

int main(int argc, char** argv) {
  using namespace postern::client;
  return run_cli(postern::config::version(), std::vector<std::string>(argv + 1, argv + argc),
                 {environment(), std::cout, std::cerr});
}
