#include "base/secret_bytes.h"

#include <utility>

#include <botan/mem_ops.h>

namespace base {

void wipe(void* data, std::size_t size) noexcept {
    if (size != 0) Botan::secure_scrub_memory(data, size);
}

SecretBytes& SecretBytes::operator=(SecretBytes&& other) noexcept {
    if (this != &other) {
        wipe(bytes_.data(), bytes_.size());
        bytes_ = std::move(other.bytes_);
        other.bytes_.clear();
    }
    return *this;
}

void SecretBytes::shrink(std::size_t size) noexcept {
    if (size >= bytes_.size()) return;
    wipe(bytes_.data() + size, bytes_.size() - size);
    bytes_.resize(size);
}

bool SecretBytes::equals(ByteView other) const noexcept {
    return equal_constant_time(expose(), other);
}

bool equal_constant_time(ByteView left, ByteView right) noexcept {
    return left.size() == right.size() &&
           Botan::constant_time_compare(left.data(), right.data(), left.size());
}

}  // namespace base
