// The parts that the pages share.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "snell/report/html.h"

namespace snell::report {

// For text and for attributes in double quotes. Bytes that are no UTF-8 and control characters become U+FFFD.
std::string escaped(std::string_view text);

std::string base64(std::string_view bytes);

// The style sheet of charts, with the colours that pages share.
std::string chart_style();

// A whole document.
std::string document(const std::string& title, const std::string& body);

std::string html_table(const Table& table);
std::string html_pairs(const Pairs& pairs);
std::string html_pictures(const std::vector<Picture>& pictures);

}  // namespace snell::report
