#include "udp_socket.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "snell/core/error.h"
#include "snell/core/text.h"

namespace snell::dist {

UdpSocket::UdpSocket() : fd_(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_addr.s_addr = htonl(INADDR_ANY);
  if (fd_ < 0 || ::bind(fd_, reinterpret_cast<const sockaddr*>(&any), sizeof any) != 0) {
    const int error = errno;
    if (fd_ >= 0) ::close(fd_);
    throw core::Error(core::str("no UDP socket for heartbeats: ", std::strerror(error)));
  }
}

UdpSocket::~UdpSocket() {
  if (fd_ >= 0) ::close(fd_);
}

UdpSocket::UdpSocket(UdpSocket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

uint16_t UdpSocket::port() const {
  sockaddr_in own{};
  socklen_t length = sizeof own;
  core::check(::getsockname(fd_, reinterpret_cast<sockaddr*>(&own), &length) == 0, "getsockname failed");
  return ntohs(own.sin_port);
}

void UdpSocket::send(const std::string& bytes, const sockaddr_in& to) noexcept {
  [[maybe_unused]] const ssize_t sent = ::sendto(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
                                                 reinterpret_cast<const sockaddr*>(&to), sizeof to);
}

std::optional<std::pair<size_t, sockaddr_in>> UdpSocket::receive(std::span<std::byte> buffer) noexcept {
  sockaddr_in from{};
  socklen_t length = sizeof from;
  const ssize_t got = ::recvfrom(fd_, buffer.data(), buffer.size(), MSG_DONTWAIT | MSG_TRUNC,
                                 reinterpret_cast<sockaddr*>(&from), &length);
  if (got < 0) return std::nullopt;
  return std::pair(static_cast<size_t>(got), from);
}

std::vector<std::string> local_addresses() {
  std::vector<std::string> out, loopback;
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return out;
  for (const ifaddrs* one = list; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr == nullptr || one->ifa_addr->sa_family != AF_INET || (one->ifa_flags & IFF_UP) == 0) continue;
    const bool is_loopback = (one->ifa_flags & IFF_LOOPBACK) != 0;
    (is_loopback ? loopback : out).push_back(address_text(*reinterpret_cast<const sockaddr_in*>(one->ifa_addr)));
  }
  ::freeifaddrs(list);
  out.insert(out.end(), loopback.begin(), loopback.end());
  return out;
}

std::optional<sockaddr_in> make_address(const std::string& text, uint16_t port) {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_port = htons(port);
  if (::inet_pton(AF_INET, text.c_str(), &out.sin_addr) != 1) return std::nullopt;
  return out;
}

std::string address_text(const sockaddr_in& address) {
  std::array<char, INET_ADDRSTRLEN> text{};
  ::inet_ntop(AF_INET, &address.sin_addr, text.data(), text.size());
  return text.data();
}

}  // namespace snell::dist
