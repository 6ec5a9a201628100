// Keeps the host's DNS pointed at our resolver while the client is connected.
//
// A thread of its own does it, because files, programs and the bus take their time. It is told what is wanted (the
// latest plan counts), and looks again when resolv.conf is written by somebody else, when a service of the bus comes or
// goes or changes its servers, and every 30 s in any case. What it finds goes back as a DnsReport.
//
// Who owns the host's DNS is judged anew at each look, so a NetworkManager that is started later is used from then on.
// An owner that refuses is passed over: the file is written instead. Where another program keeps writing over ours,
// at most kChangesMax changes are made in kChangesTime; then it waits for the next regular look, and says so.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "runtime/loop/event_loop.hpp"
#include "services/client/dns/dns_manager.hpp"
#include "services/client/dns/dns_report.hpp"
#include "services/client/journal.hpp"

namespace postern::client {

class DnsKeeper {
 public:
  static constexpr Duration kLookInterval = std::chrono::seconds(30);
  static constexpr unsigned kChangesMax = 5;
  static constexpr Duration kChangesTime = std::chrono::seconds(10);
  /// How long release() waits; the watchdog does what is left.
  static constexpr std::chrono::seconds kReleaseMax{10};

  /// `owner` as in JournalEntry. An empty `path` leaves the host's DNS alone. `reported` is called on `loop`, which
  /// outlives this object, as does `journal`.
  DnsKeeper(runtime::EventLoop& loop, Journal& journal, std::string owner, std::string path,
            std::function<void(DnsReport)> reported);
  /// Puts back what was there.
  ~DnsKeeper();
  DnsKeeper(const DnsKeeper&) = delete;
  DnsKeeper& operator=(const DnsKeeper&) = delete;

  void want(DnsPlan plan);
  /// Puts back what was there, before it returns.
  [[nodiscard]] std::expected<void, std::string> release();

 private:
  class Worker;

  std::unique_ptr<Worker> worker_;
  std::thread thread_;
  std::optional<DnsPlan> wanted_;
};

}  // namespace postern::client
