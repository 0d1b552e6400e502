// Plain tables for people at a terminal. Cells may come from anybody: nothing in one can move the
// cursor or change a colour.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace base {

// `text` with every control character (C0, DEL, C1) and every byte that is no UTF-8 replaced by
// '?': one line that does nothing to a terminal.
std::string printable(std::string_view text);

// Columns as wide as their widest cell, two spaces between them, no space at a line's end. An empty
// cell shows as "-". A width is counted in code points. Not thread-safe.
class Table {
public:
    // Without headings the table has none, and the first row sets the number of columns.
    explicit Table(std::vector<std::string> headings = {});

    // Missing cells are empty, surplus ones are dropped.
    Table& add(std::vector<std::string> row);

    // Each line ends with a line feed. Empty when there is nothing to show.
    std::string to_string() const;

private:
    std::vector<std::vector<std::string>> rows_;
};

}  // namespace base
