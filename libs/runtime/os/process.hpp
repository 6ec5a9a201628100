// Runs a program of the system to its end: bounded in time, input and output.
#pragma once

#include <chrono>
#include <expected>
#include <string>
#include <vector>

namespace postern::runtime {

struct ProgramResult {
  int status = 0;      ///< exit status; 128 + number when a signal ended it
  std::string output;  ///< standard output and error together
};

struct ProgramLimits {
  std::chrono::milliseconds time{10'000};  ///< longer: the program and what it started is killed, which is an error
  std::size_t output_bytes = 64 * 1024;    ///< further output is read and forgotten
};

/// `argv[0]` is a path. `input` of at most 4096 bytes becomes standard input. The program has no other descriptors than
/// `kept`, which it and what it starts have as number 3 (a lock that lasts as long as they do); it has the default
/// signals and only PATH in its environment. The error is a sentence for people.
[[nodiscard]] std::expected<ProgramResult, std::string> run_program(const std::vector<std::string>& argv,
                                                                    const std::string& input, ProgramLimits limits = {},
                                                                    int kept = -1);

}  // namespace postern::runtime
