#include "server/edge_reader.h"

#include <algorithm>

#include "base/error.h"

namespace server {
namespace {

constexpr std::size_t head_chunk_bytes = 4096;
constexpr std::size_t body_chunk_bytes = 16UL * 1024;

}  // namespace

std::span<char> RequestReader::room() {
    if (in_body_ && !body_complete()) {
        base::WipedString& body = head_.request.body;
        if (body.size() == body_bytes_) {
            const std::size_t space = std::max(body_chunk_bytes, 2 * body_bytes_);
            body.resize(std::min(head_.content_length, space));
        }
        return {body.data() + body_bytes_, body.size() - body_bytes_};
    }
    if (input_.size() < arrived_ + head_chunk_bytes) input_.resize(arrived_ + head_chunk_bytes);
    return {input_.data() + arrived_, head_chunk_bytes};
}

void RequestReader::filled(std::size_t count) {
    if (in_body_ && !body_complete()) {
        body_bytes_ += count;
    } else {
        arrived_ += count;
    }
}

Head& RequestReader::begin() {
    head_ = Head{};
    searched_ = 0;
    in_body_ = false;
    body_bytes_ = 0;
    return head_;
}

bool RequestReader::read_head() {
    const std::string_view seen(input_.data(), arrived_);
    const auto end = seen.find("\r\n\r\n", searched_ < 3 ? 0 : searched_ - 3);
    if (end == std::string_view::npos || end + 4 > max_head_bytes_) {
        searched_ = arrived_;
        if (searched_ < max_head_bytes_) return false;
        throw base::Error(
            base::ErrorCode::header_fields_too_large,
            "the request's head is larger than " + std::to_string(max_head_bytes_) + " bytes");
    }
    const std::size_t head_bytes = end + 4;
    parse_head(seen.substr(0, head_bytes), head_);
    input_.erase(0, head_bytes);
    arrived_ -= head_bytes;
    return true;
}

void RequestReader::begin_body() {
    in_body_ = true;
    body_bytes_ = std::min(arrived_, head_.content_length);
    head_.request.body.assign(input_, 0, body_bytes_);
    input_.erase(0, body_bytes_);
    arrived_ -= body_bytes_;
}

void RequestReader::release(bool everything) {
    if (everything) {
        arrived_ = 0;
        head_ = Head{};
    }
    if (arrived_ == 0) base::WipedString().swap(input_);
}

}  // namespace server
