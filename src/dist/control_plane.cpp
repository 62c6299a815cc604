#include "snell/dist/control_plane.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "snell/core/text.h"

namespace snell::dist {

namespace {

// What an action threw, if it threw.
struct Outcome {
  std::optional<std::string> error;
  core::ExitCode code = core::ExitCode::kInternal;
};

Outcome attempt(const std::function<void()>& action) {
  try {
    action();
    return {};
  } catch (const core::Error& error) {
    return {error.what(), error.exit_code()};
  } catch (const std::exception& error) {
    return {error.what(), core::ExitCode::kInternal};
  }
}

}  // namespace

std::string ControlPlane::hostname() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "unknown host";
  return name.data();
}

std::vector<int> ControlPlane::roll_call(double) {
  barrier();
  return {};
}

bool ControlPlane::all_agree(bool yes) {
  return !any(!yes);
}

bool ControlPlane::any(bool yes) {
  return max(yes ? 1 : 0) != 0;
}

int64_t ControlPlane::max(int64_t value) {
  const auto values = all_gather_ints(value);
  return *std::max_element(values.begin(), values.end());
}

int64_t ControlPlane::sum(int64_t value) {
  const auto values = all_gather_ints(value);
  return std::accumulate(values.begin(), values.end(), int64_t{0});
}

void ControlPlane::agree_ok(const std::optional<std::string>& error, core::ExitCode code) {
  const auto codes = all_gather_ints(error ? static_cast<int64_t>(code) + 1 : 0);
  const auto failed = std::find_if(codes.begin(), codes.end(), [](int64_t c) { return c != 0; });
  if (failed == codes.end()) return;
  const auto first = static_cast<int>(failed - codes.begin());
  const auto others = std::count_if(failed + 1, codes.end(), [](int64_t c) { return c != 0; });
  std::string message = broadcast(error.value_or(""), first);
  if (size() > 1) {
    const std::string host = broadcast(hostname(), first);
    message = core::str("rank ", first, " on ", host, ": ", message);
    if (others > 0) message += core::str(" (and errors on ", others, " more of ", size(), " ranks)");
  }
  throw AgreedError(static_cast<core::ExitCode>(*failed - 1), message);
}

void ControlPlane::all_or_none(const std::function<void()>& action) {
  const Outcome outcome = attempt(action);
  agree_ok(outcome.error, outcome.code);
}

std::string ControlPlane::root_decides(const std::function<std::string()>& decide) {
  std::string result;
  Outcome outcome;
  if (is_root()) outcome = attempt([&] { result = decide(); });
  agree_ok(outcome.error, outcome.code);
  return broadcast(result);
}

}  // namespace snell::dist
