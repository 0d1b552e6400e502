#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "vault/client/value_calls.h"
#include "vault/import/import_target.h"
#include "vault/import/patience.h"
#include "vault/import/revealed.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;
using base::JsonValue;

std::string errno_text() {
    return std::strerror(errno);  // NOLINT(concurrency-mt-unsafe): glibc's is safe
}

// Lines that are appended; what was not put on disk before a crash is cut off by the next import.
class OutputFile {
public:
    OutputFile(const std::filesystem::path& file, std::uint64_t bytes) : size_(bytes) {
        constexpr mode_t private_mode = 0600;
        const int fresh = bytes == 0 ? O_CREAT : 0;
        file_ = ::open(file.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW | fresh, private_mode);
        if (file_ < 0) refuse(file, errno_text());
        if (::flock(file_, LOCK_EX | LOCK_NB) != 0) refuse(file, "another process writes it");
        const off_t length = ::lseek(file_, 0, SEEK_END);
        if (length < static_cast<off_t>(bytes))
            refuse(file, "it is shorter than the state of the import says");
        if (::ftruncate(file_, static_cast<off_t>(bytes)) != 0 ||
            ::lseek(file_, 0, SEEK_END) != static_cast<off_t>(bytes)) {
            refuse(file, errno_text());
        }
    }
    ~OutputFile() {
        if (file_ >= 0) ::close(file_);
    }
    OutputFile(const OutputFile&) = delete;
    OutputFile& operator=(const OutputFile&) = delete;

    void write(std::string_view text) {
        size_ += text.size();
        while (!text.empty()) {
            const ssize_t written = ::write(file_, text.data(), text.size());
            if (written < 0 && errno == EINTR) continue;
            if (written < 0)
                throw Error(ErrorCode::unavailable, "the output file can't be written",
                            errno_text());
            text.remove_prefix(static_cast<std::size_t>(written));
        }
    }

    std::uint64_t sync() const {
        if (::fdatasync(file_) != 0)
            throw Error(ErrorCode::unavailable, "the output file can't be written", errno_text());
        return size_;
    }

private:
    [[noreturn]] void refuse(const std::filesystem::path& file, const std::string& why) {
        if (file_ >= 0) ::close(file_);
        throw Error(ErrorCode::invalid_argument, file.string() + " can't be written: " + why);
    }

    int file_ = -1;
    std::uint64_t size_;
};

class ValueTarget final : public ImportTarget {
public:
    ValueTarget(kms::Client& client, const TargetOptions& options,
                const std::filesystem::path& file, std::uint64_t bytes, std::string column)
        : client_(client), options_(options), out_(file, bytes), column_(std::move(column)) {}

    std::vector<ImportOutcome> take(std::span<const ImportItem> items) override {
        auto checked = seal_and_check(client_, options_.patience, items);
        std::vector<ImportOutcome> outcomes;
        outcomes.reserve(items.size());
        base::WipedString lines;
        for (std::size_t i = 0; i < items.size(); ++i) {
            if (checked[i].sealed) {
                lines += line_of(items[i].record, std::move(*checked[i].sealed));
                lines += '\n';
            }
            outcomes.push_back(std::move(checked[i].outcome));
        }
        out_.write(lines);
        return outcomes;
    }

    std::uint64_t flush() override { return out_.sync(); }

private:
    base::WipedString line_of(const JsonValue& record, JsonValue sealed) const {
        const JsonValue* held = find_column(record, column_);
        if (held != nullptr && held->string() != nullptr) sealed = JsonValue(base::to_json(sealed));
        return base::to_json(with_column(record, column_, std::move(sealed)));
    }

    kms::Client& client_;
    const TargetOptions options_;
    OutputFile out_;
    const std::string column_;
};

ImportOutcome failed_by(const Error& error) {
    return {ImportOutcome::Kind::failed,
            std::string(to_string(error.code())) + ": " + error.message()};
}

// What opening says of the sealed value of `item`.
ImportOutcome judge(const ImportItem& item, const OpenResult& opened) {
    if (const auto* error = std::get_if<Error>(&opened)) {
        ImportOutcome outcome = failed_by(*error);
        outcome.reason = "sealed, it does not open: " + outcome.reason;
        return outcome;
    }
    const auto& answer = std::get<OpenAnswer>(opened);
    if (!answer.sealed) return {ImportOutcome::Kind::failed, "what the vault sealed is plaintext"};
    if (item.is_sealed) return {ImportOutcome::Kind::already_there};
    if (is_same_json(item.secret, answer.value)) return {ImportOutcome::Kind::imported};
    return {ImportOutcome::Kind::failed, "opened again, it has another secret"};
}

}  // namespace

std::vector<CheckedSeal> seal_and_check(kms::Client& client, std::chrono::seconds patience,
                                        std::span<const ImportItem> items) {
    std::vector<GivenValue> values;
    values.reserve(items.size());
    for (const ImportItem& item : items) values.push_back({&item.secret, item.context});
    std::vector<SealResult> sealed;
    with_patience(patience, [&] { sealed = seal_values(client, values); });
    std::vector<CheckedSeal> out(items.size());
    std::vector<GivenValue> to_open;
    std::vector<std::size_t> positions;
    for (std::size_t i = 0; i < items.size(); ++i) {
        if (const auto* error = std::get_if<Error>(&sealed[i])) {
            out[i].outcome = failed_by(*error);
            continue;
        }
        to_open.push_back({&std::get<SealAnswer>(sealed[i]).value, items[i].context});
        positions.push_back(i);
    }
    std::vector<OpenResult> opened;
    with_patience(patience, [&] { opened = open_values(client, to_open); });
    for (std::size_t i = 0; i < positions.size(); ++i) {
        CheckedSeal& one = out[positions[i]];
        one.outcome = judge(items[positions[i]], opened[i]);
        if (one.outcome.kind != ImportOutcome::Kind::failed)
            one.sealed = std::move(std::get<SealAnswer>(sealed[positions[i]]).value);
    }
    return out;
}

std::unique_ptr<ImportTarget> value_target(kms::Client& client, const TargetOptions& options,
                                           const std::filesystem::path& file, std::uint64_t bytes,
                                           const std::string& column) {
    return std::make_unique<ValueTarget>(client, options, file, bytes, column);
}

}  // namespace vault
