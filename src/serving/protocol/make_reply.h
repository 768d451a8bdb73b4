// The writer of each protocol.
#pragma once

#include <memory>

#include "serving/protocol/reply.h"

namespace tensorcache::protocol {

[[nodiscard]] std::unique_ptr<WholeReply> make_whole_reply(const ReplyHead& head);
[[nodiscard]] std::unique_ptr<StreamReply> make_stream_reply(const ReplyHead& head);

}   // namespace tensorcache::protocol
