// Formats text as a table: aligned columns, two spaces between them, no trailing spaces.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace tensorcache {

using TableRow = std::vector<std::string>;

// Aligns the first `left_columns` columns left and the others (usually numbers) right. Rows may
// have different lengths. RETURNS: one line per row, each with a line break.
[[nodiscard]] std::string text_table(const std::vector<TableRow>& rows, std::size_t left_columns = 1);

}   // namespace tensorcache
