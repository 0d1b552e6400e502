// An application's export: read to its end whatever is in it, the same from any record on; and its
// old ciphertexts, which never open under a key that they were not made with. The first byte says
// what the others are.
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fuzz/only.h"
#include "vault/import/columns.h"
#include "vault/import/old_format.h"
#include "vault/import/record_reader.h"

namespace {

using vault::RecordSyntax;

// A file in memory, since readers take a file by its name.
class MemoryFile {
public:
    explicit MemoryFile(std::string_view text) : file_(::memfd_create("export", MFD_CLOEXEC)) {
        fuzz::require(file_ >= 0);
        fuzz::require(::write(file_, text.data(), text.size()) ==
                      static_cast<ssize_t>(text.size()));
    }
    ~MemoryFile() { ::close(file_); }
    MemoryFile(const MemoryFile&) = delete;
    MemoryFile& operator=(const MemoryFile&) = delete;
    std::string path() const { return "/proc/self/fd/" + std::to_string(file_); }

private:
    int file_;
};

void read_records(std::string_view text, RecordSyntax syntax) {
    const MemoryFile file(text);
    fuzz::allow(base::ErrorCode::invalid_argument, [&] {
        const auto first = vault::open_records(file.path(), syntax);
        std::uint64_t count = 0;
        vault::ReaderPosition middle;
        while (const auto record = first->next()) {
            if (++count == 2) middle = first->position();
            if (const auto* value = std::get_if<base::JsonValue>(&record->content)) {
                static_cast<void>(vault::find_column(*value, "a.b"));
            }
        }
        fuzz::require(first->position().records == count);
        if (count < 3) return;  // nothing is behind
        const auto second = vault::open_records(file.path(), syntax, ',', middle);
        while (second->next()) continue;
        fuzz::require(second->position() == first->position());
    });
}

void open_old(const vault::OldFormat& format, const base::JsonValue& held) {
    fuzz::require(std::holds_alternative<vault::Unreadable>(format.open(held, "bound")));
}

void open_texts(std::string_view text) {
    const std::string key(vault::old_key_bytes * 2, '1');
    const vault::OldKeyForm hex{vault::OldKeyEncoding::hex};
    const base::JsonValue held{base::WipedString(text)};
    const auto ring = vault::envelope_format(vault::OldKeys::ring("v1:" + key, hex));
    open_old(*ring, held);
    fuzz::allow(base::ErrorCode::invalid_argument,
                [&] { open_old(*ring, base::parse_json(text)); });
    for (const char* layout : {"iv:data+tag", "iv+tag+data", "tag$iv$data"}) {
        for (const auto encoding : {vault::OldEncoding::hex, vault::OldEncoding::base64}) {
            open_old(*vault::gcm_format(vault::OldKeys::one(key, hex),
                                        vault::OldLayout(layout, encoding, 12)),
                     held);
        }
    }
    static_cast<void>(vault::cbc_format(vault::OldKeys::one(key, hex),
                                        vault::OldLayout("iv:data", vault::OldEncoding::hex, 16))
                          ->open(held, {}));  // authenticates nothing, so it may open
    static_cast<void>(vault::to_expiry(held, true));
    fuzz::allow(base::ErrorCode::invalid_argument, [&] { vault::ColumnText{text}; });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::string_view text = fuzz::text_of(data + 1, size - 1);
    switch (data[0]) {
        case 'l':
            read_records(text, RecordSyntax::json_lines);
            break;
        case 'a':
            read_records(text, RecordSyntax::json_array);
            break;
        case 'c':
            read_records(text, RecordSyntax::csv);
            break;
        default:
            open_texts(text);
    }
    return 0;
}
