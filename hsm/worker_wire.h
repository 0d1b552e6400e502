// How values are written between kmsd and its token worker: numbers big endian, texts and bytes
// behind a 32-bit length, lists behind a 32-bit count, what may be absent behind a byte 0 or 1.
// There is one spelling of each value and every bound is checked. No operation is named here.
#pragma once

#include <algorithm>
#include <concepts>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/log.h"
#include "hsm/token.h"

namespace hsm {

// Bytes on their way, wiped when their memory is given back.
using WireBytes = std::vector<std::uint8_t, base::WipingAllocator<std::uint8_t>>;

// What a struct is made of, in the order in which it is written. A specialisation has
//     template <typename Archive, typename Struct>
//     static void pass(Archive& archive, Struct& value);
// which gives the archive every field.
template <typename Struct>
struct Fields;

// The number of values of an enumeration that is written as one byte: 0 to limit - 1.
template <typename Enumeration>
inline constexpr std::uint8_t enumeration_limit = 0;
template <>
inline constexpr std::uint8_t enumeration_limit<KeyKind> = all_key_kinds.size();
template <>
inline constexpr std::uint8_t enumeration_limit<KeyProfile> = 2;
template <>
inline constexpr std::uint8_t enumeration_limit<KeyUse> = 3;
template <>
inline constexpr std::uint8_t enumeration_limit<base::LogLevel> = 4;

// Appends to a buffer. Not thread-safe.
class WireWriter {
public:
    explicit WireWriter(WireBytes& out) : out_(out) {}

    template <typename... Values>
    void operator()(const Values&... values) {
        (put(values), ...);
    }

private:
    void put(bool value) { out_.push_back(value ? 1 : 0); }
    void put(std::uint8_t value) { out_.push_back(value); }
    void put(std::uint32_t value) { put_number(value); }
    void put(std::uint64_t value) { put_number(value); }
    void put(const KeyId& value) { put_plain(value.bytes()); }
    void put(const Iv& value) { put_plain(value); }
    void put(base::ByteView value) {
        put_number(static_cast<std::uint32_t>(value.size()));
        put_plain(value);
    }
    void put(std::string_view value) { put(base::as_bytes(value)); }
    void put(const std::string& value) { put(base::as_bytes(value)); }
    void put(const base::Bytes& value) { put(base::ByteView(value)); }
    void put(const base::SecretBytes& value) { put(value.expose()); }
    template <typename Value>
    void put(const std::optional<Value>& value) {
        put(value.has_value());
        if (value) put(*value);
    }
    template <typename Value>
    void put(const std::vector<Value>& values) {
        put_number(static_cast<std::uint32_t>(values.size()));
        for (const Value& value : values) put(value);
    }
    void put(const std::set<KeyKind>& values) {
        put(std::vector<KeyKind>(values.begin(), values.end()));
    }
    template <typename Value>
    void put(const Value& value) {
        if constexpr (std::is_enum_v<Value>) {
            static_assert(enumeration_limit<Value> > 0);
            put(static_cast<std::uint8_t>(value));
        } else {
            Fields<Value>::pass(*this, value);
        }
    }

    void put_plain(base::ByteView bytes) { out_.insert(out_.end(), bytes.begin(), bytes.end()); }
    template <std::unsigned_integral Number>
    void put_number(Number value) {
        for (std::size_t byte = sizeof value; byte > 0; --byte) {
            out_.push_back(static_cast<std::uint8_t>(value >> (8 * (byte - 1))));
        }
    }

    WireBytes& out_;
};

// Reads from a buffer that must outlive what is read: views point into it. Everything throws
// internal for what WireWriter can't have written: the other side is a program of ours. Not
// thread-safe.
class WireReader {
public:
    explicit WireReader(base::ByteView bytes) : rest_(bytes) {}

    template <typename... Values>
    void operator()(Values&... values) {
        (get(values), ...);
    }
    template <typename Value>
    Value next() {
        Value value{};
        get(value);
        return value;
    }
    base::ByteView rest() const { return rest_; }
    void require_end() const {
        if (!rest_.empty()) refuse_malformed();
    }

    [[noreturn]] static void refuse_malformed();

private:
    base::ByteView take(std::size_t size) {
        if (size > rest_.size()) refuse_malformed();
        const base::ByteView taken = rest_.first(size);
        rest_ = rest_.subspan(size);
        return taken;
    }
    template <std::unsigned_integral Number>
    void get_number(Number& value) {
        value = 0;
        for (const std::uint8_t byte : take(sizeof value)) {
            value = static_cast<Number>((value << 8U) | byte);
        }
    }
    // Each thing of a list takes a byte at least, so a count beyond what is left is a lie, and no
    // memory is set aside for it.
    std::uint32_t count() {
        const auto number = next<std::uint32_t>();
        if (number > rest_.size()) refuse_malformed();
        return number;
    }

    void get(std::uint8_t& value) { value = take(1).front(); }
    void get(bool& value) {
        const auto byte = next<std::uint8_t>();
        if (byte > 1) refuse_malformed();
        value = byte == 1;
    }
    void get(std::uint32_t& value) { get_number(value); }
    void get(std::uint64_t& value) { get_number(value); }
    void get(KeyId& value) { value = KeyId::from_bytes(take(KeyId::size)); }
    void get(Iv& value) {
        const base::ByteView bytes = take(value.size());
        std::copy(bytes.begin(), bytes.end(), value.begin());
    }
    void get(base::ByteView& value) { value = take(next<std::uint32_t>()); }
    void get(std::string_view& value) { value = base::as_text(next<base::ByteView>()); }
    void get(std::string& value) { value = next<std::string_view>(); }
    void get(base::Bytes& value) { value = base::to_bytes(next<base::ByteView>()); }
    void get(base::SecretBytes& value) { value = base::SecretBytes(next<base::ByteView>()); }
    template <typename Value>
    void get(std::optional<Value>& value) {
        value.reset();
        if (next<bool>()) value.emplace(next<Value>());
    }
    template <typename Value>
    void get(std::vector<Value>& values) {
        values.clear();
        for (std::uint32_t left = count(); left > 0; --left) values.push_back(next<Value>());
    }
    void get(std::set<KeyKind>& values) {
        values.clear();
        for (const KeyKind kind : next<std::vector<KeyKind>>()) {
            if (!values.empty() && kind <= *values.rbegin()) refuse_malformed();
            values.insert(values.end(), kind);
        }
    }
    template <typename Value>
    void get(Value& value) {
        if constexpr (std::is_enum_v<Value>) {
            const auto byte = next<std::uint8_t>();
            if (byte >= enumeration_limit<Value>) refuse_malformed();
            value = static_cast<Value>(byte);
        } else {
            Fields<Value>::pass(*this, value);
        }
    }

    base::ByteView rest_;
};

}  // namespace hsm
