// Types that hold secrets: bytes that are wiped when released and can't be printed, compared with
// == or copied by accident. Nothing else in the house may hold a PIN, a plaintext data key or a
// credential.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include <botan/secmem.h>

#include "base/bytes.h"

namespace base {

// Overwrites memory in a way that the compiler keeps.
void wipe(void* data, std::size_t size) noexcept;

// Secret bytes in Botan's secure memory: wiped when released, in locked pages while the pool
// lasts. Move-only; clone() copies on purpose; expose() is the only way to read. Not thread-safe.
class SecretBytes {
public:
    SecretBytes() = default;
    explicit SecretBytes(std::size_t size) : bytes_(size) {}
    explicit SecretBytes(ByteView bytes) : bytes_(bytes.begin(), bytes.end()) {}

    SecretBytes(SecretBytes&& other) noexcept : bytes_(std::move(other.bytes_)) {}
    SecretBytes& operator=(SecretBytes&& other) noexcept;
    SecretBytes(const SecretBytes&) = delete;
    SecretBytes& operator=(const SecretBytes&) = delete;
    ~SecretBytes() = default;

    SecretBytes clone() const { return SecretBytes(expose()); }

    ByteView expose() const noexcept { return {bytes_.data(), bytes_.size()}; }
    std::string_view expose_text() const noexcept { return as_text(expose()); }
    std::span<std::uint8_t> expose_mutable() noexcept { return {bytes_.data(), bytes_.size()}; }

    std::size_t size() const noexcept { return bytes_.size(); }
    bool empty() const noexcept { return bytes_.empty(); }

    // Wipes the tail, then cuts; `size` must not exceed size().
    void shrink(std::size_t size) noexcept;

    // Constant time in the contents; lengths are not secret.
    bool equals(ByteView other) const noexcept;

private:
    Botan::secure_vector<std::uint8_t> bytes_;
};

// True when both are equal; time depends on the length alone.
bool equal_constant_time(ByteView left, ByteView right) noexcept;

// An allocator that wipes what it gives back.
template <typename T>
class WipingAllocator {
public:
    using value_type = T;
    WipingAllocator() noexcept = default;
    template <typename U>
    WipingAllocator(const WipingAllocator<U>& /*other*/) noexcept {
    }  // NOLINT: conversion is the allocator contract
    T* allocate(std::size_t count) { return std::allocator<T>().allocate(count); }
    void deallocate(T* data, std::size_t count) noexcept {
        wipe(data, count * sizeof(T));
        std::allocator<T>().deallocate(data, count);
    }
    template <typename U>
    bool operator==(const WipingAllocator<U>& /*other*/) const noexcept {
        return true;
    }
};

// Text on its way through the edge (request and response bodies, JSON trees): a string whose heap
// memory is wiped. It prints like any string, so it is for transport only, never for keeping.
using WipedString = std::basic_string<char, std::char_traits<char>, WipingAllocator<char>>;

}  // namespace base
