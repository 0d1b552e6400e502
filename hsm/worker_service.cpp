#include "hsm/worker_service.h"

#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

#include "base/file.h"
#include "hsm/frame_socket.h"
#include "hsm/kept_pin.h"
#include "hsm/worker_fields.h"

namespace hsm {
namespace {

// For calls under way when kmsd says goodbye.
constexpr std::chrono::milliseconds farewell{500};

KeyAttributes perform(Token& token, const GenerateKeyRequest& request) {
    return token.generate_key(request.key, request.label, request.kind, request.profile);
}
Nothing perform(Token& token, const MakeDurableRequest& request) {
    token.make_durable(request.key);
    return {};
}
std::optional<KeyAttributes> perform(Token& token, const FindKeyRequest& request) {
    return token.find_key(request.key);
}
ListedKeys perform(Token& token, const ListKeysRequest& /*request*/) {
    std::size_t unnamed = 0;
    ListedKeys listed{token.list_keys(&unnamed), 0};
    listed.unnamed = unnamed;
    return listed;
}
Nothing perform(Token& token, const DestroyKeyRequest& request) {
    token.destroy_key(request.key);
    return {};
}
Encrypted perform(Token& token, const EncryptRequest& request) {
    return token.encrypt(request.key, request.aad, request.plaintext);
}
std::vector<std::optional<Encrypted>> perform(Token& token, const EncryptManyRequest& request) {
    return token.encrypt_many(request.items);
}
base::SecretBytes perform(Token& token, const DecryptRequest& request) {
    return token.decrypt(request.key, request.iv, request.aad, request.ciphertext);
}
std::vector<std::optional<base::SecretBytes>> perform(Token& token,
                                                      const DecryptManyRequest& request) {
    return token.decrypt_many(request.items);
}
std::set<KeyKind> perform(Token& token, const SupportedKindsRequest& /*request*/) {
    return token.supported_kinds();
}
base::Bytes perform(Token& token, const PublicKeyRequest& request) {
    return token.public_key(request.key);
}
base::Bytes perform(Token& token, const SignRequest& request) {
    return token.sign(request.key, request.kind, request.message);
}
bool perform(Token& token, const VerifyRequest& request) {
    return token.verify(request.key, request.kind, request.message, request.signature);
}
base::Bytes perform(Token& token, const MacRequest& request) {
    return token.mac(request.key, request.message);
}
bool perform(Token& token, const VerifyMacRequest& request) {
    return token.verify_mac(request.key, request.message, request.mac);
}
base::SecretBytes perform(Token& token, const RandomRequest& request) {
    if (request.size > max_random_bytes) WireReader::refuse_malformed();
    base::SecretBytes bytes(request.size);
    token.random(bytes.expose_mutable());
    return bytes;
}
bool perform(Token& token, const HoldToRequest& request) {
    return token.hold_to(request.key, request.known);
}
Nothing perform(Token& token, const CheckRequest& /*request*/) {
    token.check();
    return {};
}

AnswerHead head_of(std::uint32_t number, const WorkerMarks& marks) {
    return {number, marks.logins.load(), std::nullopt, marks.is_pin_refused.load()};
}

TokenConfig config_of(const WorkerOpening& opening, WorkerMarks& marks) {
    TokenConfig config;
    config.module = opening.module;
    config.uri = opening.uri;
    config.init_string = opening.init_string;
    config.max_sessions = opening.max_sessions;
    config.session_patience = std::chrono::milliseconds(opening.session_patience_ms);
    config.softhsm_config = opening.softhsm_config;
    config.readback_program = opening.readback_program;
    config.logged_in_again = [&marks] { ++marks.logins; };
    // Only another process helps, and kmsd has one that stands by. The token has logged why.
    config.beyond_repair = [](std::string_view /*why*/) { std::_Exit(EXIT_FAILURE); };
    return config;
}

// The token, its log and the threads that serve it; lives until the process ends.
class WorkerService : public std::enable_shared_from_this<WorkerService> {
public:
    // Answers the opening. Null when the token could not be opened.
    bool open(FrameSocket& control, const std::function<void(const TokenInfo&)>& before_serving) {
        if (control.receive(endless) != Transfer::done) return false;
        std::uint32_t number = 0;
        try {
            const WorkerOpening opening = read_opening(control.incoming(), number);
            control.forget();
            open_as(opening, before_serving);
            write_answer(control.outgoing(), head_of(number, marks_), token_->info());
        } catch (const base::Error& error) {
            if (says_pin_refused(error)) marks_.is_pin_refused = true;
            write_refusal(control.outgoing(), head_of(number, marks_), error);
        }
        return control.send(endless) == Transfer::done && token_ != nullptr;
    }

    void serve(int control) {
        for (;;) {
            Descriptor channel = receive_descriptor(control);
            if (channel.get() < 0) break;
            start_thread(std::move(channel));
        }
        std::unique_lock lock(mutex_);
        if (ended_.wait_for(lock, farewell, [this] { return channels_ == 0; })) token_.reset();
    }

private:
    void open_as(const WorkerOpening& opening,
                 const std::function<void(const TokenInfo&)>& before_serving) {
        log_ = std::make_unique<base::Log>("strongroom-token-worker", opening.log_level);
        const TokenConfig config = config_of(opening, marks_);
        const base::SecretBytes pin = opening.pin_file.empty()
                                          ? opening.pin.clone()
                                          : base::read_secret_file(opening.pin_file);
        auto token = hsm::open_token(config, pin, *log_);
        before_serving(token->info());
        token_ = std::move(token);
    }

    // The thread keeps this alive: one that hangs in the module still uses it when the program
    // ends.
    void start_thread(Descriptor channel) {
        const std::lock_guard lock(mutex_);
        ++channels_;
        try {
            std::thread([self = shared_from_this(),
                         socket = FrameSocket(std::move(channel))]() mutable {
                self->serve_channel(socket);
                const std::lock_guard counting(self->mutex_);
                --self->channels_;
                self->ended_.notify_all();
            }).detach();
        } catch (const std::system_error& error) {
            --channels_;
            log_->error("a channel can't be served", {{"why", error.what()}});
        }
    }

    void serve_channel(FrameSocket& channel) {
        try {
            while (channel.receive(endless) == Transfer::done) {
                answer_request(channel.incoming(), *token_, marks_, channel.outgoing());
                channel.forget();
                if (channel.send(endless) != Transfer::done) return;
            }
        } catch (const std::exception& error) {
            log_->error("a channel is closed", {{"why", error.what()}});
        }
    }

    WorkerMarks marks_;
    std::unique_ptr<base::Log> log_;
    std::unique_ptr<Token> token_;
    std::mutex mutex_;
    std::condition_variable ended_;
    std::size_t channels_ = 0;
};

}  // namespace

void answer_request(base::ByteView frame, Token& token, WorkerMarks& marks, WireBytes& out) {
    const NumberedRequest read = read_request(frame);
    try {
        std::visit(
            [&](const auto& request) {
                // Done first: the head tells of a login that it took.
                const auto answer = perform(token, request);
                write_answer(out, head_of(read.number, marks), answer);
            },
            read.request);
    } catch (const base::Error& error) {
        if (says_pin_refused(error)) marks.is_pin_refused = true;
        write_refusal(out, head_of(read.number, marks), error);
    } catch (const std::exception& error) {
        write_refusal(
            out, head_of(read.number, marks),
            base::Error(base::ErrorCode::unavailable, "the token worker failed", error.what()));
    }
}

bool serve_worker(Descriptor control, const std::function<void(const TokenInfo&)>& before_serving) {
    const int passes_channels = control.get();
    FrameSocket opening(std::move(control));
    auto service = std::make_shared<WorkerService>();
    if (!service->open(opening, before_serving)) return false;
    service->serve(passes_channels);
    return true;
}

}  // namespace hsm
