#include "snell/report/chart.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>

#include "page.h"
#include "snell/core/text.h"

namespace snell::report {

using core::str;

static constexpr double kWidth = 520;
static constexpr double kHeight = 260;
static constexpr double kLeft = 76;
static constexpr double kRight = 16;
static constexpr double kTop = 14;
static constexpr double kBottom = 46;
static constexpr size_t kMaxPoints = 600;
static constexpr size_t kMaxHovers = 80;
static constexpr size_t kMaxDots = 40;
static constexpr size_t kMaxMarks = 50;
static constexpr double kLargest = 1e150;
static constexpr int kColours = 6;  // as many classes s0… in the style sheet

static std::string number(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.5g", value);
  return text;
}

static std::string pixels(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

std::vector<double> nice_ticks(double low, double high, int wanted) {
  const double span = high - low;
  if (!(span > 0) || !std::isfinite(span)) return {low};
  const double raw = span / wanted;
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  const double times = raw / power;
  const double step = power * (times <= 1 ? 1 : times <= 2 ? 2 : times <= 5 ? 5 : 10);
  std::vector<double> ticks;
  for (double i = std::ceil(low / step - 1e-9); i * step <= high + 1e-9 * span && ticks.size() < 100; ++i) {
    ticks.push_back(i * step + 0.0);
  }
  return ticks;
}

std::vector<std::pair<double, double>> thinned(const std::vector<std::pair<double, double>>& points, size_t limit) {
  if (points.size() <= limit) return points;
  const size_t buckets = std::max<size_t>(limit / 2, 1);
  std::vector<std::pair<double, double>> kept;
  const auto lower = [](const auto& a, const auto& b) { return a.second < b.second; };
  for (size_t b = 0; b < buckets; ++b) {
    const auto first = points.begin() + static_cast<std::ptrdiff_t>(points.size() * b / buckets);
    const auto last = points.begin() + static_cast<std::ptrdiff_t>(points.size() * (b + 1) / buckets);
    auto [low, high] = std::minmax_element(first, last, lower);
    if (high < low) std::swap(low, high);
    kept.push_back(*low);
    if (high != low) kept.push_back(*high);
  }
  return kept;
}

namespace {
struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void add(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return low > high; }
  // Room around what is shown; a single value gets a stretch of its own.
  void widen(double part) {
    const double room = high > low ? (high - low) * part : std::max(std::abs(high) * 0.1, 1e-12);
    low -= room;
    high += room;
  }
};

struct Frame {
  Range x, y;
  double px(double value) const { return kLeft + (value - x.low) / (x.high - x.low) * (kWidth - kLeft - kRight); }
  double py(double value) const {
    return kHeight - kBottom - (value - y.low) / (y.high - y.low) * (kHeight - kTop - kBottom);
  }
};
}  // namespace

static std::string axes(const Frame& frame, const LineChart& chart) {
  std::string svg;
  for (const double tick : nice_ticks(frame.y.low, frame.y.high, 5)) {
    const std::string y = pixels(frame.py(tick));
    svg += str("<line class=\"grid\" x1=\"", kLeft, "\" x2=\"", kWidth - kRight, "\" y1=\"", y, "\" y2=\"", y,
               "\"/><text class=\"tick\" x=\"", kLeft - 8, "\" y=\"", y, "\" dy=\"0.32em\" text-anchor=\"end\">",
               number(tick), "</text>\n");
  }
  for (const double tick : nice_ticks(frame.x.low, frame.x.high, 6)) {
    const std::string x = pixels(frame.px(tick));
    svg += str("<line class=\"axis\" x1=\"", x, "\" x2=\"", x, "\" y1=\"", kHeight - kBottom, "\" y2=\"",
               kHeight - kBottom + 5, "\"/><text class=\"tick\" x=\"", x, "\" y=\"", kHeight - kBottom + 19,
               "\" text-anchor=\"middle\">", number(tick), "</text>\n");
  }
  svg += str("<line class=\"axis\" x1=\"", kLeft, "\" x2=\"", kWidth - kRight, "\" y1=\"", kHeight - kBottom,
             "\" y2=\"", kHeight - kBottom, "\"/>\n<text class=\"label\" x=\"", (kLeft + kWidth - kRight) / 2,
             "\" y=\"", kHeight - 6, "\" text-anchor=\"middle\">", escaped(chart.x_label),
             "</text>\n<text class=\"label\" transform=\"translate(14 ", (kTop + kHeight - kBottom) / 2,
             ") rotate(-90)\" text-anchor=\"middle\">", escaped(chart.y_label), "</text>\n");
  return svg;
}

// Differences of larger ones overflow.
static bool drawable(const std::pair<double, double>& point) {
  return std::abs(point.first) < kLargest && std::abs(point.second) < kLargest;
}

// SVG path commands; what cannot be drawn is a gap.
static std::string path_of(const Frame& frame, const std::vector<std::pair<double, double>>& points) {
  std::string path;
  bool pen_down = false;
  for (const auto& point : points) {
    const bool visible = drawable(point);
    if (visible) path += str(pen_down ? "L" : "M", pixels(frame.px(point.first)), " ", pixels(frame.py(point.second)));
    pen_down = visible;
  }
  return path;
}

// Means of as many stretches, to see the course of a noisy series.
static std::vector<std::pair<double, double>> means(const std::vector<std::pair<double, double>>& points,
                                                    size_t count) {
  std::vector<std::pair<double, double>> result;
  for (size_t i = 0; i < count; ++i) {
    double x = 0;
    double y = 0;
    double n = 0;
    for (size_t j = points.size() * i / count; j < points.size() * (i + 1) / count; ++j) {
      if (!drawable(points[j])) continue;
      x += points[j].first;
      y += points[j].second;
      ++n;
    }
    if (n > 0) result.emplace_back(x / n, y / n);
  }
  return result;
}

// The line, and points that tell their values when the pointer rests on them. Those of a short series are visible dots.
static std::string curve(const Frame& frame, const Series& series, size_t index) {
  const std::string colour = str("s", index % kColours);
  const bool is_long = series.noisy && series.points.size() > 4 * kMaxHovers;
  std::string svg = str("<path class=\"line ", colour, is_long ? " faint" : "", "\" d=\"",
                        path_of(frame, thinned(series.points, kMaxPoints)), "\"/>\n");
  const auto told = is_long ? means(series.points, kMaxHovers) : series.points;
  if (is_long) svg += str("<path class=\"line ", colour, "\" d=\"", path_of(frame, told), "\"/>\n");
  const bool dots = told.size() <= kMaxDots;
  const size_t stride = (told.size() + kMaxHovers - 1) / kMaxHovers;
  for (size_t i = 0; i < told.size(); i += stride) {
    if (!drawable(told[i])) continue;
    const auto [x, y] = told[i];
    svg += str("<circle class=\"", dots ? "dot " : "hover ", colour, "\" cx=\"", pixels(frame.px(x)), "\" cy=\"",
               pixels(frame.py(y)), "\" r=\"", dots ? 2.5 : 5, "\"><title>", escaped(series.name), ": ", number(y),
               " at ", number(x), "</title></circle>\n");
  }
  return svg;
}

static std::string legend(const std::vector<Series>& series) {
  std::string html = "<div class=\"legend\">";
  for (size_t i = 0; i < series.size(); ++i) {
    html += str("<span><i class=\"b", i % kColours, "\"></i>", escaped(series[i].name), "</span>");
  }
  return html + "</div>\n";
}

// The <svg> alone; "" when there is nothing to draw.
static std::string plot(const LineChart& chart) {
  Frame frame;
  for (const Series& series : chart.series) {
    for (const auto& point : series.points) {
      if (!drawable(point)) continue;
      frame.x.add(point.first);
      frame.y.add(point.second);
    }
  }
  if (frame.x.empty()) return "";
  if (frame.x.low == frame.x.high) frame.x.widen(0);
  frame.y.widen(0.05);
  std::string svg = str("<svg viewBox=\"0 0 ", kWidth, " ", kHeight, "\" role=\"img\" aria-label=\"",
                        escaped(chart.title), "\">\n", axes(frame, chart));
  for (size_t i = 0; i < std::min(chart.marks.size(), kMaxMarks); ++i) {
    const Mark& mark = chart.marks[i];
    if (mark.x < frame.x.low || mark.x > frame.x.high) continue;
    const std::string x = pixels(frame.px(mark.x));
    svg += str("<line class=\"mark\" x1=\"", x, "\" x2=\"", x, "\" y1=\"", kTop, "\" y2=\"", kHeight - kBottom,
               "\"><title>", escaped(mark.title), "</title></line>\n");
  }
  for (size_t i = 0; i < chart.series.size(); ++i) svg += curve(frame, chart.series[i], i);
  return svg + "</svg>";
}

std::string line_chart(const LineChart& chart) {
  const std::string svg = plot(chart);
  if (svg.empty()) return "";
  return str("<figure><figcaption>", escaped(chart.title), "</figcaption>\n", legend(chart.series), svg, "</figure>\n");
}

std::string standalone_svg(const LineChart& chart) {
  const std::string inner = plot(chart);
  if (inner.empty()) return "";
  constexpr double kHead = 50;  // title and legend
  constexpr double kBetween = 24;
  constexpr double kCharacter = 6.2;  // about a character's width
  std::string svg =
      str("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 ", kWidth, " ", kHeight + kHead, "\">\n<style>",
          chart_style(), "svg{font:12px system-ui,sans-serif}</style>\n",
          "<rect width=\"100%\" height=\"100%\" rx=\"8\" style=\"fill:var(--card)\"/>\n",
          "<text class=\"name\" x=\"16\" y=\"22\" font-weight=\"600\">", escaped(chart.title), "</text>\n");
  double x = 16;
  for (size_t i = 0; i < chart.series.size(); ++i) {
    const std::string& name = chart.series[i].name;
    svg += str("<rect class=\"b", i % kColours, "\" x=\"", x, "\" y=\"33\" width=\"12\" height=\"12\" rx=\"3\"/>",
               "<text class=\"label\" x=\"", x + 18, "\" y=\"43\">", escaped(name), "</text>\n");
    x += 18 + kCharacter * static_cast<double>(display_width(name)) + kBetween;
  }
  return str(svg, "<svg y=\"", kHead, "\" width=\"", kWidth, "\" height=\"", kHeight, "\"",
             inner.substr(std::string("<svg").size()), "\n</svg>\n");
}

std::string bar_chart(const std::string& title, const std::vector<Bar>& bars) {
  constexpr double kNames = 130;
  constexpr double kTexts = 90;
  constexpr double kRow = 30;
  double most = 0;
  for (const Bar& bar : bars) {
    if (std::isfinite(bar.value)) most = std::max(most, bar.value);
  }
  const double height = kRow * static_cast<double>(bars.size()) + 8;
  std::string html = str("<figure><figcaption>", escaped(title), "</figcaption>\n<svg viewBox=\"0 0 ", kWidth, " ",
                         height, "\" role=\"img\" aria-label=\"", escaped(title), "\">\n");
  for (size_t i = 0; i < bars.size(); ++i) {
    const Bar& bar = bars[i];
    const double y = kRow * static_cast<double>(i) + 4;
    const double part = most > 0 && std::isfinite(bar.value) ? std::max(bar.value, 0.0) / most : 0.0;
    const double width = part * (kWidth - kNames - kTexts);
    html +=
        str("<text class=\"name\" x=\"", kNames - 10, "\" y=\"", y + kRow / 2, "\" dy=\"0.32em\" text-anchor=\"end\">",
            escaped(bar.name), "</text><rect class=\"b", i % kColours, "\" rx=\"3\" x=\"", kNames, "\" y=\"", y + 4,
            "\" width=\"", pixels(width), "\" height=\"", kRow - 8, "\"><title>", escaped(bar.name), ": ",
            escaped(bar.text), "</title></rect><text class=\"value\" x=\"", pixels(kNames + width + 8), "\" y=\"",
            y + kRow / 2, "\" dy=\"0.32em\">", escaped(bar.text), "</text>\n");
  }
  return html + "</svg></figure>\n";
}

}  // namespace snell::report
