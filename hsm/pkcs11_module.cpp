#include "hsm/pkcs11_module.h"

#include <dlfcn.h>

#include "hsm/pkcs11_error.h"

namespace hsm {
namespace {

[[noreturn]] void refuse_module(const std::filesystem::path& library, const std::string& why) {
    throw base::Error(base::ErrorCode::failed_precondition,
                      "PKCS#11 module " + library.string() + ": " + why);
}

constexpr CK_ULONG max_slots = 4096;  // a module that says more is broken
constexpr int most_slot_looks = 8;    // while tokens are plugged in

Pkcs11Error no_slots(const std::string& why) {
    return {CKR_DEVICE_ERROR, "C_GetSlotList, " + why, ErrorClass::token_gone};
}

// NSS declares one more member than the standard, behind pReserved: it must be there and null.
struct InitializeArguments {
    CK_C_INITIALIZE_ARGS standard{};
    void* nss_reserved = nullptr;
};

}  // namespace

std::shared_ptr<Module> Module::load(const std::filesystem::path& library,
                                     std::string init_string) {
    if (!std::filesystem::exists(library))
        refuse_module(library, "there is no such file; install the token's driver");
    // Never unloaded: modules leave threads and exit handlers behind that would then run in
    // unmapped memory.
    void* handle = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
        const char* why = ::dlerror();  // NOLINT(concurrency-mt-unsafe): per thread in glibc
        refuse_module(library,
                      std::string("can't be loaded: ") + (why == nullptr ? "unknown" : why));
    }
    const auto get_function_list =
        reinterpret_cast<CK_C_GetFunctionList>(::dlsym(handle, "C_GetFunctionList"));
    if (get_function_list == nullptr)
        refuse_module(library, "is not a PKCS#11 library (it has no C_GetFunctionList)");
    CK_FUNCTION_LIST_PTR functions = nullptr;
    const CK_RV code = get_function_list(&functions);
    if (code != CKR_OK || functions == nullptr)
        refuse_module(library, "C_GetFunctionList answers " + name_of(code));
    return std::make_shared<Module>(functions, std::move(init_string));
}

Module::Module(CK_FUNCTION_LIST_PTR functions, std::string init_string)
    : functions_(functions), init_string_(std::move(init_string)) {
    try {
        initialise();
    } catch (const Pkcs11Error& error) {
        throw base::Error(base::ErrorCode::failed_precondition,
                          "the PKCS#11 module does not start; check its own configuration and this "
                          "user's rights to "
                          "its files (SoftHSM: softhsm2.conf and directories.tokendir)",
                          error.detail());
    }
    CK_INFO info{};
    if (const CK_RV code = functions_->C_GetInfo(&info); code != CKR_OK) {
        functions_->C_Finalize(nullptr);
        throw to_error(code, "C_GetInfo");
    }
    manufacturer_ = trim_padding(info.manufacturerID);
    description_ = std::string(trim_padding(info.libraryDescription)) + " " +
                   std::to_string(info.libraryVersion.major) + "." +
                   std::to_string(info.libraryVersion.minor);
}

Module::~Module() {
    if (initialised_) functions_->C_Finalize(nullptr);
}

void Module::initialise() {
    InitializeArguments arguments;
    // Without CKF_OS_LOCKING_OK a module may assume a single thread (PKCS#11 2.40, 5.4).
    arguments.standard.flags = CKF_OS_LOCKING_OK;
    if (!init_string_.empty()) arguments.standard.pReserved = init_string_.data();
    const CK_RV code = functions_->C_Initialize(&arguments.standard);
    if (code == CKR_CRYPTOKI_ALREADY_INITIALIZED) {
        throw base::Error(base::ErrorCode::failed_precondition,
                          "the PKCS#11 module is in use by another part of this process",
                          name_of(code));
    }
    check_call(code, "C_Initialize");
    initialised_ = true;
    ++epoch_;
}

void Module::reinitialise() {
    // Also after a C_Initialize that failed: it may have done its work before it did.
    functions_->C_Finalize(nullptr);
    initialised_ = false;
    ++epoch_;  // from here on, also when C_Initialize fails, every handle is void
    initialise();
}

std::vector<CK_SLOT_ID> slots_with_tokens(const Module& module) {
    for (int look = 0; look < most_slot_looks; ++look) {
        CK_ULONG count = 0;
        check_call(module->C_GetSlotList(CK_TRUE, nullptr, &count), "C_GetSlotList");
        if (count > max_slots) throw no_slots("which says " + std::to_string(count) + " slots");
        std::vector<CK_SLOT_ID> slots(count);
        if (count == 0) return slots;
        const CK_RV code = module->C_GetSlotList(CK_TRUE, slots.data(), &count);
        if (code == CKR_BUFFER_TOO_SMALL) continue;
        check_call(code, "C_GetSlotList");
        if (count > slots.size()) throw no_slots("which says more slots than it was asked for");
        slots.resize(count);
        return slots;
    }
    throw no_slots("which says more slots with each look");
}

}  // namespace hsm
