#include "vault/import/import_state.h"

#include <sys/stat.h>

#include "base/error.h"
#include "base/file.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::size_t max_state_bytes = 8UL * 1024 * 1024;
constexpr std::size_t max_state_text_bytes = 64UL * 1024;
constexpr std::int64_t state_format = 1;

std::uint64_t read_number(base::JsonReader& reader, std::string_view name) {
    return static_cast<std::uint64_t>(reader.required_integer(name, 0, INT64_MAX));
}

ImportState parse_state(const std::string& text) {
    const base::JsonValue value = base::parse_json(text, {.bytes = max_state_bytes, .depth = 4});
    base::JsonReader reader(value);
    ImportState state;
    reader.required_integer("import_state", state_format, state_format);
    state.source = reader.required_string("source", max_state_text_bytes);
    state.options = reader.required_string("options", max_state_text_bytes);
    state.position = {read_number(reader, "offset"), read_number(reader, "position"),
                      read_number(reader, "line"),
                      reader.optional_boolean("source_over").value_or(false)};
    state.last_key = reader.required_string("last_key", max_state_text_bytes, 0);
    state.output_bytes = read_number(reader, "output_bytes");
    state.is_complete = reader.optional_boolean("complete").value_or(false);
    state.report = read_report(reader);
    reader.refuse_unknown();
    return state;
}

}  // namespace

std::optional<ImportState> read_import_state(const std::filesystem::path& file) {
    std::error_code ignored;
    if (!std::filesystem::exists(file, ignored)) return std::nullopt;
    const std::string text = base::read_file(file, max_state_bytes);
    try {
        return parse_state(text);
    } catch (const Error& error) {
        throw Error(ErrorCode::invalid_argument,
                    file.string() + " is no state of an import: " + error.message());
    }
}

void write_import_state(const std::filesystem::path& file, const ImportState& state) {
    constexpr unsigned private_mode = 0600;
    base::JsonWriter out(base::JsonWriter::Style::indented);
    out.begin_object().field("import_state", state_format);
    out.field("source", state.source).field("options", state.options);
    out.field("offset", state.position.offset).field("position", state.position.records);
    out.field("line", state.position.line).field("source_over", state.position.is_over);
    out.field("last_key", state.last_key);
    out.field("output_bytes", state.output_bytes).field("complete", state.is_complete);
    write_report(out, state.report);
    out.end_object();
    base::write_file_durably(file, std::string(out.text()) + "\n", private_mode);
}

std::string describe_source(const std::filesystem::path& file) {
    struct stat status {};
    if (::stat(file.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) {
        throw Error(ErrorCode::invalid_argument, file.string() + " is no file that can be read");
    }
    return std::filesystem::absolute(file).lexically_normal().string() + ", " +
           std::to_string(status.st_size) + " bytes, changed at " +
           std::to_string(status.st_mtim.tv_sec) + "." + std::to_string(status.st_mtim.tv_nsec);
}

}  // namespace vault
