// How some vendors' modules differ from the standard or narrow it, put over the wrapped one.
#include <algorithm>
#include <array>

#include "tests/support/faulty_pkcs11/engine.h"

namespace tests {
namespace {

constexpr CK_ULONG gcm_iv_bytes = 12;

const CK_GCM_PARAMS* gcm_parameters_of(const CK_MECHANISM* mechanism) {
    if (mechanism == nullptr || mechanism->mechanism != CKM_AES_GCM ||
        mechanism->pParameter == nullptr || mechanism->ulParameterLen != sizeof(CK_GCM_PARAMS))
        return nullptr;
    return static_cast<const CK_GCM_PARAMS*>(mechanism->pParameter);
}

bool is_loose(const Behaviour& behaviour, const CK_GCM_PARAMS* parameters) {
    return behaviour.strict_iv_bits && parameters != nullptr &&
           parameters->ulIvBits != parameters->ulIvLen * 8;
}

// Whether the caller leaves the IV to the module in the way that it demands.
bool leaves_iv(IvMaker maker, const CK_GCM_PARAMS& parameters) {
    if (maker == IvMaker::appended) return parameters.pIv == nullptr && parameters.ulIvLen == 0;
    return parameters.pIv != nullptr && parameters.ulIvLen == gcm_iv_bytes &&
           std::all_of(parameters.pIv, parameters.pIv + gcm_iv_bytes,
                       [](CK_BYTE byte) { return byte == 0; });
}

CK_FLAGS pin_flags(std::uint64_t failures, std::uint64_t attempts) {
    if (failures == 0) return 0;
    CK_FLAGS flags = CKF_USER_PIN_COUNT_LOW;
    if (failures + 1 == attempts) flags |= CKF_USER_PIN_FINAL_TRY;
    if (failures >= attempts) flags |= CKF_USER_PIN_LOCKED;
    return flags;
}

}  // namespace

CK_RV Engine::open_session(const Behaviour& behaviour, CK_SLOT_ID slot, CK_FLAGS flags,
                           CK_VOID_PTR application, CK_NOTIFY notify, CK_SESSION_HANDLE* session) {
    const std::lock_guard lock(mutex_);
    if (behaviour.max_sessions != 0 && sessions_.size() >= behaviour.max_sessions)
        return CKR_SESSION_COUNT;
    const CK_RV answer = real_->C_OpenSession(slot, flags, application, notify, session);
    if (answer == CKR_OK) {
        sessions_[*session] = {slot, std::chrono::steady_clock::now()};
        std::uint64_t most = ledger_->most_sessions;
        while (most < sessions_.size() &&
               !ledger_->most_sessions.compare_exchange_weak(most, sessions_.size())) {
        }
    }
    return answer;
}

void Engine::forget_session(CK_SESSION_HANDLE session) {
    const std::lock_guard lock(mutex_);
    sessions_.erase(session);
    pending_.erase(session);
}

void Engine::forget_all_sessions() {
    const std::lock_guard lock(mutex_);
    sessions_.clear();
    pending_.clear();
}

void Engine::use_session(const Behaviour& behaviour, CK_SESSION_HANDLE session) {
    if (behaviour.session_idle.count() == 0) return;
    const auto now = std::chrono::steady_clock::now();
    const std::lock_guard lock(mutex_);
    std::erase_if(sessions_, [&](const auto& each) {
        const auto& [handle, open] = each;
        const bool dies = open.calls == 0 && now - open.used > behaviour.session_idle;
        if (dies) {
            real_->C_CloseSession(handle);
            pending_.erase(handle);
        }
        return dies;
    });
    const auto open = sessions_.find(session);
    if (open != sessions_.end()) ++open->second.calls;
}

void Engine::leave_session(const Behaviour& behaviour, CK_SESSION_HANDLE session) {
    if (behaviour.session_idle.count() == 0) return;
    const std::lock_guard lock(mutex_);
    const auto open = sessions_.find(session);
    if (open == sessions_.end()) return;
    open->second.used = std::chrono::steady_clock::now();
    // It may have begun before sessions died.
    open->second.calls = std::max(0, open->second.calls - 1);
}

CK_RV Engine::log_in(const Behaviour& behaviour, CK_SESSION_HANDLE session, CK_USER_TYPE user,
                     CK_BYTE* pin, CK_ULONG size) {
    const bool counts = behaviour.pin_attempts != 0 && user == CKU_USER;
    if (counts && ledger_->pin_failures >= behaviour.pin_attempts) return CKR_PIN_LOCKED;
    const CK_RV answer = real_->C_Login(session, user, pin, size);
    if (counts && answer == CKR_OK) ledger_->pin_failures = 0;
    if (counts && answer == CKR_PIN_INCORRECT) ++ledger_->pin_failures;
    return answer;
}

CK_RV Engine::token_info(const Behaviour& behaviour, CK_SLOT_ID slot, CK_TOKEN_INFO* info) {
    const CK_RV answer = real_->C_GetTokenInfo(slot, info);
    if (answer == CKR_OK && behaviour.pin_attempts != 0)
        info->flags |= pin_flags(ledger_->pin_failures, behaviour.pin_attempts);
    if (answer == CKR_OK && behaviour.max_sessions != 0)
        info->ulMaxSessionCount = info->ulMaxRwSessionCount = behaviour.max_sessions;
    return answer;
}

std::optional<Engine::Pending> Engine::pending_of(CK_SESSION_HANDLE session) {
    const std::lock_guard lock(mutex_);
    const auto found = pending_.find(session);
    if (found == pending_.end()) return std::nullopt;
    return found->second;
}

void Engine::forget_pending(CK_SESSION_HANDLE session) {
    const std::lock_guard lock(mutex_);
    pending_.erase(session);
}

CK_RV Engine::encrypt_init(const Behaviour& behaviour, CK_SESSION_HANDLE session,
                           CK_MECHANISM* mechanism, CK_OBJECT_HANDLE key) {
    const CK_GCM_PARAMS* parameters = gcm_parameters_of(mechanism);
    if (is_loose(behaviour, parameters)) return CKR_MECHANISM_PARAM_INVALID;
    if (behaviour.iv == IvMaker::caller || parameters == nullptr)
        return real_->C_EncryptInit(session, mechanism, key);
    if (!leaves_iv(behaviour.iv, *parameters)) return CKR_MECHANISM_PARAM_INVALID;
    Pending pending;
    pending.iv.resize(gcm_iv_bytes);
    if (const CK_RV drawn = real_->C_GenerateRandom(session, pending.iv.data(), gcm_iv_bytes);
        drawn != CKR_OK)
        return drawn;
    pending.callers_iv = parameters->pIv;
    pending.parameters = *parameters;
    pending.parameters.pIv = pending.iv.data();
    pending.parameters.ulIvLen = gcm_iv_bytes;
    pending.parameters.ulIvBits = gcm_iv_bytes * 8;
    CK_MECHANISM with_iv{CKM_AES_GCM, &pending.parameters, sizeof pending.parameters};
    const CK_RV answer = real_->C_EncryptInit(session, &with_iv, key);
    if (answer == CKR_OK) {
        const std::lock_guard lock(mutex_);
        pending_[session] = std::move(pending);
    }
    return answer;
}

CK_RV Engine::encrypt(const Behaviour& behaviour, CK_SESSION_HANDLE session, CK_BYTE* in,
                      CK_ULONG size, CK_BYTE* out, CK_ULONG* room) {
    if (behaviour.max_data != 0 && size > behaviour.max_data) return CKR_DATA_LEN_RANGE;
    const auto pending = pending_of(session);
    if (!pending) return real_->C_Encrypt(session, in, size, out, room);
    const CK_ULONG more = pending->callers_iv == nullptr ? gcm_iv_bytes : 0;
    if (out != nullptr && *room < more) return CKR_BUFFER_TOO_SMALL;
    CK_ULONG written = out == nullptr ? 0 : *room - more;
    const CK_RV answer = real_->C_Encrypt(session, in, size, out, &written);
    *room = written + more;
    if (answer == CKR_BUFFER_TOO_SMALL || out == nullptr) return answer;  // still under way
    if (answer == CKR_OK) {
        std::copy(pending->iv.begin(), pending->iv.end(),
                  more == 0 ? pending->callers_iv : out + written);
    }
    forget_pending(session);
    return answer;
}

CK_RV Engine::decrypt_init(const Behaviour& behaviour, CK_SESSION_HANDLE session,
                           CK_MECHANISM* mechanism, CK_OBJECT_HANDLE key) {
    const CK_GCM_PARAMS* parameters = gcm_parameters_of(mechanism);
    if (is_loose(behaviour, parameters)) return CKR_MECHANISM_PARAM_INVALID;
    if (behaviour.iv != IvMaker::appended || parameters == nullptr)
        return real_->C_DecryptInit(session, mechanism, key);
    if (!leaves_iv(behaviour.iv, *parameters)) return CKR_MECHANISM_PARAM_INVALID;
    // The IV comes with the ciphertext: the wrapped operation begins then.
    Pending pending;
    pending.parameters = *parameters;
    pending.key = key;
    if (parameters->ulAADLen != 0)
        pending.aad.assign(parameters->pAAD, parameters->pAAD + parameters->ulAADLen);
    const std::lock_guard lock(mutex_);
    pending_[session] = std::move(pending);
    return CKR_OK;
}

CK_RV Engine::decrypt(const Behaviour& behaviour, CK_SESSION_HANDLE session, CK_BYTE* in,
                      CK_ULONG size, CK_BYTE* out, CK_ULONG* room) {
    if (behaviour.max_data != 0 && size > behaviour.max_data) return CKR_ENCRYPTED_DATA_LEN_RANGE;
    auto pending = pending_of(session);
    if (!pending) return real_->C_Decrypt(session, in, size, out, room);
    if (out == nullptr) {
        *room = size;
        return CKR_OK;
    }
    forget_pending(session);
    if (size < gcm_iv_bytes) return CKR_ENCRYPTED_DATA_LEN_RANGE;
    pending->parameters.pIv = in + (size - gcm_iv_bytes);
    pending->parameters.ulIvLen = gcm_iv_bytes;
    pending->parameters.ulIvBits = gcm_iv_bytes * 8;
    pending->parameters.pAAD = pending->aad.data();
    CK_MECHANISM with_iv{CKM_AES_GCM, &pending->parameters, sizeof pending->parameters};
    if (const CK_RV begun = real_->C_DecryptInit(session, &with_iv, pending->key); begun != CKR_OK)
        return begun;
    return real_->C_Decrypt(session, in, size - gcm_iv_bytes, out, room);
}

CK_RV Engine::judge_template(const Behaviour& behaviour, CK_SESSION_HANDLE session,
                             const CK_ATTRIBUTE* attributes, CK_ULONG count) {
    for (CK_ULONG i = 0; i < count; ++i) {
        const CK_ATTRIBUTE& attribute = attributes[i];
        const bool derives = attribute.type == CKA_DERIVE && attribute.ulValueLen == 1 &&
                             *static_cast<const CK_BBOOL*>(attribute.pValue) == CK_TRUE;
        if (behaviour.no_derive && derives) return CKR_ATTRIBUTE_VALUE_INVALID;
        if (behaviour.unique_ids && attribute.type == CKA_ID && has_id(session, attribute))
            return CKR_ATTRIBUTE_VALUE_INVALID;
    }
    return CKR_OK;
}

}  // namespace tests
