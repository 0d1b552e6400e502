#include "vault/kms_data_keys.h"

#include <utility>

#include "base/json.h"
#include "vault/sealed.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;

// What the key service answers this vault is not what this vault answers its caller: a refusal of
// the vault (no right, unknown master key, a certificate that expired) is an outage that its
// operator must end.
Error translated(const Error& error) {
    switch (error.code()) {
        case ErrorCode::integrity_failure:
            return base::decryption_failed("key service: " + std::string(error.what()));
        case ErrorCode::resource_exhausted:
            return {ErrorCode::resource_exhausted, "the key service limits this vault",
                    error.what()};
        case ErrorCode::unavailable:
        case ErrorCode::quota_check_failed:
        case ErrorCode::internal:
        case ErrorCode::request_timeout:
            return {ErrorCode::unavailable, "the key service is not available", error.what()};
        case ErrorCode::unauthenticated:
        case ErrorCode::permission_denied:
        case ErrorCode::caller_suspended:
        case ErrorCode::not_found:
        case ErrorCode::failed_precondition:
            return refused_by_key_service(error.what());
        case ErrorCode::invalid_argument:
        case ErrorCode::already_exists:
        case ErrorCode::method_not_allowed:
        case ErrorCode::payload_too_large:
        case ErrorCode::unsupported_media_type:
        case ErrorCode::header_fields_too_large:
            break;
    }
    return {ErrorCode::internal, "the key service did not understand this vault", error.what()};
}

kms::CallOptions options(const std::string& traceparent) {
    return {.traceparent = traceparent, .idempotency_key = {}};
}

// How long the newest master key version is taken for the newest. It decides nothing but whether
// callers are told to seal anew.
constexpr std::chrono::seconds newest_lifetime{60};

MasterKeyVersion read_newest(const base::JsonValue& key) {
    base::JsonReader reader(key);
    const base::Uuid id = reader.required_uuid("id");
    return {id,
            static_cast<std::uint32_t>(reader.required_integer("primary_version", 1, UINT32_MAX))};
}

}  // namespace

KmsDataKeys::KmsDataKeys(kms::Client& client, std::string master_key)
    : client_(client),
      master_key_(std::move(master_key)),
      shared_([this](std::span<const WrappedKey> items) { return unwrap_shared(items); }) {}

DataKey KmsDataKeys::create(const KeyContext& context, const std::string& traceparent) {
    return std::move(create_many(context, 1, traceparent).front());
}

std::vector<DataKey> KmsDataKeys::create_many(const KeyContext& context, std::size_t count,
                                              const std::string& traceparent) {
    try {
        auto made = client_.create_data_keys(master_key_, context, data_key_bytes, count, true,
                                             options(traceparent));
        if (made.empty() || made.size() != count)
            throw Error(ErrorCode::internal, "the key service made another number of data keys");
        remember(MasterKeyVersion{made.front().key_id, made.front().key_version});
        std::vector<DataKey> keys;
        keys.reserve(made.size());
        for (kms::DataKey& key : made) {
            keys.push_back(
                {std::move(key.plaintext), std::move(key.wrapped), key.key_id, key.key_version});
        }
        return keys;
    } catch (const Error& error) {
        throw translated(error);
    }
}

base::SecretBytes KmsDataKeys::unwrap(base::ByteView wrapped, const KeyContext& context,
                                      const std::string& traceparent) {
    return shared_.unwrap({base::to_bytes(wrapped), context, traceparent});
}

std::vector<UnwrapOutcome> KmsDataKeys::unwrap_shared(std::span<const WrappedKey> items) {
    const std::string& traceparent = items.front().traceparent;
    if (items.size() > 1) return unwrap_many(items, traceparent);
    std::vector<UnwrapOutcome> outcome;
    try {
        const WrappedKey& item = items.front();
        outcome.emplace_back(client_.unwrap({item.wrapped, item.context}, options(traceparent)));
    } catch (const Error& error) {
        throw translated(error);
    }
    return outcome;
}

std::vector<UnwrapOutcome> KmsDataKeys::unwrap_many(std::span<const WrappedKey> items,
                                                    const std::string& traceparent) {
    std::vector<kms::UnwrapItem> wanted;
    wanted.reserve(items.size());
    for (const WrappedKey& item : items)
        wanted.push_back({item.wrapped, item.context, item.traceparent});
    try {
        std::vector<UnwrapOutcome> outcomes = client_.unwrap_many(wanted, options(traceparent));
        for (UnwrapOutcome& outcome : outcomes) {
            if (auto* error = std::get_if<Error>(&outcome)) *error = translated(*error);
        }
        return outcomes;
    } catch (const Error& error) {
        throw translated(error);
    }
}

std::vector<RewrapOutcome> KmsDataKeys::rewrap_many(std::span<const WrappedKey> items,
                                                    const std::string& traceparent) {
    std::vector<kms::RewrapItem> wanted;
    wanted.reserve(items.size());
    for (const WrappedKey& item : items) {
        wanted.push_back({item.wrapped, item.context, master_key_, std::nullopt});
    }
    try {
        std::vector<RewrapOutcome> outcomes;
        outcomes.reserve(items.size());
        for (kms::RewrapResult& result : client_.rewrap_committed(wanted, options(traceparent))) {
            if (const auto* error = std::get_if<Error>(&result)) {
                outcomes.emplace_back(translated(*error));
                continue;
            }
            auto& anew = std::get<kms::Enveloped>(result);
            outcomes.emplace_back(Rewrapped{
                std::move(anew.bytes), {anew.key_id, anew.key_version}, *anew.commitment});
        }
        return outcomes;
    } catch (const Error& error) {
        throw translated(error);
    }
}

std::optional<MasterKeyVersion> KmsDataKeys::newest(const std::string& traceparent) {
    {
        const std::lock_guard lock(mutex_);
        if (newest_until_ && std::chrono::steady_clock::now() < *newest_until_) return newest_;
    }
    try {
        return newest_now(traceparent);
    } catch (const Error&) {
        // Without the right to describe the key, or an answer, nobody is told to seal anew.
    }
    remember(std::nullopt);
    return std::nullopt;
}

MasterKeyVersion KmsDataKeys::newest_now(const std::string& traceparent) {
    try {
        const auto found =
            read_newest(client_.call("GET", kms::key_path(master_key_), {}, options(traceparent)));
        remember(found);
        return found;
    } catch (const Error& error) {
        throw translated(error);
    }
}

void KmsDataKeys::remember(std::optional<MasterKeyVersion> newest) {
    const std::lock_guard lock(mutex_);
    newest_ = newest;
    newest_until_ = std::chrono::steady_clock::now() + newest_lifetime;
}

void KmsDataKeys::check() {
    try {
        client_.check_ready();
    } catch (const Error& error) {
        // Without the right to observe, the vault learns that the service answers, and no more.
        if (error.code() != ErrorCode::permission_denied) throw translated(error);
    }
}

}  // namespace vault
