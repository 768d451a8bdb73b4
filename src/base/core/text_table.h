// A table as text: aligned columns, two spaces between them, no space at a line's end.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace tensorcache {

using TableRow = std::vector<std::string>;

// The first `left_columns` columns are set flush left, the others, which are numbers mostly, flush
// right. Rows may have different lengths. RETURNS: one line for each row, each with its line break.
[[nodiscard]] std::string text_table(const std::vector<TableRow>& rows, std::size_t left_columns = 1);

}   // namespace tensorcache
