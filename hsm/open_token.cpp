#include "hsm/deadline_token.h"
#include "hsm/pkcs11_token.h"

namespace hsm {
std::unique_ptr<Token> open_token(std::shared_ptr<Module> module, const TokenConfig& config,
                                  const base::SecretBytes& pin, base::Log& log) {
    if (config.max_sessions == 0) {
        throw base::Error(base::ErrorCode::failed_precondition,
                          "token: max_sessions must be at least 1");
    }
    const TokenUri uri(config.uri);
    std::unique_ptr<SoftHsmGuard> guard;
    if (traits_of(*module).is_softhsm) {
        const auto matches = [&](std::string_view label, std::string_view serial) {
            return uri.matches(label, serial);
        };
        guard = std::make_unique<SoftHsmGuard>(config, matches, log);
    }
    auto token = std::make_unique<Pkcs11Token>(std::move(module), config, pin, std::move(guard),
                                               Pkcs11Token::Purpose::serve, log);
    if (config.call_deadline.count() == 0) return token;
    Deadlines deadlines;
    deadlines.use = config.call_deadline;
    deadlines.max_hung_calls = config.max_hung_calls;
    return std::make_unique<DeadlineToken>(std::move(token), deadlines, log);
}

std::unique_ptr<Token> open_for_readback(const TokenConfig& config, const base::SecretBytes& pin,
                                         base::Log& log) {
    if (!config.softhsm_config.empty()) set_softhsm_configuration(config.softhsm_config);
    return std::make_unique<Pkcs11Token>(Module::load(config.module, config.init_string), config,
                                         pin, nullptr, Pkcs11Token::Purpose::read_back, log);
}

std::unique_ptr<Token> open_token(const TokenConfig& config, const base::SecretBytes& pin,
                                  base::Log& log) {
    const TokenUri checked_before_loading(config.uri);
    if (!config.softhsm_config.empty()) set_softhsm_configuration(config.softhsm_config);
    return open_token(Module::load(config.module, config.init_string), config, pin, log);
}

}  // namespace hsm
