#include "base/encoding.h"

#include <algorithm>
#include <array>

#include <botan/base64.h>
#include <botan/exceptn.h>
#include <botan/hex.h>

namespace base {
namespace {

constexpr std::string_view alphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// The value of each symbol; 64 for what is none.
constexpr std::array<std::uint8_t, 256> symbol_values = [] {
    std::array<std::uint8_t, 256> values{};
    for (auto& value : values) value = 64;
    for (std::size_t i = 0; i < alphabet.size(); ++i)
        values[static_cast<unsigned char>(alphabet[i])] = static_cast<std::uint8_t>(i);
    return values;
}();

unsigned symbol_value(char c) { return symbol_values[static_cast<unsigned char>(c)]; }

// Bytes that canonical `text` decodes to; empty when its shape is not canonical. Botan's decoder
// alone would accept stray bits and missing padding.
std::optional<std::size_t> decoded_size(std::string_view text) {
    if (text.size() % 4 != 0) return std::nullopt;
    if (text.empty()) return 0;
    std::size_t padding = 0;
    if (text.back() == '=') padding = text[text.size() - 2] == '=' ? 2 : 1;
    const std::string_view symbols = text.substr(0, text.size() - padding);
    if (std::any_of(symbols.begin(), symbols.end(), [](char c) { return symbol_value(c) == 64; }))
        return std::nullopt;
    const unsigned last = symbol_value(symbols.back());
    if (padding == 1 && (last & 0x03U) != 0) return std::nullopt;
    if (padding == 2 && (last & 0x0FU) != 0) return std::nullopt;
    return text.size() / 4 * 3 - padding;
}

// Decodes canonical `text` of so many bytes. A loop, since the table has to be asked anyway; not
// for secrets, which Botan's decoder reads in constant time.
Bytes decode_symbols(std::string_view text, std::size_t size) {
    Bytes bytes;
    bytes.reserve(text.size() / 4 * 3);
    for (std::size_t i = 0; i < text.size(); i += 4) {
        unsigned group = 0;
        for (std::size_t k = 0; k < 4; ++k) group = group << 6U | (symbol_value(text[i + k]) & 63U);
        for (const unsigned shift : {16U, 8U, 0U})
            bytes.push_back(static_cast<std::uint8_t>(group >> shift));
    }
    bytes.resize(size);
    return bytes;
}

// The symbol of a value of six bits, computed: a table would be asked at a secret's own place.
constexpr char symbol_of(unsigned value) {
    const int v = static_cast<int>(value);
    int symbol = v + 'A';
    symbol += ((25 - v) >> 8) & 6;   // from 26 on: a to z
    symbol -= ((51 - v) >> 8) & 75;  // from 52 on: 0 to 9
    symbol -= ((61 - v) >> 8) & 15;  // 62: +
    symbol += ((62 - v) >> 8) & 3;   // 63: /
    return static_cast<char>(symbol);
}

// Four symbols of up to three bytes, '=' for what is missing.
void encode_group(char* out, ByteView bytes) {
    unsigned group = 0;
    for (std::size_t i = 0; i < 3; ++i) group = group << 8U | (i < bytes.size() ? bytes[i] : 0U);
    for (std::size_t i = 0; i < 4; ++i)
        out[i] = i <= bytes.size() ? symbol_of(group >> (18U - 6U * i) & 63U) : '=';
}

}  // namespace

std::string to_base64(ByteView bytes) { return Botan::base64_encode(bytes.data(), bytes.size()); }

void append_base64(WipedString& out, ByteView bytes) {
    const std::size_t old_size = out.size();
    out.resize(old_size + (bytes.size() + 2) / 3 * 4);
    char* at = out.data() + old_size;
    for (; bytes.size() >= 3; bytes = bytes.subspan(3), at += 4) encode_group(at, bytes.first(3));
    if (!bytes.empty()) encode_group(at, bytes);
}

std::optional<Bytes> parse_base64(std::string_view text) {
    const auto size = decoded_size(text);
    if (!size) return std::nullopt;
    return decode_symbols(text, *size);
}

std::optional<SecretBytes> parse_base64_secret(std::string_view text) {
    const auto size = decoded_size(text);
    if (!size) return std::nullopt;
    SecretBytes room(text.size() / 4 * 3);  // Botan writes whole groups
    std::size_t written = 0;
    try {
        written =
            Botan::base64_decode(room.expose_mutable().data(), text.data(), text.size(), false);
    } catch (const Botan::Exception&) {
        return std::nullopt;
    }
    if (written != *size) return std::nullopt;
    return SecretBytes(room.expose().first(written));
}

std::string to_base64url(ByteView bytes) {
    std::string text = to_base64(bytes);
    text.erase(std::min(text.find('='), text.size()));
    std::replace(text.begin(), text.end(), '+', '-');
    std::replace(text.begin(), text.end(), '/', '_');
    return text;
}

std::optional<Bytes> parse_base64url(std::string_view text) {
    if (text.find_first_of("+/=") != std::string_view::npos) return std::nullopt;
    WipedString standard(text);
    std::replace(standard.begin(), standard.end(), '-', '+');
    std::replace(standard.begin(), standard.end(), '_', '/');
    standard.append((4 - standard.size() % 4) % 4, '=');
    return parse_base64(standard);
}

std::string to_hex(ByteView bytes) { return Botan::hex_encode(bytes.data(), bytes.size(), false); }

std::optional<Bytes> parse_hex(std::string_view text) {
    if (text.size() % 2 != 0) return std::nullopt;
    if (text.find_first_not_of("0123456789abcdef") != std::string_view::npos) return std::nullopt;
    Bytes bytes(text.size() / 2);
    if (!text.empty()) Botan::hex_decode(bytes.data(), text.data(), text.size(), false);
    return bytes;
}

bool is_utf8(std::string_view text) noexcept {
    std::size_t i = 0;
    const auto byte_at = [&](std::size_t at) { return static_cast<unsigned char>(text[at]); };
    while (i < text.size()) {
        const unsigned char lead = byte_at(i);
        if (lead < 0x80) {
            ++i;
            continue;
        }
        const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
        if (lead < 0xC2 || lead > 0xF4 || i + length > text.size()) return false;
        const unsigned char second = byte_at(i + 1);
        const unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
        const unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
        if (second < low || second > high) return false;
        for (std::size_t k = 2; k < length; ++k) {
            if ((byte_at(i + k) & 0xC0U) != 0x80U) return false;
        }
        i += length;
    }
    return true;
}

}  // namespace base
