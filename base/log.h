// The operational log: one JSON object a line, on standard error. It is for operators, not for
// evidence (that is server/audit). No secret, no request or response body, no header value goes in.
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "base/error.h"

namespace base {

enum class LogLevel { debug, info, warning, error };

struct LogField {
    std::string_view name;
    std::variant<std::string, std::int64_t, bool> value;
};

// Thread-safe. Built by the program's main and passed by reference.
class Log {
public:
    // `program` stands in every line. Lines below `level` are dropped. Level words: to_level().
    Log(const std::string& program, LogLevel level);
    ~Log();
    Log(const Log&) = delete;
    Log& operator=(const Log&) = delete;

    // Never throws: a log that can't be written must not end a request.
    void write(LogLevel level, std::string_view message,
               std::initializer_list<LogField> fields = {}) noexcept;
    void debug(std::string_view message, std::initializer_list<LogField> fields = {}) noexcept;
    void info(std::string_view message, std::initializer_list<LogField> fields = {}) noexcept;
    void warning(std::string_view message, std::initializer_list<LogField> fields = {}) noexcept;
    void error(std::string_view message, std::initializer_list<LogField> fields = {}) noexcept;

private:
    struct Sink;
    std::unique_ptr<Sink> sink_;
};

}  // namespace base
