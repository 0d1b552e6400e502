// Makes requests of bytes: where a head ends, where a body ends, where the next request begins. It
// knows no socket and no time, so tests and fuzzers drive it as a function. Private to
// server/edge*.cpp.
#pragma once

#include <cstddef>
#include <span>

#include "base/secret_bytes.h"
#include "server/edge_head.h"

namespace server {

// For each request: begin(), read_head() until it is true, begin_body(), then body_complete() until
// it is true, and the request is there to be moved away; in between room() is filled. After an
// exception the connection must end: where the next request would begin is not known.
class RequestReader {
public:
    explicit RequestReader(std::size_t max_head_bytes) : max_head_bytes_(max_head_bytes) {}

    // Where the next bytes go: never empty; of the body's own memory while a body is read. Good
    // until any other call but filled().
    std::span<char> room();
    // The first `count` bytes of that room have arrived.
    void filled(std::size_t count);

    // Whether any byte has arrived that no request has used.
    bool has_input() const { return arrived_ > 0; }

    // A new request begins: forgets the last one. The caller fills in what it knows of the peer.
    Head& begin();
    Head& head() { return head_; }

    // True when the head is complete and read into head(). Throws what parse_head throws, and
    // header_fields_too_large for a head that would be larger than the limit.
    bool read_head();

    // What came with the head is the body's beginning. Memory grows with what arrives, not with
    // what the peer announces.
    void begin_body();
    bool body_complete() const { return body_bytes_ == head_.content_length; }

    // Lets go of memory that nothing needs between requests; all of it when `everything`.
    void release(bool everything = false);

private:
    const std::size_t max_head_bytes_;
    base::WipedString input_;  // its first arrived_ bytes are not yet used: a head, what follows
    std::size_t arrived_ = 0;
    std::size_t searched_ = 0;  // bytes of them known to hold no end of the head
    Head head_;
    bool in_body_ = false;
    std::size_t body_bytes_ = 0;  // of head_.request.body that have arrived
};

}  // namespace server
