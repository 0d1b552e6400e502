#include "tests/support/faulty_pkcs11/engine.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>

namespace tests {
namespace {

constexpr std::chrono::milliseconds hang_step{2};
constexpr std::size_t max_objects = 10'000;

std::string read_text(const std::filesystem::path& file) {
    std::ifstream stream(file);
    return {std::istreambuf_iterator<char>(stream), {}};
}

// The wrapped module is loaded for good: it may leave threads behind.
const CK_FUNCTION_LIST* load_wrapped(const std::filesystem::path& folder) {
    std::string library = read_text(folder / "module");
    while (!library.empty() && (library.back() == '\n' || library.back() == ' '))
        library.pop_back();
    if (library.empty())
        throw std::runtime_error((folder / "module").string() + " must name the module to wrap");
    void* handle = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) throw std::runtime_error("can't load " + library);
    const auto get = reinterpret_cast<CK_C_GetFunctionList>(::dlsym(handle, "C_GetFunctionList"));
    CK_FUNCTION_LIST_PTR functions = nullptr;
    if (get == nullptr || get(&functions) != CKR_OK || functions == nullptr)
        throw std::runtime_error(library + " is no PKCS#11 module");
    return functions;
}

// What tells one state of a file from another without reading it; 0 when there is none.
std::uint64_t version_of(const std::filesystem::path& file) {
    struct stat status {};
    if (::stat(file.c_str(), &status) != 0) return 0;
    const auto nanoseconds = static_cast<std::uint64_t>(status.st_mtim.tv_sec) * 1'000'000'000U +
                             static_cast<std::uint64_t>(status.st_mtim.tv_nsec);
    return mixed(mixed(nanoseconds, status.st_ino), static_cast<std::uint64_t>(status.st_size)) |
           1U;
}

// A file that nobody can read as rules must not look like a module without faults.
Rules broken_rules() { return parse_rules("* code=CKR_FUNCTION_REJECTED"); }

}  // namespace

void Gate::lock() {
    turnstile_.lock();
    mutex_.lock();
}
void Gate::unlock() {
    mutex_.unlock();
    turnstile_.unlock();
}
void Gate::lock_shared() {
    turnstile_.lock();
    mutex_.lock_shared();
    turnstile_.unlock();
}
void Gate::unlock_shared() { mutex_.unlock_shared(); }

// A session of the module's own, for the time of this object.
struct Engine::ExtraSession {
    ExtraSession(const CK_FUNCTION_LIST& to, CK_SLOT_ID slot) : module(to) {
        if (module.C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, nullptr, nullptr,
                                 &handle) != CKR_OK)
            handle = CK_INVALID_HANDLE;
    }
    ~ExtraSession() {
        if (handle != CK_INVALID_HANDLE) module.C_CloseSession(handle);
    }
    ExtraSession(const ExtraSession&) = delete;
    ExtraSession& operator=(const ExtraSession&) = delete;

    std::vector<CK_OBJECT_HANDLE> find(CK_ATTRIBUTE* attributes, CK_ULONG count) const {
        std::vector<CK_OBJECT_HANDLE> found(max_objects);
        CK_ULONG number = 0;
        if (module.C_FindObjectsInit(handle, attributes, count) == CKR_OK) {
            if (module.C_FindObjects(handle, found.data(), found.size(), &number) != CKR_OK)
                number = 0;
            module.C_FindObjectsFinal(handle);
        }
        found.resize(number);
        return found;
    }
    CK_ULONG number(CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type) const {
        CK_ULONG value = CK_UNAVAILABLE_INFORMATION;
        CK_ATTRIBUTE attribute{type, &value, sizeof value};
        if (module.C_GetAttributeValue(handle, object, &attribute, 1) != CKR_OK)
            return CK_UNAVAILABLE_INFORMATION;
        return value;
    }

    const CK_FUNCTION_LIST& module;
    CK_SESSION_HANDLE handle = CK_INVALID_HANDLE;
};

Engine::Engine(const std::filesystem::path& folder)
    : rules_file_(folder / "rules"), ledger_(folder / "ledger"), real_(load_wrapped(folder)) {}

std::shared_ptr<const Loaded> Engine::read_rules(std::uint64_t version) const {
    auto loaded = std::make_shared<Loaded>();
    loaded->version = version;
    try {
        if (version != 0) loaded->rules = parse_rules(read_text(rules_file_));
    } catch (const std::runtime_error& error) {
        std::fprintf(stderr, "faulty_pkcs11: %s: %s\n", rules_file_.c_str(), error.what());
        loaded->rules = broken_rules();
    }
    return loaded;
}

std::shared_ptr<const Loaded> Engine::current() {
    const std::uint64_t version = version_of(rules_file_);
    std::shared_ptr<const Loaded> loaded;
    {
        const std::lock_guard lock(mutex_);
        if (!loaded_ || loaded_->version != version) {
            loaded_ = read_rules(version);
            ledger_.begin(version);
        }
        loaded = loaded_;
    }
    const bool away = loaded->rules.behaviour.away;
    if (is_away_.exchange(away) != away && away) {
        const std::lock_guard alone(gate_);
        close_all_sessions();
    }
    return loaded;
}

std::vector<const Rule*> Engine::struck_by(const Loaded& loaded, Function function) {
    std::vector<const Rule*> struck;
    const auto& rules = loaded.rules.rules;
    for (std::size_t i = 0; i < rules.size(); ++i) {
        const Rule& rule = rules[i];
        if (!rule.functions.test(index_of(function))) continue;
        Ledger::OfRule& counts = ledger_->rules[i];
        if (!rule.strikes(++counts.matched)) continue;
        std::uint64_t so_far = counts.struck;
        while (so_far < rule.times && !counts.struck.compare_exchange_weak(so_far, so_far + 1)) {
        }
        if (so_far < rule.times) struck.push_back(&rule);
    }
    if (!struck.empty()) ++ledger_->functions[index_of(function)].struck;
    return struck;
}

void Engine::suffer(const Rule& rule, std::uint64_t version) {
    if (rule.delay.count() > 0) std::this_thread::sleep_for(rule.delay);
    if (rule.hang) {
        ++ledger_->hanging;
        while (version_of(rules_file_) == version) std::this_thread::sleep_for(hang_step);
        --ledger_->hanging;
    }
    if (rule.action == Action::none) return;
    const std::lock_guard alone(gate_);
    act(rule.action);
}

void Engine::change(const Rule& rule, const Output& output) {
    if (output.data == nullptr) return;
    const CK_ULONG size = output.size == nullptr ? output.fixed : *output.size;
    if (size == 0) return;
    if (rule.fill) std::fill_n(output.data, size, *rule.fill);
    if (rule.flip) {
        const auto at = *rule.flip < 0
                            ? size - std::min<CK_ULONG>(size, static_cast<CK_ULONG>(-*rule.flip))
                            : static_cast<CK_ULONG>(*rule.flip);
        if (at < size) output.data[at] ^= 1U;
    }
    if (rule.flip_random) {
        const std::uint64_t draw = mixed(rule.seed, ledger_->functions[0].calls + size);
        output.data[draw % size] ^= static_cast<CK_BYTE>(1U << ((draw >> 56U) % 8U));
    }
    if (output.size != nullptr) *output.size -= std::min<CK_ULONG>(size, rule.truncate);
}

std::vector<CK_SLOT_ID> Engine::slots_of(const CK_FUNCTION_LIST& module) {
    CK_ULONG count = 0;
    if (module.C_GetSlotList(CK_TRUE, nullptr, &count) != CKR_OK) return {};
    std::vector<CK_SLOT_ID> slots(count);
    if (count == 0 || module.C_GetSlotList(CK_TRUE, slots.data(), &count) != CKR_OK) return {};
    slots.resize(count);
    return slots;
}

void Engine::act(Action action) {
    switch (action) {
        case Action::none:
            break;
        case Action::logout:
            log_out_everywhere();
            break;
        case Action::close_sessions:
            close_all_sessions();
            break;
        case Action::invalidate_handles:
            handles_.invalidate();
            break;
        case Action::permute_handles:
            permute(false);
            break;
        case Action::permute_finds:
            permute(true);
            break;
        case Action::crash:
            std::abort();
    }
}

void Engine::close_all_sessions() {
    for (const CK_SLOT_ID slot : slots_of(*real_)) real_->C_CloseAllSessions(slot);
    forget_all_sessions();
}

void Engine::log_out_everywhere() {
    for (const CK_SLOT_ID slot : slots_of(*real_)) {
        const ExtraSession session(*real_, slot);
        real_->C_Logout(session.handle);
    }
}

void Engine::permute(bool finds_only) {
    std::map<std::pair<CK_ULONG, CK_ULONG>, std::vector<CK_OBJECT_HANDLE>> groups;
    for (const CK_SLOT_ID slot : slots_of(*real_)) {
        const ExtraSession session(*real_, slot);
        for (const CK_OBJECT_HANDLE object : session.find(nullptr, 0)) {
            groups[{session.number(object, CKA_CLASS), session.number(object, CKA_KEY_TYPE)}]
                .push_back(object);
        }
    }
    std::vector<std::vector<CK_OBJECT_HANDLE>> list;
    for (auto& [kind, group] : groups) list.push_back(std::move(group));
    handles_.permute(list, finds_only);
}

// True when an object with this id is there already. In this file for ExtraSession.
bool Engine::has_id(CK_SESSION_HANDLE session, const CK_ATTRIBUTE& id) const {
    CK_SESSION_INFO info{};
    if (real_->C_GetSessionInfo(session, &info) != CKR_OK) return false;
    const ExtraSession extra(*real_, info.slotID);
    CK_ATTRIBUTE wanted = id;
    return !extra.find(&wanted, 1).empty();
}

}  // namespace tests
