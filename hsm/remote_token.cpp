#include "hsm/remote_token.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/error.h"
#include "hsm/worker_fields.h"

namespace hsm {
namespace {

constexpr Patience slow_patience{30'000};
constexpr Patience making_patience{120'000};
constexpr Patience patience_of_an_item{10};
// 2, 4, 8, 16 and 32 ms: as long as a process that was killed takes to end.
constexpr unsigned most_repeats = 5;
constexpr std::chrono::milliseconds first_repeat_pause{1};
constexpr std::size_t item_frame_bytes = 64;  // id, IV and lengths of an item, more or less

std::size_t size_of(const EncryptItem& item) { return item.aad.size() + item.plaintext.size(); }
std::size_t size_of(const DecryptItem& item) { return item.aad.size() + item.ciphertext.size(); }

[[noreturn]] void not_answered(const char* why) {
    throw base::Error(base::ErrorCode::unavailable, "the token is not available", why);
}

[[noreturn]] void refuse_other_key(const KeyId& key) {
    throw base::Error(base::ErrorCode::unavailable,
                      "the token gave another key back under the same id",
                      "CKA_ID " + key.to_string());
}

}  // namespace

RemoteToken::RemoteToken(const WorkerConfig& config, const base::SecretBytes& pin, base::Log& log)
    : config_(config), keeper_(config, pin, log) {}

template <typename Request>
Patience RemoteToken::patience_of(const Request& request) const {
    if constexpr (requires { request.items; }) {
        return config_.deadline +
               patience_of_an_item * static_cast<std::int64_t>(request.items.size());
    }
    switch (Request::pace) {
        case Pace::quick:
            return config_.deadline;
        case Pace::slow:
            return std::max(slow_patience, config_.deadline);
        case Pace::making:
            return std::max(making_patience, config_.deadline);
    }
    return config_.deadline;
}

template <typename Request>
RemoteToken::Exchange RemoteToken::exchange(Channel& channel, const Request& request,
                                            typename Request::Answer& answer) {
    const std::uint32_t number = channel.next_number();
    FrameSocket& socket = channel.socket();
    write_request(socket.outgoing(), number, request);
    channel.begin_exchange();
    const Patience patience = patience_of(request);
    const Transfer sent = socket.send(patience);
    if (sent != Transfer::done) {
        if (sent == Transfer::late) channel.report_hang();
        if (sent == Transfer::closed) channel.report_loss();
        return Exchange::unsent;
    }
    try {
        const Transfer received = socket.receive(patience);
        if (received == Transfer::late) channel.report_hang();
        if (received == Transfer::closed) channel.report_loss();
        if (received != Transfer::done)
            return received == Transfer::late ? Exchange::late : Exchange::lost;
        WireReader reader(socket.incoming());
        const AnswerHead head = read_head(reader);
        if (head.number != number) WireReader::refuse_malformed();
        keeper_.note_head(channel.worker(), head);
        if (!head.error) {
            answer = read_answer<typename Request::Answer>(reader);
            channel.end_exchange();
            return Exchange::answered;
        }
        const base::Error refusal = read_refusal(reader, *head.error);
        channel.end_exchange();
        throw base::Error(refusal.code(), refusal.message(), refusal.detail());
    } catch (...) {
        // Only a whole answer leaves the channel in order.
        if (!channel.is_whole()) channel.report_hang();
        throw;
    }
}

template <typename Request>
typename Request::Answer RemoteToken::call(const Request& request, std::span<const Wanted> keys) {
    for (unsigned tries = 0;; ++tries) {
        // A process that was killed takes its time to be gone: until then it is leased again.
        if (tries > 0) std::this_thread::sleep_for(first_repeat_pause * (1U << tries));
        Channel channel = keeper_.lease(Request::pace);
        typename Request::Answer answer{};
        auto came = Exchange::answered;
        bool was_asked = false;
        for (const Wanted& key : keys) {
            if (came == Exchange::answered) came = prove(channel, key);
        }
        if (came == Exchange::answered) {
            came = exchange(channel, request, answer);
            was_asked = came != Exchange::unsent;
        }
        if (came == Exchange::answered) return answer;
        if (came == Exchange::late) not_answered("the token did not answer in time");
        if (tries == most_repeats || (was_asked && !Request::repeatable))
            not_answered("the token worker ended during the call");
    }
}

bool RemoteToken::is_proven(const Worker& worker, const KeyId& key) const {
    std::uint64_t age = 0;
    {
        const std::shared_lock lock(mutex_);
        const auto found = proofs_.find(key);
        if (found == proofs_.end()) return false;
        age = found->second.age;
    }
    return worker.is_proven(key, age);
}

std::optional<RemoteToken::Proof> RemoteToken::find_proof(const KeyId& key) const {
    const std::shared_lock lock(mutex_);
    const auto found = proofs_.find(key);
    if (found == proofs_.end()) return std::nullopt;
    return found->second;
}

std::optional<RemoteToken::Proof> RemoteToken::keep_proof(const KeyId& key, KeyEvidence made,
                                                          std::uint64_t& age) {
    const std::unique_lock lock(mutex_);
    const auto [kept, is_first] = proofs_.try_emplace(key);
    if (!is_first) return kept->second;
    age = ++last_age_;
    kept->second = {std::move(made), age};
    return std::nullopt;
}

RemoteToken::Exchange RemoteToken::prove(Channel& channel, const Wanted& wanted) {
    if (is_proven(channel.worker(), wanted.key)) return Exchange::answered;
    auto proof = find_proof(wanted.key);
    std::uint64_t age = 0;
    try {
        if (!proof) {
            KeyEvidence made;
            const Exchange came = make_evidence(channel, wanted, made);
            if (came != Exchange::answered) return came;
            proof = keep_proof(wanted.key, std::move(made), age);
        }
        if (proof) {
            bool fits = false;
            const Exchange came = exchange(channel, HoldToRequest{wanted.key, proof->known}, fits);
            if (came != Exchange::answered) return came;
            if (!fits) refuse_other_key(wanted.key);
            age = proof->age;
        }
    } catch (const base::Error& error) {
        // No key, or none of that kind, is nothing to prove: the operation itself says so. But what
        // was a key of that kind before must be one now.
        if (!channel.is_whole()) throw;
        if (error.code() == base::ErrorCode::internal && proof) refuse_other_key(wanted.key);
        if (error.code() != base::ErrorCode::not_found && error.code() != base::ErrorCode::internal)
            throw;
        return Exchange::answered;
    }
    channel.worker().note_proven(wanted.key, age);
    return Exchange::answered;
}

RemoteToken::Exchange RemoteToken::make_evidence(Channel& channel, const Wanted& wanted,
                                                 KeyEvidence& known) {
    const base::ByteView text = base::as_bytes(key_evidence_text);
    known.use = wanted.use;
    switch (wanted.use) {
        case KeyUse::encrypts:
            return exchange(channel, EncryptRequest{wanted.key, {}, text}, known.answer);
        case KeyUse::makes_macs:
            return exchange(channel, MacRequest{wanted.key, text}, known.answer.ciphertext);
        case KeyUse::is_pair:
            break;
    }
    return exchange(channel, PublicKeyRequest{wanted.key}, known.answer.ciphertext);
}

template <typename Request, typename Item>
typename Request::Answer RemoteToken::call_in_batches(std::span<const Item> items) {
    typename Request::Answer all;
    all.reserve(items.size());
    while (!items.empty()) {
        Request request;
        std::vector<Wanted> keys;
        std::size_t bytes = 0;
        for (const Item& item : items.first(std::min(items.size(), max_batch_items))) {
            bytes += item_frame_bytes + size_of(item);
            if (bytes > max_batch_bytes && !request.items.empty()) break;
            request.items.push_back(item);
            if (keys.empty() || keys.back().key != item.key)
                keys.push_back({item.key, KeyUse::encrypts});
        }
        auto some = call(request, keys);
        if (some.size() != request.items.size()) WireReader::refuse_malformed();
        std::move(some.begin(), some.end(), std::back_inserter(all));
        items = items.subspan(request.items.size());
    }
    return all;
}

std::set<KeyKind> RemoteToken::supported_kinds() { return call(SupportedKindsRequest{}); }

KeyAttributes RemoteToken::generate_key(const KeyId& id, std::string_view label, KeyKind kind,
                                        KeyProfile profile) {
    return call(GenerateKeyRequest{id, label, kind, profile});
}

void RemoteToken::make_durable(const KeyId& id) { call(MakeDurableRequest{id}); }

std::optional<KeyAttributes> RemoteToken::find_key(const KeyId& id) {
    return call(FindKeyRequest{id});
}

std::vector<KeyId> RemoteToken::list_keys(std::size_t* unnamed_objects) {
    ListedKeys listed = call(ListKeysRequest{});
    if (unnamed_objects != nullptr) *unnamed_objects = listed.unnamed;
    return std::move(listed.ids);
}

void RemoteToken::destroy_key(const KeyId& id) {
    call(DestroyKeyRequest{id});
    const std::unique_lock lock(mutex_);
    proofs_.erase(id);
}

Encrypted RemoteToken::encrypt(const KeyId& id, base::ByteView aad, base::ByteView plaintext) {
    return call(EncryptRequest{id, aad, plaintext}, Wanted{id, KeyUse::encrypts});
}

std::vector<std::optional<Encrypted>> RemoteToken::encrypt_many(
    std::span<const EncryptItem> items) {
    return call_in_batches<EncryptManyRequest>(items);
}

base::SecretBytes RemoteToken::decrypt(const KeyId& id, const Iv& iv, base::ByteView aad,
                                       base::ByteView ciphertext) {
    return call(DecryptRequest{id, iv, aad, ciphertext}, Wanted{id, KeyUse::encrypts});
}

std::vector<std::optional<base::SecretBytes>> RemoteToken::decrypt_many(
    std::span<const DecryptItem> items) {
    return call_in_batches<DecryptManyRequest>(items);
}

base::Bytes RemoteToken::public_key(const KeyId& id) {
    return call(PublicKeyRequest{id}, Wanted{id, KeyUse::is_pair});
}

base::Bytes RemoteToken::sign(const KeyId& id, KeyKind kind, base::ByteView message) {
    return call(SignRequest{id, kind, message}, Wanted{id, KeyUse::is_pair});
}

bool RemoteToken::verify(const KeyId& id, KeyKind kind, base::ByteView message,
                         base::ByteView signature) {
    return call(VerifyRequest{id, kind, message, signature}, Wanted{id, KeyUse::is_pair});
}

base::Bytes RemoteToken::mac(const KeyId& id, base::ByteView message) {
    return call(MacRequest{id, message}, Wanted{id, KeyUse::makes_macs});
}

bool RemoteToken::verify_mac(const KeyId& id, base::ByteView message, base::ByteView mac) {
    return call(VerifyMacRequest{id, message, mac}, Wanted{id, KeyUse::makes_macs});
}

bool RemoteToken::hold_to(const KeyId& id, const KeyEvidence& known) {
    {
        const std::unique_lock lock(mutex_);
        Proof& proof = proofs_[id];
        if (proof.age == 0 || proof.known != known) proof = {known, ++last_age_};
    }
    return call(HoldToRequest{id, known});
}

void RemoteToken::random(std::span<std::uint8_t> out) {
    while (!out.empty()) {
        const std::size_t size = std::min(out.size(), max_random_bytes);
        const base::SecretBytes some = call(RandomRequest{static_cast<std::uint32_t>(size)});
        if (some.size() != size) WireReader::refuse_malformed();
        std::copy(some.expose().begin(), some.expose().end(), out.begin());
        out = out.subspan(size);
    }
}

void RemoteToken::check() { call(CheckRequest{}); }

std::unique_ptr<Token> open_remote_token(const WorkerConfig& config, const base::SecretBytes& pin,
                                         base::Log& log) {
    if (config.token.max_sessions == 0) base::refuse("token: max_sessions must be at least 1");
    std::error_code error;
    if (!std::filesystem::is_regular_file(config.program, error)) {
        base::refuse("the token worker's program is not at " + config.program.string() +
                     ": install it there, or name it in \"worker_program\"");
    }
    return std::make_unique<RemoteToken>(config, pin, log);
}

}  // namespace hsm
