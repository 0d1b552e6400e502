#include "base/hkdf.h"

#include <botan/exceptn.h>
#include <botan/mac.h>

#include <memory>

#include "base/error.h"

namespace base {
namespace {

// One for each thread: Botan takes longer to look an algorithm up and to build it than to use it.
Botan::MessageAuthenticationCode& kept_mac() {
    thread_local const auto mac =
        Botan::MessageAuthenticationCode::create_or_throw("HMAC(SHA-512)");
    return *mac;
}

// Takes the key out of the kept object, whatever happens.
class KeyedMac {
public:
    KeyedMac() : mac_(kept_mac()) {}
    ~KeyedMac() { mac_.clear(); }
    KeyedMac(const KeyedMac&) = delete;
    KeyedMac& operator=(const KeyedMac&) = delete;

    void set_key(ByteView key) { mac_.set_key(key.data(), key.size()); }
    void update(ByteView message) { mac_.update(message.data(), message.size()); }
    SecretBytes finish() {
        SecretBytes result(max_derived_bytes);
        mac_.final(result.expose_mutable().data());
        return result;
    }

private:
    Botan::MessageAuthenticationCode& mac_;
};

}  // namespace

SecretBytes hkdf_sha_512(const SecretBytes& key, std::string_view salt, std::string_view info,
                         std::size_t bytes) {
    constexpr std::uint8_t first_block = 1;
    if (bytes == 0 || bytes > max_derived_bytes)
        throw Error(ErrorCode::internal, "a key can't be derived", "of that length");
    try {
        KeyedMac mac;
        mac.set_key(as_bytes(salt));
        mac.update(key.expose());
        const SecretBytes pseudorandom = mac.finish();
        mac.set_key(pseudorandom.expose());
        mac.update(as_bytes(info));
        mac.update({&first_block, 1});
        SecretBytes derived = mac.finish();
        derived.shrink(bytes);
        return derived;
    } catch (const Botan::Exception& error) {
        throw Error(ErrorCode::internal, "a key can't be derived", error.what());
    }
}

}  // namespace base
