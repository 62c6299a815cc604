#include "snell/dist/watchdog.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <exception>
#include <random>
#include <thread>

#include "heartbeats.h"
#include "launcher.h"
#include "snell/core/log.h"
#include "snell/core/phase.h"
#include "snell/core/stacks.h"
#include "snell/dist/abort_hooks.h"
#include "watchdog_report.h"

namespace snell::dist {
namespace {

constexpr double kLongestTick = 0.25;
constexpr double kStallS = 2;            // a tick that comes so late: the whole process was stopped
constexpr double kLingerS = 1.6;         // after giving up: the others hear of it, and write their reports
constexpr unsigned kGiveUpS = 12;        // everything after giving up takes at most so long
constexpr double kLauncherGraceS = 5.5;  // a launcher has for an orderly end
constexpr double kHelloS = 30;           // rank 0 has to answer for the first time

constexpr const char* kNobody =
    "no rank is silent or behind: all wait in the same place, for the network between them or for something that none "
    "of "
    "them does";

std::string seconds(double s) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f s", s);
  return text.data();
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text.data();
}

// Neither MPI nor destructors are asked: they may hang, too.
[[noreturn]] void leave() {
  constexpr int kCode = static_cast<int>(core::ExitCode::kWatchdog);
  end_launcher_later(kLauncherGraceS, kCode);
  ::_exit(kCode);
}

// Should writing the report hang itself (a file system that is gone, a lock that the hanging thread holds).
void arm_last_resort() {
  struct sigaction action = {};
  action.sa_handler = [](int) { leave(); };
  sigaction(SIGALRM, &action, nullptr);
  sigset_t alarm_only;
  sigemptyset(&alarm_only);
  sigaddset(&alarm_only, SIGALRM);
  pthread_sigmask(SIG_UNBLOCK, &alarm_only, nullptr);
  ::alarm(kGiveUpS);
}

// Rank 0's token, port and addresses, on every rank.
struct Meeting {
  HeartbeatToken token{};
  std::vector<sockaddr_in> addresses;
};

std::string invite(const WatchdogConfig& config, uint16_t port) {
  const char* wanted = std::getenv("SNELL_HEARTBEAT_ADDRESS");
  const std::string address = wanted != nullptr && *wanted != '\0' ? wanted : config.address;
  if (!address.empty() && !make_address(address, port)) {
    throw core::ConfigError(
        core::str("SNELL_HEARTBEAT_ADDRESS = '", address, "' is no IPv4 address, such as 10.0.0.1"));
  }
  std::random_device random;
  std::string out;
  for (size_t i = 0; i < std::tuple_size_v<HeartbeatToken>; ++i) out += static_cast<char>(random() & 0xff);
  out += core::str(port);
  for (const auto& one : address.empty() ? local_addresses() : std::vector<std::string>{address}) out += " " + one;
  return out;
}

Meeting read_invitation(const std::string& text) {
  Meeting out;
  core::check(text.size() > out.token.size(), "a heartbeat invitation that is too short");
  std::memcpy(out.token.data(), text.data(), out.token.size());
  std::istringstream rest(text.substr(out.token.size()));
  uint16_t port = 0;
  rest >> port;
  for (std::string address; rest >> address;) {
    if (const auto made = make_address(address, port)) out.addresses.push_back(*made);
  }
  return out;
}

}  // namespace

double phase_limit_s(const WatchdogConfig& config, uint64_t count, double slowest_s) {
  const double floor = count == 0 ? std::max(config.floor_s, config.first_floor_s) : config.floor_s;
  return std::max(floor, config.factor * slowest_s);
}

struct Watchdog::State {
  State(const WatchdogConfig& config_in, ControlPlane& control, std::string folder)
      : config(config_in),
        rank(control.rank()),
        report(core::str(folder, "/watchdog.rank", rank, ".txt")),
        attached(ring),
        exceptions_at_start(std::uncaught_exceptions()) {
    if (!config.enabled) return;
    hosts = control.all_gather_strings(ControlPlane::hostname());
    if (control.size() > 1) start_heartbeats(control);
    core::prepare_stacks();
    waker = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    core::check(waker >= 0, "no eventfd for the watchdog");
    thread = std::thread([this] { run(); });
  }

  ~State() {
    if (!thread.joinable()) return;
    stopping = true;
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(waker, &one, sizeof one);
    thread.join();
    ::close(waker);
    if (heartbeats && std::uncaught_exceptions() <= exceptions_at_start) heartbeats->leave(clock());
  }

  // Collective. A rank that cannot open a socket goes without.
  void start_heartbeats(ControlPlane& control) {
    std::optional<UdpSocket> socket;
    try {
      socket.emplace();
    } catch (const core::Error& error) {
      core::log_warning(core::str("watchdog: ", error.what(), "; this rank cannot be told from a dead one"));
    }
    const uint16_t port = socket ? socket->port() : 0;
    const Meeting meeting = read_invitation(control.root_decides([&] { return invite(config, port); }));
    if (!socket) return;
    heartbeats.emplace(HeartbeatSetup{static_cast<uint32_t>(rank), hosts, meeting.token, meeting.addresses,
                                      config.heartbeat_s, config.floor_s},
                       std::move(*socket), clock());
  }

  // Seconds; stands still while the process is stopped.
  double clock() const { return static_cast<double>(core::now_ns() - stalled_ns) / 1e9; }

  // Time in which the whole process stood still (SIGSTOP, a debugger, a paused machine) is nobody's fault.
  void note_stall(int64_t before) {
    const int64_t now = core::now_ns();
    if (now - before < static_cast<int64_t>(kStallS * 1e9)) return;
    stalled_ns += now - before;
    resumed_at_ns = now;
  }

  RankState own_state() const {
    const core::PhaseState at = ring.state();
    const int64_t quiet_ns = core::now_ns() - std::max(at.since_ns, resumed_at_ns);
    const double limit =
        phase_limit_s(config, ring.count(at.kind), static_cast<double>(ring.slowest_ns(at.kind)) / 1e9);
    const auto ms = [](double s) { return static_cast<uint32_t>(std::clamp(s * 1000, 0.0, 4e9)); };
    return {at.kind, at.step, at.waits, ms(static_cast<double>(quiet_ns) / 1e9), ms(limit)};
  }

  void run() {
    ::pthread_setname_np(::pthread_self(), "watchdog");
    const double started = clock();
    while (!stopping) {
      wait_a_tick();
      if (stopping) return;
      const double now = clock();
      const RankState own = own_state();
      if (heartbeats) heartbeats->tick(now, own);
      const bool may_wait = heartbeats && core::waits_for_others(own.phase) && heartbeats->somebody_works(now);
      if (own.quiet_ms > own.limit_ms && !may_wait) {
        give_up(core::str("'", core::phase_name(own.phase), "' of step ", own.step, " has lasted ",
                          seconds(own.quiet_ms / 1000.0), "; its limit is ", seconds(own.limit_ms / 1000.0)));
      }
      if (!heartbeats) continue;
      if (const auto why = heartbeats->trouble(now)) give_up(*why);
      if (!warned && !heartbeats->reached_root() && now > started + kHelloS) {
        warned = true;
        core::log_warning(
            "watchdog: no address of rank 0's host answers heartbeats (UDP), so this rank cannot be told from a dead "
            "one; set dist.watchdog.address to one that all hosts reach");
      }
    }
  }

  void wait_a_tick() {
    const int64_t before = core::now_ns();
    std::array<pollfd, 2> files{pollfd{waker, POLLIN, 0}, pollfd{heartbeats ? heartbeats->fd() : -1, POLLIN, 0}};
    const double tick = std::min(kLongestTick, config.heartbeat_s / 4);
    ::poll(files.data(), files.size(), static_cast<int>(tick * 1000));
    note_stall(before);
  }

  [[noreturn]] void give_up(const std::string& why) {
    arm_last_resort();
    const double began = clock();
    std::vector<Suspect> suspects;
    if (heartbeats) {
      heartbeats->trip(began);
      std::optional<std::vector<Suspect>> verdict;
      while (!(verdict = heartbeats->verdict(clock()))) {
        wait_a_tick();
        heartbeats->tick(clock(), own_state());
      }
      suspects = *verdict;
    } else {
      const RankView alone{true, false, 0, own_state()};
      suspects = find_suspects(std::span(&alone, 1), 1);
    }
    const std::vector<std::string> lines = sentences(suspects);
    std::string head = core::str("watchdog of rank ", rank, " on ", hosts[static_cast<size_t>(rank)], ", process ",
                                 ::getpid(), ", ", utc_now(), "\nwhy: ", why, "\n");
    for (const auto& line : lines) head += line + "\n";
    write_watchdog_report(report, head, ring);
    core::log_error(core::str("watchdog: ", why, "; report: ", report));
    for (const auto& line : lines) core::log_error("watchdog: " + line);
    core::flush_logs();
    run_abort_hooks();
    write_watchdog_names(report);
    while (heartbeats && clock() < began + kLingerS) {
      wait_a_tick();
      heartbeats->tick(clock(), own_state());
    }
    leave();
  }

  std::vector<std::string> sentences(const std::vector<Suspect>& suspects) const {
    std::vector<std::string> out;
    for (const Suspect& suspect : suspects) out.push_back(describe(suspect, hosts[suspect.rank]));
    if (out.empty()) out.emplace_back(kNobody);
    return out;
  }

  const WatchdogConfig config;
  const int rank;
  const std::string report;
  core::PhaseRing ring;
  core::PhaseRing::Attached attached;
  int exceptions_at_start;
  std::vector<std::string> hosts;
  std::optional<Heartbeats> heartbeats;
  int64_t stalled_ns = 0, resumed_at_ns = 0;
  bool warned = false;
  int waker = -1;
  std::atomic<bool> stopping{false};
  std::thread thread;  // last: it uses all of the above
};

Watchdog::Watchdog(const WatchdogConfig& config, ControlPlane& control, std::string folder)
    : state_(std::make_unique<State>(config, control, std::move(folder))) {}
Watchdog::~Watchdog() = default;

}  // namespace snell::dist
