// A UDP socket over IPv4 that never waits.
#pragma once

#include <netinet/in.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace snell::dist {

class UdpSocket {
 public:
  // On a port that the system chooses, on every interface. Throws Error.
  UdpSocket();
  ~UdpSocket();
  UdpSocket(UdpSocket&& other) noexcept;
  UdpSocket& operator=(UdpSocket&&) = delete;

  int fd() const { return fd_; }
  uint16_t port() const;

  // A datagram that cannot be sent now is lost, as any may be.
  void send(const std::string& bytes, const sockaddr_in& to) noexcept;
  // The next datagram's length (as it was sent: longer ones are cut to `buffer`) and its sender.
  std::optional<std::pair<size_t, sockaddr_in>> receive(std::span<std::byte> buffer) noexcept;

 private:
  int fd_;
};

// IPv4 addresses of this machine's interfaces that are up; loopback last. "10.0.0.1"
std::vector<std::string> local_addresses();

// Nothing when the text is no IPv4 address.
std::optional<sockaddr_in> make_address(const std::string& text, uint16_t port);

std::string address_text(const sockaddr_in& address);

}  // namespace snell::dist
