// SPDX-License-Identifier: MIT
#include "agent/ports.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/stop.h"
#include "os/fd.h"

namespace cirrus::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class PortsTest : public ::testing::Test {
 protected:
  // Bound, so that nobody else takes it, but not listening yet.
  PortsTest() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
  }
  os::Fd socket_;
  std::uint16_t port_ = 0;
  std::unique_ptr<TaskControl> control_ = TaskControl::create().value();
};

TEST(Ports, ReadsNumbersAndLeavesOutTheRest) {
  EXPECT_THAT(parse_ports("5432, 80,x,,0,70000,-1,6379"), ElementsAre(5432, 80, 6379));
  EXPECT_THAT(parse_ports(""), IsEmpty());
}

TEST_F(PortsTest, WaitUntilSomethingListens) {
  Thread opener([this](const StopToken& stop) {
    wait_for(stop, std::chrono::milliseconds(120));
    EXPECT_EQ(::listen(socket_.get(), 1), 0);
  });
  EXPECT_THAT(wait_for_ports({port_}, std::chrono::seconds(20), *control_), IsEmpty());
}

TEST_F(PortsTest, NameWhatNeverOpens) {
  EXPECT_THAT(wait_for_ports({port_}, std::chrono::milliseconds(120), *control_),
              ElementsAre(port_));
}

TEST_F(PortsTest, EndWithAStopOrder) {
  control_->cancel("test");
  EXPECT_THAT(wait_for_ports({port_}, std::chrono::hours(1), *control_), ElementsAre(port_));
}

}  // namespace
}  // namespace cirrus::agent
