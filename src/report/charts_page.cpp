// A page of charts and tables.
#include "page.h"
#include "snell/core/text.h"
#include "snell/io/files.h"
#include "snell/report/chart.h"

namespace snell::report {

using core::str;

void write_charts(const std::string& path, const ChartsPage& page) {
  std::string body = str("<h1>", escaped(page.title), "</h1>\n");
  for (const std::string& paragraph : page.paragraphs) body += str("<p>", escaped(paragraph), "</p>\n");
  body += "<div class=\"charts\">";
  for (const LineChart& chart : page.charts) body += line_chart(chart);
  body += "</div>\n";
  for (const auto& [heading, table] : page.tables) body += str("<h2>", escaped(heading), "</h2>\n", html_table(table));
  io::write_file(path, document(page.title, body));
}

}  // namespace snell::report
