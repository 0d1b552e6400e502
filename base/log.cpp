#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "base/clock.h"
#include "base/json.h"

namespace base {
namespace {

std::string_view word(LogLevel level) {
    switch (level) {
        case LogLevel::debug:
            return "debug";
        case LogLevel::info:
            return "info";
        case LogLevel::warning:
            return "warning";
        case LogLevel::error:
            return "error";
    }
    return "error";
}

spdlog::level::level_enum to_spdlog(LogLevel level) {
    switch (level) {
        case LogLevel::debug:
            return spdlog::level::debug;
        case LogLevel::info:
            return spdlog::level::info;
        case LogLevel::warning:
            return spdlog::level::warn;
        case LogLevel::error:
            return spdlog::level::err;
    }
    return spdlog::level::err;
}

void write_field(JsonWriter& line, const LogField& field) {
    if (const auto* text = std::get_if<std::string>(&field.value)) {
        line.field(field.name, *text);
    } else if (const auto* number = std::get_if<std::int64_t>(&field.value)) {
        line.field(field.name, *number);
    } else {
        line.field(field.name, std::get<bool>(field.value));
    }
}

}  // namespace

struct Log::Sink {
    std::string program;
    spdlog::logger logger;
};

Log::Log(const std::string& program, LogLevel level)
    : sink_(new Sink{program,
                     spdlog::logger(program, std::make_shared<spdlog::sinks::stderr_sink_mt>())}) {
    sink_->logger.set_pattern("%v");
    sink_->logger.set_level(to_spdlog(level));
    sink_->logger.flush_on(spdlog::level::debug);
}

Log::~Log() = default;

void Log::write(LogLevel level, std::string_view message,
                std::initializer_list<LogField> fields) noexcept {
    try {
        if (!sink_->logger.should_log(to_spdlog(level))) return;
        JsonWriter line;
        line.begin_object()
            .field("time", to_rfc3339(SystemClock().now()))
            .field("level", word(level))
            .field("program", sink_->program)
            .field("message", message);
        for (const auto& field : fields) write_field(line, field);
        line.end_object();
        sink_->logger.log(to_spdlog(level), std::string_view(line.text()));
    } catch (...) {  // NOLINT(bugprone-empty-catch): losing a log line must not end a request
    }
}

void Log::debug(std::string_view message, std::initializer_list<LogField> fields) noexcept {
    write(LogLevel::debug, message, fields);
}
void Log::info(std::string_view message, std::initializer_list<LogField> fields) noexcept {
    write(LogLevel::info, message, fields);
}
void Log::warning(std::string_view message, std::initializer_list<LogField> fields) noexcept {
    write(LogLevel::warning, message, fields);
}
void Log::error(std::string_view message, std::initializer_list<LogField> fields) noexcept {
    write(LogLevel::error, message, fields);
}

}  // namespace base
