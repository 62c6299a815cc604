#include "page.h"

#include <algorithm>
#include <cstdint>

#include "snell/core/text.h"

namespace snell::report {

using core::str;

static constexpr const char* kStripes = R"css(
:root{--bg:#fcfcfb;--card:#fff;--fg:#1d2228;--soft:#5b6570;--rule:#e3e6e9;--accent:#0b6bcb;
--c0:#0b6bcb;--c1:#d1570d;--c2:#14855c;--c3:#a4439b;--c4:#8a6d00;--c5:#c2334d;--good:#14855c;--bad:#c2334d}
@media(prefers-color-scheme:dark){:root{--bg:#14171b;--card:#1b1f24;--fg:#e6e9ec;--soft:#9aa4af;--rule:#2e343b;
--accent:#6cb2f7;--c0:#6cb2f7;--c1:#f2975a;--c2:#55c99b;--c3:#d990d1;--c4:#d8bc4a;--c5:#f0788c;--good:#55c99b;--bad:#f0788c}}
)css";

static constexpr const char* kChartStyle = R"css(
.grid{stroke:var(--rule)}.axis{stroke:var(--soft)}.tick,.label{fill:var(--soft)}.name,.value{fill:var(--fg);font-size:13px}
.mark{stroke:var(--soft);stroke-dasharray:3 4;stroke-width:1.5}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round}.line.faint{opacity:.3;stroke-width:1}.hover{opacity:0}.hover:hover{opacity:.7}
.dot:hover{r:5}
)css";

static constexpr const char* kPageStyle = R"css(
*{box-sizing:border-box}
body{margin:0 auto;padding:32px 20px 60px;max-width:1080px;background:var(--bg);color:var(--fg);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 4px}
h2{font-size:1.15rem;margin:36px 0 12px}
p{max-width:46em;margin:8px 0}
.sub{color:var(--soft)}
.tiles{display:flex;flex-wrap:wrap;gap:12px;margin:20px 0}
.tile{background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:10px 16px;min-width:130px}
.tile b{display:block;font-size:1.45rem;font-weight:600;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:.85rem}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(440px,100%),1fr));gap:16px}
figure{margin:0;background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:14px 14px 8px}
figcaption{font-weight:600}
svg{display:block;width:100%;height:auto;font:12px system-ui,sans-serif}
.legend{display:flex;flex-wrap:wrap;gap:2px 16px;color:var(--soft);font-size:.85rem;margin:2px 0 6px}
.legend i{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:6px;vertical-align:-1px}
.row{fill:transparent}.row:hover{fill:var(--soft);fill-opacity:.12}
.legend .shade{border:1px solid var(--rule)}
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--rule);border-radius:8px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.92rem}
th,td{padding:7px 14px;text-align:left;border-bottom:1px solid var(--rule);vertical-align:top}td.n,td:first-child{white-space:nowrap}
.pairs th{width:1%;white-space:nowrap}.pairs td{overflow-wrap:anywhere}
tr:last-child td{border-bottom:0}th{color:var(--soft);font-weight:600}.n{text-align:right}
pre{background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:14px 16px;overflow:auto;font-size:.85rem;
line-height:1.45;max-height:640px}
.strip{display:flex;flex-wrap:wrap;gap:12px}.strip div{width:116px;text-align:center;font-size:.85rem}
.strip img{width:116px;height:116px;object-fit:contain;image-rendering:pixelated;background:#000;border-radius:6px;
border:3px solid var(--rule);display:block;margin-bottom:4px}
.strip .right img{border-color:var(--good)}.strip .wrong img{border-color:var(--bad)}
.strip .right b{color:var(--good)}.strip .wrong b{color:var(--bad)}
)css";

// The length of a well-formed UTF-8 sequence at the start of `text`, or 0.
static size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  const size_t length = lead < 0x80                   ? 1
                        : lead >= 0xF0 && lead < 0xF5 ? 4
                        : lead >= 0xE0 && lead < 0xF0 ? 3
                        : lead >= 0xC2 && lead < 0xE0 ? 2
                                                      : 0;
  if (length == 0 || length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  // Overlong forms, surrogates and what lies beyond U+10FFFF.
  if ((lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xED && byte(1) > 0x9F) || (lead == 0xF0 && byte(1) < 0x90) ||
      (lead == 0xF4 && byte(1) > 0x8F)) {
    return 0;
  }
  return length;
}

std::string escaped(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    const char c = text.front();
    const bool control = static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t';
    if (length == 0 || control || c == 0x7f) {
      out += "\xEF\xBF\xBD";
    } else if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '"') {
      out += "&quot;";
    } else if (c == '\'') {
      out += "&#39;";
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return out;
}

std::string base64(std::string_view bytes) {
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t n = std::min<size_t>(3, bytes.size() - i);
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j) group = group << 8 | (j < n ? static_cast<unsigned char>(bytes[i + j]) : 0);
    for (size_t j = 0; j < 4; ++j) out += j <= n ? kDigits[group >> (18 - 6 * j) & 63] : '=';
  }
  return out;
}

std::string chart_style() {
  std::string colours;
  for (int i = 0; i < 6; ++i) {
    colours += str(".line.s", i, "{stroke:var(--c", i, ")}circle.s", i, "{fill:var(--c", i, ")}.b", i, "{fill:var(--c",
                   i, ");background:var(--c", i, ")}\n");
  }
  return str(kStripes, kChartStyle, colours);
}

std::string document(const std::string& title, const std::string& body) {
  std::string shades;
  // Nine shades from the card's colour to the full one.
  for (int i = 0; i < 9; ++i) {
    const double part = i == 0 ? 0.05 : 0.1 + 0.9 * i / 8;
    shades += str("path.h", i, "{fill:var(--c0);fill-opacity:", part, "}.shade.h", i,
                  "{background:color-mix(in srgb,var(--c0) ", 100 * part, "%,var(--card))}\n");
  }
  return str("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">",
             "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">",
             "<meta name=\"color-scheme\" content=\"light dark\">",
             "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';style-src "
             "'unsafe-inline';img-src data:\">",
             "<title>", escaped(title), "</title><style>", chart_style(), kPageStyle, shades, "</style></head><body>\n",
             body, "</body></html>\n");
}

std::string html_table(const Table& table) {
  if (table.num_rows() == 0) return "";
  const auto tag = [&](const char* name, size_t column) {
    return str("<", name, table.is_numeric(column) ? " class=\"n\">" : ">");
  };
  std::string html = "<div class=\"scroll\"><table><tr>";
  for (size_t c = 0; c < table.columns().size(); ++c) {
    html += str(tag("th", c), escaped(table.columns()[c].title), "</th>");
  }
  html += "</tr>\n";
  for (size_t r = 0; r < table.num_rows(); ++r) {
    html += "<tr>";
    for (size_t c = 0; c < table.columns().size(); ++c) html += str(tag("td", c), escaped(table.cell(r, c)), "</td>");
    html += "</tr>\n";
  }
  return html + "</table></div>\n";
}

std::string html_pairs(const Pairs& pairs) {
  std::string html = "<div class=\"scroll\"><table class=\"pairs\">";
  for (const auto& [key, value] : pairs) {
    html += str("<tr><th>", escaped(key), "</th><td>", escaped(value), "</td></tr>\n");
  }
  return html + "</table></div>\n";
}

std::string html_pictures(const std::vector<Picture>& pictures) {
  std::string html = "<div class=\"strip\">";
  for (const Picture& picture : pictures) {
    const char* verdict = !picture.right ? "" : *picture.right ? "right" : "wrong";
    const char* sign = !picture.right ? "" : *picture.right ? "<b>✓</b> " : "<b>✗</b> ";
    html += str("<div class=\"", verdict, "\"><img alt=\"", escaped(picture.caption), "\" src=\"data:image/png;base64,",
                base64(picture.png), "\">", sign, escaped(picture.caption), "</div>\n");
  }
  return html + "</div>\n";
}

}  // namespace snell::report
